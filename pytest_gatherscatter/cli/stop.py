"""When a command has to end: a signal, or the end of the process that started it."""

import logging
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from pytest_gatherscatter.errors import SettingsInvalid

log = logging.getLogger(__name__)

SLICE = 0.1
"""Seconds of one sleep: how late a signal may be noticed by a person who waits for it."""


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C that ends this process as Ctrl-C would."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def minded(numbers: Iterable[signal.Signals]) -> frozenset[signal.Signals]:
    """Leave out the signals that this process was started to ignore, as by ``nohup``."""
    return frozenset(n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise :class:`Ended`: what is open is closed as on Ctrl-C."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    numbers = minded((signal.SIGTERM, signal.SIGHUP))
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stop:
    """True once SIGTERM or SIGINT came, or the parent is gone. Made in the main thread.

    The first signal asks the service to end in good order; another SIGINT interrupts at once, for
    a person who has waited enough.

    Args:
        parent: the pid of the process that this one must not outlive; ``None`` for none.
        steps: how many signals ask for something; 2 where the second one asks for more haste.

    Raises:
        SettingsInvalid: there is no such process any more.
    """

    def __init__(self, parent: int | None = None, *, steps: int = 1) -> None:
        self.signal: int | None = None
        self.times = 0
        """How many signals came."""
        self._asked = False
        self._steps = steps
        self._parent: int | None = None
        if parent is not None:
            # A descriptor of the process, not its number: numbers are given out again.
            try:
                self._parent = os.pidfd_open(parent)
            except OSError as error:
                raise SettingsInvalid("--parent-pid", f"{parent}: {error.strerror}") from None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def __call__(self) -> bool:
        """Say whether it is time to end; never blocks."""
        if not self._asked and self._orphaned():
            log.info("the process that started this one is gone: ending")
            self._asked = True
        return self._asked

    is_set = __call__

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds, and say whether it is time to end."""
        end = time.monotonic() + timeout
        while not self() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))
        return self()

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C, as shells count; 0 when a service drained on SIGTERM."""
        return 128 + signal.SIGINT if self.signal == signal.SIGINT else 0

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number and self.times >= self._steps:
            raise KeyboardInterrupt
        self.signal = number
        self.times += 1
        self._asked = True  # a plain flag: a handler must not take a lock that its thread holds

    def _orphaned(self) -> bool:
        if self._parent is None:
            return False
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        return bool(poll.poll(0))
