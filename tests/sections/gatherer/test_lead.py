"""How far ahead t0 lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatherscatter.sections.gatherer.lead import FIRST, LONGEST, SHORTEST, Lead


def test_nothing_is_known_at_first() -> None:
    """A Go needs some time to reach everybody; nobody has said how much."""
    assert Lead().seconds() == pytest.approx(FIRST)


def test_the_lead_follows_what_was_needed() -> None:
    """A high percentile of it with a margin: one straggler in a hundred does not count."""
    lead = Lead()
    for _ in range(99):
        lead.note(0.02)
    lead.note(0.4)
    assert lead.seconds() == pytest.approx(0.03)


def test_a_workload_that_needs_more_gets_more() -> None:
    """It says so when it is ready."""
    lead = Lead()
    lead.note(0.01)
    assert lead.seconds(0.1) == pytest.approx(0.15)


def test_a_slow_disk_makes_the_lead_longer() -> None:
    """The commit is synced between the reading of the clock and Go."""
    lead = Lead()
    lead.note(0.01)
    lead.note_sync(0.08)
    assert lead.seconds() == pytest.approx(0.095)
    for _ in range(8):
        lead.note_sync(0.001)
    assert lead.seconds() == pytest.approx(0.016)


@given(st.lists(st.floats(0, 1e6)), st.lists(st.floats(0, 1e6)), st.floats(0, 1e6))
def test_it_is_never_shorter_or_longer_than_is_good(
    needed: list[float], syncs: list[float], asked: float
) -> None:
    """Whatever anybody says."""
    lead = Lead()
    for one in needed:
        lead.note(one)
    for one in syncs:
        lead.note_sync(one)
    assert SHORTEST <= lead.seconds(asked) <= LONGEST
