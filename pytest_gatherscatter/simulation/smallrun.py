"""A workload of a small lab: one test in a section, led by the production's guide."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pytest_gatherscatter.errors import NotGathered
from pytest_gatherscatter.machine import Effect, Input, LinkDown, LinkUp, Told
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.seeking import TURN
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
    SyncTicket,
    TakeLock,
    Tell,
)
from pytest_gatherscatter.simulation.smallwatch import CLOCK, LONGEST_BODY
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    LockReleased,
    LockTaken,
    TicketGone,
    TicketSynced,
    VisitBegan,
    VisitEnded,
    WentAlone,
)
from pytest_gatherscatter.wire.names import reply_key

if TYPE_CHECKING:
    from pytest_gatherscatter.simulation.smalllab import SmallLab

BENCH = "north"

NEEDED = 0.5
"""Seconds that a slow host needs from Go to quiet: then the lead is its longest, half a second."""


class SmallTicket(NamedTuple):
    """What is on disk of a section."""

    token: int
    owner: str
    life: int
    outcome: str = "died"


def section_of(name: str, life: int) -> str:
    """Name the section of a workload in one of its lives."""
    return f"{int(name[-1]):04x}{life:04x}"


class SmallRun:
    """One test. After a crash it is run once more."""

    def __init__(self, name: str, demand: Demand) -> None:
        self.name = name
        self.up = False
        self._demand = demand
        self._guide: Guide | None = None
        self._section = ""
        self._life = 0
        self._contacts = 0
        self._alarm: float | None = None
        self._lock_until: float | None = None
        self._started = 0.0
        self._error = ""
        self._owed: list[str] = []

    def begin(self, lab: "SmallLab", life: int) -> None:
        """Begin the test."""
        self._life, self._error, self._owed = life, "", []
        self._contacts = 0
        self._section = section_of(self.name, life)
        memory = Memory()
        memory.note_needed(NEEDED)
        self._guide = Guide(
            self._demand,
            section=self._section,
            owner=self.name,
            run=f"{life:08x}",
            memory=memory,
            token=max((ticket.token for ticket in lab.tickets.values()), default=0),
            clock=CLOCK,
            now=lab.now,
        )
        lab.see(VisitBegan(lab.now, self.name, self._section, self._demand))
        lab.stir(self.name)

    def die(self, lab: "SmallLab") -> None:
        """End where it is; the ticket stays."""
        self._guide, self.up = None, False
        self._alarm = self._lock_until = None
        lab.listeners -= {self.name}
        self._unlock(lab)
        lab.see(BodyLeft(lab.now, self.name, self._section))
        lab.see(VisitEnded(lab.now, self.name, self._section, "died", 0.0))

    @property
    def waits(self) -> bool:
        """Whether it is under way."""
        return self._guide is not None

    def handle(self, said: Input, now: float) -> list[Effect]:
        """Give the machine an input."""
        return [] if self._guide is None else self._guide.machine.handle(said, now=now)

    def go_on(self, lab: "SmallLab") -> None:  # noqa: C901, PLR0912 - a branch for each kind of step
        """Follow the guide until it has to wait."""
        while (guide := self._guide) is not None and not self._sleeps(lab, guide):
            match guide.next(lab.now, up=self.up):
                case Serve(seconds):
                    if seconds < TURN:  # longer ones end with the machine's own deadlines
                        lab.wake(self.name, lab.now + seconds)
                    return
                case Connect() as step:
                    self._connect(lab, guide, step)
                    return
                case Tell(request):
                    self._tell(lab, request)
                case LookForDebts():
                    self._look_for_debts(lab)
                case SettleDebt(section):
                    lab.tickets = _without(lab.tickets, section)
                    lab.see(TicketGone(lab.now, self.name, section))
                case TakeLock(seconds):
                    self._take_lock(lab, guide, seconds)
                case ReleaseLock():
                    self._unlock(lab)
                    lab.see(LockReleased(lab.now, self.name, self._section, BENCH))
                case SyncTicket(token):
                    ticket = SmallTicket(token, self.name, self._life)
                    lab.tickets = {**lab.tickets, self._section: ticket}
                    lab.see(TicketSynced(lab.now, self.name, self._section, token))
                    guide.synced(token)
                case FallQuiet():
                    self._hang_up(lab)
                case SleepUntil(t0):
                    self._sleep(lab, t0)
                case LetGo(owed, outcome):
                    self._let_go(lab, guide, owed=owed, outcome=outcome)
                case Fail(error):
                    self._error = str(error)
                    guide.abandon("it failed", lab.now)
                case Rest():
                    self._rest(lab, guide)
                case Fetch():
                    pass

    def _sleeps(self, lab: "SmallLab", guide: Guide) -> bool:
        """Whether it sleeps, is in its body, or waits for a lock."""
        now = lab.now
        if self._alarm is not None and now < self._alarm:
            return True
        if self._alarm is not None and guide.phase is Phase.INSIDE:
            self._alarm = None
            self._leave(lab, guide)
        self._alarm = None
        until = self._lock_until
        return until is not None and lab.locked is not None and now < until

    def _sleep(self, lab: "SmallLab", until: float) -> None:
        self._alarm = until
        lab.wake(self.name, until)

    def _connect(self, lab: "SmallLab", guide: Guide, step: Connect) -> None:
        self._hang_up(lab)
        self._contacts += 1
        key = reply_key(f"{int(self.name[-1]):04x}{self._life:02x}{self._contacts:02x}")
        lab.keys = {**lab.keys, key: self.name}
        self.up = True
        if step.hears_go:
            lab.listeners |= {self.name}
        guide.connected()
        lab.soon(self.name, Told(AnswerTo(key)))
        lab.soon(self.name, LinkUp())

    def _hang_up(self, lab: "SmallLab") -> None:
        if self.up:
            self.up = False
            lab.listeners -= {self.name}
            lab.forget(self.name)
            self.handle(LinkDown("closed"), lab.now)

    def _tell(self, lab: "SmallLab", request: object) -> None:
        for effect in self.handle(Told(request), lab.now):
            if self.up:
                lab.perform(self.name, effect)

    def _look_for_debts(self, lab: "SmallLab") -> None:
        for section, ticket in lab.tickets.items():
            lab.touched.add(ticket.owner)
            orphan = lab.lives[ticket.owner] != ticket.life
            if section != self._section and (orphan or section in self._owed):
                self._tell(lab, TellOf(section, ticket.token, ticket.outcome))

    def _take_lock(self, lab: "SmallLab", guide: Guide, seconds: float) -> None:
        until = self._lock_until
        if lab.locked in {None, self.name}:
            lab.locked, self._lock_until = self.name, None
            lab.see(LockTaken(lab.now, self.name, self._section, BENCH))
            guide.locked()
            return
        lab.touched.add(lab.locked)
        if seconds and (until is None or lab.now < until):
            self._lock_until = lab.now + seconds if until is None else until
            lab.wake(self.name, self._lock_until)
        else:
            self._lock_until = None
            guide.busy(NotGathered("the bench is locked on this host"))

    def _unlock(self, lab: "SmallLab") -> None:
        if lab.locked == self.name:
            lab.locked = None
            lab.stir(*lab.runs)

    def _let_go(self, lab: "SmallLab", guide: Guide, *, owed: bool, outcome: str) -> None:
        self._hang_up(lab)
        if guide.phase is Phase.LOCK:
            lab.see(WentAlone(lab.now, self.name, self._section))
        ticket = lab.tickets.get(self._section)
        if ticket is not None and owed:
            lab.tickets = {**lab.tickets, self._section: ticket._replace(outcome=outcome)}
            self._owed.append(self._section)
        elif ticket is not None:
            lab.tickets = _without(lab.tickets, self._section)
            lab.see(TicketGone(lab.now, self.name, self._section))
        self._unlock(lab)

    def _rest(self, lab: "SmallLab", guide: Guide) -> None:
        if guide.phase is Phase.GATHERED:
            guide.enter(lab.now)
        elif guide.phase is Phase.INSIDE:
            began = BodyBegan(lab.now, self.name, self._section, BENCH, "h", guide.coordinated, 0.0)
            lab.touched.update(lab.runs)  # who is inside, and who is dead, decides a rule
            lab.see(began)
            self._started = lab.now
            self._sleep(lab, lab.now + LONGEST_BODY)
        else:
            lab.see(VisitEnded(lab.now, self.name, self._section, self._error or "passed", 0.0))
            self._guide = None
            lab.over |= {self.name}

    def _leave(self, lab: "SmallLab", guide: Guide) -> None:
        lab.see(BodyLeft(lab.now, self.name, self._section))
        deadline = guide.machine.deadline
        overdue = deadline is not None and lab.now > deadline
        guide.leave("passed", lab.now, self._started, lab.now, overdue=overdue)


def _without(tickets: Mapping[str, SmallTicket], section: str) -> dict[str, SmallTicket]:
    return {name: ticket for name, ticket in tickets.items() if name != section}


def demand_of(test: str, require: frozenset[str]) -> Demand:
    """Say what the test asks for: all waits are as short as lets them be told apart."""
    return Demand(
        name="burst",
        bench=BENCH,
        test=test,
        require=require,
        max_duration=2.0,
        queue_timeout=6.0,
        gather_timeout=4.0,
        hold_limit=3.0,
        report_timeout=2.0,
    )
