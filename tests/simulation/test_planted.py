"""Bugs that were chosen before the rules were read, ten and ten more: which of them are found.

The list is ``planted/README.md``; ``planted/count.py`` counts in how many seeds each is found, and
the figures stand in ``docs/simulation.md``.
"""

import pytest
from simulation.planted.planting import PLACES, bugs, plant

from pytest_gatherscatter.simulation.scenario import play

SEEDS = 150
"""Seeds within which a bug of the list must show; most do in the first few."""

FOUND = {
    "records-last": (30, "one go, committed first, before t0"),
    "one-floor": (105, "only lower tokens are refused"),
    "abort-by-id": (135, "nothing stale disarms"),
    "deadline-sleeps": (0, "only a hook delays making safe"),
    "bound-stays-young": (0, "a bound ages"),
    "nothing-owed": (30, "no ticket goes too early"),
    "hold-overlooked": (25, "no commit under a person's hold"),
    "gathers-at-once": (0, "nobody arms before the acceptance has arrived"),
    "said-once": (0, "a report that is asked for is said"),
    "opening-dropped": (0, "no machine breaks"),
    "boot-shift": (32, "one go, committed first, before t0"),
    "bound-of-stop": (40, "reported times are true to their bound"),
    "lock-spared": (34, "one live section a bench"),
}
"""The seed with which the search for a bug begins, to be quick, and the rule that finds it."""


def test_the_list_is_what_is_planted() -> None:
    """Each bug of the lists, and no other, has its place in the code."""
    assert bugs().keys() == PLACES.keys()
    assert FOUND.keys() <= PLACES.keys()
    assert len(PLACES) == 20


@pytest.mark.parametrize("name", FOUND)
def test_a_bug_of_the_list_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within some seeds the rule that guards what it breaks says so."""
    plant(name, monkeypatch)
    first, rule = FOUND[name]
    broken = set()
    for seed in range(first, first + SEEDS):
        violated = play(seed).violated
        if violated is not None:
            broken.add(violated.rule)
        if rule in broken:
            return
    pytest.fail(f"not found in {SEEDS} seeds; broken were {sorted(broken) or 'none'}")
