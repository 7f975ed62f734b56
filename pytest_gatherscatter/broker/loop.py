"""pika's loop, turned only while somebody waits: a party that is quiet is really quiet."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from pika.adapters.select_connection import IOLoop
from pika.exceptions import AMQPError

from pytest_gatherscatter.broker.interrupt import held, strike

PIKA_BROKE = (AMQPError, AssertionError, LookupError, OSError, ValueError)
"""What pika may raise from a call when its connection breaks under it: all mean "lost"."""


class Loop(IOLoop):
    """pika's loop, which also knows the sockets in it.

    pika has no public way to a connection's socket, and two cases need it: a peer that does
    not answer a close, and a fork. Only :meth:`wake` may be called from another thread.

    Args:
        on_broken: told of each exception out of pika's inside; then every socket is cut.
    """

    def __init__(self, on_broken: Callable[[str], None]) -> None:
        self.sockets: set[int] = set()
        self._on_broken = on_broken
        # Written to by a signal's handler, which must take no lock, as pika's own waking does.
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            super().__init__()
            self.activate_poller()
        except BaseException:
            os.close(self._alarm)
            raise
        super().add_handler(self._alarm, self._alarmed, self.READ)

    def _alarmed(self, fd: int, _events: int) -> None:
        os.eventfd_read(fd)

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Watch a socket.

        pika sends each frame by itself, and the broker would be woken for each: what there is to
        send leaves together.
        """
        self.sockets.add(fd)

        def handle(fd: int, events: int) -> None:
            if not events & self.WRITE:
                handler(fd, events)
                return
            _cork(fd, on=True)
            try:
                handler(fd, events)
            finally:
                if fd in self.sockets:  # else it is closed, and may be another's number
                    _cork(fd, on=False)

        super().add_handler(fd, handle, events)

    def remove_handler(self, fd: int) -> None:
        """Watch a socket no more."""
        self.sockets.discard(fd)
        super().remove_handler(fd)

    def spin(self, done: Callable[[], bool], seconds: float) -> bool:
        """Turn until ``done()`` or ``seconds`` have passed; at least once round.

        A signal ends it between two turns, if its handler raises: never within one.
        """
        if done():
            seconds = 0.0
        end = time.monotonic() + seconds
        timer = self.call_later(max(0.0, seconds), _nothing)
        try:
            with held(self._alarm):
                while True:
                    try:
                        self.poll()
                        self.process_timeouts()
                    except PIKA_BROKE as error:
                        self._on_broken(f"{type(error).__name__}: {error}")
                        self.cut()
                    strike()
                    if done():
                        return True
                    if time.monotonic() >= end:
                        return False
        finally:
            self.remove_timeout(timer)

    def wake(self) -> None:
        """Let the turn under way, or the next one, look at once whether it is done."""
        self.add_callback_threadsafe(_nothing)

    def cut(self) -> None:
        """Shut every socket down: pika then sees the end of its stream and lets go of it."""
        for fd in tuple(self.sockets):
            with suppress(OSError), socket.socket(fileno=os.dup(fd)) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Give back the loop's own descriptors; it cannot be turned any more."""
        super().remove_handler(self._alarm)
        self.deactivate_poller()
        self.close()
        os.close(self._alarm)

    def forsake(self) -> None:
        """In a forked child: let go of the parent's sockets without a word to the broker.

        They are replaced, not closed: closed ones would keep the number that pika's objects
        close again later, and copies left open would hide the parent's death from the broker.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (*self.sockets, self._alarm):
            os.dup2(nowhere, fd, inheritable=False)
        os.close(nowhere)
        _forsaken.append(self)


_forsaken: list[Loop] = []
"""What a fork left behind, kept so that nothing is collected, hence nothing said or closed."""


def _cork(fd: int, *, on: bool) -> None:
    """Hold back what a socket has less of than fills a packet; or let it go."""
    with suppress(OSError):
        view = socket.socket(fileno=fd)
        try:
            view.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)
        finally:
            view.detach()


def _nothing() -> None:
    """Only wake the loop."""
