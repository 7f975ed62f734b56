"""Processes of the command line that begin with their imports done: forked, where others exec.

Most of what a command takes to begin are imports, the same each time. A *nursery* has them done: it
is told a command, its environment and its folder, and forks. What comes of it is a process as any
other, with a session, descriptors, signals and an end of its own. Only how it began is not what a
person does; that is what ``tests/cli`` is for.

Run as a program it is the nursery: ``python forked.py SOCKET``, until the other end is closed.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TextIO

IMPORTED = (
    *("gatherer", "monitor", "workload", "main", "serving", "lab", "leave", "watch"),
    *("doctor", "demo", "broker", "slips", "testfiles"),
)
"""Modules of the command line."""

SERVICES = ("gatherer", "monitor", "workload", "asker", "hookthread", "artifact")
"""What they import when they are called."""

LARGEST = 1 << 20
"""Bytes of one request; an environment has some ten thousand."""


# ── here: who asks for a process ───────────────────────────────────────────────────────


@dataclass
class Forked:
    """A process of the nursery, with what tests need of ``subprocess.Popen``."""

    pid: int
    stdout: TextIO
    """All that it says; whoever reads it closes it."""
    _told: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, ``None`` if it has not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the status as ``subprocess`` has it, negative for a signal."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            told = os.read(self._told, 100)
            assert told, "the nursery is gone"
            os.close(self._told)
            self.returncode = int(told)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and that is being told
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


_nurseries: "list[subprocess.Popen[bytes]]" = []


@cache
def _nursery() -> socket.socket:
    """Start the nursery of this process; it ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    with theirs:
        _nurseries.append(
            subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    return ours


def fork(words: Sequence[str], environ: Mapping[str, str], folder: Path) -> Forked:
    """Start ``gatherscatter`` with ``words``; what it says goes to one pipe."""
    said, says = os.pipe()
    told, tells = os.pipe()
    try:
        asked = json.dumps([list(words), dict(environ), str(folder)]).encode()
        socket.send_fds(_nursery(), [asked], [says, tells])
    finally:
        os.close(says)
        os.close(tells)
    pid = os.read(told, 8)
    assert pid, "the nursery is gone"
    return Forked(int.from_bytes(pid, "little"), os.fdopen(said), told)


# ── there: the nursery ─────────────────────────────────────────────────────────────────


def _become(words: list[str], environ: dict[str, str], folder: str, says: int) -> None:
    """Be the process that was asked for; what follows is its own."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    os.dup2(says, 1)
    os.dup2(says, 2)
    os.closerange(3, 1024)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    sys.argv = ["gatherscatter", *words]
    sys.path[0] = folder


def _tell_ends(tells: dict[int, int]) -> None:
    """Tell how those ended that have."""
    while tells:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        descriptor = tells.pop(pid)
        with contextlib.suppress(OSError):  # nobody wants to know any more
            os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(descriptor)


def serve(asking: socket.socket) -> bool:
    """Fork whoever is asked for until nobody can ask; true in each that was forked."""
    tells: dict[int, int] = {}
    woken, wakes = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([asking.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(tells)
        if asking.fileno() in ready:
            asked, descriptors, _, _ = socket.recv_fds(asking, LARGEST, 2)
            if not asked:
                return False
            says, told = descriptors
            pid = os.fork()
            if not pid:
                asking.detach()
                words, environ, folder = json.loads(asked)
                _become(words, environ, folder, says)
                return True
            os.close(says)
            tells[pid] = told
            os.write(told, pid.to_bytes(8, "little"))


if __name__ == "__main__":
    sys.path.pop(0)  # where this file is; a command has its folder there
    sys.path.insert(0, "")
    for name in IMPORTED:
        import_module(f"pytest_gatherscatter.cli.{name}")
    for name in SERVICES:
        import_module(f"pytest_gatherscatter.sections.service.{name}")
    import_module("tenacity")
    gc.freeze()  # what all have in common, none has to look through
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        import_module("pytest_gatherscatter.cli.main").run()
