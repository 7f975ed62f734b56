"""A proxy that stops at a chosen message, so that a fault strikes exactly there."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit, urlunsplit

from faultproxy import FaultProxy

WORD = 64  # bytes kept of what went by, so that a word is found across two reads


class GateProxy(FaultProxy):
    """Forwards everything until the word that it was told to wait for goes by.

    The read in which the word ends is held back, with all that follows it on that connection in
    that direction, until :meth:`let_go` or :meth:`discard`.
    """

    def __init__(self, host: str, port: int) -> None:
        self._gate = threading.Lock()
        self._word: bytes | None = None
        self._holder: socket.socket | None = None
        self._parked: list[tuple[socket.socket, bytes]] = []
        self._tails: dict[socket.socket, bytes] = {}
        self.reached = threading.Event()
        super().__init__(host, port)

    def hold_at(self, word: str) -> None:
        """Hold back the next message with ``word`` in it, ``SectionGo/1`` for instance."""
        with self._gate:
            self._tails.clear()
            self.reached.clear()
            self._word = word.encode()

    def let_go(self) -> None:
        """Forward what was held back, in its order, and all that comes."""
        with self._gate:
            for other, data in self._parked:
                with contextlib.suppress(OSError):
                    other.sendall(data)
            self._open()

    def discard(self) -> None:
        """Lose what was held back: it never left its sender."""
        with self._gate:
            self._open()

    def _open(self) -> None:
        self._parked.clear()
        self._word = self._holder = None

    def _pass(self, one: socket.socket, other: socket.socket, data: bytes) -> None:
        with self._gate:
            if self._word is not None and self._holder is None:
                seen = self._tails.get(one, b"") + data
                self._tails[one] = seen[-WORD:]
                if self._word in seen:
                    self._holder = one
                    self.reached.set()
            if self._holder is one:
                self._parked.append((other, data))
            else:
                other.sendall(data)


def proxy_to(url: str) -> tuple[GateProxy, str]:
    """Open a gate proxy to the broker at ``url``, and return it with the URL through it."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    proxy = GateProxy(parts.hostname or "127.0.0.1", parts.port or 5672)
    return proxy, urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
