"""When Ctrl-C strikes, and where it ends.

A signal's handler may raise between any two instructions: in the middle of a frame that pika
reads or writes, after which nobody can read the connection, and a section that is withdrawn in
that moment counts as died. So what must not be torn runs :func:`held`: a signal that comes
meanwhile is handled when it is done, and a wait in it ends at once, between two turns of the
loop. A second one of the same kind is not held any more: somebody has waited enough.

And pytest shows the last frame of an interrupt, which shall be one of ours.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Handler = Callable[[int, FrameType | None], object]

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a process, and may be made to raise by whoever runs in it."""


class _Hold:
    """The signals that are held in this process: handlers run in the main thread only."""

    def __init__(self) -> None:
        self.handlers: dict[int, Handler] = {}
        """Whose turn comes later; empty while nothing is held."""
        self.told: dict[int, FrameType | None] = {}
        self.alarm: int | None = None
        """An event descriptor, to which whoever waits listens."""

    def note(self, number: int, frame: FrameType | None) -> None:
        """Stand in for a handler."""
        again = number in self.told
        self.told[number] = frame
        if again:
            self.strike()
        elif self.alarm is not None:
            os.eventfd_write(self.alarm, 1)

    def strike(self) -> None:
        """Handle what came, the earliest first; what the first raises stands for the others."""
        told, self.told = self.told, {}
        for number, frame in told.items():
            self.handlers[number](number, frame)

    def begin(self) -> None:
        """Stand in for each handler there is; what the process ignores or dies of stays so."""
        for number in HELD:
            handler = signal.getsignal(number)
            if callable(handler):
                self.handlers[number] = handler
                signal.signal(number, self.note)

    def end(self) -> None:
        """Give every handler its place back, and its signal.

        One that is back may raise already: the others must have their places all the same.
        """
        struck: BaseException | None = None
        left = dict(self.handlers)
        while left:
            try:
                for number, handler in tuple(left.items()):
                    signal.signal(number, handler)
                    del left[number]
            except BaseException as error:  # noqa: BLE001 - raised below
                struck = error
        handlers, self.handlers = self.handlers, {}
        told, self.told = self.told, {}
        if struck is not None:
            raise struck
        for number, frame in told.items():
            handlers[number](number, frame)

    def forget(self) -> None:
        """In a forked child: it holds nothing, and what came was for its parent."""
        handlers, self.handlers = self.handlers, {}
        self.told, self.alarm = {}, None
        for number, handler in handlers.items():
            signal.signal(number, handler)


_hold = _Hold()

os.register_at_fork(after_in_child=_hold.forget)


@contextmanager
def held(alarm: int | None = None) -> Iterator[None]:
    """Let no signal raise inside, but where :func:`strike` is called; blocks nothing itself.

    Within another one, and in any thread but the main one, it changes nothing.

    Args:
        alarm: an event descriptor that is written to when a signal comes, so that a wait ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer, before = bool(_hold.handlers), _hold.alarm
    try:
        if not outer:
            _hold.begin()
        _hold.alarm = before if alarm is None else alarm
        yield
    finally:
        _hold.alarm = before
        if not outer:
            _hold.end()


def strike() -> None:
    """Handle the signals that were held, here where nothing is torn; their handlers may raise."""
    if _hold.told and threading.current_thread() is threading.main_thread():
        _hold.strike()


def interruptible(call: Callable[P, R]) -> Callable[P, R]:
    """Let an interrupt of a blocking ``call`` end here, and tear nothing inside.

    It stays the same exception: a signal that ends a command like Ctrl-C has a class of its own.
    """

    @wraps(call)
    def interrupted_here(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with held():
                return call(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise error.with_traceback(None) from None

    return interrupted_here
