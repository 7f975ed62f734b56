"""A client's message in a balancer's hand, and what the balancer has to know of its kind.

It gives on whatever comes, unread but for this: until when it is wanted, whether it may run twice,
what it has in common with others, and how its client is told that nobody will do it.
"""

import re
from dataclasses import dataclass
from math import inf

from pytest_gatherscatter.wire.grading import GradeAnswer, GradeOutcome, GradeRequest
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import ID_PATTERN, client_key, grade_key
from pytest_gatherscatter.wire.roundrobin import Execute, Executed, ExecuteOutcome
from pytest_gatherscatter.wire.slips import RunStep

BENCH = "bench"
"""The parameter by which the steps of slips belong together."""

MOST_GIVES = 5
"""How often a task is given out: what kills five workers would kill the sixth."""

_ID = re.compile(ID_PATTERN)
_REPLY = re.compile(f"({re.escape(client_key(''))}|{re.escape(grade_key(''))}){ID_PATTERN[1:]}")

_GRADES: dict[ExecuteOutcome, GradeOutcome] = {
    "busy": "refused",
    "expired": "expired",
}
"""What an asker for grades is told; anything else is ``failed``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a message says of itself.

    ``id`` is its client's: who lost a connection says a thing again, in another message. Slips have
    none, their copies are told apart by processors. ``deadline`` in Unix time. ``rerun``: it may be
    given out again; graders and processors see to it themselves that nothing bad comes of it, and
    are told. ``answered``: its client is told of what cannot be done at once. A slip is not: it
    waits, as it would in its queue. ``gives`` is how often it is given out at the most.
    """

    id: str = ""
    deadline: float = inf
    rerun: bool = True
    affinity: str = ""
    answered: bool = False
    gives: float = MOST_GIVES


@dataclass(slots=True, eq=False)
class Task:
    """A message in hand. Times are of the balancer's clock.

    ``worker`` has it, if anybody has; ``begun_by`` is a worker and its instance that died with it.
    ``redelivered``: whoever gets it is told that it may have been begun. ``place`` is its place in
    the backlog. ``over``: nobody is to run it any more; ``settled``: the broker has forgotten it.
    """

    id: str
    service: str
    delivery: int
    message: Message
    wanted: Wanted
    reply_to: str
    sender: str
    body: bytes
    came: float
    redelivered: bool = False
    worker: str | None = None
    begun_by: tuple[str, str] | None = None
    bound: str | None = None
    place: int | None = None
    gives: int = 0
    over: bool = False
    settled: bool = False

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.body)


def read(service: str, message: Message) -> Wanted | None:
    """Return what a message says of itself; None if it is none of this service's."""
    kind, _, name = service.partition(".")
    match message:
        case Execute(service=wanted) if kind == "service" and wanted == name:
            return Wanted(
                message.task,
                message.deadline,
                message.rerun,
                message.affinity,
                answered=message.tracked,
            )
        case GradeRequest(queue=wanted) if kind == "grading" and wanted == name:
            id_ = f"{message.request}.{message.attempt}"
            return Wanted(id_, message.deadline, answered=True)
        case RunStep() if kind == "steps":
            # Where its processor may be dead, a slip is asked after, and is begun no second time.
            return Wanted(affinity=str(message.slip.params.get(BENCH, "")), gives=inf)
        case _:
            return None


def may_be_answered(reply_to: str) -> bool:
    """Whether this can be the key of a client: nobody else's inbox is written to."""
    return _REPLY.fullmatch(reply_to) is not None


def answer(task: Task, outcome: ExecuteOutcome, text: str, *, host: str, now: float) -> Message:
    """Say to a client how its task ended without anybody doing it.

    Raises:
        ValueError: clients of this kind hear no such thing.
    """
    message = task.message
    waited = max(0.0, now - task.came)
    match message:
        case Execute():
            return Executed(
                task=message.task,
                service=message.service,
                outcome=outcome,
                text=text[:4096],
                host=host,
                waited=waited,
            )
        case GradeRequest():
            return GradeAnswer(
                request=message.request,
                queue=message.queue,
                outcome=_GRADES.get(outcome, "failed"),
                text=text[:4096],
                host=host,
                attempt=message.attempt,
                waited=waited,
            )
        case _:
            raise ValueError(f"{type(message).__name__} has no answer")


def unreadable(service: str, id: str, reply_to: str, text: str, host: str) -> Message | None:  # noqa: A002 - it is one
    """Say to a client that nobody can read what it sent; None if it cannot be told."""
    kind, _, name = service.partition(".")
    if not may_be_answered(reply_to) or _ID.fullmatch(id) is None:
        return None
    if kind == "service":
        return Executed(task=id, service=name, outcome="undecodable", text=text[:4096], host=host)
    if kind == "grading":
        return GradeAnswer(
            request=id, queue=name, outcome="undecodable", text=text[:4096], host=host
        )
    return None
