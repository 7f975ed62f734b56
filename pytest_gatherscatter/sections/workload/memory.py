"""What one run remembers from section to section, so that absence is paid for once.

A broker that is unreachable, or a gatherer that hangs, costs a section its whole patience.
The next 399 do not wait for it again: within a pause that grows they decide at once. Between
pauses one of them asks, so that a gatherer that comes later is found. A live broker without a
gatherer says so within milliseconds; it is asked twice a second at the most, for connecting,
asking and closing cost it more than a short test takes.
"""

from dataclasses import dataclass, field

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds for which absence is taken for granted, doubling: a run of short tests loses at most
a few percent to asking, and a lab that comes up is met within a minute."""

EMPTY_PAUSE = 0.5
"""Seconds for which a live broker's word that there is no gatherer is taken for granted: short
enough that nobody notices who starts one, and a bound on what a run of short tests asks."""

FIRST_NEEDED = 0.02
"""Seconds from Go to quiet, as long as none was measured: closing a link takes a round trip
or two, and the census some milliseconds."""

RECENT = 8
"""Sections over which the longest way from Go to quiet is taken: one slow one is soon forgotten."""


@dataclass(slots=True)
class Memory:
    """The memory of one run. Times are seconds on the caller's monotonic clock.

    ``met`` tells whether a gatherer was ever met: from then on its absence is a fault.
    ``token`` is the highest that was seen. Not thread-safe.
    """

    met: bool = False
    token: int = 0
    absent_until: float = 0.0
    absent_because: str = ""
    _pause: float = 0.0
    _needed: list[float] = field(default_factory=list)

    def absence(self, now: float, *, demanding: bool) -> str | None:
        """Say why there is no use in asking now; ``None`` if there is.

        A section that demands something would fail, so it always asks a broker that is live.
        """
        if now >= self.absent_until or (demanding and not self.tried):
            return None
        return self.absent_because

    def absent(self, why: str, now: float) -> None:
        """Note that asking took all of its time and was of no use."""
        self._pause = min(LONGEST_PAUSE, self._pause * 2) if self._pause else FIRST_PAUSE
        self.absent_until = now + self._pause
        self.absent_because = why

    def empty(self, why: str, now: float) -> None:
        """Note that a live broker knows of no gatherer."""
        self._pause = 0.0
        self.absent_until = now + EMPTY_PAUSE
        self.absent_because = why

    def there(self) -> None:
        """Note that somebody was there, be it only the broker."""
        self._pause = self.absent_until = 0.0

    @property
    def tried(self) -> bool:
        """Whether asking was of no use the last time."""
        return self._pause > 0

    @property
    def needed(self) -> float:
        """Seconds from Go to quiet that the next section should count on."""
        return max(self._needed, default=FIRST_NEEDED)

    def note_needed(self, seconds: float) -> None:
        """Note what the way from Go to quiet took."""
        self._needed = [*self._needed[1 - RECENT :], seconds]
