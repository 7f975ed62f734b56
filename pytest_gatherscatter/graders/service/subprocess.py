"""The grader ``subprocess``: a program that reads a request as JSON, and writes a grade as JSON."""

import errno
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from pytest_gatherscatter.errors import (
    GraderFailed,
    GraderKilled,
    GradingEnded,
    GradingTimedOut,
    SettingsInvalid,
)
from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
from pytest_gatherscatter.graders.option import Options
from pytest_gatherscatter.graders.service.program import Limits, ProgramEnd, run
from pytest_gatherscatter.graders.service.scratch import scratch, sweep
from pytest_gatherscatter.host.guard import Guard
from pytest_gatherscatter.quantity import seconds, size
from pytest_gatherscatter.wire.grading import GradingFile

OUTPUT = 1024 * 1024
"""Bytes that a program may write unless the settings say another bound: a message has as many."""

READ = 1024 * 1024
"""Bytes of a file that are read between two looks at the time."""

SHOWN = 2000
"""Characters of stderr in the text of a failure."""


class SubprocessGrader(Grader):
    """Runs ``command`` for each request, in a directory of its own that has the request's files.

    On stdin: ``{"id", "queue", "payload", "files", "seconds", "attempt"}``; each file has ``name``,
    ``path``, ``size`` and ``sha256``. On stdout: ``{"passed", "score", "message", "details"}``, of
    which ``passed`` must be there. Any other exit status than 0 is a failure.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is an option
        self,
        command: tuple[str, ...],
        output: int,
        cpu: int | None,
        memory: int | None,
        shared: tuple[Path, ...],
        environment: Mapping[str, str],
    ) -> None:
        self._command = command
        self._output, self._cpu, self._memory = output, cpu, memory
        self._shared, self._environment = shared, environment

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Take ``command``; ``cpu``, ``memory``, ``output``, ``shared`` and ``environment``."""
        known = ("command", "cpu", "memory", "output", "shared", "environment")
        told = Options(options, known)
        command = told.need("command", _command)
        if shutil.which(command[0]) is None:
            raise SettingsInvalid("command", f"there is no program {command[0]!r}")
        _guard()  # here by one thread, before there are others
        return cls(
            command,
            told.get("output", size, OUTPUT),
            told.get("cpu", lambda value: max(1, round(seconds(value))), None),
            told.get("memory", size, None),
            told.get("shared", _directories, ()),
            told.get("environment", _environment, {}),
        )

    def grade(self, request: GraderRequest) -> Grade:
        """Run it."""
        until = time.monotonic() + request.seconds
        with scratch() as directory:
            told = {
                "id": request.id,
                "queue": request.queue,
                "payload": request.payload,
                "files": [self._file(one, directory, until) for one in request.files],
                "seconds": request.seconds,
                "attempt": request.attempt,
            }
            try:
                end = run(
                    self._command,
                    stdin=json.dumps(told).encode(),
                    directory=directory,
                    environ={**os.environ, **self._environment, "GS_REQUEST": request.id},
                    limits=Limits(until - time.monotonic(), self._output, self._cpu, self._memory),
                    ended=request.ended,
                    guard=_guard(),
                )
            except OSError as error:
                raise GraderFailed(f"{self._command[0]} cannot be started: {error}") from None
        return self._grade(end, request)

    def _file(self, file: GradingFile, directory: Path, until: float) -> dict[str, object]:
        """Put a file where the program finds it, or see that it is where it may look."""
        facts = {"name": file.name, "size": file.size, "sha256": file.sha256}
        if not file.path:
            path = directory / file.name
            path.write_bytes(file.data)
            return {**facts, "path": str(path)}
        path = Path(file.path).resolve()
        if not any(path.is_relative_to(one) for one in self._shared):
            raise GraderFailed(f"file {file.name}: {file.path} is below none of option shared")
        try:
            same = path.stat().st_size == file.size and _digest(path, until) == file.sha256
        except OSError as error:
            raise GraderFailed(f"file {file.name}: {file.path}: {error.strerror}") from None
        if not same:
            raise GraderFailed(f"file {file.name}: {file.path} has changed since it was sent")
        return {**facts, "path": str(path)}

    def _grade(self, end: ProgramEnd, request: GraderRequest) -> Grade:
        if end.why == "time":
            raise GradingTimedOut(_with(f"it took longer than {request.seconds:.3g} s", end))
        if end.why == "told":
            raise GradingEnded("it was told to end")
        if end.why == "output":
            raise GraderFailed(_with(f"it wrote more than {self._output} bytes", end))
        if end.status == -signal.SIGXCPU:
            raise GraderFailed(_with(f"it used more than {self._cpu} s of CPU", end))
        if end.status < 0:
            raise GraderKilled(_with(f"it was killed by {_signal(-end.status)}", end))
        if end.status:
            raise GraderFailed(_with(f"exit status {end.status}", end))
        return read_grade(end.stdout, "it")


def _digest(path: Path, until: float) -> str:
    """Return a file's hash, in the time there is.

    Raises:
        GradingTimedOut: it is too large for that.
        OSError: it cannot be read.
    """
    found = hashlib.sha256()
    if not path.is_file():  # a pipe would be read for ever
        raise OSError(errno.EINVAL, "is no file with a size")
    with path.open("rb") as stream:
        while chunk := stream.read(READ):
            found.update(chunk)
            if time.monotonic() >= until:
                raise GradingTimedOut(f"{path} is too large to be looked at in time")
    return found.hexdigest()


@cache
def _guard() -> Guard:
    """Return the guard of this process, which ends with it; sweep up after those without one."""
    sweep()
    return Guard()


def read_grade(body: bytes, who: str) -> Grade:
    """Read a grade out of JSON.

    Raises:
        GraderFailed: it is none.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise GraderFailed(f"{who} wrote no JSON: {error}; {body[:200]!r}") from None
    if not isinstance(said, dict) or not isinstance(said.get("passed"), bool):
        raise GraderFailed(f"{who} has not said whether it passed: {body[:200]!r}")
    score, message, details = said.get("score"), said.get("message", ""), said.get("details", {})
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise GraderFailed(f"{who} says score {score!r}, which is no number")
    if not isinstance(message, str) or not isinstance(details, dict):
        raise GraderFailed(f"{who} says a message that is no text, or details that are no object")
    return Grade(said["passed"], None if score is None else float(score), message, details)


def _with(text: str, end: ProgramEnd) -> str:
    words = end.stderr.strip()
    return f"{text}: {words[-SHOWN:]}" if words else text


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{value!r} must be a list of words, the program first")
    if any("\0" in one for one in value):
        raise ValueError(f"{value!r}: no program can be given a word with a NUL")
    return tuple(value)


def _directories(value: object) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{value!r} must be a list of directories")
    paths = tuple(Path(one) for one in value)
    for path in paths:
        if not path.is_absolute():
            raise ValueError(f"{str(path)!r} is no absolute path")
    return tuple(path.resolve() for path in paths)


def _environment(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise TypeError(f"{value!r} must be a table of texts")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(f"{name!r}: no variable can be called so, or have such a value")
    return value
