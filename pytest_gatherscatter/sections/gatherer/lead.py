"""How far ahead t0 lies: long enough for all to be waiting for it, and no longer.

Everybody reports how much it ``needed`` from the sending of Go until it could have started.
The lead is a high percentile of what was needed lately, with a margin, between 5 and 500
ms: below 5 ms a scheduler's hiccup alone makes late starts, above 500 ms a test would feel
it and something else is wrong.
"""

from collections import deque

SHORTEST = 0.005
LONGEST = 0.5
FIRST = 0.05
"""Seconds while nothing is known: a Go takes about 20 ms to a hundred processes on one host."""

KEPT = 256
KEPT_SYNCS = 8
"""Syncs of the journal that count: those of the last few sections, as a disk is slow in phases."""

MARGIN = 1.5
PERCENTILE = 0.95


class Lead:
    """The lead of the next section, from what was needed in the last ones."""

    def __init__(self) -> None:
        self._needed: deque[float] = deque(maxlen=KEPT)
        self._syncs: deque[float] = deque(maxlen=KEPT_SYNCS)

    def note_sync(self, seconds: float) -> None:
        """Take what one sync of the journal took: the commit's stands between now and Go."""
        self._syncs.append(seconds)

    def note(self, needed: float) -> None:
        """Take what one party needed, in seconds."""
        if needed > 0:
            self._needed.append(min(needed, LONGEST))

    def seconds(self, asked: float = 0.0) -> float:
        """Return the lead in seconds; ``asked`` is what this section's workload says it needs."""
        if self._needed:
            ranked = sorted(self._needed)
            usual = ranked[min(len(ranked) - 1, int(PERCENTILE * len(ranked)))]
        else:
            usual = FIRST / MARGIN
        sync = max(self._syncs, default=0.0)
        return min(LONGEST, max(SHORTEST, MARGIN * max(usual, asked) + sync))
