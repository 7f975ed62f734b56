"""Who never comes back, who is one too many, and who comes too late."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import page
from faults.brokers import Mortal
from faults.stage import Stage
from faults.step import STEPS, freeze, kill
from faults.table import OTHERS, WITHIN
from shells import Actor


@pytest.fixture
def stage(embedded_url: str, lab: str, tmp_path: Path) -> Iterator[Stage]:
    """A lab where nobody has been started yet."""
    stage = Stage(embedded_url, lab, tmp_path)
    try:
        yield stage
    finally:
        stage.end()


def enter(stage: Stage, step: str) -> float:
    """Bring a section to a step, and return the time."""
    STEPS[step].arrange(stage)
    stage.up()
    stage.start_workload()
    STEPS[step].reached(stage)
    return time.monotonic()


def settle(name: str, actor: Actor, began: float) -> None:
    """See that somebody ended as its row says, and that the page has the row."""
    other = OTHERS[name]
    status = actor.ends()
    took = time.monotonic() - began
    assert status == other.sees.status, actor.text
    assert took < WITHIN[other.sees.within], f"{took:.1f} s: {actor.text}"
    words = page.shown(other.sees.words, actor.text)
    assert words or not other.sees.words, actor.text
    assert "Traceback" not in actor.text
    line = page.line_of(other.told, other.where, words, other.sees)
    assert page.settle("others", line), line


def test_a_gatherer_that_stays_away_as_somebody_enters(stage: Stage) -> None:
    """Nobody has accepted: with demands it fails at once, and nothing runs."""
    began = enter(stage, "entering")
    kill(stage.gatherer)
    STEPS["entering"].go_on(stage)
    settle("no gatherer", stage.visitor, began)
    assert stage.count("body", "in") == 0


def test_who_was_accepted_never_falls_back(stage: Stage) -> None:
    """It demands nothing and could run alone; but the lab may be gathered for it, so it fails."""
    stage.required = False
    began = enter(stage, "gathering")
    kill(stage.gatherer)
    STEPS["gathering"].go_on(stage)
    settle("accepted", stage.visitor, began)
    assert stage.count("body", "in") == 0


def test_a_gatherer_that_stays_away_in_the_section(stage: Stage) -> None:
    """The body is not disturbed; it cannot tell anybody, and says so in bounded time."""
    began = enter(stage, "inside")
    kill(stage.gatherer)
    STEPS["inside"].go_on(stage)
    settle("gatherer gone", stage.visitor, began)
    assert stage.count("body", "out") == 1


def test_a_broker_that_stays_away_in_the_section(
    embedded_mortal: Mortal, lab: str, tmp_path: Path
) -> None:
    """The same; and the monitor makes safe at the deadline, which it has from Go."""
    stage = Stage(embedded_mortal.url, lab, tmp_path, longest=2)
    try:
        began = enter(stage, "inside")
        embedded_mortal.kill()
        STEPS["inside"].go_on(stage)
        settle("broker gone", stage.visitor, began)
        stage.tells("scope", "overdue")
        embedded_mortal.start()
    finally:
        stage.end()


def test_a_second_gatherer(stage: Stage) -> None:
    """It is told whose the lab is, and ends; the section of the first one goes on."""
    began = enter(stage, "inside")
    settle("second gatherer", stage.start("second", "gatherer"), began)
    STEPS["inside"].go_on(stage)
    assert stage.visitor.ends() == 0, stage.visitor.text
    assert stage.next().process.returncode == 0


def test_a_second_monitor_of_a_name(stage: Stage) -> None:
    """It is told who has the name, and ends; the first one takes part."""
    began = enter(stage, "gathering")
    settle("second monitor", stage.start("second", "monitor", "scope"), began)
    STEPS["gathering"].go_on(stage)
    assert stage.visitor.ends() == 0, stage.visitor.text
    assert stage.count("scope", "started") == 1


def test_a_test_that_is_thawed_past_its_deadline(
    embedded_url: str, lab: str, tmp_path: Path
) -> None:
    """Its Go lies in its socket when it wakes up; its monitor has made safe: it runs nothing."""
    stage = Stage(embedded_url, lab, tmp_path, longest=1)
    try:
        enter(stage, "ready")
        freeze(stage.visitor)
        STEPS["ready"].go_on(stage)
        stage.tells("scope", "overdue")
        began = time.monotonic()
        os.killpg(stage.visitor.process.pid, signal.SIGCONT)
        settle("thawed", stage.visitor, began)
        assert "this process was held up until" in stage.visitor.text
        assert stage.count("body", "in") == 0
        assert stage.count("scope", "stopped") == 1
        assert stage.next().process.returncode == 0
    finally:
        stage.end()


def test_a_gatherer_whose_host_was_power_cycled(stage: Stage) -> None:
    """The broker believes in its dead connection: the new one waits, four heartbeats at most.

    The proxy resets the gatherer's side and keeps the broker's, as when a host goes dark.
    """
    stage.through("gatherer")
    began = enter(stage, "inside")
    stage.gathering.process.send_signal(signal.SIGSTOP)
    stage.proxies["gatherer"].abandon()
    kill(stage.gatherer)
    stage.start_gatherer().says("a silent connection still has the gatherer's name")
    stage.gathering.says("gatherer of lab")
    STEPS["inside"].go_on(stage)
    settle("power cycle", stage.visitor, began)
    assert stage.next().process.returncode == 0
