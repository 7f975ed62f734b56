"""A workload's process: its sections one after the other, as the real shell leads them.

The shell (``sections/service/workload.py``) blocks in a thread; here the same steps are taken
from event to event: seek, commit, fall quiet, sleep to t0, body, come back, tell. A host keeps
what outlives a process: tickets. It also keeps what does not: bench locks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from pytest_gatherscatter.broker.port import PortEvent, PortUp
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.machine import LinkDown, Told, Woken
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.state import (
    ENDED,
    AnswerTo,
    BodyEnded,
    GiveUp,
    TellOf,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import LAB, RECONNECT, Party, reply_way
from pytest_gatherscatter.simulation.world import (
    HAIR,
    BodyBegan,
    BodyLeft,
    VirtualClock,
    VisitBegan,
    VisitEnded,
    WentAlone,
    World,
)
from pytest_gatherscatter.wire import names

LOCK_TURN = 0.05
CLOCK_PATIENCE = 1.0
INTERRUPT_SECONDS = 3.0
REPORT_GRACE = 5.0
LOOK_AGAIN = 5.0
NEEDED = 0.02
"""Waits of the real shell."""


@dataclass(slots=True)
class Ticket:
    """What is on a host's disk of a section; an orphan once ``owner`` is not that life."""

    section: str
    token: int
    bench: str
    owner: "Visitor"
    life: int
    outcome: str = "died"

    @property
    def orphan(self) -> bool:
        """Whether its owner is proved dead."""
        return not (self.owner.alive and self.owner.life == self.life)


@dataclass(slots=True)
class Host:
    """What the workloads of a machine share."""

    name: str
    clock: VirtualClock
    locks: dict[str, "Visitor"] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """One test: what it demands, and how long its body takes. ``pause`` comes before it."""

    demand: Demand
    body: float
    pause: float = 0.0


class Phase(Enum):
    """What the shell is about."""

    IDLE = "idle"
    SEEK = "seek"
    LOCK = "lock"
    COMMIT = "commit"
    QUIET = "quiet"
    LEAVE = "leave"
    DROP = "drop"


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
        self.machine: Workload | None = None
        self._make = make
        self._plan: Plan | None = None
        self._phase = Phase.IDLE
        self._forget()

    def _forget(self) -> None:
        """Lose what one process remembers."""
        self._met = False
        self._token = 0
        self._phase = Phase.IDLE
        self._owed: dict[str, Ticket] = {}
        self._looked = float("-inf")
        self._looks_at = float("-inf")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for it."""
        idle = self._phase is Phase.IDLE and self._plan is None
        return not self.plans and idle and not self.section

    # ── a process ──────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Start a run with the tests that are left."""
        self._forget()
        self._next()

    def ended(self) -> None:
        """Let go of what the kernel takes away; the ticket stays."""
        self.host.locks = {b: who for b, who in self.host.locks.items() if who is not self}
        if self.section:
            self.world.see(BodyLeft(self.world.now, self.name, self.section))
            self._finished("died")
        self._plan = None
        self._phase = Phase.IDLE
        self.machine = None
        self._done()

    def speaks_on(self) -> str | None:
        """It speaks on the gatherer's clock as it measured it."""
        return None if self.machine is None else self.machine.clock.gatherer

    # ── seek ───────────────────────────────────────────────────────────────────────────

    def _next(self) -> None:
        self._plan = None
        if self.plans:
            self._plan = self.plans.pop(0)
            self.later(self._plan.pause, self._enter)

    def _enter(self) -> None:
        plan = self._plan
        if plan is None:
            return
        self.section = self.world.id()
        self._began = self.now
        self._excused = self.frozen_for
        self._contacted = False
        self._phase = Phase.SEEK
        on_disk = (ticket.token for ticket in self.host.tickets.values())
        self._token = max(self._token, *on_disk, 0)
        self.machine = self._make(
            plan.demand,
            section=self.section,
            owner=f"{self.name}@{self.host.name} pid {self.life}",
            run=f"{self.life:08x}",
            token=self._token,
            met=self._met,
            now=self.now,
        )
        self._go_at = self._started = 0.0
        self._needed = NEEDED
        self._commit_began: float | None = None
        self._syncing = 0
        self._outcome = "passed"
        self.world.see(VisitBegan(self.world.now, self.name, self.section, plan.demand))
        self._contact()
        self._every(self._turn, RECONNECT)

    def _every(self, action: Callable[[], None], seconds: float) -> None:
        """Repeat something as long as this section lasts."""
        section = self.section

        def act() -> None:
            if self.section == section:
                action()
                self.later(seconds, act)

        self.later(seconds, act)

    def _contact(self) -> None:
        """Begin one attempt to connect, with a reply queue of a new name."""
        machine, plan = self.machine, self._plan
        if machine is None or plan is None:
            return
        reply = self.world.id()
        bench = plan.demand.bench if machine.go is None else None
        link = self.connect(reply_way(reply, bench))
        self.pump = Pump(machine, link, LAB, sender=reply, strict=True)
        self.pump.feed(Told(AnswerTo(names.reply_key(reply))), now=self.now)

    def took(self, event: PortEvent) -> None:
        """Note that the broker was there, and lead on: the machine may be where it must close."""
        super().took(event)
        if isinstance(event, PortUp):
            self._contacted = True
        self.look()

    def reconnect(self) -> None:
        """Come back with a new queue, if a connection is wanted."""
        wanted = self._phase in {Phase.SEEK, Phase.COMMIT, Phase.LEAVE, Phase.DROP}
        if wanted and not self.link.up:
            self._contact()

    def _turn(self) -> None:
        """Look at the clock, also without a connection."""
        machine, plan = self.machine, self._plan
        if machine is None or plan is None:
            return
        if self._phase is Phase.SEEK and not self._contacted:
            wait = plan.demand.gather_timeout if self._met else plan.demand.handshake_timeout
            if self.now - self._began >= wait:
                self._absent("the broker is unreachable")
        elif not self.link.up and self._phase in {Phase.SEEK, Phase.COMMIT}:
            machine.handle(Woken(), now=self.now)
        elif self._phase is Phase.LEAVE and self.now >= self._until:
            if machine.state not in ENDED:
                self._tell(GiveUp("no answer"))
        elif self._phase is Phase.DROP and (self.now >= self._until or not self.link.up):
            self._let_go()
        elif self._phase is Phase.LOCK:
            self._lock_alone()

    def _tell(self, request: object) -> None:
        if self.machine is None:
            return
        if self.pump is not None and self.link.connection is not None:
            self.pump.feed(Told(request), now=self.now)
        else:
            self.machine.handle(Told(request), now=self.now)

    def _hang_up(self) -> None:
        if self.link.connection is not None:
            self.link.close()
            if self.machine is not None:
                self.machine.handle(LinkDown("closed"), now=self.now)
        self.pump = None

    # ── what the machine came to ───────────────────────────────────────────────────────

    def look(self) -> None:
        """Lead on from wherever the machine is."""
        machine = self.machine
        if machine is None or not self.section:
            return
        self._tell_owed(machine)
        if self._phase is Phase.SEEK:
            self._seek(machine)
        if self._phase is Phase.COMMIT:
            self._commit(machine)
        ended = self._phase is Phase.LEAVE and machine.state in ENDED
        if ended or (self._phase is Phase.DROP and not machine.owes_leave):
            self._let_go()

    def _seek(self, machine: Workload) -> None:
        self._met = self._met or machine.answered
        self._token = max(self._token, machine.token)
        if machine.state is WorkloadState.ALONE:
            self._absent(machine.alone_because)
        elif machine.state is WorkloadState.REFUSED:
            self._drop("refused")
        elif machine.state is WorkloadState.GATHERED:
            self._phase = Phase.COMMIT
            self._commit_began = self.now

    def _commit(self, machine: Workload) -> None:
        if machine.state is WorkloadState.GATHERED:
            self._prepare(machine)
        elif machine.state is WorkloadState.GO:
            self._fall_quiet(machine)
        elif machine.state in ENDED:
            self._drop("refused")

    def _absent(self, why: str) -> None:
        """There is nobody to gather with: go alone, or fail."""
        plan, machine = self._plan, self.machine
        if plan is None or machine is None:
            return
        policy = plan.demand.no_gatherer or (
            "fail" if plan.demand.demanding or self._met else "run"
        )
        if policy != "run":
            self._drop(f"no gatherer: {why}")
            return
        self.world.see(WentAlone(self.world.now, self.name, self.section))
        self._tell(GiveUp("runs alone"))
        self._hang_up()
        self._phase = Phase.LOCK
        self._lock_alone()

    def _lock_alone(self) -> None:
        plan = self._plan
        if plan is None:
            return
        if self.host.locks.setdefault(plan.demand.bench, self) is self:
            self._phase = Phase.QUIET
            self._body(coordinated=False)
        elif self.now - self._began >= plan.demand.queue_timeout:
            self._drop("the bench is locked on this host")
        else:
            self._look_again()

    def _look_again(self) -> None:
        """Take a step soon, which looks at lock and clock again; one such step at a time."""
        if self.now >= self._looks_at:
            self._looks_at = self.now + LOCK_TURN
            self.later(LOCK_TURN + HAIR, self._try_lock)

    def _try_lock(self) -> None:
        if self._phase is Phase.LOCK:
            self._lock_alone()

    # ── commit ─────────────────────────────────────────────────────────────────────────

    def _prepare(self, machine: Workload) -> None:
        """Take the lock, wait for the clock, sync the ticket: then the machine may commit."""
        plan = self._plan
        if plan is None or self._syncing:
            return
        waited = self.now - (self._commit_began or self.now)
        if self.host.locks.setdefault(plan.demand.bench, self) is not self:
            if waited >= plan.demand.gather_timeout:
                self._drop("the bench is locked on this host")
            else:
                self._look_again()
            return
        if not machine.clock_settled and waited < CLOCK_PATIENCE:
            self._look_again()
            return
        self._syncing = machine.token
        self.count_effect()
        old = self.host.tickets.get(self.section)
        if old is None or old.token != machine.token:
            ticket = Ticket(self.section, machine.token, plan.demand.bench, self, self.life)
            self.host.tickets[self.section] = ticket
        self.count_effect()
        delay = 0.001 + self.world.random.random() * 0.01
        self.later(delay, partial(self._synced, machine))

    def _synced(self, machine: Workload) -> None:
        token, self._syncing = self._syncing, 0
        if machine is self.machine and self._phase is Phase.COMMIT:
            self._tell(TicketSynced(token, NEEDED))

    def _fall_quiet(self, machine: Workload) -> None:
        self._phase = Phase.QUIET
        self._hang_up()
        t0 = machine.t0 if machine.t0 is not None else self.now
        closing = self.world.random.random() * 0.01
        late = self.world.random.random() * 0.0005
        self.at_local(max(t0, self.now + closing) + late, partial(self._body, coordinated=True))

    def _body(self, *, coordinated: bool) -> None:
        plan, machine = self._plan, self.machine
        if plan is None or machine is None:
            return
        self.count_effect()
        known = coordinated and machine.clock.known()
        bound = machine.clock.bound(self.now) if known else None
        self._started = self.now
        bench, host = plan.demand.bench, self.host.name
        began = BodyBegan(self.world.now, self.name, self.section, bench, host, coordinated, bound)
        self.world.see(began)
        self.count_effect()
        self.later(plan.body, partial(self._leave, coordinated=coordinated))

    # ── leave ──────────────────────────────────────────────────────────────────────────

    def _leave(self, *, coordinated: bool) -> None:
        plan, machine = self._plan, self.machine
        if plan is None or machine is None:
            return
        self.world.see(BodyLeft(self.world.now, self.name, self.section))
        self.count_effect()
        if not coordinated:
            self._outcome = "passed alone"
            self._let_go()
            return
        overdue = machine.deadline is not None and self.now > machine.deadline
        self._phase = Phase.LEAVE
        self._until = self.now + plan.demand.report_timeout + REPORT_GRACE
        ended = BodyEnded("passed", self._started, self.now, overdue, NEEDED)
        machine.handle(Told(ended), now=self.now)
        self._contact()

    def _drop(self, outcome: str) -> None:
        """Let go of a section that did not start; the lab is told if it can be."""
        self._outcome = outcome
        self._phase = Phase.DROP
        self._until = self.now + INTERRUPT_SECONDS
        self._tell(GiveUp(outcome))
        if self.machine is None or not self.machine.owes_leave or not self.link.up:
            self._let_go()

    def _let_go(self) -> None:
        """Close everything, and go on with the next test."""
        machine = self.machine
        self._hang_up()
        ticket = self.host.tickets.get(self.section)
        if ticket is not None and machine is not None:
            if machine.acknowledged:
                del self.host.tickets[self.section]
            else:
                ticket.outcome = "interrupted" if self._phase is Phase.DROP else "passed"
                self._owed[self.section] = ticket
        for bench in [b for b, who in self.host.locks.items() if who is self]:
            del self.host.locks[bench]
        outcome = self._outcome
        if self._phase is Phase.LEAVE and machine is not None and machine.closed is None:
            outcome = f"unreported: {machine.unreported}"
        elif machine is not None and machine.refusal is not None:
            outcome = f"{machine.refusal.cause}: {machine.refusal.text}"
        self._finished(outcome)
        self._phase = Phase.IDLE
        self._next()
        self._done()

    def _finished(self, outcome: str) -> None:
        section, self.section = self.section, ""
        excused = self.frozen_for - self._excused
        self.world.see(VisitEnded(self.world.now, self.name, section, outcome, excused))

    def _tell_owed(self, machine: Workload) -> None:
        """Tell a gatherer that answers of sections that nobody else will tell it about."""
        for section in machine.told_of & self.host.tickets.keys():
            del self.host.tickets[section]
            self._owed.pop(section, None)
        machine.told_of.clear()
        due = self.now - self._looked >= LOOK_AGAIN
        if not (machine.answered and due and self.link.up):
            return
        self._looked = self.now
        for ticket in list(self.host.tickets.values()):
            own = ticket.section in self._owed
            if ticket.section != self.section and (own or ticket.orphan):
                outcome = ticket.outcome if own else "died"
                self._tell(TellOf(ticket.section, ticket.token, outcome))
