"""Monitors as processes, with a real gatherer, on real brokers."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest
from faultproxy import FaultProxy

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.broker.port import Delivered
from pytest_gatherscatter.broker.topology.sections import section_topology
from pytest_gatherscatter.errors import NoGatherer
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import messages as m

PROCESS = """
import json, logging, signal, sys, threading
from pytest_gatherscatter.sections.service.gatherer import GathererService
from pytest_gatherscatter.sections.service.monitor import MonitorService, hooks_of
from pytest_gatherscatter.settings import MonitorSettings, Settings

logging.basicConfig(level="INFO", stream=sys.stderr)
told = json.load(sys.stdin)
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
settings = Settings(lab=told["lab"], artifact_limit=1_000_000)
if "monitor" in told:
    monitor = MonitorSettings(**told["monitor"])
    MonitorService(settings, told["url"], name=monitor.name, benches=["b"],
                   hooks=hooks_of(monitor), hook_timeout=monitor.hook_timeout,
                   drain=told["drain"]).run(ended.is_set)
else:
    GathererService(settings, told["url"]).run(ended.is_set)
"""

SCOPE = """
import time
from pathlib import Path
from pytest_gatherscatter.sections.hook import Findings, Hold, Monitor, Veto

class Scope(Monitor):
    def __init__(self, *, door="shut", nap=0.0, raises=""):
        self.door, self.nap, self.raises, self.asked = door, nap, raises, 0

    def say(self, *words):
        with open("said", "a") as file:
            print(*words, file=file)

    def prepare(self, section):
        self.asked += 1
        time.sleep(self.nap)
        if self.raises == "prepare":
            raise OSError("no device")
        if self.door == "open":
            return Veto("door open")
        if self.asked == 1:
            return Hold(0.3, "settling")

    def started(self, section):
        self.say("started", time.monotonic() - section.t0)

    def stopped(self, section):
        self.say("stopped")
        findings = Findings()
        findings.add("peak", 5.7, "V", high=5.5)
        findings.attach("../trace.bin", bytes(range(256)) * 2000)
        Path("large.bin").write_bytes(b"x" * 1_000_001)
        findings.attach("large.bin", Path("large.bin"))
        return findings

    def aborted(self, section, cause):
        self.say("aborted", cause)

    def overdue(self, section):
        self.say("overdue")
"""

M = TypeVar("M", bound=m.Message)
SECTION = "0123456789abcdef"


class Actors:
    """Processes of one lab, and the test itself as its workload."""

    def __init__(self, url: str, lab: str, directory: Path) -> None:
        self.url, self.lab, self.directory = url, lab, directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self.asker = Asker(Settings(lab=lab), url, events=["section.go.b"])
        self.asker.__enter__()
        self.heard: list[m.Message] = []
        self.start()

    def start(self, **told: object) -> subprocess.Popen[bytes]:
        """Start a monitor, or the gatherer, and hand it its facts."""
        number = len(self.processes)
        with (self.directory / f"log{number}").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", PROCESS],
                stdin=subprocess.PIPE,
                stderr=err,
                cwd=self.directory,
                env={**os.environ, "XDG_STATE_HOME": str(self.directory / "state")},
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"url": self.url, "lab": self.lab, **told}).encode())
        process.stdin.close()
        self.processes.append(process)
        return process

    def monitor(self, *, drain: float = 5.0, **told: object) -> subprocess.Popen[bytes]:
        """Start a monitor and wait until it has joined."""
        process = self.start(monitor={"name": "scope", **told}, drain=drain)
        self.until(self.joined)
        return process

    def joined(self) -> bool:
        """Whether the monitor is in the lab."""
        try:
            status = self.asker.ask(m.AskStatus(), m.LabStatus, timeout=1.0)
        except NoGatherer:
            return False
        return [agent.agent for agent in status.agents] == ["scope"]

    @staticmethod
    def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait for something, bounded."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.05)

    def hear(self, *kinds: type[M], seconds: float = 15.0) -> M:
        """Listen until one of ``kinds`` comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in self.asker.listen(0.2):
                self.heard.append(message)
                if isinstance(message, kinds):
                    return message
        raise AssertionError(f"heard only {self.heard}, {self.logs()}")

    def enter(self, **facts: Any) -> None:  # noqa: ANN401 - fields of the message
        """Ask to enter a section that needs the monitor."""
        self.asker.send(
            m.EnterSection(
                **{
                    "section": SECTION,
                    "name": "burst",
                    "bench": "b",
                    "test": "t.py::t",
                    "owner": "me",
                    "run": "abcdef01",
                    "require": ("scope",),
                    "max_duration": 60.0,
                    "queue_timeout": 10.0,
                    "gather_timeout": 10.0,
                    "hold_limit": 10.0,
                    "report_timeout": 10.0,
                    **facts,
                }
            )
        )

    def go(self, **facts: Any) -> m.SectionGo:  # noqa: ANN401 - fields of the message
        """Enter, and be ready as soon as all have gathered."""
        self.enter(**facts)
        gathered = self.hear(m.SectionGathered)
        self.asker.send(m.WorkloadReady(section=SECTION, token=gathered.token))
        return self.hear(m.SectionGo)

    def leave(self, go: m.SectionGo) -> m.MemberReport:
        """Leave, and return what the monitor reported."""
        self.asker.send(m.LeaveSection(section=SECTION, token=go.token, outcome="passed"))
        (report,) = self.hear(m.SectionClosed).reports
        return report

    def chunks(self) -> dict[str, bytes]:
        """All artifacts in the section's queue."""
        link = self.asker.link
        link.declare(section_topology(self.lab, SECTION, prefetch=100))
        files: dict[str, dict[int, bytes]] = {}
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for event in link.poll(0.1):
                if isinstance(event, Delivered) and event.properties.type == "ArtifactChunk/1":
                    body = json.loads(event.body)
                    files.setdefault(body["artifact"], {})[body["number"]] = base64.b64decode(
                        body["data"]
                    )
        return {name: b"".join(parts[n] for n in sorted(parts)) for name, parts in files.items()}

    def said(self) -> str:
        """What the hooks wrote down."""
        path = self.directory / "said"
        return path.read_text() if path.exists() else ""

    def logs(self) -> str:
        """What all processes logged."""
        return "\n".join(path.read_text() for path in sorted(self.directory.glob("log*")))

    def close(self) -> None:
        """End everything; nothing may have printed a traceback."""
        self.asker.link.close()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert "Traceback" not in self.logs(), self.logs()


@pytest.fixture
def actors(broker_url: str, lab: str, tmp_path: Path) -> Iterator[Actors]:
    """A lab with a gatherer, on one broker after the other."""
    (tmp_path / "scope.py").write_text(SCOPE)
    actors = Actors(broker_url, lab, tmp_path)
    yield actors
    actors.close()


@pytest.fixture
def local_actors(embedded_url: str, lab: str, tmp_path: Path) -> Iterator[Actors]:
    """The same on the embedded broker only, where the broker makes no difference."""
    (tmp_path / "scope.py").write_text(SCOPE)
    actors = Actors(embedded_url, lab, tmp_path)
    yield actors
    actors.close()


def test_a_class_from_hold_to_report(actors: Actors) -> None:
    """It holds, arms, starts at t0 and never before, and hands in findings and captures."""
    actors.monitor(target="scope:Scope")
    go = actors.go()
    time.sleep(0.3)
    report = actors.leave(go)
    assert any(
        hold.reason == "settling"
        for message in actors.heard
        if isinstance(message, m.SectionWaiting)
        for hold in message.holds
    )
    assert report.reported
    assert not report.cause
    (finding,) = report.findings
    assert (finding.passed, finding.text) == (False, "5.7 V is above 5.5 V")
    assert report.lateness is not None
    assert report.bound is not None
    assert -report.bound <= report.lateness < 0.25
    assert float(actors.said().split()[1]) >= 0
    small, large = report.artifacts
    data = bytes(range(256)) * 2000
    assert (small.name, small.size, small.chunks) == ("trace.bin", len(data), 2)
    assert small.sha256 == hashlib.sha256(data).hexdigest()
    assert large.chunks == 0
    assert large.path == str(actors.directory / "large.bin")
    assert Path(large.path).exists()
    assert actors.chunks() == {"trace.bin": data}
    assert not list((actors.directory / "state").rglob("*.bin"))


def test_programs_from_hold_to_report(actors: Actors) -> None:
    """Exit 75 holds, stdout has findings, files in GS_ARTIFACTS are captures."""
    prepare = "test -e settled && exit 0; touch settled; echo 0.3 settling down; exit 75"
    stop = (
        'echo "peak_v=5.2"; echo \'{"name": "rms", "value": 3, "high": 2, "unit": "V"}\';'
        ' echo "$GS_HOOK $GS_SECTION $GS_NAME $GS_TEST $GS_BENCH" > "$GS_ARTIFACTS/facts"'
    )
    actors.monitor(
        on_prepare=["sh", "-c", prepare],
        on_go=["sh", "-c", "echo went >> said"],
        on_stop=["sh", "-c", stop],
    )
    go = actors.go()
    time.sleep(0.3)
    report = actors.leave(go)
    assert [(f.name, f.value, f.passed) for f in report.findings] == [
        ("peak_v", 5.2, None),
        ("rms", 3, False),
    ]
    assert actors.said() == "went\n"
    assert actors.chunks() == {"facts": f"stopped {SECTION} burst t.py::t b\n".encode()}
    actors.until(lambda: not list((actors.directory / "state").rglob("facts")))


@pytest.mark.parametrize(
    ("told", "cause", "text"),
    [
        ({"target": "scope:Scope", "options": {"door": "open"}}, "vetoed", "door open"),
        ({"on_prepare": ["sh", "-c", "echo too hot; exit 76"]}, "vetoed", "too hot"),
        ({"on_prepare": ["sh", "-c", "exit 127"]}, "broken", "exit 127"),
        ({"on_prepare": ["no-such-program"]}, "broken", "exit 127: no-such-program"),
        ({"on_prepare": ["sh", "-c", "echo no bus >&2; exit 3"]}, "broken", "exit 3: no bus"),
        ({"on_prepare": ["sh", "-c", "exit 75"]}, "broken", "SECONDS REASON"),
        ({"on_prepare": ["sh", "-c", "kill -9 $$"]}, "broken", "killed by SIGKILL"),
        (
            {"target": "scope:Scope", "options": {"raises": "prepare"}},
            "broken",
            "OSError: no device (scope.py:18)",
        ),
        (
            {"target": "scope:Scope", "options": {"nap": 2.0}, "hook_timeout": 0.3},
            "broken",
            "prepare still running after 0.3 s",
        ),
        (
            {"on_prepare": ["sh", "-c", "sleep 60 & wait"], "hook_timeout": 0.3},
            "broken",
            "prepare still running after 0.3 s; ended",
        ),
    ],
)
def test_no_is_told_with_its_reason(
    local_actors: Actors, told: dict[str, Any], cause: str, text: str
) -> None:
    """A veto and each way of breaking reach the workload in words."""
    local_actors.monitor(**told)
    local_actors.enter()
    aborted = local_actors.hear(m.SectionAborted)
    assert aborted.cause == cause
    assert text in aborted.text


def test_a_stuck_method_is_broken_until_it_comes_back(local_actors: Actors) -> None:
    """The next section hears at once why, and the one after the method's return is armed."""
    local_actors.monitor(target="scope:Scope", options={"nap": 2.0}, hook_timeout=0.5)
    local_actors.enter()
    local_actors.hear(m.SectionAborted)
    began = time.monotonic()
    local_actors.enter(section="1" * 16)
    assert "still running" in local_actors.hear(m.SectionAborted).text
    assert time.monotonic() - began < 1.0
    local_actors.until(lambda: "aborted broken" in local_actors.said())


def test_an_overdue_section_is_made_safe_without_a_broker(lab: str, tmp_path: Path) -> None:
    """The broker dies in the section; the deadline holds, and SIGTERM still ends in order."""
    (tmp_path / "scope.py").write_text(SCOPE)
    with provider.start_local(address=tmp_path / "address") as broker:
        actors = Actors(broker.url, lab, tmp_path)
        monitor = actors.monitor(target="scope:Scope", drain=0.5)
        actors.go(max_duration=1.0)
        broker.stop()
    actors.until(lambda: "overdue" in actors.said())
    monitor.terminate()
    assert monitor.wait(10) == 0
    assert "aborted leaving" in actors.said()
    assert "the broker is gone" in actors.logs()
    actors.close()


def test_sigterm_lets_a_running_section_end(actors: Actors) -> None:
    """The report is handed in, then the monitor leaves in good order."""
    monitor = actors.monitor(target="scope:Scope")
    go = actors.go()
    monitor.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert monitor.poll() is None
    assert actors.leave(go).reported
    assert monitor.wait(10) == 0
    status = actors.asker.ask(m.AskStatus(), m.LabStatus)
    assert status.agents == ()


def test_sigterm_ends_an_idle_monitor_at_once(local_actors: Actors) -> None:
    """Nothing is on, so there is nothing to wait for."""
    monitor = local_actors.monitor(target="scope:Scope")
    monitor.terminate()
    assert monitor.wait(2) == 0
    status = local_actors.asker.ask(m.AskStatus(), m.LabStatus)
    assert status.agents == ()


def test_a_name_that_is_taken_is_told(local_actors: Actors) -> None:
    """The second monitor of a name ends within seconds, and says who has it."""
    first = local_actors.monitor(target="scope:Scope")
    second = local_actors.start(monitor={"name": "scope", "target": "scope:Scope"}, drain=1)
    assert second.wait(15) == 1
    log = local_actors.directory / "log2"
    assert f"has an agent 'scope' already (pid {first.pid} on " in log.read_text()
    log.write_text("")  # this process has no command line that would catch it
    assert first.poll() is None


def test_a_monitor_waits_for_its_broker(lab: str, tmp_path: Path) -> None:
    """Started first, it says once that it waits, and ends when asked."""
    (tmp_path / "scope.py").write_text(SCOPE)
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    told = {
        "url": "amqp://guest:secret@127.0.0.1:1/",
        "lab": lab,
        "monitor": {"name": "scope", "target": "scope:Scope"},
        "drain": 1,
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(told).encode())
    process.stdin.close()
    process.stdin = None
    time.sleep(3)
    process.terminate()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert err.count(b"trying again until it is there") == 1
    assert b"secret" not in err


def test_a_link_lost_in_the_section_comes_back_with_the_report(
    rabbitmq_url: str, lab: str, tmp_path: Path
) -> None:
    """The connection breaks after the start; hooks, captures and report come all the same."""
    (tmp_path / "scope.py").write_text(SCOPE)
    parts = urlsplit(rabbitmq_url)
    with FaultProxy(parts.hostname or "127.0.0.1", parts.port or 5672) as proxy:
        actors = Actors(rabbitmq_url, lab, tmp_path)
        login, _, _ = parts.netloc.rpartition("@")
        actors.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
        actors.monitor(target="scope:Scope")
        go = actors.go()
        time.sleep(0.3)
        proxy.cut()
        time.sleep(0.3)
        report = actors.leave(go)
        assert report.reported
        assert not report.cause
        assert list(actors.chunks()) == ["trace.bin"]
        actors.close()
