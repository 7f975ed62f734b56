"""Whole labs in virtual time hold their rules; the same seed tells the same story."""

import os
import subprocess
import sys

import pytest

from pytest_gatherscatter.simulation.batch import play_chunk, play_many
from pytest_gatherscatter.simulation.scenario import play
from pytest_gatherscatter.simulation.story import tell

SEEDS = 5_000
BATCH = 250
"""Seeds of one test: some seconds, so that processors share the tests evenly."""

WORDS = {"passed", "passed alone", "not-gathered", "no-gatherer", "vetoed", "broken", "died"}
"""How sections end in any batch."""

FAULTS = {
    "crash",
    "power cut",
    "cut",
    "cut while sending",
    "slow network",
    "restart",
    "freeze",
    "freeze at the handshake",
    "freeze when gathered",
    "freeze at the check",
    "freeze at the go",
    "a person's hold",
    "a person's hold at the check",
    "folds",
    "death",
    "amnesia",
    "absence",
    "death inside",
    "leaving unread",
    "crossing",
    "a second gatherer",
    "a second monitor",
    "a stranger",
}
"""What goes wrong in any batch."""


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_every_rule_holds(first: int) -> None:
    """Whatever dies, freezes or is cut off, no rule breaks; and all of that does happen."""
    total = play_chunk(first, BATCH)
    assert total.bad == {}
    assert total.seeds == BATCH
    assert total.visits["passed"] > BATCH
    assert total.visits.keys() >= WORDS
    assert total.faults.keys() == FAULTS


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
