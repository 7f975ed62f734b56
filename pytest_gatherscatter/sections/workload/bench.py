"""The bench of a section on this host: whether its lock is held, and what to do if it is not."""

from pytest_gatherscatter.errors import NotGathered
from pytest_gatherscatter.sections.workload.step import Fail, ReleaseLock, Serve, Step, TakeLock

LOCK_TURN = 0.05
"""Seconds between two looks at a bench's lock while the connection is served."""


class Bench:
    """What a guide knows of its bench's lock."""

    def __init__(self) -> None:
        self.held = False
        self._busy: NotGathered | None = None

    def taken(self) -> None:
        """Take it that the lock is held."""
        self.held, self._busy = True, None

    def busy(self, error: NotGathered) -> None:
        """Take it that somebody else holds the lock; ``error`` says who."""
        self._busy = error

    def wait(self, limit: float, waited: float) -> Step:
        """Wait for the lock and nothing else."""
        return self._failure(limit, waited) or TakeLock(limit, waited=0.0, left=limit)

    def look(self, limit: float, waited: float) -> Step:
        """Look whether the lock is free now, and again soon, until ``waited`` is ``limit``."""
        if self._busy is not None and waited < limit:
            self._busy = None
            return Serve(LOCK_TURN)
        return self.snatch(limit, waited)

    def snatch(self, limit: float, waited: float) -> Step:
        """Take the lock now or fail."""
        left = max(0.0, limit - waited)
        return self._failure(limit, waited) or TakeLock(0.0, waited=waited, left=left)

    def release(self) -> Step:
        """Open the bench to others."""
        self.held = False
        return ReleaseLock()

    def _failure(self, limit: float, waited: float) -> Fail | None:
        busy, self._busy = self._busy, None
        if busy is None:
            return None
        return Fail(NotGathered(f"{busy.text} (waited {waited:.1f} s of {limit:g} s)"))
