"""Who asks, and what is said where nobody answered."""

from types import SimpleNamespace

import pytest

from pytest_gatherscatter.broker import inquiry
from pytest_gatherscatter.errors import BrokerLost
from pytest_gatherscatter.graders.service.asker import GradeAsker


def test_a_broker_that_does_not_answer_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests end at once; a second later it is asked again."""
    asker = GradeAsker("lab", "amqp://localhost")
    monkeypatch.setattr(asker, "_link", SimpleNamespace(up=True))
    now = [100.0]
    monkeypatch.setattr(inquiry, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = []

    def depth() -> tuple[int, int]:
        asked.append(now[0])
        now[0] += 5.0  # as long as an answer is waited for
        raise BrokerLost("no answer")

    assert {asker._why("q", depth, "agent") for _ in range(64)} == {"no answer"}
    assert asked == [100.0]
    now[0] += inquiry.FRESH
    assert asker._why("q", lambda: (14, 2), "agent") == "2 agents, 14 waiting"
