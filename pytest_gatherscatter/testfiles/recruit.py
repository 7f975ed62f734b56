"""The listeners that a job has heard of: who is on the way to it, who is busy, who cannot come."""

from msgspec import Struct

from pytest_gatherscatter.wire.testfiles import ListenerTold

MOST_LISTENERS = 1024
"""As many as there may be workers: a bound on what a flood can make one keep."""

QUIET = 10.0
"""Seconds after which a listener that says nothing is not counted on: five of its words."""


class Recruit(Struct, frozen=True):
    """What a listener said last, and when."""

    state: str
    heard: float


class Recruits:
    """Listeners by id. A job that has no worker yet waits for those that prepare it."""

    def __init__(self) -> None:
        self._known: dict[str, Recruit] = {}

    def hear(self, told: ListenerTold, now: float) -> bool:
        """Take what a listener says; returns whether it has just failed."""
        before = self._known.get(told.listener)
        if before is None and len(self._known) >= MOST_LISTENERS:
            return False
        self._known[told.listener] = Recruit(told.state, now)
        return told.state == "failed" and (before is None or before.state != "failed")

    def coming(self, now: float) -> bool:
        """Say whether somebody prepares the job, or has just begun to work on it."""
        return any(
            one.state in {"preparing", "working"} and now - one.heard < QUIET
            for one in self._known.values()
        )

    def text(self, now: float) -> str:
        """Say who might have come and has not; empty if nobody might."""
        busy = sum(
            one.state == "queued" and now - one.heard < QUIET for one in self._known.values()
        )
        failed = sum(one.state == "failed" for one in self._known.values())
        parts = [
            f"{count} {'listener' if count == 1 else 'listeners'} {what}"
            for count, what in ((busy, "had other jobs"), (failed, "failed"))
            if count
        ]
        return f" ({', '.join(parts)})" if parts else ""
