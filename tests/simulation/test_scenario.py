"""Whole labs in virtual time hold their rules; the same seed tells the same story."""

import os
import subprocess
import sys
from functools import cache

import pytest

from pytest_gatherscatter.simulation.scenario import Outcome, play
from pytest_gatherscatter.simulation.story import tell

BATCH = 20
SEEDS = 120


@cache
def outcome(seed: int) -> Outcome:
    """What comes of a seed, played once for all tests."""
    return play(seed)


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_every_rule_holds(first: int) -> None:
    """Whatever dies, freezes or is cut off, no rule breaks."""
    broken = {seed: outcome(seed).violated for seed in range(first, first + BATCH)}
    assert {seed: str(why) for seed, why in broken.items() if why} == {}


def test_the_seeds_play_something() -> None:
    """Rules that hold in labs where nothing happens would say nothing."""
    outcomes = [outcome(seed) for seed in range(SEEDS // 2)]
    assert sum(one.bodies for one in outcomes) > 60
    assert sum(one.alone for one in outcomes) > 0
    words = {word for one in outcomes for word in one.visits}
    assert words >= {"passed", "passed alone", "not-gathered", "vetoed", "broken", "died"}
    faults = {fault.split()[0] for one in outcomes for fault in one.faults}
    assert faults == {"crash", "cut", "freeze", "slow", "a", "restart"}


def test_the_same_seed_tells_the_same_story() -> None:
    """Played twice in one process, word for word."""
    assert [*tell(play(7).history, whole=True)] == [*tell(play(7).history, whole=True)]


def test_the_story_does_not_hang_on_the_process() -> None:
    """Another process, whose sets have another order, tells the same."""
    stories = []
    for order in ("1", "2"):
        command = [sys.executable, "-m", "pytest_gatherscatter.simulation", "--seed", "17"]
        ran = subprocess.run(
            [*command, "--whole"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": order},
        )
        stories.append(ran.stdout)
    assert stories[0] == stories[1]
    assert len(stories[0].splitlines()) > 50


def test_many_seeds_end_with_a_figure() -> None:
    """The command plays seeds and says how many broke a rule, and how fast it went."""
    command = [sys.executable, "-m", "pytest_gatherscatter.simulation", "--seeds", "3"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "3 seeds in" in ran.stdout
    assert "0 broke a rule" in ran.stdout
