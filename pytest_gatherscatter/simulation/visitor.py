"""A workload's process: its sections one after the other.

What is done when is decided by the guide of each visit, the same that leads the shell which
blocks in a test's thread (``sections/service/workload.py``); here its steps are taken from event
to event, in virtual time.
"""

from collections.abc import Callable

from pytest_gatherscatter.broker.port import PortEvent, PortUp
from pytest_gatherscatter.errors import GatherScatterError, NotGathered
from pytest_gatherscatter.machine import LinkDown, Told
from pytest_gatherscatter.sections.workload.bench import LOCK_TURN
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.state import AnswerTo, TellOf
from pytest_gatherscatter.sections.workload.step import (
    Connect,
    Fail,
    FallQuiet,
    Fetch,
    LetGo,
    LookForDebts,
    ReleaseLock,
    Rest,
    Serve,
    SettleDebt,
    SleepUntil,
    Step,
    SyncTicket,
    TakeLock,
    Tell,
)
from pytest_gatherscatter.simulation.connection import SimulatedLink
from pytest_gatherscatter.simulation.host import Host, Plan, Ticket
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import RECONNECT, Party, reply_way
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    LockBusy,
    LockReleased,
    LockTaken,
    TicketGone,
    TicketSynced,
    VisitBegan,
    VisitEnded,
    WentAlone,
    World,
)
from pytest_gatherscatter.wire import names


class Visitor(Party):
    """A run of tests, each of them in a section."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a run is told
        self,
        world: World,
        network: Network,
        name: str,
        host: Host,
        plans: list[Plan],
        make: Callable[..., Workload] = Workload,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(world, network, name, host.clock)
        self._done = done
        self.host = host
        self.plans = plans
        self.section = ""
        self._make = make
        self._plan: Plan | None = None
        self._forget()

    def _forget(self) -> None:
        """Lose what one process remembers."""
        self._memory = Memory()
        self._owed: dict[str, Ticket] = {}
        self._guide: Guide | None = None
        self._plan = None
        self._error: GatherScatterError | None = None
        self._ready = False
        self._serving = False
        self._looked = False
        self._rings_at = float("-inf")
        self._connecting: Connect | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for it."""
        return not self.plans and self._plan is None

    # ── a process ──────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Start a run with the tests that are left; after a reboot the clock is another."""
        self.clock = self.host.clock
        self.now = self.clock.read()
        self._forget()
        self._next_test()

    def ended(self) -> None:
        """Let go of what the kernel takes away; the ticket stays."""
        self._unlock()
        if self.section:
            self.world.see(BodyLeft(self.world.now, self.name, self.section))
            self._finished("died")
        self._plan = self._guide = None
        self._done()

    def speaks_on(self) -> str | None:
        """It speaks on the gatherer's clock as it measured it."""
        return None if self._guide is None else self._guide.machine.clock.gatherer

    # ── a test ─────────────────────────────────────────────────────────────────────────

    def _next_test(self) -> None:
        self._plan = self._guide = None
        if self.plans:
            self._plan = self.plans.pop(0)
            self.later(self._plan.pause, self._begin_test)
        else:
            self._done()

    def _begin_test(self) -> None:
        plan = self._plan
        if plan is None:
            return
        self.section = self.world.id()
        self._excused = self.frozen_for
        self._started = self.now
        demand, memory = plan.demand, self._memory
        why = memory.absence(self.now, demanding=demand.demanding)
        self._guide = Guide(
            demand,
            section=self.section,
            owner=f"{self.name}@{self.host.name} pid {self.life}",
            run=f"{self.life:08x}",
            memory=memory,
            token=max((ticket.token for ticket in self.host.tickets.values()), default=0),
            clock=self.clock.name,
            now=self.now,
            why=why,
            make=self._make,
        )
        self._error = None
        self.world.see(VisitBegan(self.world.now, self.name, self.section, demand))
        self._ready = True

    def _finished(self, outcome: str) -> None:
        section, self.section = self.section, ""
        excused = self.frozen_for - self._excused
        self.world.see(VisitEnded(self.world.now, self.name, section, outcome, excused))

    # ── following the guide ────────────────────────────────────────────────────────────

    def _go_on(self) -> None:
        """Take the next step at the end of what is under way."""
        self._ready = True

    def look(self) -> None:
        """Follow the guide to the next step that takes time."""
        if self._looked:  # nothing has happened since
            self._looked = False
            return
        goes_on = self._ready or self._serving
        while goes_on and (guide := self._guide) is not None:
            self._ready = self._serving = False
            step = guide.next(self.now, up=self.pump is not None and self.link.up)
            self._follow(guide, step)
            goes_on = self._ready

    def _follow(self, guide: Guide, step: Step) -> None:  # noqa: C901, PLR0912 - each kind of step
        """Take a step: at once, so that it goes on, or until something calls it done."""
        if isinstance(step, Serve):  # as nearly always
            self._serve(step.seconds)
            return
        chance = self.world.random
        self._ready = True
        match step:
            case Tell(request):
                self._tell(guide, request)
            case LookForDebts():
                self._look_for_debts(guide)
            case SettleDebt(section):
                self._owed.pop(section, None)
                self._remove_ticket(section)
            case ReleaseLock():
                self._unlock()
                bench = guide.demand.bench
                self.world.see(LockReleased(self.world.now, self.name, self.section, bench))
            case LetGo(owed, outcome):
                self._let_go(guide, owed=owed, outcome=outcome)
            case Fail(error):
                self._error = error
                guide.abandon(str(error), self.now)
            case Fetch():
                pass
            case _:
                self._ready = False
        match step:
            case Connect():
                self._contact(guide, step)
            case TakeLock(seconds):
                self._take_lock(guide, self.now + seconds)
            case SyncTicket(token):
                self._sync_ticket(guide, token)
            case FallQuiet():
                self._hang_up(guide)
                self.later(chance.random() * 0.01, self._go_on)
            case SleepUntil(t0):
                late = chance.random() * 0.0005
                self.at_local(max(t0, self.now) + late, self._go_on)
            case Rest():
                self._rest(guide)
            case _:
                pass

    def _serve(self, seconds: float) -> None:
        """Go on as soon as anything happens; one alarm at a time, for it may ring early."""
        self._serving = True
        end = self.now + seconds
        if not self.now < self._rings_at <= end:
            self._rings_at = end
            self.at_local(end, _nothing)

    def _rest(self, guide: Guide) -> None:
        if guide.phase is Phase.GATHERED:
            guide.enter(self.now)
            self._ready = True
        elif guide.phase is Phase.INSIDE:
            self._body(guide)
        elif guide.phase is Phase.OVER:
            self._finished(self._outcome(guide))
            self._next_test()

    def _outcome(self, guide: Guide) -> str:
        machine = guide.machine
        if self._error is not None:
            return f"{getattr(self._error, 'cause', 'broker')}: {self._error}"
        if not guide.coordinated:
            return "passed alone"
        return "passed" if machine.closed is not None else f"unreported: {machine.unreported}"

    # ── the connection ─────────────────────────────────────────────────────────────────

    def _contact(self, guide: Guide, step: Connect) -> None:
        """Begin to connect, with a reply queue of a new name."""
        self._hang_up(guide)
        self._connecting, self._reply = step, self.world.id()
        self._until = self.now + step.seconds
        bench = guide.demand.bench if step.hears_go else None
        self.connect(reply_way(self._reply, bench))
        self.later(step.seconds, self._timed_out, step)

    def heard(self, link: SimulatedLink, events: list[PortEvent]) -> None:
        """Take what comes; the machine is joined to a connection once that is open."""
        guide = self._guide
        if self._connecting is not None and guide is not None and isinstance(events[0], PortUp):
            self._connecting = None
            self.pump = self.join(guide.machine, self._reply)
            self.pump.feed(Told(AnswerTo(names.reply_key(self._reply))), now=self.now)
            guide.connected()
            self._ready = True
        for event in events:  # a turn of the shell may take one of them or all
            super().heard(link, [event])
            self.look()
        self._looked = not self.link.failed  # what failed is still to be told

    def refused(self, why: str) -> None:
        """Try again within the time of the attempt, or end it."""
        step = self._connecting
        if step is not None and step.retry:
            self.later(RECONNECT, self._try_again, step)  # its time may be over by then
        elif step is not None:
            self._unreached(why)

    def _try_again(self, step: Connect) -> None:
        if self._connecting is step:
            self.reconnect()

    def _timed_out(self, step: Connect) -> None:
        if self._connecting is step:
            self._unreached("no answer")

    def _unreached(self, why: str) -> None:
        self._connecting = None
        if self._guide is not None:
            self._hang_up(self._guide)
            self._guide.unreachable(why, self.now)
            self._ready = True

    def lost(self) -> None:
        """Leave it to the guide to come back."""

    def _hang_up(self, guide: Guide) -> None:
        had_pump, self.pump = self.pump is not None, None
        if self.link.connection is not None:
            self.link.close()
        if had_pump:
            guide.machine.handle(LinkDown("closed"), now=self.now)

    def _tell(self, guide: Guide, request: object) -> None:
        if self.pump is not None:
            self.pump.feed(Told(request), now=self.now)
        else:
            guide.machine.handle(Told(request), now=self.now)

    # ── what stays on the host ─────────────────────────────────────────────────────────

    def _take_lock(self, guide: Guide, until: float) -> None:
        bench = guide.demand.bench
        holder = self.host.locks.setdefault(bench, self)
        if holder is not self:
            sight = LockBusy(self.world.now, self.name, self.section, holder.section, holder.there)
            self.world.see(sight)
        if holder is self:
            self.world.see(LockTaken(self.world.now, self.name, self.section, bench))
            guide.locked()
        elif self.now >= until:
            guide.busy(NotGathered("the bench is locked on this host"))
        else:
            self.later(LOCK_TURN, self._take_lock, guide, until)
            return
        self._ready = True

    def _sync_ticket(self, guide: Guide, token: int) -> None:
        self.count_effect()
        self.host.tickets[self.section] = Ticket(self.section, token, self, self.life)
        self.count_effect()
        seconds = 0.001 + self.world.random.random() * 0.01
        self.later(seconds, self._synced, guide, token)

    def _synced(self, guide: Guide, token: int) -> None:
        self.host.tickets[self.section].synced = True
        self.world.see(TicketSynced(self.world.now, self.name, self.section, token))
        guide.synced(token)
        self._ready = True

    def _look_for_debts(self, guide: Guide) -> None:
        for ticket in list(self.host.tickets.values()):
            own = ticket.section in self._owed
            if ticket.section != self.section and (own or ticket.orphan):
                outcome = ticket.outcome if own else "died"
                self._tell(guide, TellOf(ticket.section, ticket.token, outcome))

    def _let_go(self, guide: Guide, *, owed: bool, outcome: str) -> None:
        """Close and open again what is held; the ticket goes, or is owed."""
        self._hang_up(guide)
        if guide.phase is Phase.LOCK:
            self.world.see(WentAlone(self.world.now, self.name, self.section))
        ticket = self.host.tickets.get(self.section)
        if ticket is not None and not owed:
            self._remove_ticket(self.section)
        elif ticket is not None:
            ticket.outcome = outcome
            self._owed[self.section] = ticket
        self._unlock()

    def _remove_ticket(self, section: str) -> None:
        if self.host.tickets.pop(section, None) is not None:
            self.world.see(TicketGone(self.world.now, self.name, section))

    def _unlock(self) -> None:
        for bench in [bench for bench, who in self.host.locks.items() if who is self]:
            del self.host.locks[bench]

    # ── the body ───────────────────────────────────────────────────────────────────────

    def _body(self, guide: Guide) -> None:
        self.count_effect()
        clock, coordinated = guide.machine.clock, guide.coordinated
        bound = clock.bound(self.now) if coordinated and clock.known() else None
        self._started = self.now
        bench, host = guide.demand.bench, self.host.name
        self.world.see(
            BodyBegan(self.world.now, self.name, self.section, bench, host, coordinated, bound)
        )
        self.count_effect()
        seconds = 0.0 if self._plan is None else self._plan.body
        self.later(seconds, self._leave, guide)

    def _leave(self, guide: Guide) -> None:
        self.world.see(BodyLeft(self.world.now, self.name, self.section))
        self.count_effect()
        now, deadline = self.now, guide.machine.deadline
        overdue = deadline is not None and now > deadline
        guide.leave("passed", now, self._started, now, overdue=overdue)
        self._ready = True


def _nothing() -> None:
    """Let the guide be asked again, as after each step."""
