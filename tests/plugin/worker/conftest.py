"""A suite to write, and real workers on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import workerplay
from workerplay import Starts, Worker


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Return an empty suite; ``log`` beside it is for its tests to write to."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = slow\n"
    )
    return folder


@pytest.fixture
def start(suite: Path) -> Iterator[Starts]:
    """Return what starts workers; they end with the test."""
    workers: list[Worker] = []

    def begin(*arguments: str, **fields: object) -> Worker:
        workers.append(workerplay.start(suite, *arguments, **fields))  # type: ignore[arg-type]
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()
