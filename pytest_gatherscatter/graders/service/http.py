"""The grader ``http``: a server that is asked by POST, and answers a grade as JSON.

Over ``http.client``, which does what it is told and nothing more: it follows no redirect, reads no
proxy out of the environment, and goes to no other host than the settings name.
"""

import base64
import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from pytest_gatherscatter.errors import GraderFailed, GradingTimedOut
from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
from pytest_gatherscatter.graders.option import Options
from pytest_gatherscatter.graders.service.bell import wait
from pytest_gatherscatter.graders.service.subprocess import read_grade
from pytest_gatherscatter.quantity import seconds

MOST_BODY = 1024 * 1024
"""Bytes of an answer: a message has as many."""

MOST_RETRIES = 10

SERVER_ERRORS = range(500, 600)


class _Passing(Exception):
    """A failure that may be over the next time."""


class _Reader(io.RawIOBase):
    """What a server says: a file that ends with the time there is, however slowly it is said.

    A socket's own timeout is for one read of many; a head that drips would take for ever.

    Raises:
        GradingEnded: the grading was told to end.
        TimeoutError: nothing came for so many seconds, or the time is over.
    """

    def __init__(self, sock: socket.socket, patience: float, until: float, bell: int) -> None:
        super().__init__()
        self._sock, self._patience, self._until, self._bell = sock, patience, until, bell

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # as io calls it
        """Read what is there, or wait for some of it."""
        left = min(self._patience, self._until - time.monotonic())
        if left <= 0:
            raise TimeoutError
        here = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()
        if not here and not wait(left, self._bell, self._sock.fileno()):
            raise TimeoutError
        self._sock.settimeout(left)  # of TLS there may be half a record
        return self._sock.recv_into(buffer)


class _Connected:
    """A socket as ``http.client`` wants one, that reads by a :class:`_Reader`.

    It closes nothing: where a server closes after its answer, that is read after the connection
    was closed.
    """

    def __init__(self, sock: socket.socket, reader: _Reader) -> None:
        self.sendall = sock.sendall
        self._reader = reader

    def makefile(self, *_: object) -> io.BufferedReader:
        """Make the file that the answer is read from."""
        return io.BufferedReader(self._reader)

    def close(self) -> None:
        """Leave it to who has made it."""


class HttpGrader(Grader):
    """Posts each request to ``url`` as JSON; the answer is that of the ``subprocess`` grader.

    Files go along as base64 in ``data``, or by their ``path``.
    """

    def __init__(self, url: str, connect: float, read: float, retries: int) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._target = parts.path or "/"
        if parts.query:
            self._target += f"?{parts.query}"
        self._connect, self._read, self._retries = connect, read, retries

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Take ``url``; ``connect_timeout``, ``read_timeout`` and ``retries``."""
        told = Options(options, ("url", "connect_timeout", "read_timeout", "retries"))
        return cls(
            told.need("url", _url),
            told.get("connect_timeout", seconds, 5.0),
            told.get("read_timeout", seconds, 60.0),
            told.get("retries", _count, 2),
        )

    def grade(self, request: GraderRequest) -> Grade:
        """Ask the server, and again if it could not be asked or was broken."""
        until = time.monotonic() + request.seconds
        body = json.dumps(
            {
                "id": request.id,
                "queue": request.queue,
                "payload": request.payload,
                "files": [
                    {
                        "name": one.name,
                        "size": one.size,
                        "sha256": one.sha256,
                        **(
                            {"path": one.path}
                            if one.path
                            else {"data": base64.b64encode(one.data).decode()}
                        ),
                    }
                    for one in request.files
                ],
                "seconds": request.seconds,
                "attempt": request.attempt,
            }
        ).encode()
        asked = Retrying(
            stop=stop_after_attempt(self._retries + 1),
            wait=wait_exponential(multiplier=0.2, max=5.0) + wait_random(0.0, 0.2),
            retry=retry_if_exception_type(_Passing),
            sleep=lambda pause: _pause(min(pause, until - time.monotonic()), request.ended),
            reraise=True,
        )
        try:
            return read_grade(asked(self._post, body, until, request.ended), self._name)
        except _Passing as error:
            raise GraderFailed(f"{self._name}: {error}") from None

    @property
    def _name(self) -> str:
        return f"http{'s' * self._secure}://{self._host}"

    def _post(self, body: bytes, until: float, bell: int) -> bytes:
        """Ask once, in what is left of the time."""
        left = until - time.monotonic()
        if left <= 0:
            raise GradingTimedOut(f"{self._name} has not answered in time")
        connection = self._connection(min(self._connect, left))
        sock: socket.socket | None = None
        try:
            connection.connect()
            sock = connection.sock
            sock.settimeout(max(0.001, min(self._read, until - time.monotonic())))
            connection.sock = _Connected(sock, _Reader(sock, self._read, until, bell))
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request("POST", self._target, body, headers)
            with connection.getresponse() as answer:
                found = self._all(answer)
        except TimeoutError:
            if time.monotonic() >= until:
                raise GradingTimedOut(f"{self._name} has not answered in time") from None
            raise _Passing("no answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
            if sock is not None:
                sock.close()
        if answer.status in SERVER_ERRORS:
            raise _Passing(f"status {answer.status} {answer.reason}: {found[:200]!r}")
        if answer.status != http.HTTPStatus.OK:
            text = f"status {answer.status} {answer.reason}: {found[:200]!r}"
            raise GraderFailed(f"{self._name}: {text}")
        return found

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _all(self, answer: http.client.HTTPResponse) -> bytes:
        """Read the whole answer, if it is no more than there may be."""
        found = bytearray()
        while data := answer.read1(64 * 1024):
            found += data
            if len(found) > MOST_BODY:
                raise GraderFailed(f"{self._name} answers more than {MOST_BODY} bytes")
        if answer.length:
            raise _Passing(f"the answer ended {answer.length} bytes too early")
        return bytes(found)


def _pause(seconds: float, bell: int) -> None:
    wait(seconds, bell)


def _url(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} must be a text")
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} must be http://HOST… or https://HOST…")
    if parts.username or parts.password:
        raise ValueError("a password in a URL is seen by everybody; it is not taken")
    _ = parts.port  # says so if it is none
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r}: blanks and what is not ASCII must be written %XX")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        raise ValueError(f"{value!r} must be a whole number from 0 to {MOST_RETRIES}")
    return value
