"""RabbitMQ in a container for one run: really started, reached, and gone afterwards.

No part of the plain suite: ``tox -e docker`` runs it with ``engine.sh``, which sees to an engine
and an image. Nothing is skipped here: without an engine these tests fail.
"""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shells import Shell

from pytest_gatherscatter.broker import container
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.errors import BrokerUnreachable

IMAGE = os.environ.get("GS_TEST_IMAGE", container.IMAGE)
SHELL_PATIENCE = 120.0
"""Seconds for a command that starts a container: an engine that copies images needs 20."""

# The engine's client leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def engine(*words: str, given: str | None = None) -> str:
    """Ask the engine by its own command."""
    done = subprocess.run(
        ["docker", *words], input=given, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def running(image: str = IMAGE) -> set[str]:
    """The containers of ``image``, ended ones too."""
    return set(engine("ps", "-aq", "--no-trunc", "--filter", f"ancestor={image}").split())


@pytest.fixture
def before() -> set[str]:
    """The containers that are nothing of ours."""
    return running()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A person who wants the broker in a container."""
    shell = Shell(tmp_path, GATHERSCATTER_RABBITMQ_IMAGE=IMAGE)
    yield shell
    shell.end()


def derived(lines: str) -> str:
    """Make an image out of ours that does something else; its name."""
    name = f"gatherscatter-test:{secrets.token_hex(4)}"
    engine("build", "-q", "-t", name, "-", given=f"FROM {IMAGE}\n{lines}\n")
    return name


def test_it_is_started_reached_and_removed(before: set[str], lab: str) -> None:
    """It is a RabbitMQ with a password of its own, on this machine's loopback only."""
    with container.start_docker(IMAGE) as broker:
        assert broker.pid is None
        at = parse(broker.url)
        assert at.password is not None
        assert len(at.password) >= 24
        (mine,) = running() - before
        (facts,) = json.loads(engine("inspect", mine))
        (port,) = facts["NetworkSettings"]["Ports"]["5672/tcp"]
        assert (port["HostIp"], int(port["HostPort"])) == ("127.0.0.1", at.port)
        with Link(broker.url, lab_topology(lab), name="test") as link:
            link.open(10)
            assert link.product.startswith("RabbitMQ ")
    assert running() == before
    broker.stop()


def test_a_container_that_ends_says_its_last_words() -> None:
    """At once, not after the two minutes that RabbitMQ may take."""
    image = derived('CMD ["sh", "-c", "echo no luck today; exit 3"]')
    try:
        with pytest.raises(BrokerUnreachable, match="its container ended: no luck today"):
            container.start_docker(image)
        assert running(image) == set()
    finally:
        engine("rmi", image)


def test_a_run_of_pytest_in_a_container(before: set[str], shell: Shell) -> None:
    """``--gs-broker=docker``: tests run, a child reaches the broker, and nothing is left."""
    (shell.folder / "test_it.py").write_text(
        "import os, subprocess, pytest\n@pytest.mark.critical_section\ndef test_it():\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--gs-broker=docker"],
        env=shell.environ,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=SHELL_PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"0 coordinated, 1 alone, .*no gatherer", done.stdout), done.stdout
    assert running() == before


def test_a_gatherer_with_a_container(before: set[str], shell: Shell) -> None:
    """``gatherscatter gatherer --broker docker`` serves until SIGTERM, and takes it along."""
    gatherer = shell.start("gatherer", "--broker", "docker")
    gatherer.says("a container, until this ends")
    gatherer.says("every section needs")
    assert len(running() - before) == 1
    gatherer.process.terminate()
    assert gatherer.process.wait(60) == 0
    assert running() == before


def test_an_image_that_cannot_be_had_is_told(before: set[str], shell: Shell) -> None:
    """One line with the variable that names another image."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_gatherscatter", "gatherer", "--broker", "docker"],
        env=shell.environ | {"GATHERSCATTER_RABBITMQ_IMAGE": "localhost:1/no/such:image"},
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=SHELL_PATIENCE,
        check=False,
    )
    assert done.returncode == 69
    line = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "docker:localhost:1/no/such:image: the image cannot be had" in line
    assert "GATHERSCATTER_RABBITMQ_IMAGE names another" in line
    assert running() == before
