"""What goes on record: the tables, and the rows that a message becomes. Pure; no SQL.

Each message of an end is one row of one table, by what it is about: a request, a section, a slip, a
job. Who says the same end twice, in whatever words, is on record once: the first counts, as it does
for whoever asked. A slip brings a row for each attempt at its steps, too.

A row holds nothing that a database could refuse: no NUL, no number that is none, none beyond 64
bits, and of what a stranger makes large (details, findings) only that it was.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import Message, SectionChanged
from pytest_gatherscatter.wire.slips import Slip, SlipOver
from pytest_gatherscatter.wire.testfiles import JobFinished

VERSION = 1
"""Of the tables. Another one has another number: nothing is guessed of a database."""

MOST_DETAILS = 64 * 1024
"""Bytes of details, findings or parameters that go on record; of more it says how many there were.
A hundred thousand of them are 6 GiB, which is what a database may grow to in a year."""

LATEST = 1e11
"""The latest time that is believed of a message, as Unix seconds: in three thousand years."""

MOST_WHOLE = 2**63 - 1
"""The largest whole number that a database keeps."""

Value: TypeAlias = str | int | float | bool | None
Values: TypeAlias = dict[str, Value]
Form: TypeAlias = Literal["text", "whole", "real", "truth"]


class Table(NamedTuple):
    """A table: what it is called, what tells its rows apart, and the form of each column."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Form]


SAID: dict[str, Form] = {"message_id": "text", "lab": "text", "at": "real", "heard": "real"}
"""Of the message: its id, of which there is no second one; the lab; when it was said, to a second,
and when the recorder heard it, in Unix time."""

GRADES = Table(
    "grade",
    ("request",),
    {
        "request": "text",
        **SAID,
        "queue": "text",
        "outcome": "text",
        "passed": "truth",
        "score": "real",
        "text": "text",
        "details": "text",
        "owner": "text",
        "examiner": "text",
        "host": "text",
        "attempt": "whole",
        "waited": "real",
        "took": "real",
    },
)

SECTIONS = Table(
    "section",
    ("section",),
    {
        "section": "text",
        **SAID,
        "name": "text",
        "bench": "text",
        "test": "text",
        "owner": "text",
        "run": "text",
        "verdict": "text",
        "text": "text",
        "cause": "text",
        "outcome": "text",
        "token": "whole",
        "seconds": "real",
        "skew": "real",
        "skew_bound": "real",
        "reports": "text",
    },
)

SLIPS = Table(
    "slip",
    ("slip",),
    {
        "slip": "text",
        **SAID,
        "name": "text",
        "owner": "text",
        "outcome": "text",
        "created": "real",
        "steps": "whole",
        "cancelled": "text",
        "params": "text",
    },
)

STEPS = Table(
    "step",
    ("slip", "place"),
    {
        "slip": "text",
        "place": "whole",
        "number": "whole",
        "process": "text",
        "command": "text",
        "attempt": "whole",
        "status": "text",
        "final": "truth",
        "compensating": "truth",
        "started": "real",
        "ended": "real",
        "exit_status": "whole",
        "signal": "text",
        "host": "text",
        "processor": "text",
        "text": "text",
        "stdout_tail": "text",
        "stderr_tail": "text",
        "log": "text",
    },
)

JOBS = Table(
    "job",
    ("job",),
    {
        "job": "text",
        **SAID,
        "originator": "text",
        "root": "text",
        "seconds": "real",
        "workers": "whole",
        "files": "whole",
        "tests": "whole",
        "passed": "whole",
        "failed": "whole",
        "errors": "whole",
        "skipped": "whole",
        "xfailed": "whole",
        "xpassed": "whole",
        "unrun": "whole",
        "text": "text",
    },
)

KINDS: Mapping[str, Table] = {"grades": GRADES, "sections": SECTIONS, "slips": SLIPS, "jobs": JOBS}
"""What can be asked for, by the word for it."""


class Entry(NamedTuple):
    """A message as it goes on record: one row of a table, and those of a slip's ``steps``."""

    table: Table
    values: Values
    steps: tuple[Values, ...] = ()

    @property
    def id(self) -> str:
        """The message's id."""
        return str(self.values["message_id"])

    @property
    def key(self) -> str:
        """What it is about."""
        return str(self.values[self.table.key[0]])


def entry_of(
    message: Message, *, message_id: str, sent: int | None, lab: str, wall: float
) -> Entry | None:
    """Make an entry of a message; ``None`` of one that tells no end.

    Args:
        message: what came.
        message_id: the id that its sender gave it.
        sent: when it was published, in Unix seconds, if it says so.
        lab: the lab's name.
        wall: Unix time now, for what says no time of its own.

    Raises:
        MessageUnreadable: it is none of those that are recorded, or cannot be told from others.
    """
    if not message_id:
        raise MessageUnreadable("it has no message_id, so that it could be recorded twice")
    at = float(sent) if sent is not None and 0 < sent < LATEST else wall
    said: Values = {"message_id": message_id, "lab": lab, "at": at, "heard": wall}
    match message:
        case GradeAnswer():
            return Entry(GRADES, _clean(GRADES, said | _grade(message)))
        case SectionChanged():
            if message.result is None:
                return None
            return Entry(SECTIONS, _clean(SECTIONS, said | _section(message)))
        case SlipOver(slip=slip):
            steps = tuple(_clean(STEPS, values) for values in _steps(slip))
            return Entry(SLIPS, _clean(SLIPS, said | _slip(message)), steps)
        case JobFinished():
            return Entry(JOBS, _clean(JOBS, said | msgspec.structs.asdict(message)))
    raise MessageUnreadable(f"{type(message).__name__} is nothing that is recorded")


def _grade(answer: GradeAnswer) -> Values:
    facts = msgspec.structs.asdict(answer)
    facts["details"] = _bounded(bytes(answer.details))
    if answer.outcome != "graded":
        facts["passed"] = None
    return facts


def _section(changed: SectionChanged) -> Values:
    facts = msgspec.structs.asdict(changed)
    result = facts.pop("result")
    facts |= msgspec.structs.asdict(result)
    facts["reports"] = _bounded(msgspec.json.encode(result.reports))
    return facts


def _slip(over: SlipOver) -> Values:
    slip = over.slip
    return {
        "slip": slip.id,
        "name": slip.name,
        "owner": slip.owner,
        "outcome": over.outcome,
        "created": slip.created,
        "steps": len(slip.steps),
        "cancelled": slip.cancelled,
        "params": _bounded(msgspec.json.encode(slip.params)),
    }


def _steps(slip: Slip) -> list[Values]:
    """State each attempt, in the order in which they ended."""
    named = {step.number: step for step in slip.steps}
    rows: list[Values] = []
    for place, attempt in enumerate(slip.progress, start=1):
        facts: Values = {"slip": slip.id, "place": place, **msgspec.structs.asdict(attempt)}
        step = named.get(attempt.number)
        if step is not None:
            facts["process"] = step.process
            facts["command"] = step.compensate if attempt.compensating else step.command
        rows.append(facts)
    return rows


def _bounded(json: bytes) -> str:
    """Keep JSON that is not too large; of what is, its size."""
    if len(json) > MOST_DETAILS:
        json = msgspec.json.encode({"left_out": len(json)})
    return json.decode(errors="replace")


def _clean(table: Table, facts: Mapping[str, Any]) -> Values:
    """Take the columns of a table, each as a database can keep it."""
    return {column: _CLEANED[form](facts.get(column)) for column, form in table.columns.items()}


def _text(value: object) -> str:
    return "" if value is None else str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")


def _whole(value: object) -> int | None:
    if not isinstance(value, int):
        return None
    return max(-MOST_WHOLE, min(value, MOST_WHOLE))


def _real(value: object) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


_CLEANED = {"text": _text, "whole": _whole, "real": _real, "truth": _truth}
