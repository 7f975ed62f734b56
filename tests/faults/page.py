"""The page ``docs/faults.md``: each row is what a play of it has seen.

``GS_WRITE_FAULTS=1`` writes what was seen into the page; else a play whose row is not in the page
fails. Numbers that differ from run to run are not in the words; of the seconds only the class is.
"""

import fcntl
import os
import re
from pathlib import Path

from faults.pairwise import Case
from faults.step import FAULTS, STEPS
from faults.table import Sees, cases, one_of_two, sees

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

HEADINGS = {
    "gatherer": "The gatherer",
    "monitor": "A monitor",
    "workload": "The test",
    "broker": "The broker",
}
COLUMNS = "| and it | strikes | what the user sees | exit | how long |"


def row(party: str, case: Case, words: str) -> str:
    """Write a row: the fault, the step, what was seen, with which exit status, in which time."""
    seen = sees(party, case)
    where = STEPS[case["step"]].told
    if one_of_two((party, case["step"], case["fault"])):
        where += f" (monitor {case['scope']})"
    told = f"`{words}`" if words else silence(seen)
    status = "" if case["fault"] in {"killed", "crashed"} and party == "workload" else seen.status
    return f"| {FAULTS[party][case['fault']].told} | {where} | {told} | {status} | {seen.within} |"


def silence(seen: Sees) -> str:
    """Say what nothing means."""
    return "nothing: the section is as any other" if seen.ran else "nothing: the next one enters"


def shown(words: str, text: str) -> str:
    """Find in what was said the words that count; empty if none do."""
    found = re.search(words, text)
    return "" if found is None else found[0]


def is_on_page(line: str) -> bool:
    """Say whether the page has the row."""
    return line in PAGE.read_text().splitlines()


def settle(party: str, case: Case, words: str) -> bool:
    """Write the row if we are to write, and say whether the page has it now."""
    line = row(party, case, words)
    if os.environ.get("GS_WRITE_FAULTS") == "1":
        with PAGE.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            PAGE.write_text(put(PAGE.read_text(), party, line))
    return is_on_page(line)


def put(page: str, party: str, line: str) -> str:
    """Put a row in its place: after the rows of the same party that come before it."""
    begin, end = f"<!-- played: {party} -->\n", "<!-- end -->"
    head, _, rest = page.partition(begin)
    table, _, tail = rest.partition(end)
    rows = {key(old): old for old in table.splitlines() if old.startswith("| is ")}
    rows |= {key(old): old for old in table.splitlines() if old.startswith("| ends ")}
    rows[key(line)] = line
    keys = [key(row(one, case, "")) for one, case in ordered(party)]
    lines = [rows[known] for known in dict.fromkeys(keys) if known in rows]
    heading = [COLUMNS, "| --- | --- | --- | --- | --- |"]
    return head + begin + "\n".join([*heading, *lines]) + "\n" + end + tail


def key(line: str) -> tuple[str, ...]:
    """Name a row: what happens, and when."""
    return tuple(cell.strip() for cell in line.split("|")[1:3])


def ordered(party: str) -> list[tuple[str, Case]]:
    """List a party's cases in the order of the steps."""
    steps, faults = list(STEPS), list(FAULTS[party])
    mine = [(one, case) for one, case in cases() if one == party]
    return sorted(
        mine,
        key=lambda each: (
            steps.index(each[1]["step"]),
            faults.index(each[1]["fault"]),
            each[1]["scope"] == "optional",
        ),
    )


def rows_that_must_be() -> set[tuple[str, ...]]:
    """Name all rows that the page must have, and no others."""
    return {key(row(party, case, "")) for party, case in cases()}


def rows_on_page() -> set[tuple[str, ...]]:
    """Name all rows that the page has."""
    return {
        key(line) for line in PAGE.read_text().splitlines() if line.startswith(("| is ", "| ends "))
    }
