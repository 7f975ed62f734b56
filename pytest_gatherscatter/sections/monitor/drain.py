"""Leaving the lab in good order: disarm, let a running section end, say goodbye."""

from pytest_gatherscatter.sections.monitor.arming import INSIDE, UNCOMMITTED
from pytest_gatherscatter.sections.monitor.ending import Ending
from pytest_gatherscatter.sections.monitor.hookcall import Drain
from pytest_gatherscatter.sections.monitor.station import Station


class Draining:
    """Drains within the limit that it was told."""

    def __init__(self, station: Station, ending: Ending) -> None:
        self.station = station
        self.ending = ending
        self.left = False
        """Drained, and the gatherer was told if it could be."""
        self._by: float | None = None
        self._reason = ""
        self._farewell: int | None = None

    def begin(self, drain: Drain, now: float) -> None:
        """Leave from now on; said again, it changes nothing."""
        if self._by is None:
            self._by = now + drain.limit
            self._reason = drain.reason
            self.station.draining = True

    def outcome(self, effect: int) -> None:
        """Take what became of a publish: whatever it was, the goodbye is said once."""
        if effect == self._farewell:
            self.left = True

    def due(self) -> float | None:
        """When the limit runs out."""
        return None if self.left else self._by

    def advance(self, now: float) -> None:
        """Disarm what can be, and leave when nothing is left that has to end."""
        if self._by is None:
            return
        station = self.station
        late = self._by <= now
        for arming in station.open():
            if arming.state in UNCOMMITTED or (late and arming.state in INSIDE):
                self.ending.abort(arming, "leaving", now)
        # Past the limit only the hooks that make safe are waited for, each with its own limit.
        idle = station.hooks.idle
        done = (late and bool(station.hooks.stuck)) or (idle and (late or not station.open()))
        if done and self._farewell is None and not self.left:
            self._farewell = station.presence.leave(station.identity.instance, self._reason)
            self.left = self._farewell is None
