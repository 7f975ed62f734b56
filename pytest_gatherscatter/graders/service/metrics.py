"""The figures of an examiner over HTTP, for a Prometheus that comes by: of this host only."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.graders.metric import exposition
from pytest_gatherscatter.wire.grading import ExaminerSeen

LOOPBACK = "127.0.0.1"

SLOWEST = 5.0
"""Seconds that a client may take to ask: one that says nothing keeps a thread for no longer."""


class _Server(ThreadingHTTPServer):
    """One thread a client, none of which outlives it: a client that drips is hung up on."""

    daemon_threads = False

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._clients: set[socket.socket] = set()
        super().__init__((LOOPBACK, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - its types
        """Serve a client in a thread of its own."""
        self._clients.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - its type
        """Let go of a client; the last thing that its thread does."""
        self._clients.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Hang up on whoever is there still, and wait for the threads."""
        for client in [*self._clients]:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        super().server_close()


class Metrics:
    """Serves the last figures that it was told, in threads of its own that end with it.

    Raises:
        SettingsInvalid: the port is taken, or not for everybody to have.
    """

    def __init__(self, port: int) -> None:
        self.seen: ExaminerSeen | None = None
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            timeout = SLOWEST

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404)
                    return
                body = b"" if metrics.seen is None else exposition(metrics.seen).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Say nothing: somebody comes by every few seconds."""

        try:
            self._server = _Server(port, Handler)
        except OSError as error:
            raise SettingsInvalid("--metrics-port", f"{port}: {error.strerror}") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics"
        )

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
