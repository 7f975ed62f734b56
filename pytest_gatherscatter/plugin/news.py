"""What steps have said and the lab has not heard: in order, bounded, not too much a second.

A step that moves is only as interesting as its latest word, and no more once it is over. That it
is over is always told: at once while there is room in the second, else with the next word, and at
the end of its test at the latest. Time is given; nothing here waits or connects.
"""

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from pytest_gatherscatter.wire.messages import StepFinished, StepProgressed

StepNews: TypeAlias = StepProgressed | StepFinished

RATE = 10.0
"""Messages a second: what a person sees move, and no load where a hundred tests share a broker."""

BURST = 10.0
"""Messages at once after a silence."""

MOST_KEPT = 20_000
"""Steps that wait: of the tests of a run that meets no broker, the first to go are the oldest."""


class News:
    """The queue. Not thread-safe."""

    def __init__(self) -> None:
        self._over: deque[StepFinished] = deque(maxlen=MOST_KEPT)
        self._moving: dict[tuple[str, int], StepProgressed] = {}
        self._room = BURST
        self._counted = 0.0

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._over) + len(self._moving)

    def put(self, message: StepNews) -> None:
        """Take what a step says."""
        key = (message.test, message.number)
        if isinstance(message, StepFinished):
            self._moving.pop(key, None)
            self._over.append(message)
        else:
            self._moving[key] = message

    def put_back(self, messages: Iterable[StepNews]) -> None:
        """Take back what was not heard, to be said first; where a step was is old news."""
        over = [one for one in messages if isinstance(one, StepFinished)]
        over += self._over
        self._over = deque(over, maxlen=MOST_KEPT)

    def take(self, now: float) -> list[StepNews]:
        """Return what may be said at ``now`` (seconds, of a clock that only grows)."""
        self._room = min(BURST, self._room + (now - self._counted) * RATE)
        self._counted = now
        taken: list[StepNews] = []
        while len(self) and self._room >= 1:
            self._room -= 1
            taken.append(self._over.popleft() if self._over else self._first_moving())
        return taken

    def take_all(self) -> list[StepNews]:
        """Return everything, however much it is."""
        taken: list[StepNews] = [*self._over, *self._moving.values()]
        self._over.clear()
        self._moving.clear()
        return taken

    def _first_moving(self) -> StepProgressed:
        return self._moving.pop(next(iter(self._moving)))
