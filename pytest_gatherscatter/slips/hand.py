"""A task that a processor has in hand, and what becomes of its slip when that takes long."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.memory import Key, key_of
from pytest_gatherscatter.wire.messages import Name
from pytest_gatherscatter.wire.names import WAITING_KEY
from pytest_gatherscatter.wire.slips import KeepSlip, Slip, Step, Task

LONG: Final = 1200.0
"""Seconds. A step that takes longer holds its delivery no more: RabbitMQ takes one back after 30
minutes. Its slip is kept in the waiting room then, which asks after it. Not before: as long as the
room has a copy of a slip, that might go on with it when its processor dies after the step."""

AGAIN: Final = 1.0
"""Seconds after which is said again what could not be said, though there is a connection."""


@dataclass(slots=True)
class Work:
    """A task in hand. Without a ``delivery`` the slip itself is not here, only what is done of it.

    ``leased``: it is in the waiting room instead, where it goes at ``lease_at``. ``patience`` is
    for how many seconds it may wait for a slot; ``given_back``: it was never begun. ``run`` is the
    id of its command; ``onward`` is what is to be said when that is over, and ``send`` the id of
    saying it; with ``doubt`` it was said, and nobody knows whether it got through.
    """

    slip: Slip
    task: Task
    step: Step
    delivery: int | None
    since: float
    run: int | None = None
    leased: bool = False
    lease_at: float | None = None
    given_back: bool = False
    onward: route.Onward | None = None
    send: int | None = None
    again: float | None = None
    doubt: bool = False
    patience: float = 0.0

    @property
    def key(self) -> Key:
        """Return which attempt it is."""
        return key_of(self.slip.id, self.task)

    @property
    def cleaning(self) -> bool:
        """Whether it is run whatever has happened, and so is not cancelled."""
        return self.task.compensating or self.step.mandatory

    def is_too_late(self, started: float) -> bool:
        """Whether the slip's deadline comes before its own time is over; ``started``: Unix time."""
        deadline = self.slip.deadline
        return not self.cleaning and deadline is not None and deadline - started < self.step.timeout

    @property
    def command(self) -> str:
        """Return the name of what is run."""
        name = self.step.compensate if self.task.compensating else self.step.command
        return name or "a line of its own"

    @property
    def handed_in(self) -> bool:
        """Whether it went to the waiting room without its slip."""
        message = None if self.onward is None else self.onward[1]
        return isinstance(message, KeepSlip) and message.why == "returned"


class Leases:
    """Gives slips whose steps take long to the waiting room, but not the steps.

    Args:
        out: where effects go.
        name: the processor's.
        long: see :data:`LONG`.
    """

    def __init__(self, out: Effects, name: Name, long: float) -> None:
        self._out, self._name, self._long = out, name, long
        self._leases: dict[int, Work] = {}
        self._look_at = float("inf")

    def later(self, work: Work, at: float) -> None:
        """Give its slip away at this time, if the step may take that long."""
        if work.step.timeout > self._long:
            work.lease_at = at
            if at < self._look_at:
                self._look_at = at
                self._out.wake(at)

    def look(self, runs: Iterable[Work], now: float) -> None:
        """Give away what is due; there is a connection."""
        if now < self._look_at:
            return
        self._look_at = float("inf")
        for work in runs:
            if work.lease_at is not None and now >= work.lease_at:
                work.lease_at = None
                if work.delivery is not None:
                    keep = KeepSlip(
                        slip=work.slip, why="elsewhere", task=work.task, processor=self._name
                    )
                    self._leases[self._out.send(WAITING_KEY, keep)] = work
            elif work.lease_at is not None:
                self.later(work, work.lease_at)

    def confirmed(self, effect: int) -> None:
        """Settle a slip that is in the waiting room now."""
        work = self._leases.pop(effect, None)
        if work is not None and work.delivery is not None and work.onward is None:
            self._out.settle(work.delivery, Verdict.ACK)
            work.delivery, work.leased = None, True

    def failed(self, effect: int, now: float) -> None:
        """Try again soon."""
        work = self._leases.pop(effect, None)
        if work is not None:
            self.later(work, now + AGAIN)

    def clear(self) -> None:
        """Forget what was on its way: the connection is lost."""
        self._leases.clear()
