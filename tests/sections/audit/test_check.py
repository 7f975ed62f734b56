"""Records of both sides that are true, and each of their facts made a lie."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_gatherscatter.sections.audit.check import audit
from pytest_gatherscatter.sections.audit.claim import (
    ArtifactClaim,
    GathererSide,
    WorkloadSide,
    read_gatherer,
    read_workload,
)
from pytest_gatherscatter.sections.audit.remark import Audit

CLOCK = "c10c" * 8
RUN = "0123456789abcdef"
Facts = dict[str, Any]


def report(agent: str, started: float, **more: object) -> Facts:
    """One member's report, as both sides state it."""
    return {
        "agent": agent,
        "required": agent == "scope",
        "reported": True,
        "started": started,
        "stopped": started + 2,
        "bound": 0.001,
        "cause": "",
        "failed": [],
        "sha256": agent,
        **more,
    }


def workload(number: int, what: str = "ended", **more: object) -> Facts:
    """A workload's line of the n-th section, which began at 100 n on the gatherer's clock.

    The host's clock shows 50 s less.
    """
    t0 = 100.0 * number
    facts: Facts = {
        "what": what,
        "at": 1000.0 + t0,
        "lab": "default",
        "section": f"{number:016x}",
        "token": number,
        "bench": "default",
        "name": "burst",
        "test": "test_burst",
        "run": RUN,
        "owner": "ann@host pid 1",
        "clock": "05e5" * 8,
        "coordinated": True,
        "require": ["scope"],
        "min_monitors": 2,
        "max_skew": 0.5,
        "max_duration": 30.0,
        "local": {"t0": t0 - 50, "started": None, "stopped": None},
        "gatherer": CLOCK,
        "members": ["scope", "thermal"],
        "sent": t0 - 0.05,
        "t0": t0,
        "deadline": t0 + 30,
        "t0_bound": 0.001,
    }
    if what == "ended":
        facts |= {
            "local": {"t0": t0 - 50, "started": t0 - 50 + 0.25, "stopped": t0 - 49},
            "verdict": "passed",
            "outcome": "passed",
            "state": "closed",
            "overdue": False,
            "given_up": False,
            "noise": [],
            "started": t0 + 0.25,
            "stopped": t0 + 1,
            "bound": 0.002,
            "cause": "",
            "skew": 0.25,
            "skew_bound": 0.003,
            "reports": [report("scope", t0), report("thermal", t0 + 0.125)],
            "fenced": [],
            "artifacts": [
                {"agent": "scope", "name": "a.csv", "size": 5, "sha256": "5a", "path": "b/a.csv"}
            ],
        }
    return facts | more


def gatherer(number: int, **more: Facts | None) -> list[Facts]:
    """The gatherer's lines of the n-th section; ``more`` changes one of them, or drops it."""
    t0 = 100.0 * number
    said: Facts = {"lab": "default", "section": f"{number:016x}", "clock": CLOCK}
    lines: dict[str, Facts] = {
        "opened": {
            "token": number,
            "bench": "default",
            "name": "burst",
            "test": "test_burst",
            "run": RUN,
            "owner": "ann@host pid 1",
        },
        "committed": {
            "token": number,
            "sent": t0 - 0.05,
            "t0": t0,
            "deadline": t0 + 30,
            "members": ["scope", "thermal"],
            "required": ["scope"],
        },
        "left": {
            "token": number,
            "outcome": "passed",
            "started": t0 + 0.25,
            "stopped": t0 + 1,
            "bound": 0.002,
            "needed": 0.01,
            "overdue": False,
        },
        "ended": {
            "token": number,
            "bench": "default",
            "verdict": "passed",
            "cause": "",
            "ended_at": t0 + 3,
            "min_monitors": 2,
            "left_at": t0 + 1.5,
            "skew": 0.25,
            "skew_bound": 0.003,
            "reports": [report("scope", t0), report("thermal", t0 + 0.125)],
            "fenced": [],
        },
        "closed": {},
    }
    return [
        {"what": what, "at": 1000.0 + t0, **said, **facts, **(more.get(what) or {})}
        for what, facts in lines.items()
        if more.get(what, {}) is not None
    ]


def missed(number: int) -> tuple[Facts, list[Facts]]:
    """A section that never began."""
    none: Facts = {"t0": None, "sent": None, "deadline": None, "t0_bound": None, "gatherer": ""}
    ours = workload(number, "begun", members=[], coordinated=False, **none) | {
        "what": "ended",
        "local": {"t0": None, "started": None, "stopped": None},
        "verdict": "not-gathered",
        "state": "gathered",
    }
    end: Facts = {"verdict": "not-gathered", "cause": "vetoed", "left_at": None, "reports": None}
    end |= {"skew": None, "skew_bound": None, "min_monitors": 0}
    return ours, gatherer(number, committed=None, left=None, closed=None, ended=end)


def died(number: int) -> tuple[Facts, list[Facts]]:
    """A section whose workload was killed inside."""
    t0 = 100.0 * number
    left: Facts = {"outcome": "died", "started": None, "stopped": None, "bound": None, "needed": 0}
    end = {"verdict": "died-in-section", "skew": 0.125, "skew_bound": 0.002, "left_at": t0 + 2}
    return workload(number, "begun"), gatherer(number, left=left, ended=end)


def lone(number: int) -> Facts:
    """A section that ran without a gatherer."""
    none: Facts = {"t0": None, "sent": None, "deadline": None, "t0_bound": None, "gatherer": ""}
    none |= {"started": None, "stopped": None, "bound": None, "reports": None, "artifacts": []}
    begin = 100.0 * number - 50
    more: Facts = {"token": 0, "coordinated": False, "require": [], "min_monitors": 0}
    more |= {"members": [], "max_skew": None, "skew": None, "skew_bound": None}
    more["local"] = {"t0": begin, "started": begin, "stopped": begin + 1}
    return workload(number, **none, **more)


def truth() -> tuple[list[Facts], list[Facts]]:
    """Records of both sides, of five sections of which each is another case."""
    third, fourth = missed(3), died(4)
    return (
        [workload(1), workload(2), third[0], fourth[0], lone(5)],
        [*gatherer(1), *gatherer(2), *third[1], *fourth[1]],
    )


def look(ours: list[Facts] | None, theirs: list[Facts] | None, wrong: str = "") -> Audit:
    """Audit lines."""
    here, there = WorkloadSide(), GathererSide()
    read_workload((("w", json.dumps(line).encode()) for line in ours or ()), here)
    read_gatherer((("g", json.dumps(line).encode()) for line in theirs or ()), there)

    def artifact(claim: ArtifactClaim) -> str:
        true = (claim.agent, claim.name, claim.size, claim.sha256, claim.path)
        return wrong or ("" if true == ("scope", "a.csv", 5, "5a", "b/a.csv") else "is another")

    return audit(None if ours is None else here, None if theirs is None else there, artifact)


def checks(result: Audit) -> set[str]:
    """What was contradicted."""
    return {one.check for one in result.contradictions}


def test_the_truth_is_confirmed() -> None:
    """Nothing contradicts, and nothing is left open."""
    result = look(*truth())
    assert (result.contradictions, result.open, result.sections) == ([], [], 5)


# ── any one fact ───────────────────────────────────────────────────────────────────────

TIMES = {"at", "clock"}
"""Of every line: how far the records reach back, and on whose clock that line's times are. What
is on another clock is not compared; no other fact says which clock it was."""

UNAUDITED = {
    # A demand that was smaller or a bound that was larger would be kept too; which files a
    # report names is in its digest.
    "w-ended": {*TIMES, "require", "max_skew", "t0_bound", "bound", "artifacts"},
    # It counts at the end only, or is compared with other sections of the host.
    "w4-begun": {
        *TIMES,
        *("coordinated", "local.stopped", "local.t0", "t0_bound"),
        *("max_skew", "min_monitors", "require", "require[]"),
    },
    # It never began: nothing but who it was and its verdict means anything.
    "w3-ended": {
        *TIMES,
        *("coordinated", "deadline", "gatherer", "lab", "local.stopped", "local.t0", "section"),
        *("max_duration", "max_skew", "members", "min_monitors", "require", "require[]", "sent"),
        *("state", "t0_bound", "token"),
    },
    # It ran alone: nobody else knows of it, so that only its verdict can be worked out.
    "w5-ended": {
        *TIMES,
        *("bench", "bound", "cause", "deadline", "fenced", "gatherer", "lab", "local.started"),
        *("local.stopped", "max_duration", "max_skew", "members", "min_monitors", "name", "owner"),
        *("require", "run", "section", "sent", "skew", "skew_bound", "started", "state"),
        *("stopped", "t0_bound", "test", "token"),
    },
    "g-opened": TIMES,
    "g-committed": {"at"},  # its clock is that of t0
    "g-left": {*TIMES, "needed"},  # how long the lead has to be is a guess
    # It may have been left and have ended at any time between others; later words are fenced too.
    "g-ended": {*TIMES, "ended_at", "left_at", "fenced"},
    "g-closed": {*TIMES, "lab", "section"},  # it adds nothing where the end is told
    "g3-opened": {*TIMES, "lab"},
    "g3-ended": {
        *TIMES,
        *("cause", "ended_at", "fenced", "lab", "left_at", "min_monitors", "skew", "skew_bound"),
    },
    "g4-opened": TIMES,
    "g4-committed": {"at"},
    # Who died inside says nothing more, so the reports have one side only.
    "g4-left": {*TIMES, "bound", "needed", "overdue", "started", "stopped"},
    "g4-ended": {
        *TIMES,
        *("cause", "ended_at", "fenced", "left_at", "min_monitors", "reports.cause"),
        *("reports.failed", "reports.reported", "reports.sha256", "reports.stopped"),
    },
    "g4-closed": {*TIMES, "lab", "section"},
}
"""The facts from which nothing follows, by the kind of line."""


def leaves(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Go through all facts of a line; a list is one too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path
        if isinstance(value, list):
            for number, inner in enumerate(value):
                yield from leaves(inner, (*path, number))


def lie(value: object) -> object:
    """Say something else."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return value[:-1] if value else ["other"]
        case None:
            return 7.5
        case _:
            return None


def lies() -> Iterator[Any]:
    """Go through each fact of each line but that of its kind."""
    for side, lines in enumerate(truth()):
        for number, line in enumerate(lines):
            for path in leaves(line):
                if path != ("what",):
                    where = ".".join(map(str, path))
                    name = f"{'wg'[side]}{line['section'][-1]}-{line['what']}-{where}"
                    yield pytest.param(side, number, path, id=name)


def told(side: int, number: int, path: tuple[Any, ...]) -> tuple[Audit, tuple[str, str]]:
    """Audit the truth but for one fact, and say which one: its line and its field."""
    records = copy.deepcopy(truth())
    line = place = records[side][number]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = lie(place[path[-1]])
    field = ".".join(str(key) for key in path if not isinstance(key, int))
    field += "[]" * isinstance(path[-1], int)
    return look(*records), (line["what"], field)


def group(name: str, what: str) -> str:
    """Name the kind of line: those of sections that passed are alike."""
    return f"{name[0] if name[1] in '12' else name}-{what}"


@pytest.mark.parametrize(("side", "number", "path"), list(lies()))
def test_a_lie_is_noticed(side: int, number: int, path: tuple[Any, ...]) -> None:
    """Whatever fact is changed, something contradicts it or is left open, or it is in the table."""
    result, (what, field) = told(side, number, path)
    line = truth()[side][number]
    unaudited = UNAUDITED.get(group(f"{'wg'[side]}{line['section'][-1]}", what), set[str]())
    assert bool(result.contradictions or result.open) is not (field in unaudited)


# ── each contradiction ─────────────────────────────────────────────────────────────────


CASES: dict[str, tuple[str, int, Facts, set[str]]] = {
    "a reset is none here": ("g", 3, {"verdict": "reset"}, {"verdict"}),
    "the device failed there": ("g", 2, {"outcome": "failed"}, {"outcome", "verdict"}),
    "the gatherer says it died": ("g", 2, {"outcome": "died"}, {"outcome", "verdict"}),
    "began before t0": (
        "w",
        0,
        {"local": {"t0": 50.0, "started": 49.9, "stopped": 51.0}},
        {"start"},
    ),
    "a member more": ("w", 0, {"members": ["camera", "scope", "thermal"]}, {"members"}),
    "another t0": ("w", 0, {"t0": 100.001}, {"t0"}),
    "another verdict": ("w", 0, {"verdict": "finding"}, {"verdict"}),
    "unmeasured": ("w", 0, {"min_monitors": 3}, {"verdict"}),
    "too much skew": ("w", 0, {"max_skew": 0.25}, {"verdict"}),
    "noisy": ("w", 0, {"noise": ["socket 3"]}, {"verdict"}),
    "another's token": ("g", 6, {"token": 1}, {"token"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_contradiction_has_its_name(case: str) -> None:
    """What is wrong is said in the word that names it."""
    side, number, facts, expected = CASES[case]
    records = truth()
    records["wg".index(side)][number] |= facts
    assert expected <= checks(look(*records))


def test_sections_of_a_bench_overlap() -> None:
    """On the host's clock without any bound; on the gatherer's beyond what is known of it."""
    ours, theirs = truth()
    local = {"t0": 50.0, "started": 50.5, "stopped": 51.25}
    assert checks(look([*ours, workload(6, local=local)], theirs)) >= {"overlap"}
    far = workload(6, clock="another", started=100.5, stopped=101.25)
    assert "overlap" in checks(look([*ours, far], theirs))
    near = workload(6, clock="another", started=101 - 0.003, stopped=101.747)
    assert "overlap" not in checks(look([ours[0], near], None))


def test_the_gatherer_let_two_in() -> None:
    """The next was committed before the first was over, by its clock or by the order of lines."""
    first, second = gatherer(1), gatherer(2)
    assert checks(look(None, [*first[:3], *second, *first[3:]])) == {"overlap"}
    late = gatherer(1, ended={"ended_at": 205.0})
    assert checks(look(None, [*late, *second])) == {"overlap"}
    assert checks(look(None, [*second, *first])) == {"overlap", "token"}


def test_overdue_is_called_so() -> None:
    """A minute for thirty seconds is overdue on both sides, or somebody lies."""
    late: Facts = {"local": {"t0": 50.0, "started": 50.25, "stopped": 110.0}, "stopped": 160.0}
    left: Facts = {"stopped": 160.0}
    end: Facts = {"left_at": 161.0, "ended_at": 163.0}
    told = look([workload(1, **late)], gatherer(1, left=left, ended=end))
    assert checks(told) == {"overdue"}
    late |= {"overdue": True, "verdict": "overdue"}
    left |= {"overdue": True}
    end |= {"verdict": "overdue"}
    assert checks(look([workload(1, **late)], gatherer(1, left=left, ended=end))) == set()


def test_each_side_misses_what_the_other_has() -> None:
    """A section of a run that is known must be known; of a side that is not there nothing is."""
    ours, theirs = truth()
    assert checks(look([ours[0], *ours[2:]], theirs)) == {"other side"}
    assert checks(look(ours[1:], theirs)) == set(), "the workload's records begin later"
    assert checks(look(ours, theirs[5:])) == set(), "the gatherer's records begin later"
    assert checks(look(ours, [*theirs[:5], *theirs[10:]])) == {"other side"}
    for alone in (look(ours, None), look(None, theirs)):
        assert checks(alone) == set()
        assert {one.check for one in alone.open} == {"other side"} | {
            one.check for one in alone.open if one.check == "end"
        }


def test_a_section_without_an_end_is_open() -> None:
    """Its workload runs still, or was killed and nobody has found its ticket."""
    result = look([workload(1, "begun")], gatherer(1, left=None, ended=None, closed=None))
    assert checks(result) == set()
    assert [one.check for one in result.open] == ["end"]


def test_who_could_not_report_may_be_told_of_as_dead() -> None:
    """Only its ticket was left, which proves that its process is gone, and no more."""
    ours = workload(1, state="unreported", verdict="unreported")
    for key in ("reports", "skew", "skew_bound"):
        ours[key] = None
    ours["artifacts"] = []
    left: Facts = {"outcome": "died", "started": None, "stopped": None, "bound": None, "needed": 0}
    end = {"verdict": "died-in-section", "skew": 0.125, "skew_bound": 0.002}
    assert checks(look([ours], gatherer(1, left=left, ended=end))) == set()
    left |= {"outcome": "passed"}
    end |= {"verdict": "unreported"}
    assert checks(look([ours], gatherer(1, left=left, ended=end))) == set()
    assert checks(look([ours], gatherer(1))) == set(), "the last answer was not heard"


def test_a_capture_is_not_what_it_was() -> None:
    """Each file is looked at."""
    assert checks(look(*truth(), wrong="does not match its SHA-256")) == {"artifact"}


def test_torn_lines_are_open() -> None:
    """What a crash tore is no contradiction, and is told."""
    side = WorkloadSide()
    whole = json.dumps(workload(1)).encode()
    read_workload([("file:1", whole), ("file:2", whole[:40]), ("file:3", b"\xff[]")], side)
    assert (len(side.claims), [one[:7] for one in side.unreadable]) == (1, ["file:2:", "file:3:"])
