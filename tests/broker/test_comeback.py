"""The policy of coming back: how the waits grow, and when there is no use in another attempt."""

import pytest

from pytest_gatherscatter.broker.comeback import Comeback
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    LoginRefused,
    NameTaken,
)


def test_the_waits_grow_to_a_second() -> None:
    """From a tenth of a second, doubled each time, with a tenth of jitter at most."""
    comeback = Comeback(heartbeat=5)
    waits = [comeback.wait() for _ in range(8)]
    for wait, least in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0], strict=True):
        assert least <= wait <= least + 0.1
    assert len(set(waits[4:])) == 4


@pytest.mark.parametrize(("lived", "least"), [(5.0, 0.8), (5.1, 0.1)])
def test_only_a_steady_connection_lets_the_waits_begin_anew(lived: float, least: float) -> None:
    """One that broke within five seconds may break again, and again: no busy loop."""
    comeback = Comeback(heartbeat=5)
    for _ in range(3):
        comeback.wait()
    comeback.up(100.0)
    comeback.lost(100.0 + lived)
    assert least <= comeback.wait() <= least + 0.1


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (BrokerUnreachable("h", "refused"), False),
        (LoginRefused("h", "no"), True),
        (BrokerRefused(403, "no"), True),
    ],
)
def test_what_is_refused_would_be_refused_again(error: BrokerError, final: bool) -> None:  # noqa: FBT001
    """Nobody there may be somebody later; a refusal stays one."""
    comeback = Comeback(heartbeat=5)
    comeback.lost(100.0)
    assert comeback.is_final(error, 1000.0) is final


def test_a_name_is_asked_for_during_four_heartbeats() -> None:
    """So long a broker may believe in the connection that was lost; then it is somebody else's."""
    comeback = Comeback(heartbeat=5)
    comeback.up(90.0)
    comeback.lost(100.0)
    assert not comeback.is_final(NameTaken(405, "locked"), 120.0)
    assert comeback.is_final(NameTaken(405, "locked"), 120.1)
