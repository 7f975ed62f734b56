"""pika's loop, turned only while somebody waits: a party that is quiet is really quiet."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

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
        self.sockets: dict[int, Callable[[int, int], None]] = {}
        self._full: dict[int, int] = {}
        """What sockets with something to send are to be watched for, if they do not take it."""
        self._on_broken = on_broken
        self._laden: list[Callable[[], None]] = []
        """Who has gathered something to be sent together."""
        self._sending = False
        self._ending = Lock()
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
        """Watch a socket."""
        self.sockets[fd] = handler
        super().add_handler(fd, handler, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Watch a socket for something else; what was gathered for it is tried to be sent first."""
        if self._sending and events & self.READ and events & self.WRITE:
            self._full[fd] = events
        elif self._full.pop(fd, None) is None or events != self.READ:
            super().update_handler(fd, events)
        # else it was sent at once, and is watched for reading as it was

    def remove_handler(self, fd: int) -> None:
        """Watch a socket no more."""
        self.sockets.pop(fd, None)
        self._full.pop(fd, None)
        super().remove_handler(fd)

    def poll(self) -> None:
        """Send what there is to be sent, then wait for something to happen, and see to it."""
        laden, self._laden = self._laden, []
        self._sending = True
        try:
            for send in laden:
                send()
        finally:
            self._sending = False
        for fd in tuple(self._full):
            if fd in self._full:  # else another one's end has closed it
                self.sockets[fd](fd, self.WRITE)
            if (events := self._full.pop(fd, None)) is not None:  # the system takes no more yet
                super().update_handler(fd, events)
        super().poll()

    def before_poll(self, send: Callable[[], None]) -> None:
        """Call ``send`` once, before the next wait."""
        self._laden.append(send)

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
        with self._ending:  # its number may be that of another file afterwards
            if self._alarm >= 0:
                os.eventfd_write(self._alarm, 1)

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
        with self._ending:
            os.close(self._alarm)
            self._alarm = -1

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


def _nothing() -> None:
    """Only wake the loop."""
