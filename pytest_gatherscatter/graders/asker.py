"""Who asks for grades: every request ends once here, with the first answer or without any.

A request goes out as soon as there is room (``window``: how many are out at a time), and again if
its confirm was lost with a connection. Its end is a ``Run`` of :class:`Ended`, exactly one.
"""

from collections import deque
from dataclasses import dataclass

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Effects,
    Failed,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Told,
    Woken,
)
from pytest_gatherscatter.wire.grading import (
    ExaminerSeen,
    GradeAnswer,
    GradeOutcome,
    GradeRequest,
)
from pytest_gatherscatter.wire.names import grade_key, grading_key

LATE = 2.0
"""Seconds after the deadline in which an answer still counts: the one that says "timed out" is
made at the deadline, and has a way to go."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Have this judged (``Told``); ``seconds`` from now is its deadline."""

    request: GradeRequest
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A request is over, and nothing more will be said of it (a ``Run``)."""

    answer: GradeAnswer


@dataclass(frozen=True, slots=True)
class Seen:
    """An examiner has answered (a ``Run``)."""

    examiner: ExaminerSeen


@dataclass(slots=True, eq=False)
class _Question:
    request: GradeRequest
    ends_at: float
    send: int | None = None
    confirmed: bool = False
    out: bool = False
    """Whether it has left, and counts against the window."""


class AskerMachine:
    """See the module. ``asker`` is its id, and the end of its key."""

    def __init__(self, asker: str, *, window: int) -> None:
        self._key = grade_key(asker)
        self._window = window
        self._out = Effects()
        self._up = False
        self._pending: deque[_Question] = deque()
        self._open: dict[str, _Question] = {}
        self._sends: dict[int, _Question] = {}
        self._outstanding = 0

    @property
    def left(self) -> int:
        """How many requests have not ended."""
        return len(self._open)

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(message=GradeAnswer() as answer):
                self._end(answer)
            case Received(message=ExaminerSeen() as seen):
                self._out.run(Seen(seen))
            case Confirmed(effect):
                question = self._sends.pop(effect, None)
                if question is not None:
                    question.confirmed = True
            case Returned(effect):
                self._returned(effect)
            case Failed(effect):
                question = self._sends.pop(effect, None)
                if question is not None:
                    question.send = None
            case Told(Ask(request, seconds)):
                question = _Question(request, now + seconds + LATE)
                self._open[request.request] = question
                self._pending.append(question)
                self._out.wake(question.ends_at)
            case Woken():
                self._look(now)
            case _:
                self._link(message)
        self._fill()
        return self._out.take()

    def _link(self, message: Input) -> None:
        match message:
            case LinkUp():
                self._up = True
                for question in self._open.values():
                    if question.out and question.send is None:
                        self._send(question)
            case LinkDown():
                self._up = False
            case _:
                pass

    def _fill(self) -> None:
        """Let requests go out as long as there is room."""
        while self._up and self._pending and self._outstanding < self._window:
            question = self._pending.popleft()
            if question.request.request in self._open:
                question.out = True
                self._outstanding += 1
                self._send(question)

    def _send(self, question: _Question) -> None:
        if not question.confirmed:
            request = question.request
            question.send = self._out.send(grading_key(request.queue), request, reply_to=self._key)
            self._sends[question.send] = question

    def _returned(self, effect: int) -> None:
        question = self._sends.pop(effect, None)
        if question is not None:
            text = f"there is no queue {question.request.queue}: nobody has ever served it here"
            self._end(_own(question, "refused", text))

    def _look(self, now: float) -> None:
        """End what nobody has answered in its time."""
        for question in [*self._open.values()]:
            if now >= question.ends_at:
                self._end(_own(question, "no-response", ""))

    def _end(self, answer: GradeAnswer) -> None:
        """Take the first answer to an id; there is no second one."""
        question = self._open.pop(answer.request, None)
        if question is not None:
            self._outstanding -= question.out
            self._out.run(Ended(answer))


def _own(question: _Question, outcome: GradeOutcome, text: str) -> GradeAnswer:
    request = question.request
    return GradeAnswer(request=request.request, queue=request.queue, outcome=outcome, text=text)
