"""The workers that a fork server has forked: told in advance what to be, or when the job says so.

Apart from ``spawning.py``, for it needs no link: workers get ready while a link is imported.
"""

import contextlib
import os
import select
import time
from collections.abc import Iterable, Iterator

from pytest_gatherscatter.testfiles.service.birth import Born, close_all
from pytest_gatherscatter.testfiles.service.pipe import Start, line

LEAVE_SECONDS = 5.0
"""How long workers whom no job came to may take to tear down before they are killed."""


class Pool:
    """Workers by the names that they are likely to have.

    What a worker is told in advance is what the job will most likely say of it. What that says in
    the end decides: one that was told anything else is left to itself, and another one is started.
    """

    def __init__(self) -> None:
        self.slots = 0
        """How many there were at first."""
        self._waiting: dict[str, Born] = {}
        self._told: dict[bytes, Born] = {}

    def add(self, worker: str, born: Born) -> None:
        """Take a worker that was forked."""
        self._waiting[worker] = born
        self.slots += 1

    @property
    def pipes(self) -> Iterator[int]:
        """Our ends of their pipes."""
        return (pipe for born in self._waiting.values() for pipe in born.pipes)

    def tell(self, starts: Iterable[Start]) -> None:
        """Tell workers what they are most likely to be."""
        for start in starts:
            said, born = line(start), self._waiting.pop(start.worker)
            self._told[said] = born
            _write(born.commands, said)

    def take(self, worker: str, order: bytes) -> tuple[Born, bytes] | None:
        """Return a worker with this name and this order, and what it has still to be told of it."""
        told = self._told.pop(order, None)
        if told is not None:
            return told, b""
        born = self._waiting.pop(worker, None)
        return None if born is None else (born, order)

    def close(self) -> None:
        """End the workers that nobody wanted: in good order those that may have begun a session."""
        for born in self._waiting.values():
            close_all(born.pipes)
        end = time.monotonic() + LEAVE_SECONDS
        for born in self._told.values():
            os.close(born.commands)
        for born in self._told.values():
            over = os.pidfd_open(born.pid)
            select.select([over], [], [], max(0.0, end - time.monotonic()))
            os.close(over)


def _write(descriptor: int, said: bytes) -> None:
    """Write all of it; who is gone is seen later."""
    with contextlib.suppress(BrokenPipeError):
        while said:
            said = said[os.write(descriptor, said) :]
