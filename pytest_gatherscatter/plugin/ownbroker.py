"""The embedded broker of a run that has no other: a fork that waits for its go.

It imports what a broker needs while the originator still reads its configuration. Where it turns
out that there is another broker, it is never told to begin, and ends.
"""

import asyncio
import contextlib
import os
import select
import signal
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn

from pytest_gatherscatter.errors import BrokerUnreachable
from pytest_gatherscatter.host.garbage import here_to_stay
from pytest_gatherscatter.testfiles.service.birth import close_all

END_SECONDS = 3.0
"""How long it may take to end before it is killed."""


class OwnBroker:
    """The fork server's side of it. Only a process without threads may make one.

    Args:
        others: descriptors that it must not hold open: our ends of workers' pipes.

    Raises:
        OSError: there can be no further process.
    """

    def __init__(self, others: Iterable[int]) -> None:
        waits, self._go = os.pipe()
        self._heard, said = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            close_all((*others, self._go, self._heard))
            _be_broker(waits, said)
        close_all((waits, said))
        self._over = os.pidfd_open(self._pid)
        self._ended = False

    def begin(self) -> None:
        """Have it serve."""
        with contextlib.suppress(BrokenPipeError):  # it is heard that it ended
            os.write(self._go, b"!")

    def url(self) -> str:
        """Wait until it serves; returns its URL, with its password.

        Raises:
            BrokerUnreachable: it did not start.
        """
        with open(self._heard, "rb", closefd=False) as words:
            url = words.readline().decode()
        if not url.endswith("\n"):
            raise BrokerUnreachable("local", f"it did not start: {url or 'it ended at once'}")
        return url.strip()

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        if not self._ended:
            self._ended = bool(os.waitpid(self._pid, os.WNOHANG)[0])
        return self._ended

    def close(self) -> None:
        """End it, by force after some seconds. May be called twice."""
        if self._over < 0:
            return
        close_all((self._go, self._heard))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        if not self._ended and not select.select([self._over], [], [], END_SECONDS)[0]:
            os.kill(self._pid, signal.SIGKILL)
        if not self._ended:
            os.waitpid(self._pid, 0)
            self._ended = True
        os.close(self._over)
        self._over = -1


def _be_broker(waits: int, said: int) -> NoReturn:
    """Be the embedded broker of this process' parent, once it says so, and tell the URL."""
    status = os.EX_SOFTWARE
    try:
        parent = os.getppid()
        with here_to_stay():
            from pytest_gatherscatter.embedded.address import (  # noqa: PLC0415 - no supervisor's
                remove_place,
            )
            from pytest_gatherscatter.embedded.server import serve  # noqa: PLC0415 - as above

        if not os.read(waits, 1):
            os._exit(os.EX_OK)
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
    from pytest_gatherscatter.embedded.address import read_address  # noqa: PLC0415 - as above

    address = read_address(place)
    os.write(said, b"" if address is None else f"{address.url}\n".encode())
    os.close(said)
