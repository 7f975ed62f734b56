"""Suites of tests that tests write and run, and a lab of real processes for them."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from userrun import HEAVY, without

from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import AskStatus, LabStatus, ResetDone, ResetLab

MONITORS = '''
"""Monitors whose behaviour is in the name of the section."""

import os
import time

from pytest_gatherscatter import Findings, Hold, Monitor, Veto


class Scope(Monitor):
    def stopped(self, section):
        if "dies" in section.name:
            os._exit(1)
        findings = Findings()
        findings.add("peak_v", 7.0 if "bad" in section.name else 5.1, unit="V", high=5.5)
        findings.attach("trace.csv", b"1,2,3")
        return findings


class Thermal(Monitor):
    holds = 0

    def prepare(self, section):
        if "veto" in section.name:
            return Veto("door open")
        if "broken" in section.name:
            raise RuntimeError("no instrument")
        if "hold" in section.name:
            self.holds += 1
            if self.holds % 3:
                return Hold(1.5, "settling")
        return None
'''

SETTINGS = """
gather_timeout = "2s"
report_timeout = "3s"

[[monitor]]
name = "scope"
target = "monitors:Scope"

[[monitor]]
name = "thermal"
target = "monitors:Thermal"
"""


OTHERS = ("xdist", "rerunfailures", "asyncio")
"""Plugins that leave threads, sockets or warnings in a process that runs pytest twice."""


@dataclass
class Lab:
    """A gatherer and the monitors ``scope`` and ``thermal`` on bench ``default``."""

    url: str
    name: str
    folder: Path
    processes: dict[str, "subprocess.Popen[bytes]"]

    def start(self, name: str, *command: str) -> None:
        """Start a process of the lab, by its command of the command line."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pytest_gatherscatter", *command),
                    *("--parent-pid", str(os.getpid())),
                ],
                cwd=self.folder,
                env=os.environ | {"GATHERSCATTER_BROKER": self.url, "GATHERSCATTER_LAB": self.name},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def status(self) -> LabStatus:
        """Ask the gatherer how things stand."""
        with Asker(Settings(lab=self.name), self.url) as asker:
            return asker.ask(AskStatus(), LabStatus)

    def wait(self, condition: Callable[[LabStatus], bool]) -> None:
        """Wait until the lab's status fits; 20 s at most."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(Exception):
                if condition(self.status()):
                    return
            time.sleep(0.05)
        logs = "\n".join(log.read_text() for log in self.folder.glob("*.log"))
        pytest.fail(f"the lab did not come up:\n{logs}")

    def ready(self) -> None:
        """Start whoever is not there, and wait for all."""
        for name in ("gatherer", "scope", "thermal"):
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                self.start(name, *(["gatherer"] if name == "gatherer" else ["monitor", name]))
        self.wait(lambda status: {"scope", "thermal"} <= {one.agent for one in status.agents})
        self.open_benches()

    def open_benches(self) -> None:
        """Give up all sections: a bench stays closed when a test ended its process inside one."""
        with Asker(Settings(lab=self.name), self.url) as asker:
            asker.ask(ResetLab(everything=True, who="the tests"), ResetDone, timeout=10)


class Suite:
    """A suite of tests in a directory of its own, and pytest runs on it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.given: list[str] = ["-p", "no:cacheprovider", *without(HEAVY)]
        # Unset it is a warning of pytest-asyncio's, which has nothing to do with us.
        pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def write(self, text: str, name: str = "test_it.py") -> None:
        """Write a file of the suite; tests get the imports that most of them need."""
        if name.startswith("test_"):
            text = f"import os, threading, time\nimport pytest\n\n{text}"
        (self.path / name).write_text(text)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        return self.pytester.runpytest_subprocess(*self.given, *arguments, timeout=90)

    def run_here(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process, which is faster; for runs that start and wait for nothing."""
        others = without(OTHERS)
        return self.pytester.runpytest_inprocess(*self.given, *others, *arguments)

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start pytest and do not wait; what it prints is in ``output``."""
        with (self.path / "output").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "pytest", *self.given, *arguments],
                cwd=self.path,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
