"""``gatherscatter results``: asks the database of a recorder."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from pytest_gatherscatter.cli.option import Asked, examples, lab_options
from pytest_gatherscatter.cli.output import complain, printable, say_json, say_table
from pytest_gatherscatter.cli.recorder import database_option, open_database, told_of, where_of
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.quantity import LONGEST, seconds
from pytest_gatherscatter.record.row import KINDS

SHOWN: Mapping[str, tuple[str, ...]] = {
    "grades": ("time", "queue", "result", "score", "took", "owner", "request", "text"),
    "sections": ("time", "name", "bench", "verdict", "seconds", "test", "section", "text"),
    "slips": ("time", "name", "outcome", "steps", "owner", "slip"),
    "jobs": ("time", "result", "tests", "passed", "failed", "seconds", "originator", "job", "text"),
}
"""What people see of each kind; programs see all."""

BRIEF: Mapping[str, tuple[str, ...]] = {
    "grades": ("time", "queue", "result", "score"),
    "sections": ("time", "name", "bench", "verdict"),
    "slips": ("time", "name", "outcome", "steps"),
    "jobs": ("time", "originator", "result", "passed", "failed"),
}
"""What has room on a narrow terminal; the second may be cut."""

MOST = 1_000_000


@click.command(
    epilog=examples(
        "gatherscatter results --database sqlite:///lab.db",
        "gatherscatter results --kind grades --since 2h",
        "gatherscatter results --kind sections --since 2026-11-20 --csv > sections.csv",
        "gatherscatter results --json | jq '.[] | select(.outcome == \"failed\")'",
    )
)
@database_option
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(tuple(KINDS)),
    help="What to list; again for more (default: all).",
)
@click.option(
    "--since",
    metavar="WHEN",
    help="Nothing older: 90s, 2h, 3d, or 2026-11-20, 2026-11-20T14:30 (this host's time, or with "
    "its offset: …+01:00).",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=100,
    show_default=True,
    help="How many of each kind, the latest ones.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a head; of one --kind.")
@lab_options
def results(  # noqa: PLR0913 - each is an option
    asked: Asked,
    *,
    database: str | None,
    kinds: tuple[str, ...],
    since: str | None,
    limit: int,
    as_json: bool,
    as_csv: bool,
) -> int:
    """List what a recorder wrote down, the oldest first; it connects to no broker.

    In a pipe each line begins with its kind, and tabs stand between the fields. Without --lab it is
    of all labs. That there is nothing is said on stderr. Exit status: 0, also if there is nothing;
    2 for a wrong option or database, 75 if the database cannot be read now.
    """
    if as_csv and (as_json or len(kinds) != 1):
        raise SettingsInvalid("--csv", "goes with one --kind, and without --json")
    after = None if since is None else since_of(since, datetime.now().astimezone())
    settings = asked.settings()
    told = told_of(settings, {"database": database})
    base = open_database(told, where_of(settings, database))
    try:
        base.find()
        wanted = tuple(dict.fromkeys(kinds)) or tuple(KINDS)
        found = {kind: base.read(kind, after, limit, asked.lab) for kind in wanted}
    finally:
        base.close()
    if as_json:
        say_json([{"kind": kind, **told_row(row)} for kind in found for row in found[kind]])
    elif as_csv:
        (rows,) = found.values()
        say_csv(kinds[0], rows)
    else:
        for kind, rows in found.items():
            lines = [shown(kind, row) for row in rows]
            cells = [[line[head] for head in SHOWN[kind]] for line in lines]
            say_table(kind, SHOWN[kind], cells, brief=BRIEF[kind])
    if not any(found.values()):
        complain(f"no {', '.join(found)} on record" + (f" since {since}" if since else ""))
    return 0


def since_of(text: str, now: datetime) -> float:
    """Read a point in time, back from ``now`` or of a calendar; returns Unix seconds.

    Raises:
        SettingsInvalid: it is none.
    """
    try:
        days = float(text[:-1]) if text.endswith("d") else None
        back = seconds(text) if days is None else days * 86400
    except ValueError:
        return _date_of(text)
    if not 0 <= back < now.timestamp():
        raise SettingsInvalid("--since", f"{text!r} lies before all time")
    return (now - timedelta(seconds=back)).timestamp()


def _date_of(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.astimezone()).timestamp()
    except (ValueError, OverflowError, OSError):
        allowed = f"90s, 2h, 3d (up to {LONGEST / 3600:g}h, or any number of days), 2026-11-20"
        raise SettingsInvalid(
            "--since", f"{text!r} is no time; allowed are {allowed}, 2026-11-20T14:30"
        ) from None


def told_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Say a row for programs: with its time in words, and JSON as what it is."""
    told = {**row, "time": datetime.fromtimestamp(row["at"], UTC).isoformat(timespec="seconds")}
    for column in ("details", "params", "reports"):
        if column in told:
            told[column] = json.loads(told[column])
    return told


def say_csv(kind: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows with a head; of a slip's steps, how many attempts there were."""
    columns = ("time", *KINDS[kind].columns)
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        told: dict[str, Any] = {**told_row(row), **row}
        if kind == "slips":
            told["steps"] = len(row["steps"])
        writer.writerow({column: _cell(told[column]) for column in columns})


def _cell(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


def shown(kind: str, row: Mapping[str, Any]) -> dict[str, object]:
    """Say a row for people."""
    at = datetime.fromtimestamp(row["at"]).astimezone()
    facts = {**row, "time": at.strftime("%Y-%m-%d %H:%M:%S")}
    match kind:
        case "grades":
            passed = {True: "passed", False: "not passed"}.get(row["passed"])
            facts["result"] = passed or row["outcome"]
        case "slips":
            facts["steps"] = _steps(row["steps"])
        case "jobs":
            bad = row["failed"] or row["errors"]
            facts["result"] = "failed" if bad else "incomplete" if row["unrun"] else "passed"
    for column in ("score", "took", "seconds"):
        if column in facts:
            number = facts[column]
            facts[column] = "" if number is None else f"{number:.6g}"
    return facts


def _steps(attempts: Sequence[Mapping[str, Any]]) -> str:
    """Say how the attempts went, each kind of end once: ``3 done, 1 failed``."""
    counts: dict[str, int] = {}
    for one in attempts:
        counts[one["status"]] = counts.get(one["status"], 0) + 1
    return ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"
