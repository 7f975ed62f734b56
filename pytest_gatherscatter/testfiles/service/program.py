"""A program that is run to its end, bounded, while its outputs are kept as far as they matter."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_gatherscatter.testfiles.clip import Clip

SLICE = 0.1
"""Seconds between two looks at whether it shall be ended."""

CHUNK = 64 * 1024

LAST = 0.5
"""Seconds for which the outputs of a program that is over are read: what it left running may hold
them open."""


class Program:
    """One process in a group of its own. For one thread.

    Args:
        words: what to run.
        folder: where.
        environ: its environment.
        held: descriptors of locks that it shall hold with us.
        talks: whether it is told lines and answers with lines: the descriptors of two pipes are
            then appended to its words, where it reads and where it writes.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        held: Sequence[int] = (),
        talks: bool = False,
    ) -> None:
        self.stdout, self.stderr = Clip(), Clip()
        self.lines: list[bytes] = []
        """What it answered and nobody has taken yet."""
        self._rest = b""
        self._to = self._from = -1
        theirs: tuple[int, ...] = ()
        if talks:
            reads, self._to = os.pipe()
            self._from, writes = os.pipe()
            theirs = (reads, writes)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - words of ours, no shell
                [*words, *map(str, theirs)],
                cwd=folder,
                env=environ,
                pass_fds=(*held, *theirs),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError:
            self._close_pipes()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        assert self._process.stderr is not None  # noqa: S101 - asked for above
        self._over = os.pidfd_open(self._process.pid)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._over, selectors.EVENT_READ, None)
        takes: list[tuple[int, Callable[[bytes], None]]] = [
            (self._process.stdout.fileno(), self.stdout.add),
            (self._process.stderr.fileno(), self.stderr.add),
        ]
        if talks:
            takes.append((self._from, self._answered))
        for descriptor, take in takes:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, take)
        self.status: int | None = None
        """Its exit status once it is over; below 0 for a signal."""

    def tell(self, said: bytes) -> None:
        """Tell it a line; one that is over does not hear it."""
        with contextlib.suppress(OSError):
            os.write(self._to, said + b"\n")

    def wait(
        self,
        seconds: float,
        *,
        stop: Callable[[], bool],
        until: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait until it is over, or ``until`` is true; False if it took too long or is to stop."""
        end = time.monotonic() + seconds
        while self.status is None and not until():
            left = end - time.monotonic()
            if left <= 0 or stop():
                return False
            self._read(min(left, SLICE))
        return True

    def end(self) -> None:
        """End it now, with all that it started, and let go of everything. May be called again."""
        if self.status is None:
            self._finish()

    def _read(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._drain()
                self._finish()
                return
            self._take(key)

    def _take(self, key: selectors.SelectorKey) -> None:
        try:
            data = os.read(key.fd, CHUNK)
        except BlockingIOError:
            return
        if data:
            key.data(data)
        else:
            self._selector.unregister(key.fd)

    def _drain(self) -> None:
        """Read what a program that is over has left in its pipes."""
        self._selector.unregister(self._over)
        end = time.monotonic() + LAST
        while self._selector.get_map() and time.monotonic() < end:
            ready = self._selector.select(0)
            if not ready:
                return
            for key, _ in ready:
                self._take(key)

    def _finish(self) -> None:
        # What it left running, too; before it is waited for, since its number is its own till then.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.status = self._process.wait()
        self._selector.close()
        os.close(self._over)
        self._close_pipes()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _close_pipes(self) -> None:
        for descriptor in (self._to, self._from):
            if descriptor >= 0:
                os.close(descriptor)
        self._to = self._from = -1

    def _answered(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += lines


def how_it_ended(status: int) -> str:
    """Say an exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
