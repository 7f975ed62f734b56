"""Run somebody's command in the foreground, and pass on what we are told meanwhile.

The command stays in our process group, so that the terminal belongs to it: it may ask, and
Ctrl-C reaches it by itself. What reaches only us (``kill``, a service manager) is passed on.
While it runs, this process does nothing but wait: no thread, no timer, no socket.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_gatherscatter.cli.stop import minded

NOT_FOUND = 127
NOT_RUNNABLE = 126
"""What shells answer for a command that is not there, or is no program."""

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

    Args:
        words: the program and its arguments.
        held: descriptors of locks that the command and all that it starts shall hold with us:
            should we be killed, they still prove that somebody is inside. Letting go of a
            lock in good order opens it for all of its holders.
        on_start: called when it has started.

    Raises:
        OSError: it cannot be started.
    """
    early: list[int] = []
    numbers = minded(_PASSED_ON)
    handlers = {
        number: signal.signal(number, lambda told, _frame: early.append(told)) for number in numbers
    }
    try:
        # Before the mask is set, which the command would inherit; handlers it does not. No
        # preexec_fn could mend the mask: with one, Python runs what closes locks after a fork.
        process = subprocess.Popen(words, pass_fds=held)  # noqa: S603 - a given command
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*numbers, signal.SIGCHLD})
        try:
            on_start()
            interrupted = _wait(process, early, numbers)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    status = process.returncode
    return Ending(128 - status if status < 0 else status, interrupted)


def _wait(
    process: "subprocess.Popen[bytes]", early: Sequence[int], numbers: frozenset[signal.Signals]
) -> bool:
    """Wait for the command, passing on signals; say whether there were any."""
    interrupted = bool(early)
    for number in early:
        process.send_signal(number)
    while process.poll() is None:
        told = signal.sigwaitinfo({*numbers, signal.SIGCHLD})
        if told.si_signo == signal.SIGCHLD:
            continue
        interrupted = True
        if told.si_code <= 0:  # sent by a process; what the terminal sends has come to both
            process.send_signal(told.si_signo)
    # One that came too late to be passed on must not strike while we leave the section.
    while signal.sigtimedwait(numbers, 0) is not None:
        interrupted = True
    return interrupted
