"""Ten bugs that were chosen before the rules were read: each can be planted as it was listed.

The list is ``planted/README.md``; ``planted/count.py`` counts in how many seeds each is found, and
the figures stand in ``docs/simulation.md``.
"""

import pytest
from simulation.planted.planting import PLACES, bugs, plant


def test_the_list_is_what_is_planted() -> None:
    """Each bug of the list, and no other, has its place in the code."""
    assert bugs().keys() == PLACES.keys()
    assert len(PLACES) == 10


@pytest.mark.parametrize("name", PLACES)
def test_a_bug_is_planted_and_taken_out(name: str) -> None:
    """Its functions are others while it is planted, and what they were afterwards."""
    before = [function.__code__ for function in PLACES[name]]
    with pytest.MonkeyPatch.context() as patch:
        plant(name, patch)
        planted = [function.__code__ for function in PLACES[name]]
    after = [function.__code__ for function in PLACES[name]]
    assert all(one is not other for one, other in zip(before, planted, strict=True))
    assert before == after
