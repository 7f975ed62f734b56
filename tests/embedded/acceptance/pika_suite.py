"""Run pika's own acceptance tests against the embedded broker, from a checkout of pika.

They were written for RabbitMQ by people who know nothing of this broker, so what they find is
found by strangers. They are no part of this project: nothing of them is copied here, and pytest
does not collect this file. What came of the last run stands in ``docs/broker.md``.

Usage: ``python tests/embedded/acceptance/pika_suite.py [CHECKOUT] [--profile 4.3] [PYTEST…]``

Without a checkout pika's repository is cloned, at the tag of the pika that is installed. The
tests meet the broker at a free port; port and login, which they have written down as
RabbitMQ's defaults, are changed in a copy of them. Adapters whose libraries are not installed
(tornado, twisted, gevent) are left out, and so is what asks the world's name servers.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pika

from pytest_gatherscatter.embedded.hub import Hub, Login
from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.server import HOST, Peer, Server

REPOSITORY = "https://github.com/pika/pika"
LOGIN = Login("guest", "guest")
"""Of RabbitMQ's defaults, which the tests use."""

RABBITMQ_PORT = "5672"
FILES = ("blocking_adapter_test", "async_adapter_tests", "io_services_tests")
OPTIONAL = {"twisted": "twisted_adapter_tests", "gevent": None, "tornado": None}
NAME_SERVERS = "getaddrinfo or GetAddrInfo or getaddr"
_TICK = 0.5


@contextlib.contextmanager
def broker(profile: Profile) -> Iterator[int]:
    """Run a broker with RabbitMQ's default login in a thread; gives its port."""
    started = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        hub = Hub(LOGIN, wall=time.time() - loop.time(), profile=profile)
        server = Server(hub, loop)
        listener = await loop.create_server(lambda: Peer(server), HOST, 0)
        ports.append(listener.sockets[0].getsockname()[1])
        started.set()
        while not ended.is_set():
            server.tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _TICK)
        listener.close()
        await server.shut()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def checkout(at: Path | None, scratch: Path) -> Path:
    """Where pika's repository is, cloned if it has to be."""
    if at is not None:
        return at
    tag = pika.__version__
    command = ["git", "clone", "-q", "--depth", "1", "--branch", tag, REPOSITORY, "pika"]
    subprocess.run(command, cwd=scratch, check=True)
    return scratch / "pika"


def prepare(source: Path, target: Path, port: int) -> None:
    """Copy the tests, with another port than RabbitMQ's."""
    shutil.copytree(source / "tests", target / "tests")
    for path in (target / "tests").rglob("*.py"):
        text = path.read_text()
        if RABBITMQ_PORT in text:
            path.write_text(text.replace(RABBITMQ_PORT, str(port)))


def run(directory: Path, more: list[str]) -> int:
    """Run the tests with the installed pika; pytest's exit status."""
    files = list(FILES)
    left_out = [NAME_SERVERS]
    for library, file in OPTIONAL.items():
        if importlib.util.find_spec(library) is None:
            left_out.append(library)
        elif file is not None:
            files.append(file)
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short"]
    # Nothing of this project's own settings, and not its plugin.
    command += ["-c", "/dev/null", "--rootdir", str(directory), "-p", "no:gatherscatter"]
    command += ["-p", "no:cacheprovider", "-k", f"not ({' or '.join(left_out)})"]
    command += [f"tests/acceptance/{file}.py" for file in files]
    return subprocess.run([*command, *more], cwd=directory, check=False).returncode


def main() -> int:
    """Run them; pytest's exit status."""
    parser = argparse.ArgumentParser(
        description="pika's acceptance tests on the embedded broker; other options are pytest's."
    )
    parser.add_argument("checkout", type=Path, nargs="?", help="a checkout of pika's repository")
    parser.add_argument("--profile", choices=[profile.value for profile in Profile], default="4.3")
    options, more = parser.parse_known_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        broker(Profile(options.profile)) as port,
    ):
        target = Path(scratch) / "suite"
        prepare(checkout(options.checkout, Path(scratch)), target, port)
        return run(target, more)


if __name__ == "__main__":
    sys.exit(main())
