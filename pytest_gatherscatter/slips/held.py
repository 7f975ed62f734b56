"""What waits in the waiting room, and how it leaves."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.memory import MOST, Key, key_of
from pytest_gatherscatter.wire.names import WAITING_KEY, slip_event
from pytest_gatherscatter.wire.slips import (
    KeepSlip,
    RunStep,
    Slip,
    SlipOver,
    SlipStepEnded,
    Task,
)

AGAIN: Final = 1.0
"""Seconds between two looks for a queue that was not there."""

RENEW: Final = 900.0
"""Seconds after which what waits is said again and the old copy settled: RabbitMQ takes an
unsettled delivery back after 30 minutes."""


@dataclass(slots=True)
class Held:
    """One slip in the room. ``deliveries`` are settled when it has left.

    With ``doubt`` it was another keeper's, who may have let it go on; with ``unbegun`` a processor
    says that it has let go of it. ``since`` is when it came, ``due`` when it is looked at next,
    ``until`` when its patience is over, or its rest after the room has changed hands. Of a slip
    that is joined here ``launched`` are the tasks that went out, or may have, those that were
    ``probed`` included; ``not_before`` says when a step
    may be tried again, ``unrouted`` until when one may find no queue.
    """

    keep: KeepSlip
    slip: Slip
    deliveries: list[int]
    since: float
    due: float
    until: float
    doubt: bool = False
    unbegun: bool = False
    launched: set[Task] = field(default_factory=set)
    probed: set[Task] = field(default_factory=set)
    not_before: dict[int, float] = field(default_factory=dict)
    unrouted: dict[Task, float] = field(default_factory=dict)
    sends: set[int] = field(default_factory=set)
    outgoing: route.Onward | None = None
    """What is said as it leaves, to be said again if it must."""

    @property
    def leaving(self) -> bool:
        """Whether its way is decided."""
        return self.outgoing is not None


class Holding:
    """All that waits, what was sent of it, and what has left for good.

    A place is a slip's id where its branches are joined, else the attempt that it waits for.
    """

    def __init__(self, out: Effects) -> None:
        self._out = out
        self.held: dict[Key | str, Held] = {}
        self.past: OrderedDict[Key | str, None] = OrderedDict()
        self.sends: dict[int, tuple[Held, RunStep | KeepSlip | SlipOver]] = {}
        self.renewals: dict[int, list[int]] = {}
        """Old copies of what was said anew, to be settled when that is confirmed."""

    def is_behind(self, slip: str, task: Task) -> bool:
        """Whether something that waits here has an attempt on record: then it was handed on."""
        return any(one.slip.id == slip and has(one.slip, task) for one in self.held.values())

    def overtake(self, keep: KeepSlip) -> None:
        """Drop what waits for an attempt that this copy has on record, and did not bring back."""
        for one in list(self.held.values()):
            task = one.keep.task
            if one.slip.id != keep.slip.id or task in {None, keep.task} or one.leaving:
                continue
            if task is not None and has(keep.slip, task):
                self.remember(key_of(keep.slip.id, task))
                self.forget(one)

    def say(self, held: Held, key: str, message: RunStep | KeepSlip | SlipOver) -> None:
        """Send something of a slip; what becomes of it is known by its number."""
        effect = self._out.send(key, message)
        held.sends.add(effect)
        self.sends[effect] = (held, message)

    def renew(self, held: Held, keep: KeepSlip, now: float) -> None:
        """Say to the room itself what waits here, so that no delivery grows too old."""
        held.since = now
        self.renewals[self._out.send(WAITING_KEY, keep)] = held.deliveries
        held.deliveries = []

    def leave(self, held: Held, key: str, message: RunStep | KeepSlip | SlipOver) -> None:
        """Say where a slip goes; it is settled when that is confirmed."""
        if isinstance(message, SlipOver):
            self.tell_over(message)
        if key:
            held.outgoing = key, message
            self.say(held, key, message)
        else:
            self.forget(held)

    def forget(self, held: Held) -> None:
        """Settle all copies of a slip that has left."""
        self.held = {place: one for place, one in self.held.items() if one is not held}
        self.drop(held.deliveries)
        held.deliveries = []

    def drop(self, deliveries: list[int]) -> None:
        """Settle copies that nobody needs any more."""
        for delivery in deliveries:
            self._out.settle(delivery, Verdict.ACK)

    def remember(self, place: Key | str) -> None:
        """Note that no copy for this place means anything any more."""
        self.past[place] = None
        if len(self.past) > MOST:
            self.past.popitem(last=False)

    def past_task(self, slip: Slip, task: Task) -> None:
        """Drop what waits for a step that has come back."""
        key = key_of(slip.id, task)
        held = self.held.get(key)
        if held is not None and not held.leaving:
            self.forget(held)
        self.remember(key)

    def tell_end(self, slip: Slip) -> None:
        """Tell all of an attempt that ended here."""
        ended = SlipStepEnded(slip=slip.id, name=slip.name, attempt=slip.progress[-1])
        self._out.publish(slip_event("ended", slip.id), ended)

    def tell_over(self, over: SlipOver) -> None:
        """Tell all that a slip is over."""
        self.remember(over.slip.id)
        self._out.publish(slip_event("over", over.slip.id), over)


def has(slip: Slip, task: Task) -> bool:
    """Whether a slip has an attempt on record."""
    wanted = (task.number, task.compensating, task.attempt)
    return any((one.number, one.compensating, one.attempt) == wanted for one in slip.progress)
