"""The brokers on which faults are played; those that die in them are their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import rabbitmq
from faults.brokers import Mortal, MortalEmbedded, MortalRabbit


@pytest.fixture
def embedded_mortal(tmp_path: Path) -> Iterator[Mortal]:
    """An embedded broker of the test's own."""
    place = tmp_path / "broker"
    place.mkdir(mode=0o700)
    broker = MortalEmbedded(place)
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def rabbitmq_mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """A RabbitMQ node for those who kill it; each of them starts it again."""
    if rabbitmq.server() is None:
        pytest.fail("no RabbitMQ to kill: install rabbitmq-server", pytrace=False)
    broker = MortalRabbit(tmp_path_factory.mktemp("mortal") / "node")
    yield broker
    broker.close()
