"""What becomes of an error: whose fault it is, in one line, and how pytest is told.

``DUT:`` is the device under test: it did something that a monitor found wrong, or did not
return in time. ``LAB:`` is everything around it: somebody missing, holding, broken or unheard.
Neither has a traceback: the cause is not in the test's source.
"""

from typing import NoReturn

import pytest

from pytest_gatherscatter.errors import (
    GatherScatterError,
    SectionFailed,
    SectionUnmeasured,
    SectionUnreported,
)


class SectionTrouble(pytest.fail.Exception):  # type: ignore[misc, name-defined, unused-ignore]
    """What pytest shows for an error of ours: its line. ``lab`` tells whose fault it is."""

    def __init__(self, error: GatherScatterError) -> None:
        super().__init__(error.told, pytrace=False)
        self.lab = is_lab(error)


def is_lab(error: GatherScatterError) -> bool:
    """Whether the lab is at fault, and not the device."""
    return error.fault == "LAB"


def is_for_teardown(error: SectionFailed) -> bool:
    """Whether it is an ERROR of the marker's teardown and no FAILURE of its call.

    What should have been measured and was not says nothing about the test that ran.
    """
    if isinstance(error, SectionUnmeasured):
        # Too few monitors is a demand that the test itself made, as an assertion is.
        return error.text.startswith("unmeasured")
    return isinstance(error, SectionUnreported)


def skip(error: GatherScatterError) -> NoReturn:
    """Skip the test, with the error as the reason and the test as the place.

    Raises:
        pytest.skip.Exception: always.
    """
    raise pytest.skip.Exception(error.told, _use_item_location=True)
