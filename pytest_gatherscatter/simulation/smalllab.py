"""A small lab whose every next step can be chosen: what may happen is listed, not drawn.

Its parties are the production's machines and guides. What is between them is as simple as can
be: an inbox for each (``smallpost.py``), a message lost only with its reader, an outcome known at
once, one clock for all, which ticks. Time passes when nothing else can happen (or as a stall, if
one is granted), and then up to the next deadline of anybody. So the number of states is small
enough to look at all of them; what the network does to messages is played by the seeds.
"""

from collections.abc import Collection, Mapping

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Exited,
    Input,
    LinkUp,
    Publish,
    Received,
    Record,
    Recovered,
    Returned,
    Run,
    Send,
    Wake,
    Woken,
)
from pytest_gatherscatter.sections.gatherer import Gatherer, GathererFacts
from pytest_gatherscatter.sections.monitor.hookcall import CallHook, CancelHook, Hook, HookEnded
from pytest_gatherscatter.sections.monitor.machine import Identity, MonitorMachine
from pytest_gatherscatter.simulation.shelf import Shelf
from pytest_gatherscatter.simulation.smallpost import Post, tick
from pytest_gatherscatter.simulation.smallrun import BENCH, SmallRun, SmallTicket, demand_of
from pytest_gatherscatter.simulation.smallstate import REST, Journal, Letter, State, Step, Waiting
from pytest_gatherscatter.simulation.smallwatch import BEGIN, CLOCK, Watch
from pytest_gatherscatter.simulation.world import (
    Died,
    Heard,
    HookAnswered,
    HookCalled,
    Recorded,
    Said,
    Sight,
    Violated,
)
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import GATHERER_KEY, STEER_KEY, agent_key

WALL = 2_000_000_000.0
"""Unix time minus the clock's: so large that a time is never taken for another's."""

RETURNS = 2.0
"""A dead process comes back at once, or at a multiple of so many seconds: that of keepalives, so
that what began then and what began before go on in step."""

GATHERER = "gatherer"
PERSON = "ann"

SILENT = (m.SectionAccepted, m.SectionWaiting, m.ReportAccepted, m.JoinAccepted, m.LeaveAccepted)
"""Messages that make nobody speak: their order among other parties' steps changes nothing, so
that they are taken first and alone."""


class SmallLab(Post):
    """Two workloads that want one bench, some monitors, a gatherer with a journal.

    Args:
        deaths: how many parties may die, each once, at any moment; they come back with what
            was on disk, at once or at a multiple of ``RETURNS``.
        mortal: whom of them; all, if nobody is named. Each way with two deaths is one of a lab in
            which only these two may die: so labs of two mortals, one for each choice of them,
            show together what one lab shows in which all are mortal.
        stalls: how often time may pass although something could still happen.
    """

    def __init__(
        self,
        *,
        workloads: int = 2,
        monitors: int = 2,
        deaths: int = 0,
        mortal: Collection[str] = (),
        stalls: int = 0,
    ) -> None:
        super().__init__(("scope", "thermal")[:monitors], ("test0", "test1")[:workloads])
        self.now = BEGIN
        self.deaths = deaths
        self.died: frozenset[str] = frozenset()
        self.fresh: frozenset[str] = frozenset()
        """Who died at this very moment."""
        self.stalls = stalls
        self.journal = Journal()
        self.tickets: Mapping[str, SmallTicket] = {}
        self.locked: str | None = None
        self.hooks: Mapping[str, tuple[Waiting, ...]] = {}
        self.lives: Mapping[str, int] = {}
        self.over: frozenset[str] = frozenset()
        """Workloads that have gone on."""
        self.parties = (GATHERER, *self.monitors, *self.runs)
        self.mortal = frozenset(mortal or self.parties)
        if unknown := self.mortal.difference(self.parties):
            raise ValueError(f"not in this lab: {', '.join(sorted(unknown))}")
        self.recorded = False
        """Whether the gatherer put something on record in the last step."""
        self.shelf = Shelf()
        self.watch = Watch(self.shelf)
        self._stirred: set[str] = set()
        for name in (GATHERER, *self.monitors):
            self._start(name)
        for number, name in enumerate(self.runs):
            require = frozenset(("scope",) if number == 0 and monitors else ())
            self.shelf.put(name, SmallRun(name, demand_of(name, require)))
            self._start(name)
        self._see_through()

    def freeze(self) -> State:
        """Return what it is at this moment."""
        return State(tuple(getattr(self, name) for name in REST), self.shelf.freeze())

    def restore(self, state: State) -> None:
        """Go back to a former moment."""
        for name, value in zip(REST, state.rest, strict=True):
            setattr(self, name, value)
        self.shelf.restore(state.parts)

    # ── what may happen ────────────────────────────────────────────────────────────────

    def steps(self) -> list[Step]:
        """List what may happen next, deaths apart; nothing once all is over."""
        waiting = list(self.letters)
        for who, of in waiting:
            if who != GATHERER and isinstance(self.letters[who, of][0].message, SILENT):
                return [Step("hear", who, of)]
        found = [Step("hear", who, of) for who, of in sorted(waiting)]
        found += [Step("hook", name) for name in self.monitors if self._due_hook(name)]
        dead = self.dead()
        if self.finished and not dead and not found:
            return []
        if not found:
            # A process takes longer to start than all that is under way.
            due = self._next_due()
            late = self.now % RETURNS == 0 or due is None
            found = [Step("start", name) for name in dead if late or name in self.fresh]
            if due is not None or not dead:
                found.append(Step("time"))
        elif self.stalls and self._next_due() is not None:
            found.append(Step("stall"))
        return found

    def dead(self) -> list[str]:
        """Name those who are dead."""
        return [name for name in self.parties if self.lives[name] < 0]

    def may_die(self, name: str) -> bool:
        """Say whether a party can die now, or later on."""
        alive = self.lives[name] > 0 and name not in self.over
        return alive and self.deaths > 0 and name in self.mortal and name not in self.died

    @property
    def finished(self) -> bool:
        """Whether every workload has gone on."""
        return len(self.over) == len(self.runs)

    @property
    def waited_for(self) -> bool:
        """Whether a workload that is alive has yet to go on."""
        return any(self.lives[name] > 0 and name not in self.over for name in self.runs)

    @property
    def restless(self) -> bool:
        """Whether a rule says that something is still to come."""
        return any(rule.restless for rule in self.watch.rules(self.now))

    def take(self, step: Step) -> None:
        """Let it happen, and all that follows at once."""
        self.touched, self.recorded = set(), False
        match step:
            case Step("hear", who, of):
                self._hear(who, of)
            case Step("record and crash", who, of):
                self._hear(who, of, torn=True)
                self._crash(who)
            case Step("hook", who):
                self._call_hook(who)
            case Step("time"):
                self._pass()
            case Step("stall"):
                self.stalls -= 1
                self._pass()
            case Step("crash", who):
                self._crash(who)
            case Step("start", who):
                self._start(who)
            case Step("crash and start", who):
                self._crash(who)
                self._see_through()
                self._start(who)
        self._see_through()

    def reset(self) -> None:
        """Let a person reset everything."""
        letter = Letter(m.ResetLab(everything=True, who=PERSON), None)
        self.deliver(PERSON, GATHERER, letter)

    def end(self) -> None:
        """Ask every rule for its last word."""
        for rule in self.watch.rules(self.now):
            rule.end()

    # ── steps ──────────────────────────────────────────────────────────────────────────

    def _hear(self, who: str, of: str, *, torn: bool = False) -> None:
        letter, *left = self.letters[who, of]
        self.letters = {**self.letters, (who, of): tuple(left)}
        if not left:
            del self.letters[who, of]
        self.see(Heard(self.now, who, letter.message))
        key = STEER_KEY if of == PERSON else ""
        self._feed(who, Received(letter.message, 0, reply_to=letter.reply_to, key=key), torn=torn)

    def _pass(self) -> None:
        """Let time pass up to the next deadline, and wake up whose it is."""
        due = self._next_due()
        if due is None:
            raise Violated("every workload is unblocked", "nothing will ever happen again")
        self.now, self.fresh = due, frozenset()
        self._stirred.update(self.runs)
        for who, wakes in self.wakes.items():
            if any(at <= due for at in wakes):
                self.wakes = {**self.wakes, who: tuple(at for at in wakes if at > due)}
                self._soon.append((who, Woken()))

    def _next_due(self) -> float | None:
        times = [at for wakes in self.wakes.values() for at in wakes]
        calls = [call for calls in self.hooks.values() for _, call in calls]
        times += [tick(call.at) for call in calls if call.at]
        return min((at for at in times if at > self.now), default=None)

    def _due_hook(self, who: str) -> bool:
        calls = self.hooks[who]
        return bool(calls) and (calls[0][1].at or 0.0) <= self.now

    def _call_hook(self, who: str) -> None:
        (effect, call), *left = self.hooks[who]
        self.hooks = {**self.hooks, who: tuple(left)}
        if call.until is not None and self.now >= call.until:
            self.soon(who, Exited(effect, HookEnded(ready=self.now)))
            return
        section, instance = call.section.id, f"{self.lives[who]:08x}"
        self.see(HookCalled(self.now, who, instance, section, call.hook, 0.0))
        answer = "ready" if call.hook is Hook.PREPARE else ""
        self.see(HookAnswered(self.now, who, instance, section, call.hook, answer))
        self.soon(who, Exited(effect, HookEnded(ready=self.now, began=self.now)))

    def _crash(self, who: str) -> None:
        self.deaths -= 1
        self.died |= {who}
        self.fresh |= {who}
        self.touched.add(who)
        self.lives = {**self.lives, who: -self.lives[who]}
        self.forget(who)
        self.hooks = {**self.hooks, who: ()}
        self.see(Died(self.now, who))
        if who in self.runs:
            self.shelf.open(who).die(self)
        else:
            self.shelf.put(who, None)

    def _start(self, who: str) -> None:
        life = 1 - self.lives.get(who, 0)
        self.lives = {**self.lives, who: life}
        self.fresh -= {who}
        self.touched.add(who)
        self.forget(who)
        self.hooks = {**self.hooks, who: ()}
        if who == GATHERER:
            self.keys = {**self.keys, GATHERER_KEY: who}
            facts = GathererFacts(clock=CLOCK, host="h", pid=life, version="small")
            self.shelf.put(who, Gatherer(facts))
            self._soon.append((who, Recovered(tuple(self.journal), wall=WALL + self.now)))
        elif who in self.monitors:
            self.keys = {**self.keys, agent_key(who): who}
            identity = Identity(
                name=who, instance=f"{life:08x}", benches=(BENCH,), host="h", pid=life, clock=CLOCK
            )
            self.shelf.put(who, MonitorMachine(identity, hook_timeout=5.0))
        else:
            self.shelf.open(who).begin(self, life)
            return
        self._soon.append((who, LinkUp()))

    # ── machines and what they do ──────────────────────────────────────────────────────

    def _see_through(self) -> None:
        """Let everything come that comes at once; then the guides go on."""
        while self._soon or self._stirred:
            while self._soon:
                who, said = self._soon.pop(0)
                if self.lives[who] > 0:
                    self._feed(who, said)
            stirred, self._stirred = self._stirred, set()
            for name in self.runs:
                if name in stirred and self.lives[name] > 0:
                    self.shelf.open(name).go_on(self)

    def stir(self, *who: str) -> None:
        """Let guides go on, since something has changed for them."""
        self._stirred.update(who)

    def _feed(self, who: str, said: Input, *, torn: bool = False) -> None:
        self.touched.add(who)
        now, effects = self.now, []
        if who in self.runs:
            self._stirred.add(who)
            run = self.shelf.open(who)
            if run.up or not isinstance(said, Woken):
                effects = run.handle(said, now)
        elif self.lives[who] > 0:
            effects = self.shelf.ask(who, lambda part: part.handle(said, now=now), said, now)
        for effect in effects:
            if not torn or isinstance(effect, Record):
                self.perform(who, effect)

    def perform(self, who: str, effect: Effect) -> None:
        """Do what a machine asks for."""
        match effect:
            case Send(id, key, message, reply_to, _):
                self.see(Said(self.now, who, key, message, CLOCK))
                there = self.send(who, key, Letter(message, reply_to))
                self._soon.append((who, Confirmed(id) if there else Returned(id)))
            case Publish(_, key, message):
                self.see(Said(self.now, who, key, message, CLOCK))
                self.publish(who, key, Letter(message, None))
            case Record(_, event) if who == GATHERER:
                self.recorded = True
                self.journal = Journal((*self.journal, dict(event)))
                self.see(Recorded(self.now, who, dict(event)))
            case Wake(_, at):
                self.wake(who, at)
            case Run(id, CallHook() as call):
                self.hooks = {**self.hooks, who: (*self.hooks[who], Waiting(id, call))}
            case Run(_, CancelHook(other)):
                self._cancel(who, other)
            case _:
                pass

    def _cancel(self, who: str, effect: int) -> None:
        left = tuple(one for one in self.hooks[who] if one[0] != effect)
        if len(left) < len(self.hooks[who]):
            self.hooks = {**self.hooks, who: left}
            self._soon.append((who, Exited(effect, HookEnded(ready=self.now))))

    def see(self, sight: Sight) -> None:
        """Show something to the rules that look for it."""
        self.watch.see(sight)
