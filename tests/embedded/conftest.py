"""A broker process for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from brokerprocess import PATIENCE, Running, start


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Running]:
    """A broker of this test's own."""
    running = start(tmp_path / "broker.json")
    yield running
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0
