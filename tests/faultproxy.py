"""A TCP proxy that misbehaves when told to: it cuts, stalls or refuses connections."""

import contextlib
import selectors
import socket
import ssl
import struct
import threading
import time
from types import TracebackType
from typing import Self

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on and of no length: closing sends RST, as a crashed host's kernel would."""


class FaultProxy:
    """Forwards ``127.0.0.1:port`` to a broker, in a thread of its own, until it is closed.

    With ``tls``, clients must speak TLS to it; the broker behind it is spoken to without.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._kept: list[socket.socket] = []
        self._abandon = False
        self._lock = threading.Lock()
        self._stalled = False
        self._refusing = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections go through it now."""
        with self._lock:
            return len(self._pairs) // 2

    def cut(self, *, clients_only: bool = False) -> None:
        """Reset every connection."""
        with self._lock:
            for one in list(self._clients if clients_only else self._pairs):
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    one.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Reset every client, and let the broker go on believing in it: a host that froze."""
        self._abandon = True
        while self.connections:
            self.cut(clients_only=True)
            time.sleep(0.01)
        self._abandon = False

    def stall(self, *, on: bool = True) -> None:
        """Forward nothing any more, and keep every connection: a cable pulled out."""
        self._stalled = on

    def refuse(self, *, on: bool = True) -> None:
        """Close new connections at once, and cut those that are there."""
        self._refusing = on
        if on:
            self.cut()

    def close(self) -> None:
        """End the proxy and its connections."""
        self._over = True
        self.cut()
        self._thread.join(5)
        for one in self._kept:
            one.close()
        self._listener.close()

    def __enter__(self) -> Self:
        """Return the proxy."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the proxy."""
        self.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._over:
                if self._stalled:  # what waits to be read would end each select at once
                    time.sleep(0.02)
                for key, _ in selector.select(0.02):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif not self._stalled:
                        self._forward(selector, key.fileobj)  # type: ignore[arg-type]
            for one in list(self._pairs):
                self._drop(selector, one)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        if self._tls is not None:
            client.settimeout(5)
            try:
                client = self._tls.wrap_socket(client, server_side=True)
            except OSError:
                client.close()
                return
        if self._refusing:
            client.close()
            return
        try:
            broker = socket.create_connection(self._target, 5)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs[client], self._pairs[broker] = broker, client
            self._clients.add(client)
        selector.register(client, selectors.EVENT_READ)
        selector.register(broker, selectors.EVENT_READ)

    def _forward(self, selector: selectors.BaseSelector, one: socket.socket) -> None:
        other = self._pairs.get(one)
        if other is None:
            return
        try:
            while data := one.recv(65536):
                self._pass(one, other, data)
                # What TLS has decrypted already, the selector knows nothing of.
                if not (isinstance(one, ssl.SSLSocket) and one.pending()):
                    return
        except OSError:
            pass
        self._drop(selector, one)

    def _pass(self, one: socket.socket, other: socket.socket, data: bytes) -> None:
        """Forward what ``one`` said."""
        del one
        other.sendall(data)

    def _drop(self, selector: selectors.BaseSelector, one: socket.socket) -> None:
        with self._lock:
            other = self._pairs.pop(one, None)
            if other is None:
                return
            del self._pairs[other]
        for end in (one, other):
            selector.unregister(end)
            if self._abandon and end not in self._clients:
                self._kept.append(end)
            else:
                end.close()
            self._clients.discard(end)
