"""Bugs that were chosen before the rules were read, ten, ten more and a third ten: each is found.

The list is ``planted/README.md``; ``planted/count.py`` counts in how many seeds each is found, and
the figures stand in ``docs/simulation.md``.
"""

import pytest
from simulation.planted.planting import PLACES, bugs, plant

from pytest_gatherscatter.simulation.scenario import play

SEEDS = 150
"""Seeds within which a bug of the list must show; most do in the first few."""

FOUND: dict[str, tuple[int, set[str]]] = {
    "records-last": (5, {"one go, committed first, before t0"}),
    "one-floor": (19, {"only lower tokens are refused"}),
    "abort-by-id": (3, {"nothing stale disarms"}),
    "deadline-sleeps": (5, {"only a hook delays making safe"}),
    "bound-stays-young": (0, {"a bound ages"}),
    "nothing-owed": (10, {"no ticket goes too early"}),
    "hold-overlooked": (0, {"no commit under a person's hold"}),
    "gathers-at-once": (0, {"nobody arms before the acceptance has arrived"}),
    "said-once": (3, {"a report that is asked for is said"}),
    "opening-dropped": (5, {"no machine breaks"}),
    "alive-once": (20, {"no go before all are ready"}),
    "held-while-gathered": (19, {"no go before all are ready"}),
    "leave-answered-first": (0, {"an end that is told is on record"}),
    "abort-unrecorded": (12, {"an end that is told is on record", "the lab works afterwards"}),
    "boot-shift": (22, {"a reboot moves no section", "one go, committed first, before t0"}),
    "capture-stalls": (18, {"who stops says its report"}),
    "bound-of-stop": (22, {"reported times are true to their bound"}),
    "ticket-of-former-token": (185, {"a ticket bears the token that is committed"}),
    "met-forgotten": (23, {"who met a gatherer misses it"}),
    "lock-spared": (3, {"every body has its bench's lock"}),
    "old-holds-alarm": (0, {"a hold ends at its limit"}),
    "overdue-forgotten": (6, {"an end that is told is on record"}),
    "only-the-living": (16, {"an end names every member"}),
    "wrong-one-leaves": (39, {"no machine breaks"}),
    "reset-does-not-last": (12, {"an end that is told is on record", "the lab works afterwards"}),
    "raw-deadline": (6, {"only a hook delays making safe", "monitors make safe at the deadline"}),
    "abort-misses-holder": (0, {"every prepare ends"}),
    "same-token-refused": (3, {"only lower tokens are refused"}),
    "ready-once": (19, {"who is gathered says that it is ready"}),
    "ticket-on-send": (15, {"no ticket goes too early"}),
}
"""The seed with which the search for a bug begins, to be quick, and the rules that find it."""


def test_the_list_is_what_is_planted() -> None:
    """Each bug of the lists, and no other, has its place in the code, and a rule."""
    assert bugs().keys() == PLACES.keys() == FOUND.keys()
    assert len(PLACES) == 30


@pytest.mark.parametrize("name", FOUND)
def test_a_bug_of_the_list_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within some seeds a rule that guards what it breaks says so."""
    plant(name, monkeypatch)
    first, rules = FOUND[name]
    broken = set()
    for seed in range(first, first + SEEDS):
        violated = play(seed).violated
        if violated is not None:
            broken.add(violated.rule)
        if rules & broken:
            return
    pytest.fail(f"not found in {SEEDS} seeds; broken were {sorted(broken) or 'none'}")
