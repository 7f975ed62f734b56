"""What the fork server becomes once it knows the job: the supervisor, and the broker's parent."""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from pytest_gatherscatter.embedded.address import read_address, remove_place
from pytest_gatherscatter.embedded.server import serve
from pytest_gatherscatter.errors import BrokerUnreachable
from pytest_gatherscatter.testfiles.service.birth import Born, close_all
from pytest_gatherscatter.testfiles.service.pipe import line, start_of
from pytest_gatherscatter.testfiles.service.supervisor import SupervisorService, spawn_worker

BROKER_SECONDS = 3.0
"""How long the broker may take to end before it is killed."""

WAIT = 30.0
"""Seconds until the job must have been offered: its originator is there already."""

PAUSE = 0.005
"""Seconds between two looks at whether the broker has ended."""


class Spawning:
    """Supervises the workers of one job, over a broker of its own if there is no other.

    Args:
        lab: the lab's name.
        job: the job's id.
        pool: workers that are forked already.
    """

    def __init__(self, lab: str, job: str, pool: list[Born]) -> None:
        self._lab, self._job = lab, job
        self._pool = pool
        self._broker = 0
        self._broker_died = False

    def start_broker(self) -> str:
        """Fork the embedded broker; returns its URL. To be called before there are threads.

        Raises:
            BrokerUnreachable: it did not start.
        """
        heard, said = os.pipe()
        self._broker = os.fork()
        if not self._broker:
            close_all((heard, *(pipe for born in self._pool for pipe in born.pipes)))
            _be_broker(said)
        os.close(said)
        with open(heard, "rb") as words:  # noqa: PTH123 - a descriptor
            url = words.readline().decode()
        if not url.endswith("\n"):
            raise BrokerUnreachable("local", f"it did not start: {url or 'it ended at once'}")
        return url.strip()

    def run(self, url: str, stop: Callable[[], bool]) -> None:
        """Work until the job is over; raises as :meth:`SupervisorService.run`."""
        service = SupervisorService(
            self._lab,
            url,
            slots=len(self._pool),
            order=lambda start: line(start_of(start)),
            job=self._job,
            bear=self._bear,
        )
        service.run(lambda: stop() or self._broker_has_ended(), wait=WAIT)

    def _broker_has_ended(self) -> bool:
        """See whether the broker has died under us: nobody will start it again."""
        if self._broker and os.waitpid(self._broker, os.WNOHANG)[0]:
            self._broker, self._broker_died = 0, True
        return self._broker_died

    def _bear(self) -> Born:
        """Return a worker that waits already, else a new one: we have threads by now."""
        return self._pool.pop(0) if self._pool else spawn_worker()

    def close(self) -> None:
        """End the broker, if there is one, and the workers that nobody wanted."""
        for born in self._pool:
            close_all(born.pipes)
        if not self._broker:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._broker, signal.SIGTERM)
        end = time.monotonic() + BROKER_SECONDS
        while not os.waitpid(self._broker, os.WNOHANG)[0]:
            if time.monotonic() >= end:
                os.kill(self._broker, signal.SIGKILL)
            time.sleep(PAUSE)


def _be_broker(said: int) -> NoReturn:
    """Be the embedded broker of this process' parent, and tell the URL."""
    status = os.EX_SOFTWARE
    try:
        parent = os.getppid()
        place = Path(tempfile.mkdtemp(prefix="gatherscatter-")) / "address"
        try:
            asyncio.run(serve(place, parent=parent, accepting=partial(_tell, said, place)))
            status = os.EX_OK
        except OSError as error:
            os.write(said, str(error).encode())
        finally:
            remove_place(place)
    finally:
        os._exit(status)


def _tell(said: int, place: Path) -> None:
    address = read_address(place)
    os.write(said, b"" if address is None else f"{address.url}\n".encode())
    os.close(said)
