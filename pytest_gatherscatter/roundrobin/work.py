"""A task in a worker's hand."""

from dataclasses import dataclass

from pytest_gatherscatter.answering import Owed
from pytest_gatherscatter.wire.roundrobin import Execute, Executed


@dataclass(slots=True, eq=False)
class Work(Owed[Executed]):
    """A task in hand. Without a ``delivery`` (its connection was lost) the broker has it too.

    Times are of the worker's clock: ``expires_at`` is its deadline, ``due`` when it will be done,
    ``tell_at`` when its client hears that it is still worked on.
    """

    task: Execute
    delivery: int | None
    expires_at: float
    began: float | None = None
    due: float = 0.0
    tell_at: float | None = None
