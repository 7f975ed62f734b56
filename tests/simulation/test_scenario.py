"""Whole labs in virtual time hold their rules; the same seed tells the same story."""

import os
import subprocess
import sys
from functools import cache

import pytest

from pytest_gatherscatter.simulation.batch import play_many
from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.scenario import play
from pytest_gatherscatter.simulation.story import tell

BATCH = 40
SEEDS = 240


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
    outcomes = [outcome(seed) for seed in range(SEEDS)]
    assert sum(one.bodies for one in outcomes) > SEEDS
    assert sum(one.alone for one in outcomes) > 0
    words = {word for one in outcomes for word in one.visits}
    assert words >= {"passed", "passed alone", "not-gathered", "vetoed", "broken", "died"}
    told = {fault.partition(" of ")[0] for one in outcomes for fault in one.faults}
    assert {"a second gatherer", "a second monitor", "a stranger", "a person's hold"} <= told
    faults = {fault.split()[0] for fault in told}
    usual = {"crash", "cut", "folds", "freeze", "power", "slow", "a", "restart"}
    assert faults == usual | {"death", "absence", "crossing"}


def test_the_same_seed_tells_the_same_story() -> None:
    """Played twice in one process, word for word."""
    first, again = (tell(play(7, story=True).history, whole=True) for _ in range(2))
    assert [*first] == [*again]


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


def test_processes_play_the_same_seeds() -> None:
    """How many processes share the seeds changes nothing of what comes of them."""
    assert play_many(0, 40, jobs=2) == play_many(0, 40, jobs=1)


def test_many_seeds_end_with_a_figure() -> None:
    """The command plays seeds and says how many broke a rule, and how fast it went."""
    command = [sys.executable, "-m", "pytest_gatherscatter.simulation", "--seeds", "3"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "3 seeds in" in ran.stdout
    assert "0 broke a rule" in ran.stdout
