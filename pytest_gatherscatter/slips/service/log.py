"""The whole output of commands, in a file for each attempt, as long as there is room for it."""

import contextlib
import os
import re
import time
from pathlib import Path

from pytest_gatherscatter.wire.names import ID_PATTERN
from pytest_gatherscatter.wire.slips import Task

MOST = 64 * 1024 * 1024
"""Bytes of one log: a command that prints for ever fills no disk."""

KEPT_SECONDS = 14 * 86400
"""How long logs are kept: two weeks, in which somebody has read why a slip failed."""

KEPT_BYTES = 1024 * 1024 * 1024
"""Bytes of all logs together; the oldest go first."""

_SLIP = re.compile(ID_PATTERN)
_LOG = re.compile(r"[0-9]+-[0-9]+(-undo)?\.log")


class LogFile:
    """One attempt's log: made with the first output, so that a silent command leaves none."""

    def __init__(self, directory: Path, slip: str, task: Task) -> None:
        undo = "-undo" if task.compensating else ""
        self._path = directory / slip / f"{task.number}-{task.attempt}{undo}.log"
        self._descriptor = -1
        self._size = 0
        self.trouble = ""
        """Why it is not whole, if it is not."""

    @property
    def name(self) -> str:
        """The file's path; empty if there is none."""
        return str(self._path) if self._size else ""

    def add(self, data: bytes) -> None:
        """Write more; what there is no room for is left out."""
        if self.trouble:
            return
        try:
            if self._descriptor < 0:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
            view = memoryview(data)[: MOST - self._size]
            while view:
                written = os.write(self._descriptor, view)
                self._size += written
                view = view[written:]
        except OSError as error:
            self.trouble = f"its log was cut short: {error.strerror}"
        if self._size >= MOST:
            self.trouble = f"its log was cut short at {MOST // 1024**2} MiB"

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def prune(directory: Path, *, spared: frozenset[str] = frozenset()) -> None:
    """Remove logs that are too old, or too much together; those of ``spared`` slips stay.

    Only what looks as ours is looked at: somebody may have given us ``/var/log``.
    """
    found: list[tuple[float, int, Path]] = []
    with contextlib.suppress(OSError):
        for path in directory.glob("*/*.log"):
            slip = path.parent.name
            if slip not in spared and _SLIP.fullmatch(slip) and _LOG.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    seen = path.stat()
                    found.append((seen.st_mtime, seen.st_size, path))
    room, oldest = KEPT_BYTES, time.time() - KEPT_SECONDS
    for at, size, path in sorted(found, reverse=True):
        room -= size
        if at < oldest or room < 0:
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # if it was the last one of its slip
