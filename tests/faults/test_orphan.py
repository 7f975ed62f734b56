"""Orphan or live owner: a bench is opened for the dead, and for nobody whose death is not sure."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.namespace import NETWORK, PIDS, WITH_LOOPBACK, inside
from faults.stage import Stage
from faults.step import kill
from shells import OURS, Actor

from pytest_gatherscatter.host.process import process_start

IMPATIENT = """
queue_timeout = "1s"
"""


@pytest.fixture
def stage(embedded_url: str, lab: str, tmp_path: Path) -> Iterator[Stage]:
    """A lab with a gatherer and a monitor, whose workloads stay inside until the gate opens."""
    stage = Stage(embedded_url, lab, tmp_path)
    stage.gate("body")
    try:
        stage.up()
        yield stage
    finally:
        stage.end()


def ticket(stage: Stage) -> Path:
    """Find the one ticket of the stage's host."""
    (found,) = (stage.place / "state").glob("gatherscatter/tickets/*.ticket")
    return found


def state(stage: Stage) -> Path:
    """Return the state directory of the stage's host."""
    return Path(stage.shell.environ["XDG_STATE_HOME"])


def impatient(stage: Stage) -> Actor:
    """Run a workload that waits a second for a busy bench."""
    folder = stage.place / "impatient"
    folder.mkdir(exist_ok=True)
    (folder / "gatherscatter.toml").write_text(IMPATIENT)
    words = ["workload", "--name", "next", "--", "true"]
    actor = Actor(words, stage.shell.environ, folder, stage.how)
    stage.shell.started.append(actor)
    actor.ends()
    return actor


def leaves(stage: Stage, how: tuple[str, ...] = ()) -> Actor:
    """Run ``gatherscatter leave``."""
    actor = stage.start("leave", "leave", how=how)
    actor.ends()
    return actor


def test_a_live_concurrent_run_is_left_alone(embedded_url: str, lab: str, tmp_path: Path) -> None:
    """A second run waits, fails with the owner's name, closes nothing; the first one passes."""
    stage = Stage(embedded_url, lab, tmp_path, user="pytest")
    stage.gate("body")
    try:
        stage.up()
        stage.start_workload()
        stage.tells("body", "in")
        second = impatient(stage)
        assert second.process.returncode == 75
        owner = f"pid {stage.visitor.process.pid} (test_burst.py::test_burst)"
        assert re.search(r"LAB: bench default stayed busy for \d+ s: burst of ", second.text)
        assert owner in second.text
        kept = leaves(stage)
        assert kept.process.returncode == 75
        assert "stays: its owner holds it" in kept.text
        stage.gate("body", closed=False)
        assert stage.visitor.ends() == 0, stage.visitor.text
        assert "1 coordinated, 0 alone, 0 LAB" in stage.visitor.text
        assert stage.next().process.returncode == 0
    finally:
        stage.end()


def test_leave_closes_what_was_meant_to_go_down(stage: Stage) -> None:
    """A test that cut its own host's power cannot leave; after the boot, one command does."""
    stage.start_workload()
    stage.tells("body", "in")
    kill(stage.burst)
    left = leaves(stage)
    assert left.process.returncode == 0
    assert f"on default is left: process {stage.visitor.process.pid} is gone" in left.text
    stage.tells("scope", "stopped")
    assert "former section" not in stage.next().text
    assert leaves(stage).text == "no section of a dead owner"


@pytest.mark.parametrize("same", [False, True])
def test_a_pid_that_is_used_again(stage: Stage, *, same: bool) -> None:
    """The pid lives: with another start time it is somebody else, with the same it is the owner."""
    stage.start_workload()
    stage.tells("body", "in")
    kill(stage.burst)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        facts = json.loads(ticket(stage).read_text())
        began = process_start(stranger.pid)
        assert began is not None
        facts["owner"] |= {"pid": stranger.pid, "started": began if same else began - 1}
        ticket(stage).write_text(json.dumps(facts))
        try:
            if same:
                kept = leaves(stage)
                assert kept.process.returncode == 75
                assert f"stays: process {stranger.pid} is there" in kept.text
                assert impatient(stage).process.returncode == 75
            else:
                after = stage.next()
                assert after.process.returncode == 0
                assert "told the gatherer that a former section is over" in after.text
        finally:
            stranger.kill()


def test_a_boot_since_then(stage: Stage) -> None:
    """Whatever lives under its pid now: the owner was of another boot of this host."""
    stage.start_workload()
    stage.tells("body", "in")
    kill(stage.burst)
    facts = json.loads(ticket(stage).read_text())
    facts["owner"] |= {"boot": "0" * 36, "pid": os.getpid()}
    ticket(stage).write_text(json.dumps(facts))
    after = stage.next()
    assert after.process.returncode == 0, after.text
    assert "(the host was booted since)" in after.text


def test_an_owner_in_a_container(stage: Stage) -> None:
    """Its pids are not ours: alive its lock tells, dead nothing does, and a person has to."""
    stage.start_workload(inside(PIDS))
    stage.tells("body", "in")
    assert "stays: its owner holds it" in leaves(stage).text
    kill(stage.burst)
    kept = leaves(stage)
    assert kept.process.returncode == 75
    assert "stays: its owner lived in another pid namespace (a container)" in kept.text
    waiting = impatient(stage)
    assert waiting.process.returncode == 75
    assert re.search(r"stayed busy for \d+ s: burst of ", waiting.text)
    reset = stage.start("reset", "reset", "--bench", "default")
    assert reset.ends() == 0
    assert stage.next().process.returncode == 0


def test_a_judge_in_a_container(stage: Stage) -> None:
    """From inside one, the host's pids say nothing: what the host may close, it may not."""
    how = inside(PIDS)
    stage.start_workload()
    stage.tells("body", "in")
    kill(stage.burst)
    kept = leaves(stage, how)
    assert kept.process.returncode == 75
    assert "another pid namespace" in kept.text
    assert leaves(stage).process.returncode == 0


@pytest.mark.parametrize("how", [WITH_LOOPBACK, OURS], ids=["another network", "none at all"])
def test_a_judge_without_our_network(stage: Stage, how: tuple[str, ...]) -> None:
    """It sees the owner alive; and when it is dead, that nobody can be told: the ticket stays."""
    how = inside(NETWORK, how)
    stage.start_workload()
    stage.tells("body", "in")
    assert "stays: its owner holds it" in leaves(stage, how).text
    kill(stage.burst)
    lost = leaves(stage, how)
    assert lost.process.returncode == 69
    assert lost.text.startswith("gatherscatter: no broker at ")
    assert lost.text.count("\n") == 0
    assert ticket(stage).exists()
    assert leaves(stage).process.returncode == 0
    assert stage.next().process.returncode == 0


def test_monitors_make_safe_when_all_others_are_dead(
    embedded_url: str, lab: str, tmp_path: Path
) -> None:
    """Test and gatherer are killed: the monitor keeps the deadline on its own clock, once."""
    stage = Stage(embedded_url, lab, tmp_path, longest=1)
    stage.gate("body")
    try:
        stage.up()
        stage.start_workload()
        stage.tells("body", "in")
        kill(stage.burst)
        kill(stage.gatherer)
        stage.tells("scope", "overdue")
        assert stage.count("scope", "stopped") == 0
        stage.start_gatherer().says("gatherer of lab")
        after = stage.next()
        assert after.process.returncode == 0, after.text
        assert "told the gatherer that a former section is over" in after.text
        stage.tells("scope", "stopped")
        assert stage.count("scope", "overdue") == 1
    finally:
        stage.end()


def test_a_test_that_died_on_another_host(stage: Stage) -> None:
    """Nobody else may close it: who waits hears whose it is, until that host's leave."""
    stage.start_workload()
    stage.tells("body", "in")
    kill(stage.burst)
    here = state(stage)
    stage.shell.environ["XDG_STATE_HOME"] = str(stage.place / "other host")
    waiting = impatient(stage)
    assert waiting.process.returncode == 75
    owner = f"burst of {whoami()} pid {stage.visitor.process.pid}"
    assert re.search(rf"stayed busy for \d+ s: {re.escape(owner)}", waiting.text)
    assert leaves(stage).text == "no section of a dead owner"
    stage.shell.environ["XDG_STATE_HOME"] = str(here)
    assert leaves(stage).process.returncode == 0
    assert stage.next().process.returncode == 0


def whoami() -> str:
    """Name user and host as an owner's line does."""
    from pytest_gatherscatter.sections.service.visit import owner_line  # noqa: PLC0415

    return owner_line().partition(" pid ")[0]
