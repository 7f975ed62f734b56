"""A recorder as a process: each end on record once, whoever is killed or talks rubbish."""

import json
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Raw
from shells import Actor, Shell, until

from pytest_gatherscatter.broker import incumbent
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, Properties, PublishConfirmed
from pytest_gatherscatter.broker.topology import Consumer, Topology, lab_topology
from pytest_gatherscatter.broker.topology.record import RECORD_PREFETCH, recorder_topology
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.record.order import NotWritten, Written
from pytest_gatherscatter.record.row import Entry
from pytest_gatherscatter.record.service.database import Database
from pytest_gatherscatter.record.service.recorder import RecorderService
from pytest_gatherscatter.recordsetting import RecorderSettings
from pytest_gatherscatter.wire import codec, names
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import GathererStarted

KILLS, PORTION = 5, 700
"""How often a recorder is killed, and how many grades are said before each time: some of them are
on record then, as a rule not all."""


class Speaker:
    """Somebody who says that things ended."""

    def __init__(self, lab: str, url: str) -> None:
        self.lab = lab
        self.link = Link(url, lab_topology(lab), name="speaker")
        self.link.open(10)

    def say(self, key: str, body: bytes, properties: Properties) -> None:
        """Publish an event; it leaves with the next :meth:`heard`."""
        self.link.publish(names.event_exchange(self.lab), key, body, properties, mandatory=False)

    def grade(self, number: int, message_id: str = "") -> None:
        """Say that a request was graded; with details, so that it takes a while to write."""
        answer = GradeAnswer(
            request=f"{number:08x}",
            queue="wave",
            outcome="graded",
            passed=True,
            details=Raw(json.dumps({"samples": list(range(200))}).encode()),
        )
        properties = Properties(type=codec.type_of(answer), message_id=message_id or f"m{number}")
        self.say(names.grading_event("answered", "wave"), codec.encode(answer), properties)

    def heard(self, number: int) -> None:
        """Wait until the broker has confirmed so many."""
        while number > 0:
            number -= sum(isinstance(one, PublishConfirmed) for one in self.link.poll(10))

    def poll(self) -> int:
        """Send what there is to say; returns how much the broker has not confirmed."""
        self.link.poll(0)
        return self.link.unconfirmed

    def waiting(self) -> int:
        """How many events wait for the recorder."""
        depth = self.link.queue_depth(names.record_queue(self.lab, "default"))
        return -1 if depth is None else depth[0]


def on_record(path: Path) -> list[tuple[str, str]]:
    """The requests and message ids that are on record, as others than the recorder see them.

    Not read-only: what a killed transaction has left is rolled back by whoever comes next.
    """
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        return connection.execute("SELECT request, message_id FROM grade").fetchall()


class Desk:
    """A recorder's folder, and the recorders that were started in it."""

    def __init__(self, folder: Path, lab: str, url: str) -> None:
        self.lab, self.url, self.path = lab, url, folder / "lab.db"
        self.shell = Shell(
            folder,
            GATHERSCATTER_BROKER=url,
            GATHERSCATTER_LAB=lab,
            GATHERSCATTER_DATABASE=f"sqlite:///{self.path}",
        )

    def record(self, *words: str, **environ: str) -> Actor:
        """Start a recorder; it records when this returns."""
        actor = self.shell.start("recorder", *words, **environ)
        actor.says("recorder default of lab")
        return actor


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path, lab: str) -> Iterator[Desk]:
    """A desk, on the embedded broker unless a test says another one."""
    broker = getattr(request, "param", "embedded")
    made = Desk(tmp_path, lab, request.getfixturevalue(f"{broker}_url"))
    yield made
    made.shell.end()


def wait_for(number: int, speaker: Speaker, desk: Desk) -> None:
    """Wait until so many are on record, while the speaker says what it has to say."""
    until(lambda: speaker.poll() >= 0 and len(on_record(desk.path)) >= number)


@pytest.mark.parametrize("desk", ["rabbitmq"], indirect=True)
def test_nothing_is_lost_or_twice_where_recorders_are_killed(desk: Desk) -> None:
    """Killed at any moment, and for sure in a transaction: every event is on record, and once."""
    running = desk.record()
    speaker = Speaker(desk.lab, desk.url)
    with speaker.link:
        for kill in range(KILLS):
            first = kill * PORTION
            locks = sqlite3.connect(desk.path, isolation_level=None)
            if kill == KILLS - 1:
                wait_for(first, speaker, desk)
                until(lambda: speaker.waiting() == 0)
                locks.execute("BEGIN IMMEDIATE")
            for number in range(first, first + PORTION):
                speaker.grade(number)
                if number % 10 == 0:
                    speaker.grade(number)  # said twice
            if kill == KILLS - 1:
                # What it has in hand it cannot commit; the rest waits in its queue.
                until(lambda: not speaker.poll())
                until(lambda: 0 < speaker.waiting() <= PORTION + PORTION // 10 - RECORD_PREFETCH)
            else:
                wait_for(first + PORTION // 4, speaker, desk)
            running.signal(signal.SIGKILL)
            assert running.ends() == -signal.SIGKILL
            locks.close()
            running = desk.record()
        wait_for(KILLS * PORTION, speaker, desk)
        # What was in doubt is acked in the end, too; then nothing comes any more.
        until(lambda: speaker.waiting() == 0)
        running.signal(signal.SIGTERM)
        assert running.ends() == 0
        assert speaker.waiting() == 0
    found = sorted(on_record(desk.path))
    assert found == [(f"{number:08x}", f"m{number}") for number in range(KILLS * PORTION)]


def test_what_was_said_while_it_was_away_and_what_is_rubbish(desk: Desk) -> None:
    """It comes back to what waited; what is no message is dead, with its reason, and in no way."""
    desk.record().end()
    speaker = Speaker(desk.lab, desk.url)
    key = names.grading_event("answered", "wave")
    with speaker.link:
        speaker.grade(1)
        speaker.say(key, b"{rubbish", Properties(type="GradeAnswer/1", message_id="r1"))
        answer = GradeAnswer(request="ab" * 8, queue="wave", outcome="graded")
        speaker.say(key, codec.encode(answer), Properties(type="GradeAnswer/1"))
        other = GathererStarted(gatherer="ab" * 8)
        speaker.say(key, codec.encode(other), Properties(message_id="r3"))
        speaker.grade(2)
        speaker.heard(5)
        assert speaker.waiting() == 5
        running = desk.record()
        until(lambda: len(on_record(desk.path)) == 2)
        dead = names.dead(desk.lab)
        speaker.link.declare(Topology(consumers=(Consumer(dead),)))
        letters: list[Delivered] = []
        while len(letters) < 3:
            letters += [one for one in speaker.link.poll(10) if isinstance(one, Delivered)]
        reasons = sorted(str(one.properties.headers["gs-reason"]) for one in letters)
        assert reasons[0].startswith("GathererStarted is nothing that is recorded")
        assert "malformed" in reasons[1]
        assert reasons[2].startswith("it has no message_id")
        until(lambda: speaker.waiting() == 0)
        running.signal(signal.SIGINT)
        assert running.ends() == 130
        assert speaker.waiting() == 0
    listed = desk.shell.run("results", "--kind", "grades", "--json")
    assert [row["request"] for row in json.loads(listed.stdout)] == ["00000001", "00000002"]


def test_a_database_that_stays_locked_ends_it_and_loses_nothing(desk: Desk) -> None:
    """One warning, one line at the end, 75; the next one writes what the broker has kept."""
    desk.record().end()
    locks = sqlite3.connect(desk.path, isolation_level=None)
    locks.execute("BEGIN EXCLUSIVE")
    speaker = Speaker(desk.lab, desk.url)
    url = f"sqlite:///{desk.path}?timeout=0.05"
    with speaker.link:
        running = desk.shell.start("recorder", "--patience", "2s", GATHERSCATTER_DATABASE=url)
        refused = running.ends()  # it cannot even look whether the tables are its own
        assert (refused, "database is locked" in running.text) == (75, True)
        locks.execute("ROLLBACK")
        running = desk.record("--patience", "2s", GATHERSCATTER_DATABASE=url)
        locks.execute("BEGIN EXCLUSIVE")
        speaker.grade(1)
        speaker.heard(1)
        assert running.ends() == 75
        said = [line for line in running.lines if "database is locked" in line]
        assert len(said) == 2, running.text
        assert "it is tried for 2 s" in said[0]
        assert said[1].startswith("gatherscatter: database sqlite:///")
        assert "the broker keeps the rest" in said[1]
        assert "Traceback" not in running.text
        until(lambda: speaker.waiting() == 1)
        locks.execute("ROLLBACK")
        locks.close()
        desk.record()
        until(lambda: len(on_record(desk.path)) == 1)


def test_there_is_one_of_a_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two would have the half; the second one is told so, and another name is all right."""
    monkeypatch.setattr(incumbent, "PATIENCE", 0.0)
    database = Database(f"sqlite:///{desk.path}", "--database")
    database.make()
    topology = recorder_topology(desk.lab, "default")
    with Link(desk.url, topology, name="first") as first:
        first.open(10)
        second = RecorderService(desk.lab, desk.url, RecorderSettings(), database)
        with pytest.raises(SettingsInvalid, match="has a recorder 'default' already"):
            second.run(lambda: False)
        other = RecorderService(desk.lab, desk.url, RecorderSettings(name="b"), database)
        assert (other.run(lambda: True), other.stuck) == ("", False)
    database.close()


class Hanging(Database):
    """A database that does not answer until it may."""

    may = threading.Event()

    def write(self, entries: Sequence[Entry]) -> Written | NotWritten:
        """Wait."""
        self.may.wait(20)
        return super().write(entries)


def test_one_that_does_not_answer_is_left(desk: Desk) -> None:
    """Its connection to the broker lives on meanwhile; then it says so, and nothing is acked."""
    database = Hanging(f"sqlite:///{desk.path}", "--database")
    database.make()
    service = RecorderService(desk.lab, desk.url, RecorderSettings(patience=0.5), database)
    speaker = Speaker(desk.lab, desk.url)

    said: list[int] = []

    def stops() -> bool:  # asked when the recorder's queue is there
        if not said:
            speaker.grade(1)
            said.append(1)
        speaker.poll()
        return False

    with speaker.link:
        assert service.run(stops) == "it has not answered for 0.5 s"
        assert service.stuck
        until(lambda: speaker.waiting() > 0)
    database.may.set()
    service.thread.join(10)
    assert len(on_record(desk.path)) == 1  # and it is found there when it comes again
    database.close()


SETTINGS = """
[[grader]]
name = "nap"
kind = "sleep"
options = { min = 0, max = 0 }

[process.power.commands]
on = "echo on {volts}"
burn = "exit 3"
"""

SLIP = """
name = "both"
[[step]]
process = "power"
command = "on"
params = { volts = "5" }
[[step]]
process = "power"
command = "burn"
"""


def test_everything_that_ends_in_a_lab_is_on_record(desk: Desk) -> None:
    """A section, a grade, a slip and a job of real parties, with who, what, when and how."""
    shell = desk.shell
    shell.environ["GATHERSCATTER_DATABASE"] = f"sqlite:///{desk.path}"
    folder = shell.folder
    (folder / "gatherscatter.toml").write_text(SETTINGS)
    (folder / "slip.toml").write_text(SLIP)
    (folder / "test_it.py").write_text("def test_good(): pass\ndef test_bad(): assert 0\n")
    desk.record()
    shell.gather()
    served = shell.start("graders", "serve")
    processed = shell.start("slips", "process", "power")
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    worker = shell.start("--gs-worker", "--rootdir", str(folder), str(folder), how=pytest_)
    words = ("--gs-dispatch", "--gs-source", "none", "test_it.py")
    job = shell.start(*words, how=pytest_)
    section = shell.start("workload", "--name", "burst", "--", "false")
    served.says("serves nap")
    asked = shell.start("graders", "request", "nap")
    processed.says("processes power")
    slip = shell.start("slips", "run", "slip.toml")
    assert [one.ends() for one in (asked, section, job, worker)] == [0, 1, 1, 0]
    assert slip.ends() != 0

    def rows() -> dict[str, dict[str, object]]:
        told = json.loads(shell.run("results", "--json").stdout)
        return {row["kind"]: row for row in told}

    until(lambda: len(rows()) == 4)
    found = rows()
    grade, ended, gone, ran = (found[kind] for kind in ("grades", "sections", "slips", "jobs"))
    assert (grade["outcome"], grade["queue"], grade["passed"]) == ("graded", "nap", True)
    assert f"(pid {asked.process.pid})" in str(grade["owner"])
    assert (ended["name"], ended["verdict"], ended["outcome"]) == ("burst", "device", "failed")
    assert (gone["name"], gone["outcome"]) == ("both", "failed")
    steps = [(one["command"], one["status"]) for one in gone["steps"]]  # type: ignore[attr-defined]
    assert steps == [("on", "done"), ("burn", "failed")]
    assert (ran["tests"], ran["passed"], ran["failed"], ran["unrun"]) == (2, 1, 1, 0)
    assert all(row["lab"] == desk.lab for row in found.values())
