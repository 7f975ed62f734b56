"""Messages that have died and are not buried yet: each is led on to its dead letters in turn.

A dead letter may die as it arrives, in a queue that takes none. A dozen such queues that lead to
each other make factorial many letters of one message, for each may go all ways through them. So
the burials are a row that is worked at in pieces, beside which everybody else is served, and what
dies again within one row is dropped where it has become many more than died first. RabbitMQ gives
no promise for such letters either.
"""

from collections import deque

from msgspec.structs import replace

from pytest_gatherscatter.embedded.queue import Entry, Queue
from pytest_gatherscatter.embedded.record import Death, DeathReason

AGAIN, AGAIN_FOR_EACH = 1000, 4
"""Letters that wait though they died within the row already: so many, and so many more for each
message that died first. A full queue of dead letters that passes on the oldest needs one each."""


class Row:
    """The dead in the order of their deaths.

    ``since`` is when the first of those who wait died; ``size`` is what they weigh.
    """

    def __init__(self) -> None:
        self.since = 0.0
        self.size = 0
        self._waiting: deque[tuple[Queue, Entry, DeathReason, bool]] = deque()
        self._first = self._again = 0

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def add(self, queue: Queue, entry: Entry, reason: DeathReason, now: float) -> bool:
        """Take an entry that died in ``queue``; False when it is one too many, to be forgotten."""
        if not self._waiting:
            self.since, self._first, self._again = now, 0, 0
        last = entry.message.last_death
        again = last is not None and last.at >= self.since
        if not again:
            self._first += 1
        elif self._again < AGAIN + AGAIN_FOR_EACH * self._first:
            self._again += 1
        else:
            return False
        self._waiting.append((queue, entry, reason, again))
        self.size += entry.message.size
        return True

    def next(self) -> tuple[Queue, Entry, DeathReason]:
        """Whose turn it is; IndexError when nobody waits."""
        queue, entry, reason, again = self._waiting.popleft()
        self._again -= again
        self.size -= entry.message.size
        return queue, entry, reason


def one_more(deaths: tuple[Death, ...], new: Death) -> tuple[Death, ...]:
    """The deaths with this one first; the same queue and reason count up."""
    for death in deaths:
        if (death.queue, death.reason) == (new.queue, new.reason):
            rest = tuple(d for d in deaths if d is not death)
            return (replace(death, count=death.count + 1), *rest)
    return (new, *deaths)


def in_circle(queue: str, deaths: tuple[Death, ...]) -> bool:
    """Whether a message came back to a queue by itself, nobody having rejected it on the way.

    RabbitMQ drops such a message, else it would go round for ever.
    """
    for death in deaths:
        if death.reason is DeathReason.REJECTED:
            return False
        if death.queue == queue:
            return True
    return False
