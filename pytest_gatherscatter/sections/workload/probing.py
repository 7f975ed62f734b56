"""Reading the gatherer's clock for a section: when, how often, and when it is enough.

Part of the workload's machine, and as pure as it. Probes go one after the other: those of a
burst would wait for each other, and only the shortest round trip counts.
"""

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.clock import FAIR_BOUND, FINE_BOUND, GathererClock
from pytest_gatherscatter.wire import names
from pytest_gatherscatter.wire.messages import ClockProbe, ClockReading

PROBES_BEFORE, PROBES_AFTER = 5, 3
"""Round trips to the gatherer's clock; the shortest counts, and few are needed to meet a
short one. They go on while others are waited for, until Go."""

GOOD_BOUND = 0.001
"""Seconds: an offset that is known this well is not measured again. A test that asks for a skew of
a few milliseconds can be judged by it, and on return each probe delays the reports."""

PROBE_PATIENCE = 0.25
"""Seconds after which a section on return tells what it knows instead of probing on: far over
a round trip, and far below what a report may take."""

PROBE_TTL = 2.0
"""Seconds for which a probe may lie in the gatherer's queue: its answer would prove nothing."""


class Probing:
    """The probes of one section, and the clock that they measure; ``own`` is the asker's own."""

    def __init__(self, effects: Effects, own: str = "") -> None:
        self.clock = GathererClock(own)
        self._effects = effects
        self._reply: str | None = None
        self._left = 0
        self._until: float | None = None

    @property
    def under_way(self) -> bool:
        """Whether an answer is awaited."""
        return self._left > 0

    def begin(self, reply: str | None, now: float) -> None:
        """Measure well, while others are waited for; answers come to ``reply``."""
        self._begin(PROBES_BEFORE, reply, now)

    def begin_hastily(self, reply: str | None, now: float) -> None:
        """Measure as well as is needed while somebody waits for it.

        What was measured before a short section still counts, with its age: one look then
        tells whether the clocks went apart, and makes the bound no worse.
        """
        fresh = self.clock.known() and self.clock.bound(now) <= FAIR_BOUND
        self._begin(1 if fresh else PROBES_AFTER, reply, now)
        self._until = now + PROBE_PATIENCE

    def refresh(self, reply: str | None, now: float) -> None:
        """Measure again if what is known has aged, or if a probe was lost."""
        if not (self.clock.known() and self.clock.bound(now) <= GOOD_BOUND):
            self._begin(PROBES_BEFORE, reply, now)

    def stop(self) -> None:
        """Await no more answers: nobody is there, or the connection is gone."""
        self._left = 0

    def reading(self, reading: ClockReading, now: float) -> None:
        """Take an answer; send the next probe if there is one."""
        if not self.clock.reading(reading.sent, reading.read, now, reading.gatherer):
            return
        self._left = max(0, self._left - 1)
        enough = FINE_BOUND if self._until is None else GOOD_BOUND
        if self.clock.bound(now) <= enough:
            self._left = 0
        if self._left:
            self._send(now)

    def awaited(self, now: float) -> bool:
        """Say whether a hasty measurement is worth waiting for still, and wake up for its end."""
        if not self._left or self._until is None:
            return False
        if now >= self._until:
            self._left = 0
            return False
        self._effects.wake(self._until)
        return True

    def _begin(self, count: int, reply: str | None, now: float) -> None:
        self._left, self._reply, self._until = count, reply, None
        self._send(now)

    def _send(self, now: float) -> None:
        # Not among the questions whose return means absence: the section's own one tells that.
        self._effects.send(
            names.GATHERER_KEY,
            ClockProbe(sent=self.clock.probe(now)),
            reply_to=self._reply,
            ttl=PROBE_TTL,
        )
