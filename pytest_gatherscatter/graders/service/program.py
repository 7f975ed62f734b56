"""Runs one program for a grader, within limits, and sees all of its end.

It is the leader of a process group; whatever ends it ends the group, also the death of this
process, by a guard. That one knows the group before the program is told what to do: one that was
started and not guarded yet reads the end of its input. What is given to it is written while what
it says is read, so that neither waits for the other. Its limits (CPU, memory) are set by
a shell that then becomes the program: nothing of Python runs between fork and exec, which with
many threads may hang.
"""

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_gatherscatter.host.guard import Guard

CHUNK = 64 * 1024

MOST_STDERR = 8 * 1024
"""Bytes of the end of what a program writes on stderr: what a person reads of a failure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take: ``seconds`` of time and of ``cpu``, bytes of memory and output.

    ``None`` is no limit. Memory is address space: each process of it may have as much.
    """

    seconds: float
    output: int
    cpu: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: ``status`` as Python says it (``-9``: by SIGKILL).

    ``why`` is set where we ended it: ``time``, ``output``, ``told``.
    """

    status: int
    stdout: bytes
    stderr: str
    why: str = ""


def run(  # noqa: PLR0913 - what a program is started with
    words: Sequence[str],
    *,
    stdin: bytes,
    directory: Path,
    environ: Mapping[str, str],
    limits: Limits,
    ended: int,
    guard: Guard,
) -> ProgramEnd:
    """Run a program to its end; ``ended`` is a descriptor, readable to end it early, or -1.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(  # noqa: S603 - what the settings say, and no shell reads it
        _limited(words, limits),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=dict(environ),
        start_new_session=True,
    )
    try:
        guard.watch(process.pid)
        return _Talk(process, stdin, limits, ended).run()
    finally:
        _kill(process.pid)  # what it left behind in its group; not waited for yet, so still its own
        guard.spare(process.pid)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _limited(words: Sequence[str], limits: Limits) -> list[str]:
    """Let a shell set the limits; ``ulimit -v`` counts KiB."""
    sets = []
    if limits.cpu is not None:
        # SIGXCPU says what it was, and comes a second before the SIGKILL, which says nothing.
        sets += [f"ulimit -S -t {limits.cpu}", f"ulimit -H -t {limits.cpu + 1}"]
    if limits.memory is not None:
        sets.append(f"ulimit -v {max(1, limits.memory // 1024)}")
    if not sets:
        return list(words)
    return ["/bin/sh", "-c", " && ".join([*sets, 'exec "$@"']), "limits", *words]


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Talk:
    """Writes to a program and reads from it until it ends, or has to."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", stdin: bytes, limits: Limits, ended: int
    ) -> None:
        self._process = process
        self._left = memoryview(stdin)
        self._limits = limits
        self._ended = ended
        self._until = time.monotonic() + limits.seconds
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._over = os.pidfd_open(process.pid)
        self._why = ""

    def run(self) -> ProgramEnd:
        """See it through."""
        try:
            with selectors.DefaultSelector() as selector:
                self._listen(selector)
                self._loop(selector)
        finally:
            os.close(self._over)
        if self._why:
            _kill(self._process.pid)
        status = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        code = 0
        if status is not None:
            code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        return ProgramEnd(
            code, bytes(self._stdout), self._stderr.decode(errors="replace"), self._why
        )

    def _listen(self, selector: selectors.BaseSelector) -> None:
        process = self._process
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        selector.register(self._over, selectors.EVENT_READ)
        if self._ended >= 0:
            selector.register(self._ended, selectors.EVENT_READ)
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type] # they are pipes
        if self._left:
            selector.register(process.stdin, selectors.EVENT_WRITE)  # type: ignore[arg-type]
        else:
            self._hush(selector, process.stdin)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        """Talk until it has ended and there is nothing left of what it said."""
        process = self._process
        over = False
        while not self._why:
            left = self._until - time.monotonic()
            if left <= 0:
                self._why = "time"
                return
            events = selector.select(0 if over else left)
            for key, _ in events:
                if key.fd == self._over:
                    over = True
                    selector.unregister(self._over)
                elif key.fd == self._ended:
                    self._why = "told"
                elif key.fileobj is process.stdin:
                    self._write(selector, process.stdin)
                else:
                    self._read(selector, key.fileobj)  # type: ignore[arg-type] # as registered
            outputs = (process.stdout, process.stderr)
            if over and not any(key.fileobj in outputs for key, _ in events):
                return  # what left its group may hold its outputs open, and is not waited for

    def _write(self, selector: selectors.BaseSelector, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            return
        try:
            done = os.write(pipe.fileno(), self._left[: select.PIPE_BUF * 16])
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to know
            self._left = self._left[len(self._left) :]
        else:
            self._left = self._left[done:]
        if not self._left:
            self._hush(selector, pipe)

    def _read(self, selector: selectors.BaseSelector, pipe: IO[bytes]) -> None:
        try:
            data = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._hush(selector, pipe)
        elif pipe is self._process.stderr:
            self._stderr += data
            del self._stderr[:-MOST_STDERR]
        else:
            self._stdout += data
            if len(self._stdout) > self._limits.output:
                self._why = "output"

    @staticmethod
    def _hush(selector: selectors.BaseSelector, pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            with contextlib.suppress(KeyError):
                selector.unregister(pipe)
            pipe.close()
