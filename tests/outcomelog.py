"""A plugin for plain runs of pytest: writes how each test ended, to compare workers with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from userrun import HEAVY, without

VARIABLE = "OUTCOMELOG"
_ends: dict[str, str] = {}


def add(ends: dict[str, str], nodeid: str, when: str, outcome: str, *, xfail: bool) -> None:
    """Put one report to the others of its test."""
    if xfail:
        outcome = {"skipped": "xfailed", "passed": "xpassed"}.get(outcome, outcome)
    if when == "call" or outcome != "passed":
        said = outcome if when == "call" else f"{when} {outcome}"
        ends[nodeid] = f"{ends[nodeid]}, {said}" if nodeid in ends else said


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a report."""
    add(_ends, report.nodeid, report.when, report.outcome, xfail=hasattr(report, "wasxfail"))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note what could not be collected."""
    if not report.passed:
        add(_ends, report.nodeid, "collect", report.outcome, xfail=False)


def pytest_unconfigure() -> None:
    """Write all that was noted."""
    Path(os.environ[VARIABLE]).write_text(json.dumps(_ends))


def plain_run(folder: Path, *arguments: str) -> dict[str, str]:
    """Run a suite in one process; returns how each test ended, by nodeid."""
    log = folder.parent / f"{folder.name}.outcomes"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "outcomelog"]
    command += without(HEAVY)
    run = subprocess.run(
        [*command, "--continue-on-collection-errors", *arguments],
        cwd=folder,
        env=os.environ | {VARIABLE: str(log), "PYTHONPATH": str(Path(__file__).parent)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert log.exists(), run.stdout + run.stderr
    ends: dict[str, Any] = json.loads(log.read_text())
    return ends
