"""A lab of real processes on a real broker: gatherer, monitors, and workloads in this one."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.errors import NoGatherer
from pytest_gatherscatter.sections.section import Demand, Waiting
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import AskStatus, LabStatus

GATHERER = """
import os, signal
from pytest_gatherscatter.sections.service.gatherer import GathererService
from pytest_gatherscatter.settings import Settings
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
GathererService(Settings(lab=os.environ["LAB"]), os.environ["URL"]).run(lambda: bool(stop))
"""

MONITOR = """
import os, signal
from pytest_gatherscatter.sections.hook import Findings, Hold, Monitor, Veto
from pytest_gatherscatter.sections.service.monitor import MonitorService
from pytest_gatherscatter.settings import Settings

class Scope(Monitor):
    held = False
    def prepare(self, section):
        how = os.environ["HOW"]
        if how == "veto":
            return Veto("door open")
        if how == "break":
            raise RuntimeError("no cable")
        if how == "hold" and not self.held:
            self.held = True
            return Hold(0.7, "settling")
    def stopped(self, section):
        findings = Findings()
        findings.add("peak_v", 5.71, unit="V", high=5.5 if os.environ["HOW"] == "fail" else 6)
        if os.environ["HOW"] == "capture":
            findings.attach("../trace.bin", bytes(range(256)) * 4096)
        return findings

stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
MonitorService(
    Settings(lab=os.environ["LAB"]),
    os.environ["URL"],
    name=os.environ["NAME"],
    benches=os.environ["BENCHES"].split(),
    hooks=Scope(),
).run(lambda: bool(stop))
"""

VICTIM = """
import os, sys, time
from pathlib import Path
from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings
settings = Settings(lab=os.environ["LAB"])
place = Path(os.environ["PLACE"])
workloads = Workloads(settings, Found(os.environ["URL"], "url", "given"), run="0" * 16,
                      tickets=place / "tickets", locks=place)
workloads.enter(workloads.gather(Demand.of(settings, name="victim", test="test_victim")))
print("inside", flush=True)
time.sleep(60)
"""


@dataclass
class Lab:
    """A lab on a broker; its parties are processes that end with the test."""

    url: str
    name: str
    place: Path
    waits: list[Waiting] = field(default_factory=list)
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, script: str, **environ: str) -> "subprocess.Popen[str]":
        """Start a party."""
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={
                **os.environ,
                "LAB": self.name,
                "URL": self.url,
                "PLACE": str(self.place),
                "XDG_STATE_HOME": str(self.place / "state"),
                **environ,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def gatherer(self) -> "subprocess.Popen[str]":
        """Start the gatherer; it answers when this returns."""
        process = self.start(GATHERER)
        self.until(lambda _: True)
        return process

    def monitor(
        self, name: str, how: str = "", *, benches: str = "default"
    ) -> "subprocess.Popen[str]":
        """Start a monitor of one or more benches; it is in the lab when this returns."""
        process = self.start(MONITOR, NAME=name, HOW=how, BENCHES=benches)
        self.until(lambda status: any(agent.agent == name for agent in status.agents))
        return process

    def status(self) -> LabStatus:
        """What the gatherer says."""
        with Asker(Settings(lab=self.name), self.url) as asker:
            return asker.ask(AskStatus(), LabStatus)

    def until(self, true: Callable[[LabStatus], bool]) -> None:
        """Wait until the gatherer's word makes ``true`` true."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            with suppress(NoGatherer):
                if true(self.status()):
                    return
            time.sleep(0.05)
        pytest.fail("the lab did not come to be as it should")

    def workloads(self, **given: object) -> Workloads:
        """A run's workloads in this lab."""
        settings = self.settings(**given)
        return Workloads(
            settings,
            Found(self.url, "url", "given"),
            run=secrets.token_hex(8),
            on_wait=self.waits.append,
            tickets=self.place / "tickets",
            locks=self.place,
        )

    def settings(self, **given: object) -> Settings:
        """The lab's settings."""
        return Settings(lab=self.name, artifacts=self.place / "captures", **given)  # type: ignore[arg-type]

    @property
    def tickets(self) -> list[str]:
        """Names of the tickets that are left."""
        return sorted(path.name for path in (self.place / "tickets").glob("*"))

    def end(self) -> None:
        """End all parties."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def opened(url: str, name: str, place: Path) -> Iterator[Lab]:
    """A lab, and its end."""
    lab = Lab(url, name, place)
    try:
        yield lab
    finally:
        lab.end()


def demand(lab: Lab, **given: object) -> Demand:
    """A demand of a test in this file."""
    return Demand.of(lab.settings(), name="burst", test="test_burst", **given)


def sockets() -> set[str]:
    """The sockets that this process has open, from the kernel."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:"):
                found.add(target)
    return found
