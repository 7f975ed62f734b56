"""Recorded events, one JSON object a line, synced before anything is built upon them.

A machine's decisions live here (``Record`` in ``machine.py``), and only decisions, so the file
stays short and a person can read it. Each line carries the CRC-32 of its event::

    {"crc":"5d1c6b6e","event":{"what":"opened","section":"…"}}

because "the last line is torn" (power went while it was written; nobody was promised anything)
and "a line in the middle changed" (a disk, an editor; promises may be lost) must never be taken
for each other: the first is cut off, the second is refused.

One append is one ``fdatasync``: it stands in the way of every go, and it is the price of a
promise that outlives the process. After a failed sync the journal takes no more: the kernel
reports such an error once and may have dropped the page.
"""

import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pytest_gatherscatter.errors import JournalDamaged, JournalTaken, JournalUnwritable
from pytest_gatherscatter.host import directory
from pytest_gatherscatter.host.lockfile import LockFile

_HEAD = b'{"crc":"'
_MIDDLE = b'","event":'
_START = len(_HEAD) + 8 + len(_MIDDLE)  # a CRC-32 is eight hexadecimal digits


class Journal(Protocol):
    """What a shell needs of a journal. One thread uses it."""

    def read(self) -> tuple[Mapping[str, Any], ...]:
        """Return all events, oldest first."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is durable when this returns.

        Raises:
            JournalUnwritable: it is not durable; the journal takes no more.
        """

    def snapshot(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Replace everything by ``events``, atomically: after a crash it is all old or all new.

        Raises:
            JournalUnwritable: the old or the new events stand; the journal takes no more.
        """

    def __len__(self) -> int:
        """Return how many events it holds, for who decides when to take a snapshot."""

    @property
    def size(self) -> int:
        """How many bytes these take, for the same purpose."""

    def close(self) -> None:
        """Let go of it. A second call does nothing."""


class MemoryJournal:
    """A journal that ends with its owner: for the simulation, and without a state directory.

    It keeps encoded lines, so that what cannot be written to a file fails here too, and a
    simulated crash that keeps the object sees what a restart would read.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0

    def read(self) -> tuple[Mapping[str, Any], ...]:
        """Return all events, oldest first."""
        return tuple(_decode(line) for line in self._lines)

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event."""
        line = _encode(event)
        self._lines.append(line)
        self._size += len(line)

    def snapshot(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Replace everything by ``events``."""
        self._lines = [_encode(event) for event in events]
        self._size = sum(map(len, self._lines))

    def __len__(self) -> int:
        """Return how many events it holds."""
        return len(self._lines)

    @property
    def size(self) -> int:
        """How many bytes these take."""
        return self._size

    def close(self) -> None:
        """Keep everything: the next owner reads it."""


class FileJournal:
    """A journal in a file, made if absent, that no second process can open.

    The lock is a file of its own (``<path>.lock``), because a snapshot replaces the journal's.

    Raises:
        JournalTaken: another process (or object) has it open.
        JournalDamaged: something other than a torn last line is wrong with it.
        JournalUnwritable: it cannot be opened, locked or synced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(path.name + ".new")
        self._descriptor: int | None = None
        self._events: list[bytes] = []
        self._size = 0
        if path.parent.exists() and not path.parent.is_dir():
            raise JournalUnwritable(str(path), f"{path.parent} is no directory")
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, parents=True)
                directory.sync(path.parent.parent)
            lock = LockFile.take(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise JournalUnwritable(str(path), str(error.strerror)) from None
        if lock is None:
            raise JournalTaken(str(path), _owner(path.with_name(path.name + ".lock")))
        self._lock = lock
        try:
            lock.write(f"pid {os.getpid()}")
            self._fresh.unlink(missing_ok=True)  # a snapshot that was cut short
            self._open()
        except OSError as error:
            self.close()
            raise JournalUnwritable(str(path), str(error.strerror)) from None
        except BaseException:
            self.close()
            raise

    def read(self) -> tuple[Mapping[str, Any], ...]:
        """Return all events, oldest first: what stood in the file, and what was added since."""
        return tuple(msgspec.json.decode(event) for event in self._events)

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is durable when this returns.

        Raises:
            JournalUnwritable: it is not durable; the journal takes no more.
        """
        line = _encode(event)
        descriptor = self._writable()
        try:
            _write(descriptor, line)
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._broken(error) from None
        self._events.append(_body(line))
        self._size += len(line)

    def snapshot(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Replace everything by ``events``, atomically.

        Raises:
            JournalUnwritable: the old or the new events stand; the journal takes no more.
        """
        lines = [_encode(event) for event in events]
        old = self._writable()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        try:
            new = os.open(self._fresh, flags, 0o600)
            try:
                _write(new, b"".join(lines))
                os.fsync(new)
                self._fresh.replace(self._path)
                directory.sync(self._path.parent)
            except OSError:
                os.close(new)
                raise
        except OSError as error:
            raise self._broken(error) from None
        self._descriptor = new
        os.close(old)
        self._events = [_body(line) for line in lines]
        self._size = sum(map(len, lines))

    def __len__(self) -> int:
        """Return how many events it holds."""
        return len(self._events)

    @property
    def size(self) -> int:
        """How many bytes these take."""
        return self._size

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        self._lock.close()

    def _open(self) -> None:
        """Open the file, keep what is whole, cut a torn last line off."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        content = self._path.read_bytes()
        self._events, whole = _recover(str(self._path), content)
        self._size = whole
        if whole != len(content):
            os.ftruncate(self._descriptor, whole)
        os.fsync(self._descriptor)
        directory.sync(self._path.parent)

    def _writable(self) -> int:
        if self._descriptor is None:
            raise JournalUnwritable(str(self._path), "it is closed, or an earlier write failed")
        return self._descriptor

    def _broken(self, error: OSError) -> JournalUnwritable:
        """Stop writing, but keep the lock: nobody else shall go on from an unknown state."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        return JournalUnwritable(str(self._path), str(error.strerror))


def _encode(event: Mapping[str, Any]) -> bytes:
    body = msgspec.json.encode(event)
    return b"%s%08x%s%s}\n" % (_HEAD, zlib.crc32(body), _MIDDLE, body)


def _body(line: bytes) -> bytes:
    return line[_START:-2]


def _decode(line: bytes) -> Mapping[str, Any]:
    event: dict[str, Any] = msgspec.json.decode(_body(line))
    return event


def _problem(line: bytes) -> str | None:
    """Say what is wrong with a line that ends in a newline; ``None`` if it is whole."""
    framed = line.startswith(_HEAD) and line[_START - len(_MIDDLE) : _START] == _MIDDLE
    if not framed or not line.endswith(b"}\n"):
        return "it is no record"
    body = _body(line)
    if line[len(_HEAD) : len(_HEAD) + 8] != b"%08x" % zlib.crc32(body):
        return "its CRC does not match"
    return None


def _recover(path: str, content: bytes) -> tuple[list[bytes], int]:
    """Return the events' JSON and how many bytes of ``content`` are whole.

    A last line is torn if its newline is missing, or if it holds NUL, which JSON never does:
    after a power cut the file can be longer than what reached the disk. Earlier lines cannot be
    torn, since each was synced before the next was begun.
    """
    lines = [line + b"\n" for line in content.split(b"\n")]
    lines[-1] = lines[-1][:-1]  # what stands after the last newline: nothing, or a torn line
    if not lines[-1]:
        lines.pop()
    events: list[bytes] = []
    whole = 0
    for number, line in enumerate(lines, start=1):
        problem = _problem(line)
        if problem is not None:
            torn = not line.endswith(b"\n") or b"\0" in line
            if number == len(lines) and torn:
                break
            raise JournalDamaged(path, number, problem)
        events.append(_body(line))
        whole += len(line)
    return events, whole


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _owner(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() or "another process"
    except OSError:
        return "another process"
