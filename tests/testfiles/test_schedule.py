"""What tests and files are expected to take."""

import pytest

from pytest_gatherscatter.testfiles.schedule import TESTS, UNKNOWN, Durations, shares


def test_what_was_run_before_is_expected_again() -> None:
    """A file takes what its tests took; one of its tests that is new, what its others take."""
    durations = Durations({"a": {"x": 1.0, "y": 3.0}})
    assert durations.knows("a")
    assert durations.of_file("a") == 4.0
    assert durations.of_test("a", "x") == 1.0
    durations.note("a", 2.0)
    assert durations.of_test("a", "z") == 2.0


def test_where_nothing_is_known_it_is_guessed() -> None:
    """So many tests of so many seconds, until one was seen."""
    durations = Durations({})
    assert durations.of_file("a") == TESTS * UNKNOWN
    assert durations.of_test("a", "x") == UNKNOWN


def test_files_are_expected_to_be_as_those_that_were_opened() -> None:
    """Also those in which nothing is left to run: they cost what it takes to open them."""
    durations = Durations({})
    durations.opened(0, 0.002)
    durations.opened(0, 0.004)
    assert durations.of_file("c") == pytest.approx(0.003)
    durations.opened(3, 0.006)
    durations.note("b", 0.5)
    assert durations.of_file("c") == pytest.approx(0.004 + 0.5)


def test_a_file_is_divided_into_shares() -> None:
    """Each is a share at the least; a short rest stays with the one before it."""
    assert shares(range(5), lambda _: 2.0, 1.8) == [(0,), (1,), (2,), (3,), (4,)]
    assert shares(range(5), lambda _: 1.0, 2.0) == [(0, 1), (2, 3), (4,)]
    assert shares(range(5), lambda test: 1.0 if test < 4 else 0.5, 2.0) == [(0, 1), (2, 3, 4)]
    assert shares([3, 7], lambda _: 1.0, 60.0) == [(3, 7)]
    assert shares([], lambda _: 1.0, 60.0) == []
