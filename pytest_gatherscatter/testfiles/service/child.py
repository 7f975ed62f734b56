"""A worker's process, and the thread that reads what it says.

The process has three ways out: events on a pipe of their own, and what its tests print. All are
read until the kernel says that the process is over (its pidfd), not until the pipes are closed:
a test may have left something running that holds them open. That is ended with its group.
"""

import contextlib
import fcntl
import os
import selectors
import signal
import time
from collections.abc import Callable
from threading import Event, Lock, Thread

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.machine import Told
from pytest_gatherscatter.testfiles.child import MOST_PRINTED, ChildGone, ChildSaid
from pytest_gatherscatter.testfiles.clip import HEAD, TAIL, Clip
from pytest_gatherscatter.testfiles.service.birth import Born, close_all
from pytest_gatherscatter.testfiles.service.pipe import ORPHANED, Command, event, line
from pytest_gatherscatter.testfiles.service.program import how_it_ended
from pytest_gatherscatter.wire.event import WorkerDied, WorkerPrinted
from pytest_gatherscatter.wire.testfiles import RunFile

CHUNK = 1024 * 1024

PRINTS = 1024 * 1024
"""Bytes that a pipe may hold of what a process prints until it has to wait for us: it may print
a hundred megabytes, and is looked at 25 times a second."""

PIECE = MOST_PRINTED // 2
"""Bytes of lines that are told at once."""

READS = 64
"""Reads of a pipe whose other end may be filled as fast."""

REST = 0.04
"""Seconds between two looks at what a process says. One that is read at each of its words is
disturbed at each; a person sees no difference, and a pipe holds far more than a worker says."""

BURST = 8
"""Looks without a rest at a process that has said nothing for a while, or was asked something: the
first words of a job, its last ones, and what is given back are waited for."""


class Child:
    """One process of a worker. ``post`` is called from its thread, and may be from any.

    Args:
        worker: its name.
        born: its process.
        start: the first line that it reads, with its line feed; empty if it has that.
        post: where to tell what happens.
        live: whether what it prints is told as it comes, line by line.
    """

    def __init__(
        self,
        worker: str,
        born: Born,
        start: bytes,
        post: Callable[[Told], None],
        *,
        live: bool = False,
    ) -> None:
        self.worker = worker
        self._post = post
        self._live = live
        self._cut = {"stdout": b"", "stderr": b""}
        """What was printed of a line that is not at its end."""
        self._said = {"stdout": Clip(0, HEAD + TAIL), "stderr": Clip()}
        self._rest = b""
        self._wrong = ""
        self._born = born
        self._commands = born.commands
        self._heard, self._bell = os.pipe()
        self._untold = bytearray()
        self._lock = Lock()
        self._asked = Event()
        """Whether it was told what it has to answer."""
        for descriptor in (self._commands, self._heard, self._bell):
            os.set_blocking(descriptor, False)
        for descriptor in (born.stdout, born.stderr):
            with contextlib.suppress(OSError):  # there may be no more for this user
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PRINTS)
        self._tell(start)
        self._thread = Thread(target=self._read, name=f"gatherscatter {worker}", daemon=True)
        self._thread.start()

    def tell(self, command: Command) -> None:
        """Hand it a command."""
        self._tell(line(command))
        if not isinstance(command, RunFile):
            self._asked.set()

    def _tell(self, told: bytes) -> None:
        """Write what the pipe takes; its thread writes the rest, as the child reads.

        A child reads between two tests only. Mostly a command is some hundred bytes, but one that
        names the tests of a large file can be more than a pipe holds.
        """
        with self._lock:
            self._untold += told
            self._write()
            if self._untold:
                with contextlib.suppress(OSError):  # it rings already
                    os.write(self._bell, b"!")

    def _write(self) -> None:
        try:
            while self._untold:
                del self._untold[: os.write(self._commands, self._untold[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:  # it is gone, which its thread sees, too
            self._untold.clear()

    def abort(self) -> None:
        """Have it write its threads' stacks to its errors, and end: ``faulthandler`` does so."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._born.pid, signal.SIGABRT)

    def end(self) -> None:
        """End it now, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._born.pid, signal.SIGKILL)

    def join(self, timeout: float) -> None:
        """Wait for its thread, so that no descriptor is left open."""
        self._thread.join(timeout)

    # ── its thread ─────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        born = self._born
        over = os.pidfd_open(born.pid)
        selector = selectors.DefaultSelector()
        files = {
            over: "over",
            born.events: "events",
            born.stdout: "stdout",
            born.stderr: "stderr",
        }
        for descriptor in files:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        selector.register(self._heard, selectors.EVENT_READ)
        ended, rested = False, 0.0
        while not ended:
            for key, _ in selector.select():
                what = files.get(key.fd, "")
                ended |= what == "over"
                if not what:
                    self._tell_rest(selector, key.fd)
                elif what != "over" and not self._take(key.fd, what):
                    selector.unregister(key.fd)
            now = time.monotonic()
            rested = max(rested, now - BURST * REST) + REST
            if not ended and rested > now and self._asked.wait(rested - now):
                self._asked.clear()
                rested = 0.0
        for descriptor, what in files.items():
            if what != "over":
                self._drain(descriptor, what)
        for what in self._cut:
            self._print(what, b"\n" if self._cut[what] else b"")
        self.end()
        status = born.wait()
        selector.close()
        with self._lock:  # who tells it something from now on, finds nobody
            close_all((over, self._heard, self._bell, *born.pipes))
            self._commands = self._bell = -1
        self._post(Told(ChildGone(self.worker, self._death(status))))

    def _tell_rest(self, selector: selectors.BaseSelector, ready: int) -> None:
        """Write on where the pipe was full; watch it for as long as there is more to say."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if ready == self._heard:
                os.read(self._heard, CHUNK)
            self._write()
            watched = self._commands in selector.get_map()
            if self._untold and not watched:
                selector.register(self._commands, selectors.EVENT_WRITE)
            elif watched and not self._untold:
                selector.unregister(self._commands)

    def _take(self, descriptor: int, what: str) -> bool:
        """Read what there is; False if there is nothing, now or any more."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        if what != "events":
            self._said[what].add(data)
            if self._live:
                self._print(what, data)
            return bool(data)
        if self._live:  # first what was printed before it
            self._drain(self._born.stdout, "stdout")
            self._drain(self._born.stderr, "stderr")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for said in lines:
            try:
                self._post(Told(ChildSaid(self.worker, event(said), len(said))))
            except MessageUnreadable as error:  # a test may write where it should not
                self._wrong = self._wrong or error.reason
                self.end()
        return bool(data)

    def _drain(self, descriptor: int, what: str) -> None:
        """Read what is there by now; what a test left running may go on writing for ever."""
        for _ in range(READS):
            if not self._take(descriptor, what):
                return

    def _print(self, what: str, data: bytes) -> None:
        """Tell the lines that are whole by now."""
        said, line_feed, rest = (self._cut[what] + data).rpartition(b"\n")
        if len(rest) > PIECE:
            said, line_feed, rest = said + line_feed + rest, b"\n", b""
        self._cut[what], said = rest, said + line_feed
        while said:
            end = said.rfind(b"\n", 0, PIECE) + 1 or PIECE
            piece, said = said[:end], said[end:]
            printed = WorkerPrinted(text=piece.decode(errors="replace"))
            self._post(Told(ChildSaid(self.worker, printed, len(piece))))

    def _death(self, status: int) -> WorkerDied:
        how = how_it_ended(status)
        if status == ORPHANED:  # not by us, who read it to its end
            how += ", since its pipe to us was closed: by a test?"
        if self._wrong:
            how = f"it said what cannot be read: {self._wrong}"[:500]
        return WorkerDied(
            how=how,
            stdout=self._said["stdout"].last_lines(),
            stderr=self._said["stderr"].text(),
        )
