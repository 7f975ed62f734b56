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
from faults.table import OTHERS, Sees, cases, one_of_two, sees

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

COLUMNS = "| it | when | what the user sees | exit | how long |"


def row(party: str, case: Case, words: str) -> str:
    """Write a row: the fault, the step, what was seen, with which exit status, in which time."""
    seen = sees(party, case)
    where = STEPS[case["step"]].told
    if one_of_two((party, case["step"], case["fault"])):
        where += f" (monitor {case['scope']})"
    dies = party == "workload" and FAULTS[party][case["fault"]].deadly
    return line_of(FAULTS[party][case["fault"]].told, where, words, seen, dies=dies)


def line_of(what: str, where: str, words: str, seen: Sees, *, dies: bool = False) -> str:
    """Write a row; the exit status of who ``dies`` is nobody's to choose."""
    told = f"`{words}`" if words else silence(seen)
    return f"| {what} | {where} | {told} | {'' if dies else seen.status} | {seen.within} |"


def silence(seen: Sees) -> str:
    """Say what nothing means."""
    return "nothing: the section is as any other" if seen.ran else "nothing: the next one enters"


def shown(words: str, text: str) -> str:
    """Find in what was said the words that count; empty if none do."""
    found = re.search(words, text)
    return "" if found is None else re.sub(": $", ": …", found[0])


def is_on_page(line: str) -> bool:
    """Say whether the page has the row."""
    return line in PAGE.read_text().splitlines()


def settle(party: str, line: str) -> bool:
    """Write the row if we are to write, and say whether the page has it now."""
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
    rows = {key(old): old for old in table.splitlines() if is_row(old)} | {key(line): line}
    lines = [rows[known] for known in dict.fromkeys(keys(party)) if known in rows]
    heading = [COLUMNS, "| --- | --- | --- | --- | --- |"]
    return head + begin + "\n".join([*heading, *lines]) + "\n" + end + tail


def is_row(line: str) -> bool:
    """Say whether a line is a row of a table, and not its heading."""
    return line.startswith(("| is ", "| ends "))


def key(line: str) -> tuple[str, ...]:
    """Name a row: what happens, and when."""
    return tuple(cell.strip() for cell in line.split("|")[1:3])


def keys(party: str) -> list[tuple[str, ...]]:
    """Name a party's rows in the order of the steps."""
    if party == "others":
        return [key(line_of(one.told, one.where, "", one.sees)) for one in OTHERS.values()]
    steps, faults = list(STEPS), list(FAULTS[party])
    mine = [case for one, case in cases() if one == party]
    mine.sort(
        key=lambda case: (
            steps.index(case["step"]),
            faults.index(case["fault"]),
            case["scope"] == "optional",
        )
    )
    return [key(row(party, case, "")) for case in mine]


def rows_that_must_be() -> list[tuple[str, ...]]:
    """Name all rows that the page must have, and no others, in their order."""
    parties = [*FAULTS, "others"]
    return [known for party in parties for known in dict.fromkeys(keys(party))]


def rows_on_page() -> list[tuple[str, ...]]:
    """Name all rows that the page has."""
    return [key(line) for line in PAGE.read_text().splitlines() if is_row(line)]
