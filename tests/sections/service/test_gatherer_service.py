"""The gatherer as a process, on real brokers: who may be it, what it survives, how it ends."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import rabbitmq
from faultproxy import FaultProxy

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, Properties, Verdict
from pytest_gatherscatter.broker.topology import Consumer, Topology, lab_topology
from pytest_gatherscatter.errors import BrokerError, NoGatherer
from pytest_gatherscatter.journal import FileJournal
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import codec, names
from pytest_gatherscatter.wire import messages as m

SECTION = "0123456789abcdef"


class Gatherers:
    """Gatherers of one lab, started with the command that people use."""

    def __init__(self, url: str, lab: str, place: Path) -> None:
        self.url, self.lab, self.place = url, lab, place
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start one; it may not live long."""
        command = [sys.executable, "-m", "pytest_gatherscatter", "gatherer"]
        with (self.place / f"log{len(self.processes)}").open("w") as log:
            process = subprocess.Popen(
                [*command, "--broker", self.url, "--lab", self.lab, *options],
                stdout=log,
                stderr=log,
                text=True,
                cwd=self.place,
            )
        self.processes.append(process)
        return process

    def serve(self, *options: str) -> subprocess.Popen[str]:
        """Start one, and return when it answers."""
        process = self.start(*options)
        until(lambda: self.status().pid == process.pid)
        return process

    def log(self) -> str:
        """What the last one said."""
        return (self.place / f"log{len(self.processes) - 1}").read_text()

    def status(self) -> m.LabStatus:
        """What the lab's gatherer says."""
        with self.asker() as asker:
            return asker.ask(m.AskStatus(), m.LabStatus)

    def asker(self) -> Asker:
        """A party that asks."""
        return Asker(Settings(lab=self.lab), self.url, events=["section.go.b"])

    def end(self) -> None:
        """End all that still run."""
        for process in self.processes:
            process.kill()
            process.wait()


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something, bounded; nobody there is not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(NoGatherer, BrokerError):
            if true():
                return
        time.sleep(0.05)
    pytest.fail("it did not come")


@contextmanager
def gatherers(url: str, lab: str, place: Path) -> Iterator[Gatherers]:
    """Gatherers, and their end."""
    one = Gatherers(url, lab, place)
    try:
        yield one
    finally:
        one.end()


@pytest.fixture
def both(broker_url: str, lab: str, tmp_path: Path) -> Iterator[Gatherers]:
    """On one broker after the other."""
    with gatherers(broker_url, lab, tmp_path) as one:
        yield one


@pytest.fixture
def here(embedded_url: str, lab: str, tmp_path: Path) -> Iterator[Gatherers]:
    """On the embedded broker, for what does not depend on the broker."""
    with gatherers(embedded_url, lab, tmp_path) as one:
        yield one


def enter(section: str = SECTION, **more: object) -> m.EnterSection:
    """Make a question that nobody needs to answer but the gatherer."""
    facts: dict[str, object] = {
        "section": section,
        "name": "burst",
        "bench": "b",
        "test": "test_burst",
        "owner": "eve",
        "run": "0" * 16,
        "max_duration": 0.2,
        "queue_timeout": 60.0,
        "gather_timeout": 60.0,
        "hold_limit": 60.0,
        "report_timeout": 5.0,
        **more,
    }
    return m.EnterSection(**facts)  # type: ignore[arg-type]


def commit(asker: Asker) -> int:
    """Play a workload up to the commit; returns the token."""
    token = asker.ask(enter(), m.SectionGathered).token
    return asker.ask(m.WorkloadReady(section=SECTION, token=token), m.SectionGo).token


def test_a_second_gatherer_is_refused_and_hears_who_the_first_is(both: Gatherers) -> None:
    """A lab has one; the line names its pid and host, and the first goes on."""
    first = both.serve()
    second = both.start()
    assert second.wait(15) == 1
    (line,) = [line for line in both.log().splitlines() if "has a gatherer already" in line]
    assert f"pid {first.pid} on " in line
    assert "Traceback" not in both.log()
    assert both.status().pid == first.pid


def test_a_gatherer_that_lost_its_name_hears_to_whom(here: Gatherers) -> None:
    """Cut off, another one took its place: it ends within seconds, and says who has it."""
    parts = urlsplit(here.url)
    login, _, _ = parts.netloc.rpartition("@")
    with FaultProxy(parts.hostname or "127.0.0.1", parts.port or 5672) as proxy:
        first = here.start("--broker", f"amqp://{login}@127.0.0.1:{proxy.port}/%2F")
        until(lambda: here.status().pid == first.pid)
        proxy.refuse()
        second = here.serve()
        proxy.refuse(on=False)
        assert first.wait(15) == 1
    log = (here.place / "log0").read_text()
    (line,) = [line for line in log.splitlines() if "has a gatherer already" in line]
    assert f"pid {second.pid} on " in line
    assert "405" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_on_its_state_keeps_the_bench_closed(
    both: Gatherers, end: signal.Signals
) -> None:
    """Past t0 Go is not said again; only leaving opens the bench, and the token goes on."""
    state = ("--state-dir", str(both.place / "state"))
    process = both.serve(*state)
    with both.asker() as asker:
        token = commit(asker)
        until(lambda: inside(both))
        process.send_signal(end)
        process.wait(10)
        both.serve(*state)
        (section,) = both.status().sections
        assert (section.section, section.token, section.owner) == (SECTION, token, "eve")
        assert section.state in {"live", "overdue"}
        other = enter("f" * 16)
        waiting = asker.ask(other, m.SectionWaiting)
        assert "burst of eve (test_burst" in waiting.awaited[0]
        left = m.LeaveSection(section=SECTION, token=token, outcome="passed")
        assert asker.ask(left, m.SectionClosed).token == token
        assert asker.ask(other, m.SectionGathered).token > token


def test_without_its_state_a_restart_still_gives_higher_tokens(here: Gatherers) -> None:
    """The clock of the world is above all that it gave before."""
    process = here.serve()
    with here.asker() as asker:
        token = commit(asker)
        process.kill()
        process.wait()
        here.serve()
        assert asker.ask(enter("f" * 16), m.SectionGathered).token > token


def inside(one: Gatherers) -> bool:
    """Whether t0 has passed, and the bench is closed."""
    return [section.state for section in one.status().sections] in (["live"], ["overdue"])


BAD: list[tuple[bytes, str | None, str]] = [
    (b"\xff\xfe garbage", None, "malformed"),
    (b'{"kind":"Nonsense"}', "Nonsense/1", "unknown kind 'Nonsense'"),
    (b'{"kind":"AskStatus"}', "AskStatus/9", "version '9'"),
    (b'{"kind":"EnterSection"}', "EnterSection/1", "missing required field"),
    (b'{"kind":"AskStatus"}', "JoinLab/1", "type says JoinLab"),
    (b'"' + b"x" * codec.MAX_BODY, None, "1048576 allowed"),
    (b"[" * 100_000, None, ""),
    (b"", None, ""),
]


def test_what_nobody_can_read_is_set_aside_and_counted(both: Gatherers) -> None:
    """A copy lies with the dead letters, with the reason; the gatherer serves as before."""
    both.serve()
    link = Link(both.url, lab_topology(both.lab), name="test")
    with link:
        link.open(5.0)
        for body, kind, _ in BAD:
            key = names.GATHERER_KEY
            exchange = names.direct_exchange(both.lab)
            link.publish(exchange, key, body, Properties(type=kind, reply_to="x"), mandatory=True)
        link.poll(0.1)
        until(lambda: both.status().unreadable == len(BAD))
        link.declare(Topology(consumers=(Consumer(names.dead(both.lab)),)))
        dead: list[Delivered] = []
        end = time.monotonic() + 10
        while len(dead) < len(BAD) and time.monotonic() < end:
            for event in link.poll(0.2):
                if isinstance(event, Delivered):
                    dead.append(event)
                    link.settle(event.tag, Verdict.ACK)
    assert len(dead) == len(BAD)
    for (body, kind, reason), letter in zip(BAD, dead, strict=True):
        assert reason in str(letter.properties.headers["gs-reason"])
        assert letter.properties.headers["gs-queue"] == names.gatherer_queue(both.lab)
        assert letter.properties.type == kind
        assert body.startswith(letter.body)
        assert len(letter.body) <= 4096
    with both.asker() as asker:
        assert asker.ask(enter(), m.SectionGathered).token > 0


def test_sigterm_ends_it_cleanly(both: Gatherers) -> None:
    """Exit 0 and no traceback, in the middle of a section; its name is free at once."""
    process = both.serve()
    with both.asker() as asker:
        commit(asker)
        process.terminate()
        assert process.wait(5) == 0
        assert "Traceback" not in both.log()
        began = time.monotonic()
        both.serve()
        assert time.monotonic() - began < 5
        assert "still has the gatherer's name" not in both.log()  # it says so of a first refusal


def test_it_waits_for_its_broker_and_can_be_ended_meanwhile(
    tmp_path: Path, lab: str, embedded_url: str
) -> None:
    """Both are often started by one script; nobody waits half a minute for a Ctrl-C."""
    host = embedded_url.rpartition("@")[0]
    with gatherers(f"{host}@127.0.0.1:9/", lab, tmp_path) as away:
        process = away.start()
        until(lambda: "trying again" in away.log())
        process.terminate()
        assert process.wait(5) == 0
        assert "Traceback" not in away.log()


def test_a_connection_that_is_lost_in_mid_section_is_found_again(
    embedded_url: str, lab: str, tmp_path: Path
) -> None:
    """The section goes on, and can be left on the new connection."""
    parts = urlsplit(embedded_url)
    with FaultProxy(parts.hostname or "127.0.0.1", parts.port or 5672) as proxy:
        login, _, _ = parts.netloc.rpartition("@")
        url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
        with gatherers(url, lab, tmp_path) as one:
            process = one.serve()
            with one.asker() as asker:
                token = commit(asker)
                until(lambda: inside(one))
            proxy.cut()
            until(lambda: one.status().pid == process.pid)
            assert inside(one)
            with one.asker() as asker:
                left = m.LeaveSection(section=SECTION, token=token, outcome="passed")
                assert asker.ask(left, m.SectionClosed).token == token


def test_a_state_directory_that_cannot_be_used_is_one_line(here: Gatherers) -> None:
    """A file in its place, a damaged journal, events of another version, another's journal."""
    (here.place / "file").write_text("x")
    assert_one_line(here, here.place / "file" / "state", "cannot be written: Not a directory")

    state = here.place / "damaged"
    state.mkdir()
    path = state / f"gatherer-{here.lab}.journal"
    path.write_text("not a record\n")
    assert_one_line(here, state, "line 1 is damaged (it is no record)")

    path.unlink()
    journal = FileJournal(path)
    journal.append({"what": "token", "token": 7})
    journal.append({"what": "suspended"})
    journal.close()
    assert_one_line(here, state, f"{path}: line 2 is damaged (not an event of this version")

    path.unlink()
    first = here.serve("--state-dir", str(state))
    assert_one_line(here, state, f"is in use by pid {first.pid}")


def assert_one_line(here: Gatherers, state: Path, words: str) -> None:
    """See a gatherer refuse a state directory in one line."""
    process = here.start("--state-dir", str(state))
    assert process.wait(15) == 2
    said = [line for line in here.log().splitlines() if "gatherer of lab" not in line]
    assert len([line for line in said if words in line]) == 1, here.log()
    assert "Traceback" not in here.log()


def test_a_deleted_inbox_is_made_again(
    rabbitmq_node: rabbitmq.Node, lab: str, tmp_path: Path
) -> None:
    """What lay in it is lost, and told; the same process answers who asks from now on."""
    with gatherers(rabbitmq_node.url, lab, tmp_path) as one:
        process = one.serve()
        inbox = names.gatherer_queue(lab)
        rabbitmq_node.ctl("delete_queue", inbox)
        until(lambda: f"queue {inbox} was deleted, and is made again" in one.log())
        until(lambda: one.status().pid == process.pid)


def test_a_long_journal_is_folded_and_means_the_same(here: Gatherers) -> None:
    """After two thousand events there is a snapshot; the section that is inside is in it."""
    state = here.place / "state"
    process = here.serve("--state-dir", str(state))
    with here.asker() as asker:
        token = commit(asker)
        until(lambda: inside(here))
        for _ in range(1_000):
            section = secrets.token_hex(8)
            asker.send(enter(section, bench="other"))
            asker.send(m.WithdrawSection(section=section))
            asker.listen(0.0)
        path = state / f"gatherer-{here.lab}.journal"
        until(lambda: 0 < path.stat().st_size < 50_000)
        process.kill()
        process.wait()
        facts = [json.loads(line)["event"]["what"] for line in path.read_text().splitlines()]
        assert facts[0] == "token"
        here.serve("--state-dir", str(state))
        (one,) = here.status().sections
        assert (one.section, one.token) == (SECTION, token)
