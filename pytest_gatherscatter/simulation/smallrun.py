"""A workload of a small lab: one test in a section, led by the production's guide."""

from typing import TYPE_CHECKING, NamedTuple

from pytest_gatherscatter.errors import NotGathered
from pytest_gatherscatter.machine import Effect, Input, LinkDown, LinkUp, Told
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.guide import TURN, Guide, Phase
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.state import AnswerTo, TellOf
from pytest_gatherscatter.sections.workload.step import (
    Connect,
    Fail,
    FallQuiet,
    Fetch,
    LetGo,
    LookForDebts,
    Rest,
    Serve,
    SettleDebt,
    SleepUntil,
    SyncTicket,
    TakeLock,
    Tell,
)
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    VisitBegan,
    VisitEnded,
    WentAlone,
)
from pytest_gatherscatter.wire.names import reply_key

if TYPE_CHECKING:
    from pytest_gatherscatter.simulation.smalllab import SmallLab

BODY = 0.1


class SmallTicket(NamedTuple):
    """What is on disk of a section."""

    token: int
    owner: str
    life: int
    outcome: str = "died"


class SmallRun:
    """One test. After a crash it is run once more."""

    def __init__(self, lab: "SmallLab", name: str, demand: Demand) -> None:
        self.name = name
        self.over = False
        self.up = False
        self.hears_go = False
        self._lab = lab
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

    def begin(self, life: int) -> None:
        """Begin the test."""
        lab = self._lab
        self._life, self.over, self._error, self._owed = life, False, "", []
        self._section = f"{int(self.name[-1]):04x}{life:04x}"
        self._guide = Guide(
            self._demand,
            section=self._section,
            owner=self.name,
            run=f"{life:08x}",
            memory=Memory(),
            token=max((ticket.token for ticket in lab.tickets.values()), default=0),
            clock="c10cc10c",
            now=lab.now,
        )
        lab.see(VisitBegan(lab.now, self.name, self._section, self._demand))
        self.go_on()

    def die(self) -> None:
        """End where it is; the ticket stays."""
        lab = self._lab
        self._guide, self.up, self.hears_go = None, False, False
        self._alarm = self._lock_until = None
        if lab.locked == self.name:
            lab.locked = None
        lab.see(BodyLeft(lab.now, self.name, self._section))
        lab.see(VisitEnded(lab.now, self.name, self._section, "died", 0.0))

    def handle(self, said: Input) -> list[Effect]:
        """Give the machine an input."""
        return [] if self._guide is None else self._guide.machine.handle(said, now=self._lab.now)

    def go_on(self) -> None:  # noqa: C901, PLR0912 - a branch for each kind of step
        """Follow the guide until it has to wait."""
        lab = self._lab
        while (guide := self._guide) is not None and not self._waits(guide):
            match guide.next(lab.now, up=self.up):
                case Serve(seconds):
                    if seconds < TURN:  # longer ones end with the machine's own deadlines
                        lab.wake(self.name, lab.now + seconds)
                    return
                case Connect() as step:
                    self._connect(guide, step)
                    return
                case Tell(request):
                    self._tell(request)
                case LookForDebts():
                    self._look_for_debts()
                case SettleDebt(section):
                    lab.tickets.pop(section, None)
                case TakeLock(seconds):
                    self._take_lock(guide, seconds)
                case SyncTicket(token):
                    lab.tickets[self._section] = SmallTicket(token, self.name, self._life)
                    guide.synced(token)
                case FallQuiet():
                    self._hang_up()
                case SleepUntil(t0):
                    self._sleep(t0)
                case LetGo(owed, outcome):
                    self._let_go(guide, owed=owed, outcome=outcome)
                case Fail(error):
                    self._error = str(error)
                    guide.abandon("it failed", lab.now)
                case Rest():
                    self._rest(guide)
                case Fetch():
                    pass

    def _waits(self, guide: Guide) -> bool:
        """Whether it sleeps, is in its body, or waits for a lock."""
        now = self._lab.now
        if self._alarm is not None and now < self._alarm:
            return True
        if self._alarm is not None and guide.phase is Phase.INSIDE:
            self._alarm = None
            self._leave(guide)
        self._alarm = None
        until = self._lock_until
        return until is not None and self._lab.locked is not None and now < until

    def _sleep(self, until: float) -> None:
        self._alarm = until
        self._lab.wake(self.name, until)

    def _connect(self, guide: Guide, step: Connect) -> None:
        self._hang_up()
        self._contacts += 1
        key = reply_key(f"{int(self.name[-1]):04x}{self._contacts:04x}")
        self._lab.keys[key] = self.name
        self.up, self.hears_go = True, step.hears_go
        guide.connected()
        self._lab.soon(self.name, Told(AnswerTo(key)))
        self._lab.soon(self.name, LinkUp())

    def _hang_up(self) -> None:
        if self.up:
            self.up = self.hears_go = False
            self._lab.forget_wakes(self.name)
            self.handle(LinkDown("closed"))

    def _tell(self, request: object) -> None:
        for effect in self.handle(Told(request)):
            if self.up:
                self._lab.perform(self.name, effect)

    def _look_for_debts(self) -> None:
        for section, ticket in list(self._lab.tickets.items()):
            orphan = self._lab.lives[ticket.owner] != ticket.life
            if section != self._section and (orphan or section in self._owed):
                self._tell(TellOf(section, ticket.token, ticket.outcome))

    def _take_lock(self, guide: Guide, seconds: float) -> None:
        lab, until = self._lab, self._lock_until
        if lab.locked in {None, self.name}:
            lab.locked, self._lock_until = self.name, None
            guide.locked()
        elif seconds and (until is None or lab.now < until):
            self._lock_until = lab.now + seconds if until is None else until
            lab.wake(self.name, self._lock_until)
        else:
            self._lock_until = None
            guide.busy(NotGathered("the bench is locked on this host"))

    def _let_go(self, guide: Guide, *, owed: bool, outcome: str) -> None:
        lab = self._lab
        self._hang_up()
        if guide.phase is Phase.LOCK:
            lab.see(WentAlone(lab.now, self.name, self._section))
        ticket = lab.tickets.get(self._section)
        if ticket is not None and owed:
            lab.tickets[self._section] = ticket._replace(outcome=outcome)
            self._owed.append(self._section)
        elif ticket is not None:
            del lab.tickets[self._section]
        if lab.locked == self.name:
            lab.locked = None

    def _rest(self, guide: Guide) -> None:
        lab = self._lab
        if guide.phase is Phase.GATHERED:
            guide.enter(lab.now)
        elif guide.phase is Phase.INSIDE:
            began = BodyBegan(
                lab.now, self.name, self._section, "north", "h", guide.coordinated, 0.0
            )
            lab.see(began)
            self._started = lab.now
            self._sleep(lab.now + BODY)
        else:
            lab.see(VisitEnded(lab.now, self.name, self._section, self._error or "passed", 0.0))
            self._guide, self.over = None, True

    def _leave(self, guide: Guide) -> None:
        lab = self._lab
        lab.see(BodyLeft(lab.now, self.name, self._section))
        deadline = guide.machine.deadline
        overdue = deadline is not None and lab.now > deadline
        guide.leave("passed", lab.now, self._started, lab.now, overdue=overdue)
