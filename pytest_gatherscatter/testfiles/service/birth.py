"""How a worker's process comes to be: by a command, or by a fork of one that is warm.

A fork has imported what a command would have to import, which is most of a worker's start. Either
way it has two pipes for commands and events, two more for what it prints, a session of its own,
and nothing to read on its standard input.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

FORK_FAILED = 70
"""Exit status of a fork that could not be made what it was to be (``EX_SOFTWARE``)."""


class Born(NamedTuple):
    """A worker's process, from its supervisor's side: our ends of its pipes, and its end.

    ``wait`` blocks until it is over and returns its exit status, or minus the signal's number.
    """

    pid: int
    commands: int
    events: int
    stdout: int
    stderr: int
    wait: Callable[[], int]

    @property
    def pipes(self) -> tuple[int, int, int, int]:
        """Our ends of its pipes."""
        return self.commands, self.events, self.stdout, self.stderr


def spawned(command: list[str]) -> Born:
    """Start a process by ``command``; the descriptors of its two pipes are appended.

    Raises:
        OSError: it cannot be started.
    """
    pipes = _Pipes()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(pipes.commands), str(pipes.events)],
            pass_fds=(pipes.commands, pipes.events),
            stdin=subprocess.DEVNULL,
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            start_new_session=True,
        )
    except OSError:
        pipes.close_ours()
        raise
    finally:
        pipes.close_theirs()
    return Born(process.pid, *pipes.ours, process.wait)


def forked(others: Iterable[int] = ()) -> Born | tuple[int, int]:
    """Fork this process; the child returns the descriptors of its two pipes: it reads, it writes.

    Only a process without threads may call it. ``others`` are descriptors that the child must not
    hold open: our ends of other workers' pipes.

    Raises:
        OSError: there can be no further process.
    """
    pipes = _Pipes()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = os.fork()
    except OSError:
        pipes.close_ours()
        pipes.close_theirs()
        raise
    if pid:
        pipes.close_theirs()
        return Born(pid, *pipes.ours, lambda: _status_of(pid))
    try:
        os.setsid()
        close_all(others)
        pipes.close_ours()
        own_streams(pipes.stdout, pipes.stderr)
        close_all((pipes.stdout, pipes.stderr))
    except BaseException:  # noqa: BLE001 - nobody above it knows what to do
        os._exit(FORK_FAILED)
    return pipes.commands, pipes.events


class _Pipes:
    """Four pipes; the worker's ends by name, the supervisor's in ``ours``."""

    def __init__(self) -> None:
        self.commands, ours = os.pipe()
        events, self.events = os.pipe()
        out, self.stdout = os.pipe()
        err, self.stderr = os.pipe()
        self.ours = (ours, events, out, err)

    def close_ours(self) -> None:
        close_all(self.ours)

    def close_theirs(self) -> None:
        close_all((self.commands, self.events, self.stdout, self.stderr))


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors; one that is closed already does not matter."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def own_streams(stdout: int, stderr: int) -> None:
    """Make a fork's standard streams what a new process' would be, whatever they were before."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (stdout, 1), (stderr, 2)):
        if descriptor != number:
            os.dup2(descriptor, number)
    close_all([nothing] if nothing > 2 else [])  # noqa: PLR2004 - the three streams
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc] # noqa: SIM115 - for life
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc] # noqa: SIM115
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )


def _status_of(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
