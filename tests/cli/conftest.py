"""Each test has a lab, a runtime directory and a home of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shells import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A person's shell on a machine where nothing runs yet."""
    shell = Shell(tmp_path)
    yield shell
    shell.end()


@pytest.fixture
def labshell(tmp_path: Path, embedded_url: str, lab: str) -> Iterator[Shell]:
    """A shell that is configured for a live broker, and a lab of its own there."""
    shell = Shell(tmp_path, GATHERSCATTER_BROKER=embedded_url, GATHERSCATTER_LAB=lab)
    yield shell
    shell.end()
