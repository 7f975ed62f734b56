"""The database of a recorder: each message once, whatever happens, and no table but its own."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import DatabaseFailed, SettingsInvalid
from pytest_gatherscatter.record.order import NotWritten, Written
from pytest_gatherscatter.record.row import MOST_WHOLE, Entry, entry_of
from pytest_gatherscatter.record.service.database import Database
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.slips import Attempt, Slip, SlipOver, Step


def grade(number: int, message_id: str = "", **more: object) -> Entry:
    """A grade of a request that is called by a number."""
    answer = GradeAnswer(request=f"{number:08x}", queue="q", outcome="graded", passed=True)
    entry = entry_of(
        answer, message_id=message_id or f"m{number}", sent=1000 + number, lab="x", wall=5000.0
    )
    assert entry is not None
    entry.values.update(more)  # type: ignore[arg-type]
    return entry


def slip() -> Entry:
    """A slip with an attempt at its step."""
    done = Attempt(number=1, attempt=1, status="done", exit_status=0)
    told = Slip(
        id="ab" * 8, name="s", steps=(Step(number=1, process="p", command="c"),), progress=(done,)
    )
    over = SlipOver(slip=told, outcome="done")
    entry = entry_of(over, message_id="s1", sent=1500, lab="y", wall=5000.0)
    assert entry is not None
    return entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "lab.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """A new one."""
    made = Database(f"sqlite:///{path}", "--database")
    made.make()
    yield made
    made.close()


def test_each_message_once(database: Database) -> None:
    """Again, twice at once, and the same end in other words: the first counts."""
    assert database.write([grade(1), grade(2), slip()]) == Written(3, {})
    assert database.write([grade(1), grade(3), grade(3), grade(2)]) == Written(1, {})
    assert database.write([grade(1, "other"), grade(9, "m2"), slip()]) == Written(0, {})
    rows = database.read("grades", None, 10)
    assert [row["request"] for row in rows] == ["00000001", "00000002", "00000003"]
    (row,) = database.read("slips", None, 10)
    assert [one["status"] for one in row["steps"]] == ["done"]


def test_questions(database: Database) -> None:
    """The latest, the oldest of them first; since when; of which lab."""
    database.write([grade(number) for number in range(500)])
    assert [row["at"] for row in database.read("grades", None, 2)] == [1498.0, 1499.0]
    assert len(database.read("grades", 1490.0, 100)) == 10
    assert database.read("grades", None, 10, "y") == []
    database.write([slip()])
    assert len(database.read("slips", None, 10, "y")) == 1
    assert database.read("jobs", None, 10) == []


def test_what_is_refused_takes_nothing_with_it(database: Database) -> None:
    """The others of its transaction are on record, and its reason is told."""
    entries = [grade(1), grade(2, attempt=MOST_WHOLE + 1), grade(3)]
    written = database.write(entries)
    assert isinstance(written, Written)
    assert (written.fresh, list(written.refused)) == (2, ["m2"])
    assert len(database.read("grades", None, 10)) == 2


def test_two_writers_are_told_apart_by_keys(database: Database, path: Path) -> None:
    """Whoever comes second finds what is there; nothing is lost, nothing twice."""
    other = Database(f"sqlite:///{path}", "--database")
    batches = [[grade(n) for n in range(start, start + 40)] for start in range(0, 200, 20)]
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(lambda: [database.write(batch) for batch in batches])
        two = pool.submit(lambda: [other.write(batch) for batch in reversed(batches)])
        results = [*one.result(), *two.result()]
    for result, batch in zip(results, [*batches, *reversed(batches)], strict=True):
        if isinstance(result, NotWritten):  # as its machine would
            again = database.write(batch)
            assert isinstance(again, Written)
    other.close()
    assert len({row["request"] for row in database.read("grades", None, 1000)}) == 220
    assert len(database.read("grades", None, 1000)) == 220


@pytest.mark.usefixtures("database")
def test_a_locked_database_is_no_refusal(path: Path) -> None:
    """It may be written later, and says why it is not now; nothing of it is on record."""
    locks = sqlite3.connect(path, isolation_level=None)
    locks.execute("BEGIN EXCLUSIVE")
    fast = Database(f"sqlite:///{path}?timeout=0.05", "--database")
    assert fast.write([grade(1)]) == NotWritten("database is locked")
    with pytest.raises(DatabaseFailed, match=r"lab\.db.*: database is locked"):
        fast.read("grades", None, 1)
    locks.execute("ROLLBACK")
    locks.close()
    assert fast.write([grade(1)]) == Written(1, {})
    fast.close()


def test_a_full_disk_is_no_refusal(database: Database, path: Path) -> None:
    """Nor is one that has no room."""
    database.write([grade(1)])
    with sqlite3.connect(path) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    engine = database._engine
    with engine.connect() as kept:
        kept.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    result = database.write([grade(number, text="x" * 4000) for number in range(2, 40)])
    assert result == NotWritten("database or disk is full")
    with engine.connect() as kept:
        kept.exec_driver_sql("PRAGMA max_page_count = 100000")
    assert len(database.read("grades", None, 100)) == 1


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE TABLE wages (name TEXT)", "tables of somebody else (wages)"),
        (
            "UPDATE gatherscatter SET version = 2",
            "a newer recorder (tables of version 2, here 1)",
        ),
        ("UPDATE gatherscatter SET version = 0", "of an older recorder"),
    ],
)
def test_other_peoples_tables_are_left_alone(path: Path, sql: str, said: str) -> None:
    """One line, and nothing is made or changed there."""
    if sql.startswith("UPDATE"):
        made = Database(f"sqlite:///{path}", "--database")
        made.make()
        made.close()
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()
    before = path.read_bytes()
    database = Database(f"sqlite:///{path}", "--database")
    for look in (database.make, database.find):
        with pytest.raises(SettingsInvalid) as caught:
            look()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    database.close()
    assert path.read_bytes() == before


def test_tables_that_were_half_made_are_finished(path: Path, database: Database) -> None:
    """Who died while it made them left no version; the next one goes on."""
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE gatherscatter")
        connection.execute("DROP TABLE job")
    connection.close()
    with pytest.raises(SettingsInvalid, match="nothing was recorded"):
        database.find()
    database.make()
    database.find()
    assert database.read("jobs", None, 1) == []


def test_what_is_no_database_of_a_recorder(tmp_path: Path) -> None:
    """To look for one makes none; what is no database, or has no driver, is said in a line."""
    missing = Database(f"sqlite:///{tmp_path}/none.db", "--database")
    with pytest.raises(SettingsInvalid, match=r"there is no .*none\.db: nothing was recorded"):
        missing.find()
    assert not (tmp_path / "none.db").exists()
    missing.close()
    (tmp_path / "text").write_text("no database, but a text that is long enough to look at" * 20)
    text = Database(f"sqlite:///{tmp_path}/text", "--database")
    with pytest.raises(DatabaseFailed, match="file is not a database"):
        text.make()
    text.close()
    nowhere = Database(f"sqlite:///{tmp_path}/none/lab.db", "--database")
    with pytest.raises(DatabaseFailed, match="unable to open"):
        nowhere.make()
    nowhere.close()
    for url, said in (
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("nosuch://ann:secret@h/db", "there is no driver for nosuch://ann:***@h/db"),
        ("://", "no URL"),
    ):
        with pytest.raises(SettingsInvalid) as caught:
            Database(url, "--database")
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)
