"""An independent checker of a run: it reads what bodies wrote and what pytest told, nothing else.

It knows nothing of sections, gatherers and tokens. Each body wrote when it began and ended, by
the monotonic clock that all processes of a machine share.
"""

import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Body:
    """A body that ran to its end: its test, its bench, and its time in seconds."""

    test: str
    bench: str
    began: float
    ended: float


def bodies(file: Path) -> list[Body]:
    """Read the intervals that the bodies wrote, a line each."""
    found = []
    for line in file.read_text().splitlines():
        test, bench, began, ended, *_ = line.split()
        found.append(Body(test, bench, float(began), float(ended)))
    return found


def overlaps(found: list[Body]) -> list[tuple[Body, Body]]:
    """List those who were on one bench at one time: each with the next that began too early."""
    pairs = []
    for bench in {body.bench for body in found}:
        mine = sorted((b for b in found if b.bench == bench), key=lambda body: body.began)
        inside = mine[0]
        for body in mine[1:]:
            if body.began < inside.ended:
                pairs.append((inside, body))
            if body.ended > inside.ended:
                inside = body
    return pairs


def verdicts(report: Path) -> dict[str, list[str]]:
    """Read from junitxml what each test was told: nothing, or the lines of what went wrong."""
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it
        told = [
            f"{kind} {problem.get('message') or ''} {problem.text or ''}"
            for kind in ("failure", "error", "skipped")
            for problem in case.iter(kind)
        ]
        found.setdefault(case.get("name") or "", []).extend(told)
    return found


def contradictions(found: list[Body], told: dict[str, list[str]]) -> list[str]:
    """Say where what pytest told is not what the bodies did.

    A test that passed ran once. One with an error at set-up or a failure before its start (``LAB:``
    in its call) did not run; an error at teardown says nothing of the body, which ran.
    """
    ran = Counter(body.test for body in found)
    wrong = [f"{test} ran {count} times" for test, count in ran.items() if count > 1]
    wrong += [f"{test} ran and was not told" for test in ran if test not in told]
    for test, lines in told.items():
        before = any(
            ("failed on setup" in line or line.startswith("failure")) and "LAB: " in line
            for line in lines
        )
        if before == bool(ran[test]):
            wrong.append(f"{test} ran {ran[test]} times, and was told {lines}")
    return wrong
