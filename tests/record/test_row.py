"""What a message becomes in a table: all of it that counts, and nothing that a database refuses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.record.row import (
    GRADES,
    KINDS,
    MOST_DETAILS,
    MOST_WHOLE,
    STEPS,
    Entry,
    entry_of,
)
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import (
    Finding,
    MemberReport,
    Message,
    SectionChanged,
    SectionGo,
    SectionResult,
)
from pytest_gatherscatter.wire.slips import Attempt, Slip, SlipOver, Step
from pytest_gatherscatter.wire.testfiles import JobFinished

NOW = 1_795_000_000.0

ANSWER = GradeAnswer(
    request="ab" * 8,
    queue="wave",
    outcome="graded",
    passed=True,
    score=0.5,
    text="fine",
    details=Raw(b'{"peak": 5.1}'),
    owner="ann@lab",
    examiner="judge1",
    host="h1",
    attempt=2,
    waited=0.1,
    took=0.2,
)
SECTION = SectionChanged(
    section="cd" * 8,
    name="burst",
    bench="b1",
    state="closed",
    token=7,
    result=SectionResult(
        test="t.py::t",
        owner="ann",
        run="ef" * 8,
        verdict="finding",
        outcome="passed",
        seconds=1.5,
        skew=0.001,
        reports=(MemberReport(agent="scope", findings=(Finding(name="peak", passed=False),)),),
    ),
)
SLIP = SlipOver(
    slip=Slip(
        id="0f" * 8,
        name="flash",
        steps=(
            Step(number=1, process="power", command="on", compensate="off"),
            Step(number=2, process="flash", command="write"),
        ),
        progress=(
            Attempt(number=1, attempt=1, status="done", exit_status=0),
            Attempt(number=2, attempt=1, status="failed", exit_status=3, stderr_tail="a\0b"),
            Attempt(number=1, attempt=1, status="done", compensating=True),
        ),
        owner="ann",
        created=NOW,
    ),
    outcome="failed",
)
JOB = JobFinished(
    job="aa" * 8, originator="ci", root="/src", seconds=3.0, tests=4, passed=3, failed=1
)


def entered(message: Message, sent: int | None = 1_794_999_999) -> Entry:
    """The entry of a message."""
    entry = entry_of(message, message_id="m-1", sent=sent, lab="x", wall=NOW)
    assert entry is not None
    return entry


def test_a_grade() -> None:
    """Who asked, where, how it ended, and all figures."""
    entry = entered(ANSWER)
    assert (entry.table, entry.key, entry.id) == (GRADES, "ab" * 8, "m-1")
    assert entry.values == {
        "request": "ab" * 8,
        "message_id": "m-1",
        "lab": "x",
        "at": 1_794_999_999.0,
        "heard": NOW,
        "queue": "wave",
        "outcome": "graded",
        "passed": True,
        "score": 0.5,
        "text": "fine",
        "details": '{"peak": 5.1}',
        "owner": "ann@lab",
        "examiner": "judge1",
        "host": "h1",
        "attempt": 2,
        "waited": 0.1,
        "took": 0.2,
    }


def test_what_is_no_grade_has_not_failed() -> None:
    """``passed`` is unknown where nothing was graded."""
    broke = GradeAnswer(request="ab" * 8, queue="wave", outcome="failed", text="exit status 3")
    assert entered(broke).values["passed"] is None


def test_a_section() -> None:
    """Its verdict, its test, its figures and what monitors found; only when it has ended."""
    values = entered(SECTION).values
    told = ("verdict", "test", "bench", "seconds", "skew", "token")
    assert [values[key] for key in told] == ["finding", "t.py::t", "b1", 1.5, 0.001, 7]
    assert '"peak"' in str(values["reports"])
    begun = SectionChanged(section="cd" * 8, name="burst", bench="b1", state="gathering")
    assert entry_of(begun, message_id="m", sent=None, lab="x", wall=NOW) is None


def test_a_slip_and_its_steps() -> None:
    """A row for each attempt, in order, by the name of what was run; undoing has its own."""
    entry = entered(SLIP)
    assert (entry.values["outcome"], entry.values["steps"]) == ("failed", 2)
    told = [(row["place"], row["process"], row["command"], row["status"]) for row in entry.steps]
    assert told == [
        (1, "power", "on", "done"),
        (2, "flash", "write", "failed"),
        (3, "power", "off", "done"),
    ]
    assert entry.steps[1]["stderr_tail"] == "a\N{REPLACEMENT CHARACTER}b"


def test_a_job() -> None:
    """Its counts."""
    values = entered(JOB).values
    assert [values[key] for key in ("tests", "passed", "failed", "errors")] == [4, 3, 1, 0]


def test_what_is_large_is_left_out_and_said_so() -> None:
    """Of details over the bound their size is kept, and the grade is."""
    large = GradeAnswer(
        request="ab" * 8,
        queue="wave",
        outcome="graded",
        details=Raw(b'"' + b"x" * MOST_DETAILS + b'"'),
    )
    assert entered(large).values["details"] == f'{{"left_out":{MOST_DETAILS + 2}}}'


@pytest.mark.parametrize("sent", [None, 0, -5, 2**62])
def test_a_time_that_cannot_be_is_the_recorders_own(sent: int | None) -> None:
    """Strangers may say no time, or nonsense."""
    assert entered(ANSWER, sent).values["at"] == NOW


def test_what_cannot_be_told_apart_is_refused() -> None:
    """Without an id it could be recorded twice, and what is none of ours has no table."""
    with pytest.raises(MessageUnreadable, match="no message_id"):
        entry_of(ANSWER, message_id="", sent=None, lab="x", wall=NOW)
    go = SectionGo(
        section="ab" * 8,
        token=1,
        bench="b",
        gatherer="cd" * 8,
        members=(),
        sent=0.0,
        t0=1.0,
        deadline=2.0,
    )
    with pytest.raises(MessageUnreadable, match="SectionGo is nothing that is recorded"):
        entry_of(go, message_id="m", sent=None, lab="x", wall=NOW)


@given(st.integers(), st.floats(), st.text(), st.floats())
def test_no_value_is_one_that_a_database_refuses(
    exit_status: int, started: float, text: str, score: float
) -> None:
    """No NUL, nothing beyond 64 bits, and numbers that are some."""
    attempt = Attempt(
        number=1,
        attempt=1,
        status="done",
        exit_status=exit_status,
        started=started,
        text=text,
    )
    slip = Slip(id="0f" * 8, name=text, steps=(Step(number=1, process="p"),), progress=(attempt,))
    grade = GradeAnswer(request="ab" * 8, queue="q", outcome="graded", score=score, text=text)
    over = entered(SlipOver(slip=slip, outcome="done"))
    for values in (over.values, *over.steps, entered(grade).values):
        for value in values.values():
            assert "\0" not in str(value)
            assert not isinstance(value, int) or abs(value) <= MOST_WHOLE
            assert not isinstance(value, float) or math.isfinite(value)


def test_every_column_has_a_value() -> None:
    """A row has the columns of its table, in whatever message it came."""
    for message, kind in (
        (ANSWER, "grades"),
        (SECTION, "sections"),
        (SLIP, "slips"),
        (JOB, "jobs"),
    ):
        entry = entered(message)
        assert entry.table is KINDS[kind]
        assert entry.values.keys() == entry.table.columns.keys()
    assert all(row.keys() == STEPS.columns.keys() for row in entered(SLIP).steps)
