"""Every state of a small lab: no rule breaks in any, and a planted bug is found on the way."""

import re
import subprocess
import sys

import pytest

from pytest_gatherscatter.sections.gatherer.commit import Commit
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.simulation.explore import explore
from pytest_gatherscatter.simulation.fingerprint import fingerprint
from pytest_gatherscatter.simulation.smalllab import SmallLab


def test_all_orders_of_two_sections() -> None:
    """Two workloads, two monitors, nobody dies: whatever comes first, both sections pass."""
    found = explore(SmallLab, most=5_000)
    assert found.violated is None, found.line
    assert found.whole
    assert found.states > 200
    assert found.ends >= 1


def test_a_death_at_any_moment() -> None:
    """One workload, one monitor, anybody dies once: no rule breaks in the first thousand states."""
    found = explore(lambda: SmallLab(workloads=1, monitors=1, deaths=1), most=1_000)
    assert found.violated is None, found.line
    assert found.states >= 1_000


def test_a_bug_is_found_on_the_shortest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gatherer that asks nobody whether they are alive is found out, with the way there."""
    check = Commit._check

    def hasty(self: Commit, section: SectionRecord, now: float) -> None:
        check(self, section, now)
        for name in section.ready():
            section.participants[name].alive = True
        self.lab.touched.add(section.bench)

    monkeypatch.setattr(Commit, "_check", hasty)
    found = explore(lambda: SmallLab(workloads=1, monitors=1), most=1_000)
    assert found.violated is not None
    assert found.violated.rule == "no go before all are ready"
    lab = SmallLab(workloads=1, monitors=1)
    for step in found.way[:-1]:
        lab.take(step)
    assert not lab.finished
    assert "hear" in str(found.way[-1])


def test_the_command_prints_states_and_depth() -> None:
    """One line says how many states there are, how deep, and whether these are all."""
    command = [sys.executable, "-m", "pytest_gatherscatter.simulation", "--explore"]
    small = ["--workloads", "1", "--monitors", "1", "--deaths", "0"]
    ran = subprocess.run([*command, *small], check=True, capture_output=True, text=True)
    assert re.search(r"\d+ states \(all of them\), \d+ steps, depth \d+", ran.stdout)


def test_the_way_to_a_state_does_not_tell_it() -> None:
    """Two monitors' answers in either order come to the same; one answer does not."""
    prints = []
    for order in (("scope", "thermal"), ("thermal", "scope"), ("scope",)):
        lab = SmallLab(workloads=1, monitors=2)
        while not any(lab.hooks.values()):
            lab.take(lab.steps()[0])
        while any(step.what == "hear" for step in lab.steps()):
            lab.take(next(step for step in lab.steps() if step.what == "hear"))
        for name in order:
            lab.take(next(step for step in lab.steps() if step == ("hook", name)))
            lab.take(next(step for step in lab.steps() if step == ("hear", "gatherer")))
        prints.append(fingerprint(lab, lab.now))
    assert prints[0] == prints[1] != prints[2]
