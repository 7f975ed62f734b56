"""The brokers that tests run on: real ones, started once a run when first needed.

RabbitMQ comes from ``GS_TEST_AMQP_URL``; else, with ``GS_TEST_DOCKER=1``, from a container of the
image ``GS_TEST_IMAGE``; else from a private node. With none of them the tests that need it are
skipped, with one reason for all, or fail if ``GS_REQUIRE_RABBITMQ=1`` says that there must be one.
"""

import fcntl
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import certificate
import pytest
import rabbitmq
from hypothesis import HealthCheck, settings

from pytest_gatherscatter.broker import container, provider

# How long an example takes says nothing on a machine that does other things besides.
settings.register_profile("lab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lab")


FIRST = (
    *("simulation", "plugin", "sections/service", "embedded", "cli", "broker"),
    *("slips/service", "testfiles/service", "graders/service", "record/service"),
)
"""Folders in the order in which they are begun: what takes long is not to be left for the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring the tests into that order, where they are shared out in their order."""
    if getattr(config.option, "loadscopereorder", True):
        return
    here = Path(__file__).parent
    turns = {folder: number for number, folder in enumerate(FIRST)}

    def turn(item: pytest.Item) -> int:
        parts = item.path.relative_to(here).parts
        return min(turns.get("/".join(parts[:depth]), len(FIRST)) for depth in (1, 2))

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share them out as ``sharing.py`` says, with ``--dist loadfile``."""
    if config.getvalue("dist") != "loadfile":
        return None
    from sharing import Sharing  # noqa: PLC0415 - only where there is xdist

    return Sharing(config, log)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Have each test give signals their handlers back: the next one may wait for Ctrl-C."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    after = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


@pytest.fixture(scope="session", autouse=True)
def _nobodys_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the lab of whoever runs the tests out of them: variables, locks, tickets, broker."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("GATHERSCATTER_"):
                patch.delenv(name)
        for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture
def lab() -> str:
    """A lab that nobody else is in."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def rabbitmq_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rabbitmq.Node]:
    """A private RabbitMQ node, one for all workers of the run."""
    yield from _node(tmp_path_factory, "rabbitmq", lambda _: None)


@pytest.fixture(scope="session")
def tls_node(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[rabbitmq.Node, Path]]:
    """Another one that speaks TLS, and where its certificates and those of its clients are."""
    for node in _node(tmp_path_factory, "rabbitmq-tls", certificate.issue):
        yield node, Path(node.environment["RABBITMQ_CONFIG_FILE"]).parent


def _node(
    tmp_path_factory: pytest.TempPathFactory, name: str, prepare: Callable[[Path], object]
) -> Iterator[rabbitmq.Node]:
    """Start a node, or find the one that another worker started; ``prepare`` fills its folder."""
    if rabbitmq.server() is None:
        _missing("no RabbitMQ: set GS_TEST_AMQP_URL, or install rabbitmq-server")
    base = tmp_path_factory.getbasetemp()
    shared = "PYTEST_XDIST_WORKER" in os.environ
    # A worker's parent is the controller, whose end ends the node that all workers share.
    owner, base = (os.getppid(), base.parent) if shared else (os.getpid(), base)
    directory = base / name
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "started").exists():
            prepare(directory)
            rabbitmq.start(directory, owner)
            (directory / "started").touch()
    yield rabbitmq.wait(directory)
    if not shared:
        rabbitmq.stop()


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a RabbitMQ with full rights."""
    if url := os.environ.get("GS_TEST_AMQP_URL"):
        yield url
    elif os.environ.get("GS_TEST_DOCKER") == "1":
        with container.start_docker(os.environ.get("GS_TEST_IMAGE")) as broker:
            yield broker.url
    else:
        yield request.getfixturevalue("rabbitmq_node").url


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded broker, a process of its own."""
    path = Path(tmp_path_factory.mktemp("embedded")) / "address"
    with provider.start_local(address=path) as broker:
        yield broker.url


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """One broker after the other: what a test of this says holds on both."""
    return str(request.getfixturevalue(f"{request.param}_url"))


def _missing(reason: str) -> None:
    if os.environ.get("GS_REQUIRE_RABBITMQ") == "1":
        pytest.fail(f"{reason} (GS_REQUIRE_RABBITMQ=1)", pytrace=False)
    pytest.skip(reason)
