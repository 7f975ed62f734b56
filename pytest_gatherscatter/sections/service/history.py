"""A file to which one JSON object a line is added, and which does not grow for ever.

Both sides of a section write one, for an audit and for people. Nothing is decided by it, so it
costs little: a line is one ``write`` at the end of the file, which several processes may share,
and it is synced only where its writer has time. A line that a crash tore stays behind a newline
of the next one. What is too long is put aside under one other name, ``<name>.1``.
"""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pytest_gatherscatter.host import directory

LIMIT = 16 * 1024 * 1024
"""Bytes after which a file is put aside: some ten thousand sections, and twice that is kept."""

OLD = ".1"
"""What is added to the name of the file that was put aside."""


class History:
    """One such file; it and its folder are made by the first line. Any thread may add to it."""

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit

    def append(self, facts: Mapping[str, Any], *, sync: bool = False) -> None:
        """Add a line; with ``sync`` it is durable when this returns.

        Raises:
            OSError: it cannot be written.
        """
        line = msgspec.json.encode(facts) + b"\n"
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o644)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, flags, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size > self._limit:
                self._put_aside(descriptor)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
            if sync:
                os.fdatasync(descriptor)
                if not size:
                    directory.sync(self.path.parent)
        finally:
            os.close(descriptor)

    def _put_aside(self, descriptor: int) -> None:
        """Rename the file, unless another process has just done so: this line is its last."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # somebody is at it, or the file system has no locks
        opened, named = os.fstat(descriptor), self.path.stat()
        if (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino):
            self.path.replace(self.path.with_name(self.path.name + OLD))
            self.path.touch()  # who looks for it finds it, whether there is another line or not
