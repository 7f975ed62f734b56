"""Names, queues and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.wire import names


@pytest.mark.parametrize("name", ["a", "scope", "Bench-2", "0_1", "x" * 64])
def test_allowed_names(name: str) -> None:
    """Letters, digits, underscore and hyphen."""
    assert names.check_name("agent", name) == name


@pytest.mark.parametrize("name", ["", "a.b", "-a", "_a", "x" * 65, "a b", "ä", "a\n", "#", "*"])
def test_refused_names(name: str) -> None:
    """The message says what was wrong and what is allowed."""
    with pytest.raises(SettingsInvalid, match=r"agent name .*: allowed are 1 to 64 letters"):
        names.check_name("agent", name)


@given(st.from_regex(names.NAME_PATTERN.replace("$", r"\Z")))
def test_keys_and_queues_fit_into_amqp(name: str) -> None:
    """AMQP's short strings hold 255 bytes; a name is one word of a topic key."""
    queue = names.agent_queue(name, name)
    key = names.agent_key(name)
    assert len(queue.encode()) <= 255
    assert key.split(".") == ["agent", name]
