"""When a lost connection is tried again, and when trying is given up. Time is an argument."""

from typing import Any

from pytest_gatherscatter.errors import BrokerError, BrokerUnreachable, NameTaken

FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0
"""Seconds between two attempts to connect: exponential from the first to the longest, with
jitter, so that a hundred agents do not come back to a restarted broker at one instant. A test may
stand there with its broker back, and wait for the report of an agent that waits for its next
attempt; an attempt that finds nobody costs next to nothing."""

NAME_TAKEN_HEARTBEATS = 4
"""How long a returning link asks again for its own name: the broker may not know yet that
the lost connection is dead (three misses, and one for luck)."""

STEADY_SECONDS = 5.0
"""A connection that lived shorter does not count as success for the waits: what broke it (a
refused publish, say) may break the next one too, and must not turn into a busy loop."""


def waits() -> Any:  # noqa: ANN401 - tenacity's own
    """Build the waits between attempts."""
    import tenacity  # noqa: PLC0415 - it takes 40 ms, which who connects at once need not pay

    return tenacity.wait_exponential(FIRST_WAIT, LONGEST_WAIT) + tenacity.wait_random(0, FIRST_WAIT)


class Comeback:
    """The attempts of one link to come back; ``heartbeat`` and ``now`` are in seconds."""

    def __init__(self, heartbeat: int) -> None:
        self._heartbeat = heartbeat
        self._tries = 0
        self._up_since = self._down_since = 0.0

    def up(self, now: float) -> None:
        """Take note that the link is up."""
        self._up_since = now

    def lost(self, now: float) -> None:
        """Take note that it was up, and is no more."""
        self._down_since = now
        if now - self._up_since > STEADY_SECONDS:
            self._tries = 0

    def is_final(self, error: BrokerError, now: float) -> bool:
        """Say whether the next attempt would end as the one that ended in ``error``."""
        if isinstance(error, NameTaken):
            return now - self._down_since > NAME_TAKEN_HEARTBEATS * self._heartbeat
        return not isinstance(error, BrokerUnreachable)

    def wait(self) -> float:
        """Return the seconds until the next attempt, more of them each time."""
        import tenacity  # noqa: PLC0415 - as in waits

        self._tries += 1
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = self._tries
        return float(waits()(state))
