"""No container: one line that names the cause and the cure, from whatever the engine's way is.

What works with an engine is in ``tests/container/``.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_gatherscatter.broker import container
from pytest_gatherscatter.errors import SettingsInvalid

START = """
import os, sys
import testcontainers.core.container
from pytest_gatherscatter.broker import container
from pytest_gatherscatter.errors import GatherScatterError
if sys.argv[1:] == ["nobody"]:
    os.setgroups([])
    os.setuid(65534)
try: container.start_docker()
except GatherScatterError as error: print(error)
"""


def told(engine: str, *who: str) -> str:
    """What a process is told that wants a container of ``engine``: one line, and nothing else."""
    environ = {key: value for key, value in os.environ.items() if key != container.IMAGE_VARIABLE}
    # A process of its own, because the engine's client leaves a socket unclosed.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START, *who],
        env=environ | {"DOCKER_HOST": engine, "TESTCONTAINERS_RYUK_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.stdout.removeprefix(f"no broker at docker:{container.IMAGE}: ").rstrip("\n")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without testcontainers the error says what to install."""
    monkeypatch.setitem(sys.modules, "testcontainers.core.container", None)
    with pytest.raises(SettingsInvalid, match=r"pytest-gatherscatter\[docker\]"):
        container.start_docker()


def test_without_an_engine(tmp_path: Path) -> None:
    """There is no socket where one is looked for."""
    words = told(f"unix://{tmp_path}/engine.sock")
    assert words == "no container engine is here; install one, or set DOCKER_HOST"


def test_an_engine_that_died(tmp_path: Path) -> None:
    """Its socket lies there, and nobody listens; or its host refuses."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{tmp_path}/engine.sock")
    words = "the container engine is not started (or DOCKER_HOST is wrong)"
    assert told(f"unix://{tmp_path}/engine.sock") == words
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert told(f"tcp://127.0.0.1:{taken.getsockname()[1]}") == words


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not")
def test_an_engine_of_others(tmp_path: Path) -> None:
    """Whoever is not in its group may not speak to it."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{tmp_path}/engine.sock")
        engine.listen()
        (tmp_path / "engine.sock").chmod(0o600)
        words = told(f"unix://{tmp_path}/engine.sock", "nobody")
    assert words == "this user may not use the container engine; its group is 'docker'"


def test_an_address_that_is_none() -> None:
    """What ``DOCKER_HOST`` says is repeated, so that it can be mended."""
    assert "teapot://x" in told("teapot://x")
