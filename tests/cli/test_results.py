"""``gatherscatter recorder`` and ``results``: what is refused, and what people and programs see."""

import csv
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from msgspec import Raw

from pytest_gatherscatter.cli.main import status
from pytest_gatherscatter.cli.results import since_of
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.record.order import Written
from pytest_gatherscatter.record.row import entry_of
from pytest_gatherscatter.record.service.database import Database
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import Message, SectionChanged, SectionResult
from pytest_gatherscatter.wire.slips import Attempt, Slip, SlipOver, Step
from pytest_gatherscatter.wire.testfiles import JobFinished

GRADE = GradeAnswer(
    request="ab" * 8,
    queue="wave",
    outcome="graded",
    score=0.25,
    text="low\x1b[2J",
    details=Raw(b'{"peak": [5.1]}'),
)
BROKE = GradeAnswer(request="ac" * 8, queue="wave", outcome="failed", text="exit status 3")
SECTION = SectionChanged(
    section="cd" * 8,
    name="burst",
    bench="b1",
    state="closed",
    result=SectionResult(test="t.py::t", owner="ann", run="ef" * 8, verdict="passed"),
)
SLIP = SlipOver(
    slip=Slip(
        id="0f" * 8,
        name="flash",
        steps=(Step(number=1, process="power", command="on"),),
        progress=(
            Attempt(number=1, attempt=1, status="failed"),
            Attempt(number=1, attempt=2, status="failed"),
            Attempt(number=1, attempt=3, status="done"),
        ),
    ),
    outcome="done",
)
JOB = JobFinished(job="aa" * 8, originator="ci", root="/src", seconds=3.0, tests=4, passed=4)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database of one of each kind, and one more grade, an hour before."""
    database = Database(f"sqlite:///{tmp_path}/lab.db", "--database")
    database.make()
    told: list[tuple[Message, int]] = [(BROKE, 3600)]
    told += [(message, 0) for message in (GRADE, SECTION, SLIP, JOB)]
    entries = []
    for number, (message, ago) in enumerate(told):
        sent = int(datetime.now(UTC).timestamp()) - ago
        entry = entry_of(message, message_id=f"m{number}", sent=sent, lab="rack1", wall=0.0)
        assert entry is not None
        entries.append(entry)
    assert database.write(entries) == Written(5, {})
    database.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATHERSCATTER_DATABASE", "sqlite:///lab.db")
    monkeypatch.delenv("GATHERSCATTER_LAB", raising=False)
    return tmp_path


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(base: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Type ``gatherscatter results``; its status, and what it said."""
    assert base.exists()

    def typed(*words: str) -> tuple[int, str, str]:
        code = status(["results", *words])
        return (code, *capsys.readouterr())

    return typed


def test_lines_for_people_and_grep(say: Say) -> None:
    """Each begins with its kind; the oldest is the first; nothing moves a cursor."""
    code, told, wrong = say()
    lines = [line.split("\t") for line in told.splitlines()]
    assert (code, wrong) == (0, "")
    assert [line[0] for line in lines] == ["grades", "grades", "sections", "slips", "jobs"]
    assert [line[3] for line in lines[:2]] == ["failed", "not passed"]
    assert "low\\x1b[2J" in told
    assert "2 failed, 1 done" in told
    assert [line[2] for line in lines if line[0] == "jobs"] == ["passed"]


def test_json_for_programs(say: Say) -> None:
    """One list of objects, with all columns, and what is JSON as such."""
    _, told, _ = say("--json")
    rows = json.loads(told)
    assert [row["kind"] for row in rows] == ["grades", "grades", "sections", "slips", "jobs"]
    assert rows[1]["details"] == {"peak": [5.1]}
    assert (rows[0]["passed"], rows[1]["passed"]) == (None, False)
    assert [step["status"] for step in rows[3]["steps"]] == ["failed", "failed", "done"]
    assert datetime.fromisoformat(rows[1]["time"]).timestamp() == rows[1]["at"]


@pytest.mark.parametrize("kind", ["grades", "sections", "slips", "jobs"])
def test_csv_for_tables(say: Say, kind: str) -> None:
    """A head, and rows that a reader of CSV takes."""
    _, told, _ = say("--csv", "--kind", kind)
    rows = list(csv.DictReader(io.StringIO(told)))
    assert len(rows) == (2 if kind == "grades" else 1)
    assert all(row["lab"] == "rack1" and None not in row for row in rows)


def test_choosing(say: Say) -> None:
    """By kind, time, number and lab; that there is nothing is said, and no error."""
    assert say("--kind", "grades", "--since", "30m")[1].count("\n") == 1
    assert say("--kind", "grades", "--since", "2h")[1].count("\n") == 2
    assert say("--kind", "grades", "--limit", "1")[1].split("\t")[3] == "not passed"
    assert say("--kind", "grades", "--kind", "jobs")[1].count("\n") == 3
    assert say("--lab", "rack1")[1].count("\n") == 5
    code, told, wrong = say("--lab", "rack2", "--since", "1d", "--kind", "slips")
    assert (code, told) == (0, "")
    assert wrong == "gatherscatter: no slips on record since 1d\n"
    assert say("--lab", "rack2", "--json")[1] == "[]\n"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("30d", NOW - timedelta(days=30)),
        ("2026-11-20T14:30+01:00", datetime(2026, 11, 20, 13, 30, tzinfo=UTC)),
        ("2026-11-20T14:30Z", datetime(2026, 11, 20, 14, 30, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20).astimezone()),
    ],
)
def test_since(text: str, at: datetime) -> None:
    """A time back from now, or one of a calendar; of this host where it says no offset."""
    assert since_of(text, NOW.astimezone(timezone(timedelta(hours=5)))) == at.timestamp()


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "-3h", "99999999d", "infd", ""])
def test_since_of_no_time(text: str) -> None:
    """One line says what is allowed."""
    with pytest.raises(SettingsInvalid, match="--since"):
        since_of(text, NOW)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("results",), "which database?", 2),
        (("recorder",), "which database?", 2),
        (("results", "--database", "lab.db"), "must be a URL such as sqlite:///lab.db", 2),
        (("results", "--database", "sqlite:///no.db"), "there is no no.db", 2),
        (("results", "--database", "sqlite:///no.db", "--csv"), "--csv: goes with one --kind", 2),
        (("recorder", "--database", "sqlite://"), "in memory", 2),
        (("recorder", "--database", "sqlite:///x.db", "--patience", "0"), "--patience: ", 2),
        (("recorder", "--database", "sqlite:////none/x.db"), "unable to open database", 75),
        (("recorder", "--database", "x://a:hush@h/d"), "no driver for x://a:***@h/d", 2),
    ],
)
def test_what_is_wrong_is_told_at_once(  # noqa: PLR0913, PLR0917 - a case, and its place
    words: tuple[str, ...],
    said: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line with where it stands, no password, and no file that was not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATHERSCATTER_DATABASE", raising=False)
    assert status([*words]) == code
    told = capsys.readouterr().err
    assert said in told
    assert (told.count("\n"), "hush" in told) == (1, False)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_name_a_database(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``{here}`` is their folder; an error says where it was named."""
    monkeypatch.delenv("GATHERSCATTER_DATABASE")
    settings = base / "gatherscatter.toml"
    settings.write_text('[recorder]\ndatabase = "sqlite:///{here}/lab.db"\n')
    (base / "below").mkdir()
    monkeypatch.chdir(base / "below")
    assert status(["results", "--kind", "jobs"]) == 0
    assert capsys.readouterr().out.startswith("jobs\t")
    settings.write_text('[recorder]\ndatabase = "lab.db"\nname = "a.b"\n')
    assert status(["results"]) == 2
    assert "gatherscatter.toml: recorder.database: must be a URL" in capsys.readouterr().err
    settings.write_text('[recorder]\ndatabase = "x://h/d"\n')
    assert status(["results"]) == 2
    assert "gatherscatter.toml: recorder.database: there is no driver" in capsys.readouterr().err


def test_without_sqlalchemy_its_cure_is_told(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is an extra: who lacks it is told how to install it."""
    assert base.exists()
    monkeypatch.delitem(sys.modules, "pytest_gatherscatter.record.service.database")
    for name in [name for name in sys.modules if name.partition(".")[0] == "sqlalchemy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert status(["results"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "pip install 'pytest-gatherscatter[record]'" in told
