"""How a supervisor and its worker talk: two pipes, one JSON line a command or an event.

A worker has no link, no socket and no thread of ours, so that a critical section in it is quiet
and its death is seen from outside. It looks for commands between tests only. Events are gathered
and leave in one write: before anything that may be the worker's end (an import, a test), and
before it waits.
"""

import contextlib
import os
import select
from typing import TypeAlias

import msgspec
from msgspec import Raw

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.testfiles.child import StartChild
from pytest_gatherscatter.testfiles.workspace import moved
from pytest_gatherscatter.wire.event import AnyEvent
from pytest_gatherscatter.wire.testfiles import BeginFile, GiveBack, JobOver, RunFile

Command: TypeAlias = RunFile | BeginFile | GiveBack | JobOver
"""What a supervisor may say after the start."""

CHUNK = 65_536
"""Bytes in a read: what a pipe holds."""

ORPHANED = 70
"""Exit status of a worker whose supervisor reads no more, and of what it forked (``EX_SOFTWARE``).
"""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's first line: who it is, and how pytest is called.

    ``run`` is the run's unique id, ``count`` how many workers there are as far as anybody knows.
    ``arguments`` are the originator's; ``root`` is the directory that the job's paths are below,
    ``place`` the one below it where pytest was called; ``here`` says whether that is on
    ``sys.path``, as under ``python -m``. ``basetemp`` is a directory of this worker alone (empty:
    pytest makes one). ``input`` goes into ``config.workerinput``.
    """

    worker: str
    count: int
    run: str
    arguments: tuple[str, ...]
    root: str
    place: str = "."
    here: bool = True
    basetemp: str = ""
    input: Raw = Raw(b"{}")


def start_of(start: StartChild, root: str = "") -> Start:
    """Make a worker's first line; ``root`` is of another host that has the files elsewhere."""
    terms = start.terms
    return Start(
        worker=start.worker,
        count=terms.workers,
        run=terms.run,
        arguments=moved(terms.arguments, terms.root, root) if root else terms.arguments,
        root=root or terms.root,
        place=terms.place,
        here=terms.here,
        # As xdist names them, below the originator's own.
        basetemp="" if root or not terms.basetemp else f"{terms.basetemp}/popen-{start.worker}",
        input=start.input,
    )


_encode = msgspec.json.Encoder().encode
_command: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_start = msgspec.json.Decoder(Start)
_event: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def line(said: Start | Command | AnyEvent) -> bytes:
    """Return what goes over a pipe, with its line feed."""
    return _encode(said) + b"\n"


def event(said: bytes) -> AnyEvent:
    """Return the event in a line that a worker wrote.

    Raises:
        MessageUnreadable: it is none.
    """
    try:
        return _event.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageUnreadable(str(error)[:500]) from None


class Channel:
    """The worker's ends of its two pipes. Only the process that made it may use it.

    Args:
        read: descriptor that commands come from.
        write: descriptor that events go to.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._owner = os.getpid()
        self._said = bytearray()
        self._heard = bytearray()
        self._lines: list[bytes] = []
        self._poll = select.poll()
        self._poll.register(read, select.POLLIN)
        self.closed = False
        """Whether the supervisor is gone: there will be no more commands."""
        for descriptor in (read, write):
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
        # A child that a test forks and leaves behind must not keep the worker's end from showing.
        os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def start(self) -> Start | None:
        """Wait for the first line; ``None`` if the supervisor went away instead.

        Raises:
            MessageUnreadable: it is no start order.
        """
        self._fill(wait=True)
        if not self._lines:
            return None
        try:
            return _start.decode(self._lines.pop(0))
        except msgspec.DecodeError as error:
            raise MessageUnreadable(str(error)[:500]) from None

    def hear(self, *, wait: bool = False) -> list[Command]:
        """Return the commands that have come; with ``wait`` at least one, unless it is closed.

        Raises:
            MessageUnreadable: a line is no command.
        """
        if wait:
            self.flush()
        self._fill(wait=wait)
        lines, self._lines = self._lines, []
        try:
            return [_command.decode(one) for one in lines]
        except msgspec.DecodeError as error:
            raise MessageUnreadable(str(error)[:500]) from None

    def _fill(self, *, wait: bool) -> None:
        """Read what there is; with ``wait`` until there is a whole line or no more to come."""
        while not self.closed and self._poll.poll(None if wait and not self._lines else 0):
            chunk = os.read(self._read, CHUNK)
            self.closed = not chunk
            self._heard += chunk
            *lines, rest = self._heard.split(b"\n")
            self._lines += [bytes(one) for one in lines]
            self._heard = rest

    def tell(self, event: AnyEvent) -> None:
        """Have an event told with the next :meth:`flush`."""
        self._said += line(event)

    def flush(self) -> None:
        """Write all that is to be told. Without a reader, or in a fork, the process ends here."""
        self._look_at_owner()
        said = memoryview(bytes(self._said))
        self._said.clear()
        try:
            while said:
                said = said[os.write(self._write, said) :]
        except OSError:
            os._exit(ORPHANED)

    def _look_at_owner(self) -> None:
        """End a child that a test forked and that came back into pytest: it is no worker."""
        if os.getpid() != self._owner:
            os._exit(ORPHANED)
