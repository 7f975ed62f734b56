"""Every state of a small lab: no rule breaks in any, and a planted bug is found on the way."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
from simulation.planted.planting import plant
from simulation.test_invariant import (
    go_at_once,
    go_without_a_record,
    go_without_asking,
    go_without_the_missing,
    nobody_gives_up,
    tokens_fall,
)

from pytest_gatherscatter.simulation.explore import Exploration, explore
from pytest_gatherscatter.simulation.fingerprint import Fingerprints
from pytest_gatherscatter.simulation.smalllab import GATHERER, SmallLab
from pytest_gatherscatter.simulation.smallstate import Step

ENOUGH = 20_000
"""States, more than any lab of these tests has."""


Lab = tuple[int, int, int, int]
"""How many workloads and monitors, how many parties may die, and how often all may stall."""


def explored(lab: Lab, *, reduced: bool = True, most: int = ENOUGH) -> Exploration:
    """Explore a lab."""
    workloads, monitors, deaths, stalls = lab
    return explore(
        lambda: SmallLab(workloads=workloads, monitors=monitors, deaths=deaths, stalls=stalls),
        most=most,
        reduced=reduced,
    )


@pytest.mark.parametrize(
    ("lab", "states", "ends"),
    [((2, 2, 0, 0), 300, 1), ((1, 1, 0, 1), 300, 5), ((1, 1, 1, 0), 1_500, 20)],
    ids=["nobody dies", "all stall once", "anybody dies once"],
)
def test_every_state(lab: Lab, states: int, ends: int) -> None:
    """No rule breaks in any state, and with all orders and all moments of death the ends are so.

    Two workloads and two monitors of whom nobody dies; one of each, and time passes once although
    somebody has something to do; one of each, and any of the three parties dies, at any moment:
    which three labs show together in each of which only one may.
    """
    less, every = explored(lab), explored(lab, reduced=False)
    for found in (less, every):
        assert found.violated is None, found.line
        assert found.whole
    assert less.ended == every.ended
    assert less.ends >= ends
    assert states < less.states < every.states
    if lab == (1, 1, 1, 0):
        assert ends_of_each("gatherer", "scope", "test0") == less.ended


def ends_of_each(*names: str) -> set[bytes]:
    """Explore a lab for each of these, in which only that one may die, and gather the ends."""
    ends: set[bytes] = set()
    for name in names:
        make = partial(SmallLab, workloads=1, monitors=1, deaths=1, mortal=(name,))
        found = explore(make, most=ENOUGH)
        assert found.violated is None, found.line
        assert found.whole
        ends |= found.ended
    return ends


def test_some_deaths_in_the_whole_lab() -> None:
    """Two workloads, two monitors, all five may die: no rule breaks in the first states."""
    found = explored((2, 2, 5, 0), most=600)
    assert found.violated is None, found.line
    assert not found.whole


def leave_answered_first(patch: pytest.MonkeyPatch) -> None:
    """Say that a leaving is known before it is on record, as the list of chosen bugs has it."""
    plant("leave-answered-first", patch)


BUGS: dict[Callable[[pytest.MonkeyPatch], None], tuple[Lab, str]] = {
    go_without_asking: ((1, 1, 1, 0), "no go before all are ready"),
    go_without_the_missing: ((1, 1, 1, 0), "no go before all are ready"),
    go_without_a_record: ((1, 1, 1, 0), "one go, committed first, before t0"),
    go_at_once: ((1, 1, 1, 0), "never before t0"),
    leave_answered_first: ((1, 1, 1, 0), "an end that is told is on record"),
    nobody_gives_up: ((1, 0, 1, 0), "every workload is unblocked"),
    tokens_fall: ((2, 0, 0, 0), "tokens only grow"),
}
"""Bugs, the lab in which each shows, and the rule that finds it."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_is_found_with_and_without_what_is_left_out(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rule breaks after as many steps, whether all orders are followed or one of each."""
    bug(monkeypatch)
    lab, rule = BUGS[bug]
    less, every = explored(lab), explored(lab, reduced=False)
    for found in (less, every):
        assert found.violated is not None, found.line
        assert found.violated.rule == rule
    assert len(less.way) == len(every.way)


def test_the_way_leads_to_the_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes the steps that are told stands right before what broke."""
    go_without_asking(monkeypatch)
    found = explored((1, 1, 0, 0))
    lab = SmallLab(workloads=1, monitors=1)
    for step in found.way[:-1]:
        lab.take(step)
    assert not lab.finished
    assert str(found.way[-1]) == "hear gatherer from test0"


def test_the_command_prints_states_and_depth() -> None:
    """One line says how many states there are, how deep, and whether these are all."""
    command = [sys.executable, "-m", "pytest_gatherscatter.simulation", "--explore"]
    small = ["--workloads", "1", "--monitors", "1", "--deaths", "0"]
    ran = subprocess.run([*command, *small], check=True, capture_output=True, text=True)
    assert re.search(r"\d+ states \(all of them\), \d+ steps, depth \d+", ran.stdout)


def test_the_command_knows_who_is_in_its_lab() -> None:
    """A name that is not there is an error in a line."""
    command = [sys.executable, "-m", "pytest_gatherscatter.simulation", "--explore"]
    ran = subprocess.run(
        [*command, "--monitors", "1", "--mortal", "thermal"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "Error: not in this lab: thermal" in ran.stderr


def _at_the_hooks(order: tuple[str, ...]) -> bytes:
    """Take the print of a lab whose monitors have answered to prepare in this order."""
    lab = SmallLab(workloads=1, monitors=2)
    while not any(lab.hooks.values()):
        lab.take(lab.steps()[0])
    while any(step.what == "hear" for step in lab.steps()):
        lab.take(next(step for step in lab.steps() if step.what == "hear"))
    for name in order:
        lab.take(Step("hook", name))
        lab.take(next(step for step in lab.steps() if step.who == GATHERER))
    return Fingerprints().of(lab)


def test_the_way_to_a_state_does_not_tell_it() -> None:
    """Two monitors' answers in either order come to the same; one answer does not."""
    prints = [_at_the_hooks(order) for order in (("scope", "thermal"), ("thermal", "scope"))]
    assert prints[0] == prints[1] != _at_the_hooks(("scope",))


def test_what_the_gatherer_knows_tells_states_apart() -> None:
    """A gatherer that has heard somebody join is another than one that has not, all else alike."""
    prints = []
    for forgets in (False, True):
        lab = SmallLab(workloads=1, monitors=1)
        lab.take(Step("hear", GATHERER, "scope"))
        if forgets:
            lab.shelf.open(GATHERER).lab.roster.leave("scope")
        prints.append(Fingerprints().of(lab))
    assert prints[0] != prints[1]


def test_a_lab_goes_back_to_a_former_moment() -> None:
    """What was frozen is met again, whatever was done meanwhile, and goes on as before."""
    lab, prints = SmallLab(workloads=1, monitors=1), Fingerprints()
    states, seen = [], []
    for _ in range(25):
        states.append(lab.freeze())
        seen.append(prints.of(lab))
        lab.take(lab.steps()[0])
    for state, before in zip(reversed(states), reversed(seen), strict=True):
        lab.restore(state)
        assert prints.of(lab) == before
    for before in seen:
        assert prints.of(lab) == before
        lab.take(lab.steps()[0])
