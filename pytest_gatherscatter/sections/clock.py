"""The gatherer's clock as seen from here: measured by round trips, never assumed.

Times in a lab are told on the gatherer's monotonic clock, and every party converts them by an
offset that it measured itself; on the same host too, since time namespaces shift monotonic
clocks. A probe that left at ``sent`` and whose answer came at ``received`` was read somewhere
in between, so the offset is ``read - (sent + received) / 2``, wrong by at most half the round
trip however unequal the two ways were. From then on the two clocks may drift apart, by at
most 100 ppm each second.

Pure: the caller brings the times. Not thread-safe: its machine's thread owns it.
"""

import math
from collections import deque

DRIFT = 100e-6
"""How far two monotonic clocks may part, seconds a second: NTP slews by at most 500 ppm while
it corrects, but a disciplined or free-running quartz stays within 100."""

OPEN_PROBES = 64
"""Probes whose answer is still taken: several bursts, so that a slow answer still counts."""

FINE_BOUND = 0.0005
"""Seconds: an offset known this well is good enough for whoever has time to measure; on one
host or a quiet network one or two round trips reach it, and more would only load the lab."""


class GathererClock:
    """The offset from this process's clock to the gatherer's, with an honest bound.

    All times are seconds. ``now``, ``sent`` and ``received`` are on the local monotonic
    clock, ``read`` on the gatherer's. A positive offset means that the gatherer's clock
    shows more: ``gatherer time = local time + offset``.

    One estimate is enough: all of them age alike, so the one that is best when it is
    measured stays the best of its time.
    """

    def __init__(self) -> None:
        self.gatherer: str | None = None
        """Id of the clock that was measured, as the gatherer tells it."""
        self._open: deque[float] = deque(maxlen=OPEN_PROBES)
        self._estimate: _Estimate | None = None

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
        new = _Estimate(sent=sent, received=received, read=read)
        old = self._estimate
        if old is None or new.bound(received) <= old.bound(received) or new.contradicts(old):
            self._estimate = new
        return True

    def forget(self) -> None:
        """Drop what was measured, as of a gatherer that is no more."""
        # What is still on its way would be read on a clock that no longer counts.
        self._open.clear()
        self.gatherer = None
        self._estimate = None

    def known(self, gatherer: str | None = None) -> bool:
        """Say whether there is an estimate; with ``gatherer``, of that one's clock."""
        return self._estimate is not None and gatherer in {None, self.gatherer}

    def offset(self, now: float) -> float:
        """Return the estimated offset in seconds; true to ``bound(now)``.

        Raises:
            ValueError: nothing was measured; ask :meth:`known` first.
        """
        del now  # the best guess does not move, only its bound grows
        return self._known().offset

    def bound(self, now: float) -> float:
        """Return how far :meth:`offset` may be off at local time ``now``, in seconds.

        Raises:
            ValueError: nothing was measured; ask :meth:`known` first.
        """
        return self._known().bound(now)

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

    def _known(self) -> "_Estimate":
        if self._estimate is None:
            raise ValueError("the gatherer's clock was not measured yet")
        return self._estimate


class _Estimate:
    """One round trip and what it proves."""

    __slots__ = ("half", "offset", "received", "sent")

    def __init__(self, *, sent: float, received: float, read: float) -> None:
        self.sent = sent
        self.received = received
        self.offset = read - (sent + received) / 2
        self.half = (received - sent) / 2

    def bound(self, now: float) -> float:
        """How far the offset may be off at ``now``; aged from the end that is farther away."""
        return self.half + DRIFT * max(abs(now - self.sent), abs(now - self.received))

    def contradicts(self, old: "_Estimate") -> bool:
        """Say whether both cannot be true: a clock stood still or jumped (suspend, migration)."""
        apart = abs(self.offset - old.offset)
        return apart > self.bound(self.received) + old.bound(self.received)
