"""Drives a real worker over its pipes, as its supervisor would."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from outcomelog import add
from userrun import HEAVY, without

from pytest_gatherscatter.plugin.reports import pack_output, unpack_output
from pytest_gatherscatter.testfiles.service.pipe import Command, Start, event, line
from pytest_gatherscatter.wire.event import (
    AnyEvent,
    FileCollected,
    OutputTold,
    TestRan,
    WorkerEnded,
)
from pytest_gatherscatter.wire.testfiles import GiveBack, JobOver, RunFile

JOB = "0b" * 8
RUN = "1d" * 8
PATIENCE = 60.0
"""Seconds for anything that a worker does: its start, on a busy machine, takes a few."""

E = TypeVar("E")


@dataclass
class Worker:
    """A worker's process. ``events`` is all that it told so far."""

    process: "subprocess.Popen[str]"
    write: int
    read: int
    events: list[AnyEvent] = field(default_factory=list)
    _rest: bytes = b""
    leases: int = 0
    """The last lease that was granted."""

    def say(self, command: Command | Start) -> None:
        """Write a command."""
        os.write(self.write, line(command))

    def grant(self, file: str, tests: tuple[int, ...] | None = None, digest: str = "") -> int:
        """Have a file run; returns the lease."""
        self.leases += 1
        run = RunFile(
            job=JOB, worker="gw0", lease=self.leases, file=file, tests=tests, digest=digest
        )
        self.say(run)
        return self.leases

    def give_back(self, lease: int, most: int) -> None:
        """Ask for tests."""
        self.say(GiveBack(job=JOB, worker="gw0", lease=lease, most=most))

    def over(self) -> None:
        """End the job."""
        self.say(JobOver(job=JOB))

    def hear(self) -> bool:
        """Read events; ``False`` at the end."""
        chunk = os.read(self.read, 65_536)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.events += [event(one) for one in lines]
        return bool(chunk)

    def wait(self, kind: type[E], **fields: object) -> E:
        """Read until there is such an event; returns it."""
        looked = 0
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for one in self.events[looked:]:
                if isinstance(one, kind) and all(
                    getattr(one, name) == value for name, value in fields.items()
                ):
                    return one
            looked = len(self.events)
            if not self.hear():
                break
        raise AssertionError(f"no {kind.__name__} {fields} in {self.events}")

    def finish(self) -> WorkerEnded:
        """End the job, and wait for the process; returns its last event."""
        self.over()
        return self.ended()

    def ended(self) -> WorkerEnded:
        """Wait for the process; returns its last event."""
        self.drain()
        last = self.events[-1]
        assert isinstance(last, WorkerEnded), (self.events, self.process.communicate())
        return last

    def drain(self) -> None:
        """Read to the end, and wait for the process."""
        while self.hear():
            pass
        self.process.wait(PATIENCE)

    def of(self, kind: type[E]) -> list[E]:
        """Return all events of a kind."""
        return [one for one in self.events if isinstance(one, kind)]

    def names(self) -> list[str]:
        """Name the tests that ran, by what the files' collections said, in order."""
        names: list[str] = []
        tests: tuple[str, ...] = ()
        for one in self.events:
            if isinstance(one, FileCollected):
                tests = one.tests
            elif isinstance(one, TestRan):
                names.append(tests[one.test])
        return names

    def outcomes(self) -> dict[str, str]:
        """Say how each test ended, by its nodeid: what a person would count."""
        ends: dict[str, str] = {}
        for ran in self.of(TestRan):
            for report in map(self.data, ran.reports):
                xfail = "wasxfail" in report
                add(ends, report["nodeid"], report["when"], report["outcome"], xfail=xfail)
        for collected in self.of(FileCollected):
            for report in map(self.data, collected.reports):
                add(ends, report["nodeid"], "collect", report["outcome"], xfail=False)
        return ends

    def output(self) -> dict[str, Any]:
        """Return what plugins handed in."""
        return unpack_output("".join(one.part for one in self.of(OutputTold)))

    @staticmethod
    def data(raw: msgspec.Raw) -> dict[str, Any]:
        """Return what is in a packed report."""
        data: dict[str, Any] = msgspec.json.decode(raw)
        return data

    def close(self) -> None:
        """End the process, whatever it does."""
        for descriptor in (self.write, self.read):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


Starts: TypeAlias = Callable[..., Worker]
"""What the fixture ``start`` returns: takes arguments of pytest, returns a worker."""


def start(
    folder: Path, *arguments: str, given: dict[str, Any] | None = None, place: str = "."
) -> Worker:
    """Start a worker of a suite; ``given`` goes into its ``workerinput``."""
    ours, theirs = os.pipe()
    back, forth = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_gatherscatter.plugin.worker", str(ours), str(forth)],
        pass_fds=(ours, forth),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(ours)
    os.close(forth)
    worker = Worker(process, theirs, back)
    order = Start(
        worker="gw0",
        count=1,
        run=RUN,
        arguments=("-p", "no:cacheprovider", *without(HEAVY), *arguments),
        root=str(folder),
        input=pack_output(given or {}),
        place=place,
    )
    worker.say(order)
    return worker


def write(suite: Path, files: dict[str, str]) -> None:
    """Write files of a suite; ``log(text)`` in them writes to the log, which tells what ran."""
    for name, text in files.items():
        path = suite / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = (
            "import os, pytest, signal, sys, time, unittest, warnings\n"
            f"def log(text):\n    with open({str(suite.parent / 'log')!r}, 'a') as file:\n"
            "        file.write(f'{text}\\n')\n"
        )
        path.write_text((head if name.endswith(".py") else "") + textwrap.dedent(text))


def logged(suite: Path) -> list[str]:
    """Return what the suite's files logged, and forget it."""
    log = suite.parent / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines
