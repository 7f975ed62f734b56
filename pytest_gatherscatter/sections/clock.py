"""The gatherer's clock as seen from here: measured by round trips, never assumed.

Times in a lab are told on the gatherer's monotonic clock, and every party converts them by an
offset that it measured itself; on the same host too, since time namespaces shift monotonic
clocks. A probe that left at ``sent`` and whose answer came at ``received`` was read somewhere
in between, so the offset is at least ``read - received`` and at most ``read - sent``, however
unequal the two ways were. Each of the two limits comes from the probe that knows it best: a
quick way there gives the upper one, a quick way back the lower one. From then on the two clocks
may drift apart, by at most 100 ppm each second.

Where the kernel says that both processes read one and the same clock, no offset at all is the
best guess within these limits; that guess never leaves them (decision 0006).

Pure: the caller brings the times. Not thread-safe: its machine's thread owns it.
"""

import math
from collections import deque

from msgspec import Struct

DRIFT = 100e-6
"""How far two monotonic clocks may part, seconds a second: NTP slews by at most 500 ppm while
it corrects, but a disciplined or free-running quartz stays within 100."""

OPEN_PROBES = 64
"""Probes whose answer is still taken: several bursts, so that a slow answer still counts."""

FINE_BOUND = 0.0005
"""Seconds: an offset known this well is good enough for whoever has time to measure; on one
host or a quiet network one or two round trips reach it, and more would only load the lab."""

FAIR_BOUND = 0.005
"""Seconds: an offset that is known this well is not measured anew for a section, only checked by
one look: it tells whether the clocks went apart. By 100 ppm that lasts for half a minute."""


class GathererClock:
    """The offset from this process's clock to the gatherer's, with an honest bound.

    All times are seconds. ``now``, ``sent`` and ``received`` are on the local monotonic
    clock, ``read`` on the gatherer's. A positive offset means that the gatherer's clock
    shows more: ``gatherer time = local time + offset``.

    Args:
        own: id of this process's own clock, to be told from a gatherer's; empty if unknown.
    """

    def __init__(self, own: str = "") -> None:
        self.gatherer: str | None = None
        """Id of the clock that was measured, as the gatherer tells it."""
        self._own = own
        self._open: deque[float] = deque(maxlen=OPEN_PROBES)
        # One of each is enough: all limits age alike, so the best one stays the best.
        self._least: _Limit | None = None
        self._most: _Limit | None = None
        self._offset = 0.0

    def probe(self, now: float) -> float:
        """Note that a probe leaves at ``now``; returns what goes into ``ClockProbe.sent``."""
        self._open.append(now)
        return now

    def reading(self, sent: float, read: float, received: float, gatherer: str) -> bool:
        """Take the gatherer's answer to a probe; say whether it was of use.

        Refused are answers to probes that this clock never sent (a former process of the same
        name, a redelivery) and late answers of a former gatherer.
        """
        if sent not in self._open:
            return False
        self._open.remove(sent)
        if not (math.isfinite(read) and received >= sent):
            return False
        if gatherer != self.gatherer:
            self.forget()
            self.gatherer = gatherer
        least = _Limit(read - received, sent, received)
        most = _Limit(read - sent, sent, received)
        if self._least is None or least.least(received) >= self._least.least(received):
            self._least = least
        if self._most is None or most.most(received) <= self._most.most(received):
            self._most = most
        if self._least.least(received) > self._most.most(received):
            # Both cannot be true: a clock stood still or jumped (suspend, migration).
            self._least, self._most = least, most
        self._guess(received)
        return True

    def _guess(self, now: float) -> None:
        """Choose within the limits; the guess stays until the next reading, its bound grows."""
        least, most = self._limits(now)
        same = self.gatherer == self._own and least <= 0 <= most
        self._offset = 0.0 if same else (least + most) / 2

    def forget(self) -> None:
        """Drop what was measured, as of a gatherer that is no more."""
        # What is still on its way would be read on a clock that no longer counts.
        self._open.clear()
        self.gatherer = None
        self._least = self._most = None

    def known(self, gatherer: str | None = None) -> bool:
        """Say whether it was measured; with ``gatherer``, whether that one's clock was."""
        return self._least is not None and gatherer in {None, self.gatherer}

    def offset(self, now: float) -> float:
        """Return the estimated offset in seconds; true to ``bound(now)``.

        Raises:
            ValueError: nothing was measured; ask :meth:`known` first.
        """
        self._limits(now)
        return self._offset

    def bound(self, now: float) -> float:
        """Return how far :meth:`offset` may be off at local time ``now``, in seconds.

        Raises:
            ValueError: nothing was measured; ask :meth:`known` first.
        """
        least, most = self._limits(now)
        return max(most - self._offset, self._offset - least)

    def to_local(self, t: float, now: float) -> float:
        """Convert ``t`` on the gatherer's clock to the local clock.

        Raises:
            ValueError: nothing was measured; ask :meth:`known` first.
        """
        return t - self.offset(now)

    def to_gatherer(self, t: float, now: float) -> float:
        """Convert local ``t`` to the gatherer's clock.

        Raises:
            ValueError: nothing was measured; ask :meth:`known` first.
        """
        return t + self.offset(now)

    def _limits(self, now: float) -> tuple[float, float]:
        if self._least is None or self._most is None:
            raise ValueError("the gatherer's clock was not measured yet")
        return self._least.least(now), self._most.most(now)


class _Limit(Struct, frozen=True):
    """What one round trip says of the offset on one side, at some moment of that trip."""

    offset: float
    sent: float
    received: float

    def least(self, now: float) -> float:
        """The least that the offset can be at ``now``, if this is a lower limit."""
        return self.offset - self._drift(now)

    def most(self, now: float) -> float:
        """The most that the offset can be at ``now``, if this is an upper limit."""
        return self.offset + self._drift(now)

    def _drift(self, now: float) -> float:
        """How far the clocks may have parted, counted from the end that is farther away."""
        if now >= self.received:  # as nearly always
            return DRIFT * (now - self.sent)
        return DRIFT * max(abs(now - self.sent), self.received - now)
