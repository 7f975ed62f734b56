"""The figures of an examiner over HTTP, for a Prometheus that comes by: of this host only."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.graders.metric import exposition
from pytest_gatherscatter.wire.grading import ExaminerSeen

LOOPBACK = "127.0.0.1"

SLOWEST = 5.0
"""Seconds that a client may take to ask: one that says nothing keeps a thread for no longer."""


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
            self._server = ThreadingHTTPServer((LOOPBACK, port), Handler)
        except OSError as error:
            raise SettingsInvalid("--metrics-port", f"{port}: {error.strerror}") from None
        self._server.daemon_threads = False
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
