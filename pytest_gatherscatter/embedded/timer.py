"""When each queue must be looked at because something of it runs out."""

from heapq import heapify, heappop, heappush
from itertools import count

from pytest_gatherscatter.embedded.queue import Queue

_SPARE = 64
"""Entries that are not worth a look through all of them."""


class Timers:
    """The deadlines of queues, the earliest first.

    An entry counts while its queue is there and has no earlier one. Those that count no more stay
    until they are met, or until they are the greater part: a queue that was to expire in ten years
    and is deleted at once must not be kept for ten years.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Queue]] = []
        self._order = count()
        self._alive = 0

    def __len__(self) -> int:
        """How many entries are kept."""
        return len(self._heap)

    def schedule(self, queue: Queue) -> None:
        """See to it that a queue is looked at in time."""
        deadline = queue.deadline
        if deadline is not None and (queue.scheduled is None or deadline < queue.scheduled):
            queue.scheduled = deadline
            heappush(self._heap, (deadline, next(self._order), queue))
            if len(self._heap) > 2 * self._alive + _SPARE:
                self._heap = [entry for entry in self._heap if _counts(entry)]
                heapify(self._heap)
                self._alive = len(self._heap)

    def next(self) -> float | None:
        """The earliest deadline; it may be early, it is never late."""
        while self._heap:
            if _counts(self._heap[0]):
                return self._heap[0][0]
            heappop(self._heap)
        return None

    def pop(self) -> Queue:
        """Take the queue of the earliest deadline; IndexError when there is none."""
        queue = heappop(self._heap)[2]
        queue.scheduled = None
        return queue


def _counts(entry: tuple[float, int, Queue]) -> bool:
    at, _, queue = entry
    return not queue.deleted and queue.scheduled == at
