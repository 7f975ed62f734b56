"""Run somebody's command in the foreground, and pass on what we are told meanwhile.

The command stays in our process group, so that the terminal belongs to it: it may ask, and
Ctrl-C reaches it by itself. What reaches only us (``kill``, a service manager) is passed on.
While it runs, this process does nothing but wait: no thread, no timer, no socket.
"""

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_gatherscatter.cli.stop import minded

NOT_FOUND = 127
NOT_RUNNABLE = 126
"""What shells answer for a command that is not there, or is no program."""

_INTERRUPTED = 128 + signal.SIGINT
"""The status of a command that a signal kept from starting."""

_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores for itself: the command shall die of it like any other."""

_PASSED_ON = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: ``status`` as a shell counts it, and whether a signal came for us."""

    status: int
    interrupted: bool = False


def missing(words: Sequence[str]) -> Ending | None:
    """Say beforehand that a command cannot run, so that nobody is gathered for nothing."""
    program = words[0]
    if shutil.which(program) is not None:
        return None
    there = os.path.exists(program)  # noqa: PTH110 - a name without '/' is looked for on PATH
    return Ending(NOT_RUNNABLE if there and "/" in program else NOT_FOUND)


def run(
    words: Sequence[str], *, held: Sequence[int] = (), on_start: Callable[[], None] = lambda: None
) -> Ending:
    """Run ``words`` to its end; in the main thread, the only one.

    What came before it was started strikes us alone, and it is not started.

    Args:
        words: the program and its arguments.
        held: descriptors of locks that the command and all that it starts shall hold with us:
            should we be killed, they still prove that somebody is inside. Letting go of a
            lock in good order opens it for all of its holders.
        on_start: called when it has started.

    Raises:
        OSError: it cannot be started.
    """
    numbers = minded(_PASSED_ON)
    # From before the start: only a signal that is waited for tells whether the terminal sent it,
    # to the command too. A handler would have to guess, and the command hear it twice or never.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*numbers, signal.SIGCHLD})
    try:
        if signal.sigpending() & numbers:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # it strikes here
            return Ending(_INTERRUPTED, interrupted=True)  # or had a handler that did not raise
        pid = _start(words, held, before)
        try:
            on_start()
        finally:
            status, interrupted = _wait(pid, numbers)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Ending(128 - status if status < 0 else status, interrupted)


def _start(words: Sequence[str], held: Sequence[int], mask: set[signal.Signals | int]) -> int:
    """Start the program under the mask that we had; its process id.

    ``subprocess`` would have it inherit ours. A preexec_fn could mend that, but with one Python
    runs what closes locks after a fork.
    """
    for descriptor in held:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it has no name
    try:
        return os.posix_spawnp(
            words[0],
            list(words),
            os.environ,
            setsigmask=mask,
            setsigdef=_PYTHONS_OWN,
        )
    finally:
        for descriptor in held:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - as above


def _wait(pid: int, numbers: frozenset[signal.Signals]) -> tuple[int, bool]:
    """Wait for the command, passing on signals; its exit code, and whether there were any."""
    interrupted = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        told = signal.sigwaitinfo({*numbers, signal.SIGCHLD})
        if told.si_signo == signal.SIGCHLD:
            continue
        interrupted = True
        if told.si_code <= 0:  # sent by a process; what the terminal sends has come to both
            os.kill(pid, told.si_signo)
    # One that came too late to be passed on must not strike while we leave the section.
    while signal.sigtimedwait(numbers, 0) is not None:
        interrupted = True
    return os.waitstatus_to_exitcode(status), interrupted
