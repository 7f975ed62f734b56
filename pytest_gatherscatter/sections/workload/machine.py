"""One section at the workload's side: from asking to enter until the lab has closed it.

The machine asks, once and then every second, how things stand; so a lost answer, a restarted
gatherer and a new connection are all the same to it.

The shell around it (``service/workload.py``) connects, syncs the ticket, sleeps to t0 and
takes what :class:`Workload` shows in its attributes. Not thread-safe.
"""

from pytest_gatherscatter.machine import (
    Effect,
    Effects,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Told,
    Woken,
)
from pytest_gatherscatter.sections.demand import Demand
from pytest_gatherscatter.sections.workload.answer import Answers
from pytest_gatherscatter.sections.workload.patience import Patience
from pytest_gatherscatter.sections.workload.probing import Probing
from pytest_gatherscatter.sections.workload.question import REPEAT, Questions
from pytest_gatherscatter.sections.workload.standing import Standing
from pytest_gatherscatter.sections.workload.state import (
    AFTER_GO,
    BEFORE_GO,
    ENDED,
    AnswerTo,
    BodyEnded,
    GiveUp,
    TellOf,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.wire.messages import ClockReading


class Workload(Standing):
    """The machine of one section.

    Args:
        demand: what is asked for.
        section: the section's id.
        owner: who asks, for others to read: ``user@host pid 42``.
        run: id of the run.
        token: the highest token that this host has on record.
        met: a gatherer was met in this run, so that its absence is a fault and no choice.
        clock: id of the caller's monotonic clock; empty if it is not known.
        now: seconds on the caller's monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - the facts of a section
        self,
        demand: Demand,
        *,
        section: str,
        owner: str,
        run: str,
        token: int = 0,
        met: bool = False,
        clock: str = "",
        now: float,
    ) -> None:
        super().__init__(demand, section=section, token=token, met=met, now=now)
        self._effects = Effects()
        self._probing = Probing(self._effects, clock)
        self.clock = self._probing.clock
        self._questions = Questions(self, self._effects, self.clock, owner=owner, run=run)
        self._patience = Patience(self, self._effects, self._questions)
        self._answers = Answers(self, self._effects, self._probing, self._questions, self._patience)

    @property
    def clock_settled(self) -> bool:
        """Whether the gatherer's clock was read, or nobody answers who could."""
        return self.clock.known() or not self._probing.under_way

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input at local time ``now``; see :class:`machine.Machine`."""
        match message:
            case Received(message=ClockReading() as reading):
                self._probing.reading(reading, now)
                self.absent = False
            case Received(message=received):
                self._answers.take(received, now)
            case LinkUp():
                self._link_up(now)
            case LinkDown():
                self.linked = False
                self._probing.stop()
            case Returned(effect):
                self._returned(effect, now)
            case Told(request):
                self._told(request, now)
            case Woken():
                pass
        self._look(now)
        return self._effects.take()

    def _link_up(self, now: float) -> None:
        self.linked = True
        self.absent = False
        if self.begun is None:
            self.begun = self.heard = now
        if self.state in BEFORE_GO:
            self._probing.begin(self._questions.reply, now)
        elif self.state in AFTER_GO:
            self._probing.begin_hastily(self._questions.reply, now)
        self._questions.anew(now)

    def _returned(self, effect: int, now: float) -> None:
        if not self._questions.returned(effect):
            return
        self.absent = True
        self._probing.stop()
        if self.state is WorkloadState.ENTERING and not self.met:
            self._patience.alone("no gatherer in the lab", now)
        else:
            self._questions.sooner(now)

    def _told(self, request: object, now: float) -> None:
        match request:
            case AnswerTo(key):
                self._questions.reply = key
            case TicketSynced() if (
                self.state is WorkloadState.GATHERED and request.token == self.token
            ):
                self.ready = request
                self.life.to(WorkloadState.READY, now=now)
                self._questions.at_once(now)
            case BodyEnded() if self.state is WorkloadState.GO:
                self.ended = request
                self.heard = now
                self.life.to(WorkloadState.LEAVING, now=now, why=request.outcome)
                self._questions.at_once(now)
            case TellOf() if self.linked:
                self._questions.tell_of(request)
            case GiveUp(reason) if self.state in BEFORE_GO:
                self._patience.withdraw(reason, now)
            case GiveUp(reason) if self.state in AFTER_GO:
                self.unreport(reason, now)
            case _:
                pass  # said twice, or overtaken by what the gatherer said meanwhile

    def _look(self, now: float) -> None:
        """Keep the deadlines, ask what is due, and wake up for the next."""
        if self.life.state in BEFORE_GO:
            self._patience.look(now)
        state = self.life.state
        idle = state is WorkloadState.GO or (state in ENDED and not self.owes_leave)
        if idle or not self.linked:
            if state in BEFORE_GO and self.begun is not None:
                self._effects.wake(now + REPEAT)
            return
        if state is WorkloadState.LEAVING and self._probing.awaited(now):
            return
        self._questions.ask_if_due(now)
