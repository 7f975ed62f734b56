"""What the benchmarks share: brokers to measure on, and how figures are told.

Every benchmark prints its figure beside a floor or a peer measured in the same run: these
ratios hold on a noisy machine, seconds do not.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.errors import NoGatherer
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import AskStatus, LabStatus

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import rabbitmq

BROKERS = ("embedded", "rabbitmq")


@contextmanager
def broker(kind: str) -> Iterator[str]:
    """Start a private broker of a ``kind`` out of ``BROKERS``; yields its URL."""
    if kind == "embedded":
        with provider.start_local() as local:
            yield local.url
        return
    if rabbitmq.server() is None:
        sys.exit("no rabbitmq-server on this machine: apt-get install rabbitmq-server")
    with tempfile.TemporaryDirectory() as directory:
        rabbitmq.start(Path(directory), os.getpid())
        try:
            yield rabbitmq.wait(Path(directory)).url
        finally:
            rabbitmq.stop()


@contextmanager
def own_state() -> Iterator[None]:
    """Keep locks, tickets and captures out of the user's own folders."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            os.environ[name] = directory
        yield


def wait_for_gatherer(settings: Settings, url: str) -> None:
    """Wait (30 s) until a gatherer of the lab answers."""
    end = time.monotonic() + 30
    while True:
        try:
            with Asker(settings, url) as asker:
                asker.ask(AskStatus(), LabStatus)
        except NoGatherer:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def row(what: str, values: Sequence[float], *, scale: float = 1000.0, unit: str = "ms") -> str:
    """Make a line: what, median, smallest and largest."""
    ranked = sorted(value * scale for value in values)
    middle = statistics.median(ranked)
    return f"{what:<34} {middle:9.2f} {unit}   ({ranked[0]:.2f} to {ranked[-1]:.2f})"
