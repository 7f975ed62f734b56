"""The steps of a quiet section, on this host's disk beside its ticket until the lab was told.

The owner writes them down while it is quiet, tells the lab when it is back, and takes the file
away. If it dies, its ticket is settled by whoever meets the gatherer next; a file that has no
ticket beside it is then anybody's to tell. That the owner itself may be about to tell it does no
harm: a step that is told twice is the same step.

Lines are appended without a sync, for a disk that is made to write is no quiet. They outlive the
process and an orderly reboot, not a power cut within seconds.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.sections.service.ticket import SUFFIX as TICKET_SUFFIX
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import Message, StepFinished, StepProgressed

SUFFIX = ".steps"

MOST_BYTES = 8 * 1024 * 1024
"""Of one section: 10,000 steps of some 300 bytes, and as much again of what they said."""


class StepLog:
    """The steps of one section; made by the first that is kept. One thread at a time.

    Args:
        ticket: path of the section's ticket.
        lab: to be told.
    """

    def __init__(self, ticket: Path, lab: str) -> None:
        self.path = ticket.with_suffix(SUFFIX)
        self._lab = lab
        self._size = 0

    def keep(self, message: Message) -> None:
        """Write a message down; one that finds no room is lost if the process dies.

        Raises:
            OSError: it cannot be written.
            MessageUnreadable: it cannot be encoded.
        """
        line = codec.encode(message) + b"\n"
        if not self._size:
            line = self._lab.encode() + b"\n" + line
        if self._size + len(line) > MOST_BYTES:
            return
        # Opened anew each time: in the quiet time no descriptor of ours is open.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        try:
            self._size += os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Take the file away, if there is one: the lab was told."""
        _remove(self.path)


class StrandedSteps:
    """Steps that nobody else will tell. ``messages`` are of steps that are over.

    One that its process died in is ``interrupted``, after the seconds that it last spoke at.
    """

    def __init__(self, path: Path, messages: list[StepFinished]) -> None:
        self.path = path
        self.messages = messages

    def remove(self) -> None:
        """Take the file away: the lab was told."""
        _remove(self.path)


def stranded(folder: Path, lab: str) -> Iterator[StrandedSteps]:
    """Find what was kept for ``lab`` by owners whose sections are settled; raises nothing."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError:
        return
    for path in paths:
        if path.with_suffix(TICKET_SUFFIX).exists():
            continue
        with contextlib.suppress(OSError):
            where, _, rest = _read(path).partition(b"\n")
            if where == lab.encode():
                yield StrandedSteps(path, list(_finished(rest)))


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)


def _finished(text: bytes) -> Iterator[StepFinished]:
    """Say what became of each step; a line that was cut short in writing counts for nothing."""
    begun: dict[tuple[str, int], StepProgressed] = {}
    for line in text.split(b"\n"):
        with contextlib.suppress(MessageUnreadable):
            message = codec.decode(line)
            if isinstance(message, StepProgressed):
                begun[message.test, message.number] = message
            elif isinstance(message, StepFinished):
                begun.pop((message.test, message.number), None)
                yield message
    for one in begun.values():
        yield StepFinished(
            run=one.run,
            test=one.test,
            number=one.number,
            step=one.step,
            started_wall=one.started_wall,
            seconds=one.seconds,
            outcome="interrupted",
            depth=one.depth,
            done=one.done,
            total=one.total,
            text=one.text or "its process ended",
        )


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
