"""Each test has a lab, a runtime directory and a home of its own."""

import secrets
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


@pytest.fixture(scope="module")
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, embedded_url: str
) -> Iterator[Shell]:
    """A lab with a gatherer, for all tests of a module; ``REQUIRED`` there names its agents."""
    lab = f"t{secrets.token_hex(6)}"
    folder = tmp_path_factory.mktemp("house")
    shell = Shell(folder, GATHERSCATTER_BROKER=embedded_url, GATHERSCATTER_LAB=lab)
    shell.gather(*getattr(request.module, "REQUIRED", ()))
    yield shell
    shell.end()


@pytest.fixture
def gathered(house: Shell, tmp_path: Path) -> Iterator[Shell]:
    """A shell of one test's own, in the lab of the house."""
    keys = ("GATHERSCATTER_BROKER", "GATHERSCATTER_LAB")
    shell = Shell(tmp_path, **{key: house.environ[key] for key in keys})
    yield shell
    shell.end()
