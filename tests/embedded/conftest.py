"""A broker process for each test that asks for one, and two brokers to be compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pika
import pytest
from brokerprocess import PATIENCE, Running, start

from pytest_gatherscatter.embedded.record import Profile


class Twins(NamedTuple):
    """URLs of two brokers that no client should be able to tell apart."""

    embedded: str
    rabbitmq: str


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Running]:
    """A broker of this test's own."""
    running = start(tmp_path / "broker.json")
    yield running
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0


@pytest.fixture(scope="session")
def twin_urls(rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """RabbitMQ, and an embedded broker of the profile that is nearest to its version."""
    connection: Any = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    version = connection._impl.server_properties["version"]
    connection.close()
    release = tuple(int(part) for part in version.split(".")[:2])
    if (4, 0) <= release < (4, 3):
        pytest.skip(f"RabbitMQ {version} is like neither profile; both ends are compared")
    profile = Profile.RABBITMQ_3_10 if release < (4, 0) else Profile.RABBITMQ_4_3
    path = tmp_path_factory.mktemp("twin") / "broker.json"
    running = start(path, "--profile", profile.value)
    yield Twins(running.address.url, rabbitmq_url)
    running.process.terminate()
    assert running.process.wait(PATIENCE) == 0
