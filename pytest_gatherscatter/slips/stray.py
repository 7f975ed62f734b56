"""What came back to the waiting room from a step before its slip did."""

from collections.abc import Callable, Iterator
from typing import Final

from pytest_gatherscatter.slips.held import RENEW, Held, Holding
from pytest_gatherscatter.slips.memory import Key, key_of
from pytest_gatherscatter.wire.slips import KeepSlip

STRAY: Final = 7 * 24 * 3600.0
"""Seconds for which the end of a step is kept whose slip has not come to the room yet: it may lie
in a queue that nobody serves at present. As long as dead letters are kept."""


class Strays:
    """Ends of steps that wait for their slips. They begin nothing by themselves.

    Args:
        hold: what waits in the room.
        wall: Unix time at a time of the machine's clock.
    """

    def __init__(self, hold: Holding, wall: Callable[[float], float]) -> None:
        self._hold, self._wall = hold, wall
        self._strays: dict[Key, Held] = {}

    def __iter__(self) -> Iterator[Held]:
        """Iterate over all of them."""
        return iter(self._strays.values())

    def keep(self, keep: KeepSlip, deliveries: list[int], now: float) -> None:
        """Keep one, or another copy of one that is here."""
        assert keep.task is not None  # noqa: S101 - it comes back from one
        wall = self._wall(now)
        ended = max((one.ended for one in keep.slip.progress), default=0.0) or wall
        until = now + ended + STRAY - wall
        stray = self._strays.setdefault(
            key_of(keep.slip.id, keep.task),
            Held(keep, keep.slip, [], since=now, due=now + RENEW, until=until),
        )
        stray.deliveries += deliveries

    def take(self, key: Key) -> Held | None:
        """Take the end of this attempt out, if it is here."""
        return self._strays.pop(key, None)

    def take_all(self, slip: str) -> list[Held]:
        """Take all out that is here of a slip."""
        return [self._strays.pop(key) for key in list(self._strays) if key[0] == slip]

    def clear(self) -> None:
        """Forget all."""
        self._strays.clear()

    def look(self, now: float) -> float:
        """Drop what nobody asked for, and renew what is left; return when to look again."""
        for key, stray in list(self._strays.items()):
            if now >= stray.until:
                del self._strays[key]
                self._hold.drop(stray.deliveries)
            elif now >= stray.due:
                self._hold.renew(stray, stray.keep, now)
                stray.due = now + RENEW
        return min((min(one.due, one.until) for one in self), default=float("inf"))
