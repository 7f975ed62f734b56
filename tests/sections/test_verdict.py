"""One word for what came of a section, whatever else went wrong with it."""

from itertools import combinations

import pytest

from pytest_gatherscatter.sections.verdict import SectionVerdict as V
from pytest_gatherscatter.sections.verdict import verdict_of

CAUSES = ("finding", "overdue", "unmeasured", "skew", "noisy", "unreported")


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_is_its_own_verdict(cause: str) -> None:
    """A body that passed has the verdict of the one thing that is wrong."""
    assert verdict_of("passed", {cause}) is V(cause)


@pytest.mark.parametrize(("first", "second"), list(combinations(CAUSES, 2)))
def test_of_two_causes_the_earlier_counts(first: str, second: str) -> None:
    """The device comes before the lab, and what was measured before how well."""
    assert verdict_of("passed", [second, first]) is V(first)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("failed", V.DEVICE), ("interrupted", V.INTERRUPTED), ("died", V.DIED_IN_SECTION)],
)
def test_how_it_ended_counts_before_what_was_measured(outcome: str, verdict: V) -> None:
    """A body that failed or never came back says more than any finding."""
    assert verdict_of(outcome, CAUSES) is verdict


def test_a_reset_makes_everything_doubtful() -> None:
    """Others may have been on the bench, so nothing else that is known counts."""
    assert verdict_of("failed", {"finding"}, given_up=True) is V.RESET


def test_nothing_wrong_is_passed() -> None:
    """A word that nobody knows changes nothing."""
    assert verdict_of("passed", {"of a newer version"}) is V.PASSED
