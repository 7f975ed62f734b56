"""Who asks: every request ends once here, with the first answer or without any.

A request goes out as soon as there is room (``window``: how many are out at a time), and again if
its confirm was lost with a connection. Its end is a ``Run`` of :class:`Ended`, exactly one. Graders
are asked so, and services: a room says of its messages what this cannot know.

A broker that was started anew, and has forgotten all, has no queues until those who serve them
are back; until then none is refused.
"""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

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
from pytest_gatherscatter.wire.message import Message

LATE = 2.0
"""Seconds after the deadline in which an answer still counts: the one that says "timed out" is
made at the deadline, and has a way to go."""

BACK = 10.0
"""Seconds in which those who serve come back to a broker that was started anew."""

AGAIN = 1.0
"""Seconds until a request is sent again that found no queue meanwhile."""

RequestT = TypeVar("RequestT", bound=Message)
AnswerT = TypeVar("AnswerT", bound=Message)


@dataclass(frozen=True, slots=True)
class Ask(Generic[RequestT]):
    """Have this answered (``Told``); ``seconds`` from now is its deadline."""

    request: RequestT
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended(Generic[AnswerT]):
    """A request is over, and nothing more will be said of it (a ``Run``)."""

    answer: AnswerT


@dataclass(slots=True, eq=False)
class _Question(Generic[RequestT]):
    request: RequestT
    ends_at: float
    send: int | None = None
    confirmed: bool = False
    out: bool = False
    """Whether it has left, and counts against the window."""


class AskingMachine(ABC, Generic[RequestT, AnswerT]):
    """See the module. ``key`` is the one on which answers come."""

    def __init__(self, key: str, *, window: int) -> None:
        self._key = key
        self._window = window
        self._out = Effects()
        self._up = False
        self._pending: deque[_Question[RequestT]] = deque()
        self._open: dict[str, _Question[RequestT]] = {}
        self._sends: dict[int, _Question[RequestT]] = {}
        self._outstanding = 0
        self._broker = ""
        self._back_until: float | None = None
        self._early: list[_Question[RequestT]] = []
        """What found no queue before those who serve were back."""

    # ── what a room says of its messages ───────────────────────────────────────────────

    @abstractmethod
    def id_of(self, message: RequestT | AnswerT) -> str:
        """Return the id that a request and its answer share."""

    @abstractmethod
    def _route(self, request: RequestT) -> str:
        """Return the key of the queue that a request goes to."""

    @abstractmethod
    def _hear(self, message: Message) -> AnswerT | None:
        """Return a message that came if it is an answer; others are the room's own matter."""

    @abstractmethod
    def _own(self, request: RequestT, outcome: Literal["refused", "no-response"]) -> AnswerT:
        """Make the answer to a request that found no queue, or that nobody has answered."""

    def _repeats(self, request: RequestT) -> bool:
        """Whether a request that the broker has forgotten is sent again: what may be done twice."""
        del request
        return False

    def _enough(self, request: RequestT) -> AnswerT | None:
        """Return the answer to a request that has ended once the broker has it, if it has."""
        del request
        return None

    # ── the machine ────────────────────────────────────────────────────────────────────

    @property
    def left(self) -> int:
        """How many requests have not ended."""
        return len(self._open)

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(said):
                answer = self._hear(said)
                if answer is not None:
                    self._end(answer)
            case Confirmed(effect):
                self._confirmed(effect)
            case Returned(effect):
                question = self._sends.pop(effect, None)
                if question is not None:
                    self._returned(question, now)
            case Failed(effect):
                question = self._sends.pop(effect, None)
                if question is not None:
                    question.send = None
            case Told(Ask(request, seconds)):
                question = _Question(request, now + seconds + LATE)
                self._open[self.id_of(request)] = question
                self._pending.append(question)
                self._out.wake(question.ends_at)
            case Woken():
                self._look(now)
            case _:
                self._link(message, now)
        self._fill()
        return self._out.take()

    def _link(self, message: Input, now: float) -> None:
        match message:
            case LinkUp(broker):
                self._up = True
                if broker and self._broker not in {"", broker}:
                    self._back_until = now + BACK
                    for question in self._open.values():
                        question.confirmed &= not self._repeats(question.request)
                self._broker = broker or self._broker
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
            if self.id_of(question.request) in self._open:
                question.out = True
                self._outstanding += 1
                self._send(question)

    def _send(self, question: _Question[RequestT]) -> None:
        if not question.confirmed:
            request = question.request
            question.send = self._out.send(self._route(request), request, reply_to=self._key)
            self._sends[question.send] = question

    def _confirmed(self, effect: int) -> None:
        question = self._sends.pop(effect, None)
        if question is not None:
            question.send = None
            question.confirmed = True
            answer = self._enough(question.request)
            if answer is not None:
                self._end(answer)

    def _returned(self, question: _Question[RequestT], now: float) -> None:
        question.send = None
        if self._back_until is None or now >= self._back_until:
            self._end(self._own(question.request, "refused"))
        else:
            self._early.append(question)
            self._out.wake(now + AGAIN)

    def _look(self, now: float) -> None:
        """End what nobody has answered in its time; send again what came too early."""
        for question in [*self._open.values()]:
            if now >= question.ends_at:
                self._end(self._own(question.request, "no-response"))
        early, self._early = self._early, []
        for question in early:
            if self._up and question.send is None and self.id_of(question.request) in self._open:
                self._send(question)

    def _end(self, answer: AnswerT) -> None:
        """Take the first answer to an id; there is no second one."""
        question = self._open.pop(self.id_of(answer), None)
        if question is not None:
            self._outstanding -= question.out
            self._out.run(Ended(answer))
