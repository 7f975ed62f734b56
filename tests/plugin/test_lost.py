"""Whoever is lost in mid-job: a bounded wait, the run is red, and says what it knows."""

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest
from spreadrun import GATED, SLOW, alive, outcomes, pids, until
from suite import Suite


def children(pid: int) -> set[int]:
    """Find the child processes of a process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found.add(int(path.name))
    return found


def test_a_private_broker_that_is_killed_ends_the_run(suite: Suite) -> None:
    """Nobody starts it again: red at once, with what was not run; no worker stays."""
    suite.write(SLOW)
    run = suite.start("--gs-spawn", "2")
    workers = suite.path / "pids"
    until(lambda: len(set(pids(workers))) == 2)
    (forkserver,) = children(run.pid)
    (broker,) = children(forkserver) - set(pids(workers))
    os.kill(broker, signal.SIGKILL)
    assert run.wait(30) == pytest.ExitCode.TESTS_FAILED
    text = (suite.path / "output").read_text()
    assert "the process that held workers and broker ended before the job" in text
    assert "= not run =" in text
    until(lambda: not any(alive(pid) for pid in pids(workers)))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_lost_costs_what_it_was_at(
    suite: Suite, embedded_url: str, lab: str, how: signal.Signals
) -> None:
    """Killed with its workers, or standing still: it loses what it was at, the rest runs on."""
    suite.write(GATED)
    given = ["--gs-broker", embedded_url, "--gs-lab", lab]
    first = suite.start("--gs-worker", *given)
    job = suite.start("--gs-dispatch", "--junitxml=report.xml", *given)
    until(lambda: len(pids(suite.path / "pids")) == 3)
    time.sleep(1)  # nobody says when the originator has heard that the third test began
    for pid in (*children(first.pid), first.pid):
        os.kill(pid, how)
    (suite.path / "gate is open").touch()
    second = suite.start("--gs-worker", *given)
    try:
        assert job.wait(60) == pytest.ExitCode.TESTS_FAILED
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
    assert second.wait(20) == pytest.ExitCode.OK
    told = outcomes(suite.path / "report.xml")
    assert len(told) == 12
    assert [name for name, how in told.items() if how] == ["test_it::test_slow[2]"]
    until(lambda: not any(alive(pid) for pid in pids(suite.path / "pids")))


SECTIONS = """
@pytest.mark.critical_section
@pytest.mark.parametrize("n", range(2))
def test_it(n):
    began = time.monotonic()
    time.sleep(0.3)
    with open("bodies", "a") as file:
        file.write(f"{os.getpid()} {began} {time.monotonic()}\\n")
"""


def test_critical_sections_in_workers_exclude_each_other(suite: Suite) -> None:
    """``--gs-local`` with ``--gs-spawn``: coordinated, quiet, one at a time."""
    suite.write(SECTIONS, "test_a.py")
    suite.write(SECTIONS, "test_b.py")
    result = suite.run("--gs-local", "--gs-spawn", "2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["4 coordinated, 0 alone, 0 LAB, 0 DUT, 0 overdue"])
    bodies = [line.split() for line in (suite.path / "bodies").read_text().splitlines()]
    assert len({pid for pid, _, _ in bodies}) == 2
    spans = sorted((float(began), float(ended)) for _, began, ended in bodies)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
