"""A small lab whose every next step can be chosen: what may happen is listed, not drawn.

Its parties are the production's machines and guides. What is between them is as simple as can
be: an inbox for each, a message lost only with its reader, an outcome known at once, one clock
for all. Time passes when nothing else can happen (or as a stall, if one is granted), and then up
to the next deadline of anybody. So the number of states is small enough to look at all of them;
what the network does to messages is played by the seeds.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

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
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.simulation.invariant import rules
from pytest_gatherscatter.simulation.rule import Rule
from pytest_gatherscatter.simulation.smallrun import SmallRun, SmallTicket
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
from pytest_gatherscatter.wire.names import (
    GATHERER_KEY,
    GATHERER_STARTED,
    agent_key,
    bench_events,
    section_event,
)

BEGIN = 1_000_000.0
"""The clock's first time: so large that a time is never taken for a duration."""

WALL = 2_000_000_000.0
"""Unix time minus the clock's: another order of magnitude, for the same reason."""

CLOCK = "c10cc10c"
BENCH = "north"
GATHERER = "gatherer"
LONGEST_BODY = 0.1

SILENT = (m.SectionAccepted, m.SectionWaiting, m.ReportAccepted, m.JoinAccepted, m.LeaveAccepted)
"""Messages that make nobody speak: their order among other parties' steps changes nothing, so
that they are taken first and alone."""


class Letter(NamedTuple):
    """A message in an inbox."""

    message: m.Message
    reply_to: str | None


class Step(NamedTuple):
    """Something that may happen: ``what`` to ``who``."""

    what: str
    who: str = ""

    def __str__(self) -> str:
        """Say it for a story."""
        return f"{self.what} {self.who}".rstrip()


class Clock:
    """The one clock of all, as rules want it."""

    def __init__(self, lab: "SmallLab") -> None:
        self._lab = lab

    def read(self) -> float:
        """What it shows now."""
        return self._lab.now

    def true(self, local: float) -> float:
        """It is true."""
        return local

    def shows(self, true: float) -> float:
        """As it is true."""
        return true


class SmallLab:
    """Two workloads that want one bench, some monitors, a gatherer with a journal.

    Args:
        deaths: how many parties may die, each once, at any moment; they come back with what
            was on disk.
        stalls: how often time may pass although something could still happen.
    """

    def __init__(
        self,
        *,
        workloads: int = 2,
        monitors: int = 2,
        deaths: int = 0,
        stalls: int = 0,
    ) -> None:
        self.now = BEGIN
        self.clocks: Mapping[str, Any] = {CLOCK: Clock(self)}
        self.deaths = deaths
        self.died: set[str] = set()
        self.stalls = stalls
        self.journal: list[Mapping[str, Any]] = []
        self.tickets: dict[str, SmallTicket] = {}
        self.locked: str | None = None
        self.letters: dict[str, list[Letter]] = {}
        self.wakes: dict[str, list[float]] = {}
        self.hooks: dict[str, list[tuple[int, CallHook]]] = {}
        self.keys: dict[str, str] = {}
        self.lives: dict[str, int] = {}
        self.monitors: dict[str, MonitorMachine | None] = dict.fromkeys(
            ("scope", "thermal")[:monitors]
        )
        self.gatherer: Gatherer | None = None
        self.runs: dict[str, SmallRun] = {}
        self._soon: list[tuple[str, Input]] = []
        self._number = 0
        self.rules: list[Rule] = rules(self, frozenset(), LONGEST_BODY)  # type: ignore[arg-type]
        self._start(GATHERER)
        for name in self.monitors:
            self._start(name)
        for number in range(workloads):
            name = f"test{number}"
            require = frozenset(("scope",) if number == 0 and monitors else ())
            self.runs[name] = SmallRun(self, name, _demand(name, require))
            self._start(name)
        self._see_through()

    # ── what may happen ────────────────────────────────────────────────────────────────

    def steps(self) -> list[Step]:
        """List what may happen next; nothing once all is over."""
        alive = [name for name in (GATHERER, *self.monitors, *self.runs) if self.lives[name] > 0]
        for name in alive:
            letters = self.letters[name]
            if name != GATHERER and letters and isinstance(letters[0].message, SILENT):
                return [Step("hear", name)]
        found = [Step("hear", name) for name in alive if self.letters[name]]
        found += [Step("hook", name) for name in self.monitors if self._due_hook(name)]
        dead = [name for name, life in self.lives.items() if life < 0]
        if self.finished and not dead and not found:
            return []
        if not found:
            # A process takes longer to start than all that is under way.
            found = [Step("start", name) for name in dead]
            if self._next_due() is not None or not dead:
                found.append(Step("time"))
        elif self.stalls:
            found.append(Step("stall"))
        for name in alive:
            if self._may_die(name):
                found.append(Step("crash", name))
                if name == GATHERER and self.letters[name]:
                    found.append(Step("record and crash", name))
        return found

    def _may_die(self, name: str) -> bool:
        run = self.runs.get(name)
        return self.deaths > 0 and name not in self.died and not (run and run.over)

    @property
    def finished(self) -> bool:
        """Whether every workload has gone on."""
        return all(run.over for run in self.runs.values())

    @property
    def restless(self) -> bool:
        """Whether a rule says that something is still to come."""
        return any(rule.restless for rule in self.rules)

    def take(self, step: Step) -> None:
        """Let it happen, and all that follows at once."""
        match step:
            case Step("hear", who):
                self._hear(who)
            case Step("record and crash", who):
                self._hear(who, torn=True)
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
        self._see_through()

    def reset(self) -> None:
        """Let a person reset everything."""
        self.letters[GATHERER].append(Letter(m.ResetLab(everything=True, who="ann"), None))

    def end(self) -> None:
        """Ask every rule for its last word."""
        for rule in self.rules:
            rule.end()

    # ── steps ──────────────────────────────────────────────────────────────────────────

    def _hear(self, who: str, *, torn: bool = False) -> None:
        letter = self.letters[who].pop(0)
        self.see(Heard(self.now, who, letter.message))
        self._number += 1
        received = Received(letter.message, self._number, reply_to=letter.reply_to)
        self._feed(who, received, torn=torn)

    def _pass(self) -> None:
        """Let time pass up to the next deadline, and wake up whose it is."""
        due = self._next_due()
        if due is None:
            raise Violated("every workload is unblocked", "nothing will ever happen again")
        self.now = due
        for who, wakes in self.wakes.items():
            if any(at <= self.now for at in wakes):
                self.wakes[who] = [at for at in wakes if at > self.now]
                self._soon.append((who, Woken()))

    def _next_due(self) -> float | None:
        times = [at for wakes in self.wakes.values() for at in wakes]
        times += [call.at for calls in self.hooks.values() for _, call in calls if call.at]
        return min((at for at in times if at > self.now), default=None)

    def _due_hook(self, who: str) -> bool:
        calls = self.hooks[who]
        return bool(calls) and (calls[0][1].at or 0.0) <= self.now

    def _call_hook(self, who: str) -> None:
        effect, call = self.hooks[who].pop(0)
        section, instance = call.section.id, f"{self.lives[who]:08x}"
        self.see(HookCalled(self.now, who, instance, section, call.hook, 0.0))
        answer = "ready" if call.hook is Hook.PREPARE else ""
        self.see(HookAnswered(self.now, who, instance, section, call.hook, answer))
        self._soon.append((who, Exited(effect, HookEnded(ready=self.now, began=self.now))))

    def _crash(self, who: str) -> None:
        self.deaths -= 1
        self.died.add(who)
        self.lives[who] = -self.lives[who]
        self.keys = {key: name for key, name in self.keys.items() if name != who}
        self.letters[who], self.wakes[who], self.hooks[who] = [], [], []
        self._soon = [(name, said) for name, said in self._soon if name != who]
        self.see(Died(self.now, who))
        if who == GATHERER:
            self.gatherer = None
        elif who in self.monitors:
            self.monitors[who] = None
        else:
            self.runs[who].die()

    def _start(self, who: str) -> None:
        life = self.lives[who] = 1 - self.lives.get(who, 0)
        self.letters[who], self.wakes[who], self.hooks[who] = [], [], []
        if who == GATHERER:
            self.keys[GATHERER_KEY] = who
            facts = GathererFacts(clock=CLOCK, host="h", pid=life, version="small")
            self.gatherer = Gatherer(facts)
            recovered = Recovered(tuple(self.journal), wall=WALL + self.now)
            self._soon += [(who, recovered), (who, LinkUp())]
        elif who in self.monitors:
            self.keys[agent_key(who)] = who
            identity = Identity(
                name=who, instance=f"{life:08x}", benches=(BENCH,), host="h", pid=life, clock=CLOCK
            )
            self.monitors[who] = MonitorMachine(identity, hook_timeout=5.0)
            self._soon.append((who, LinkUp()))
        else:
            self.runs[who].begin(life)

    # ── machines and what they do ──────────────────────────────────────────────────────

    def _see_through(self) -> None:
        """Let everything come that comes at once; then the guides go on."""
        while self._soon:
            while self._soon:
                who, said = self._soon.pop(0)
                if self.lives[who] > 0:
                    self._feed(who, said)
            for run in self.runs.values():
                run.go_on()

    def soon(self, who: str, said: Input) -> None:
        """Give a machine an input before anything else happens."""
        self._soon.append((who, said))

    def wake(self, who: str, at: float) -> None:
        """Wake ``who`` up at ``at``."""
        if at not in self.wakes[who]:
            self.wakes[who].append(at)

    def forget_wakes(self, who: str) -> None:
        """Wake ``who`` up no more, nor bring it its letters: it has hung up."""
        self.wakes[who], self.letters[who] = [], []
        self.keys = {key: name for key, name in self.keys.items() if name != who}
        self._soon = [(name, said) for name, said in self._soon if name != who]

    def _feed(self, who: str, said: Input, *, torn: bool = False) -> None:
        machine = self.gatherer if who == GATHERER else self.monitors.get(who)
        if who in self.runs:
            if isinstance(said, Woken) and not self.runs[who].up:
                return
            effects = self.runs[who].handle(said)
        elif machine is None:
            return
        else:
            effects = machine.handle(said, now=self.now)
        for effect in effects:
            if torn and not isinstance(effect, Record):
                continue
            self.perform(who, effect)

    def perform(self, who: str, effect: Effect) -> None:
        """Do what a machine asks for."""
        match effect:
            case Send(id, key, message, reply_to, _):
                self.see(Said(self.now, who, key, message, CLOCK))
                there = self._send(key, message, reply_to)
                self._soon.append((who, Confirmed(id) if there else Returned(id)))
            case Publish(_, key, message):
                self.see(Said(self.now, who, key, message, CLOCK))
                self._publish(key, message)
            case Record(_, event) if who == GATHERER:
                self.journal.append(dict(event))
                self.see(Recorded(self.now, who, dict(event)))
            case Wake(_, at):
                self.wake(who, at)
            case Run(id, CallHook() as call):
                self.hooks[who].append((id, call))
            case Run(_, CancelHook(other)):
                self._cancel(who, other)
            case _:
                pass

    def _cancel(self, who: str, effect: int) -> None:
        left = [one for one in self.hooks[who] if one[0] != effect]
        if len(left) < len(self.hooks[who]):
            self.hooks[who] = left
            self._soon.append((who, Exited(effect, HookEnded(ready=self.now))))

    def _send(self, key: str, message: m.Message, reply_to: str | None) -> bool:
        reader = self.keys.get(key)
        if reader is None:
            return False
        if isinstance(message, m.ClockProbe | m.ClockReading):
            # One clock, no way: only what is decided by it is of interest here.
            self._soon.append((reader, Received(message, 0, reply_to=reply_to)))
        else:
            self.letters[reader].append(Letter(message, reply_to))
        return True

    def _publish(self, key: str, message: m.Message) -> None:
        for name in self.monitors:
            if agent_key(name) in self.keys and key in {GATHERER_STARTED, *bench_events(BENCH)}:
                self.letters[name].append(Letter(message, None))
        if key == section_event("go", BENCH):
            for name, run in self.runs.items():
                if run.hears_go:
                    self.letters[name].append(Letter(message, None))

    def see(self, sight: Sight) -> None:
        """Show something to the rules that look for it."""
        kind = type(sight.message) if isinstance(sight, Said | Heard) else type(sight)
        for rule in self.rules:
            if kind in rule.kinds:
                rule.see(sight)


def _demand(test: str, require: frozenset[str]) -> Demand:
    return Demand(
        name="burst",
        bench=BENCH,
        test=test,
        require=require,
        max_duration=2.0,
        queue_timeout=10.0,
        gather_timeout=6.0,
        hold_limit=3.0,
        report_timeout=2.0,
    )
