"""The gatherer's clock, measured: its bound must hold whatever the network and the quartz do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatherscatter.sections.clock import DRIFT, GathererClock

delays = st.floats(0, 2)
pauses = st.floats(0, 3600)


@given(
    origin=st.floats(0, 1e6),
    offset=st.floats(-1e6, 1e6),
    drift=st.floats(-DRIFT, DRIFT),
    trips=st.lists(st.tuples(pauses, delays, delays), min_size=1, max_size=8),
    later=pauses,
    own=st.sampled_from(["", "a" * 8]),
)
def test_the_true_offset_lies_within_the_bound(  # noqa: PLR0913, PLR0917 - what may vary
    origin: float,
    offset: float,
    drift: float,
    trips: list[tuple[float, float, float]],
    later: float,
    own: str,
) -> None:
    """Any delays, however unequal, and any drift up to the limit stay within the bound.

    Also if this clock is told to be the gatherer's and is not, as on a cloned machine.
    """

    def gatherer_time(local: float) -> float:
        return local + offset + drift * (local - origin)

    clock = GathererClock(own)
    local = origin
    for pause, there, back in trips:
        local += pause
        sent = clock.probe(local)
        received = sent + there + back
        assert clock.reading(sent, gatherer_time(sent + there), received, "a" * 8)
        local = received
        for now in (local, local + later):
            true = gatherer_time(now) - now
            assert abs(clock.offset(now) - true) <= clock.bound(now) + 1e-8
            # What was converted at one time is judged by the bound of another: one guess for both.
            assert clock.offset(now) == clock.offset(local - later)


def test_a_short_round_trip_counts_and_long_ones_do_not_spoil_it() -> None:
    """The best estimate is kept until it has aged past a newer one."""
    clock = GathererClock()
    clock.reading(clock.probe(100.0), 600.001, 100.002, "g1")
    clock.reading(clock.probe(101.0), 601.9, 102.0, "g1")
    assert clock.offset(102.0) == pytest.approx(500.0)
    assert clock.bound(102.0) < 0.0015
    clock.reading(clock.probe(200.0), 700.0015, 200.003, "g1")
    assert clock.bound(200.003) == pytest.approx(0.0015, rel=1e-2)


def test_each_limit_comes_from_the_probe_that_knows_it_best() -> None:
    """A quick way there and a quick way back need not be of one round trip."""
    clock = GathererClock()
    clock.reading(clock.probe(10.0), 510.0001, 10.01, "g1")  # quick there, slow back
    clock.reading(clock.probe(11.0), 511.0099, 11.01, "g1")  # slow there, quick back
    assert clock.offset(11.01) == pytest.approx(500.0, abs=1e-4)  # the older limit has aged
    assert clock.bound(11.01) < 0.0003


def test_one_and_the_same_clock_is_not_apart() -> None:
    """Where the kernel says so and no reading denies it, unequal ways do not mislead."""
    clock = GathererClock("g1")
    clock.reading(clock.probe(10.0), 10.0001, 10.004, "g1")
    assert clock.offset(10.004) == 0.0
    assert clock.bound(10.004) == pytest.approx(0.0039, rel=1e-2)  # the farther limit


def test_a_clock_that_only_says_that_it_is_the_same_is_measured() -> None:
    """A clone of a virtual machine has the ids of its twin, and a clock of its own."""
    clock = GathererClock("g1")
    clock.reading(clock.probe(10.0), 10.502, 10.004, "g1")
    assert clock.offset(10.004) == pytest.approx(0.5)
    assert clock.bound(10.004) == pytest.approx(0.002, rel=1e-2)


def test_times_are_converted_both_ways() -> None:
    """To the gatherer's clock and back is the identity."""
    clock = GathererClock()
    clock.reading(clock.probe(10.0), 1010.0, 10.0, "g1")
    assert clock.to_gatherer(12.0, 12.0) == pytest.approx(1012.0)
    assert clock.to_local(1012.0, 12.0) == pytest.approx(12.0)


def test_another_gatherer_is_another_clock() -> None:
    """A new id drops what was measured, and late readings of the old one are refused."""
    clock = GathererClock()
    clock.reading(clock.probe(1.0), 501.0, 1.001, "g1")
    late = clock.probe(2.0)
    assert clock.reading(clock.probe(2.5), 9.0, 2.501, "g2")
    assert clock.known("g2")
    assert not clock.known("g1")
    assert clock.offset(3.0) == pytest.approx(6.4995)
    assert not clock.reading(late, 502.0, 3.0, "g1")
    assert clock.known("g2")
    assert clock.reading(clock.probe(4.0), 504.0, 4.001, "g1")  # it may come back
    assert clock.known("g1")


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    """A former process of the same name asked on another clock; a redelivery is old."""
    clock = GathererClock()
    assert not clock.reading(5.0, 10.0, 5.001, "g1")
    sent = clock.probe(6.0)
    assert clock.reading(sent, 11.0, 6.001, "g1")
    assert not clock.reading(sent, 11.0, 6.5, "g1")


@pytest.mark.parametrize("read", [math.nan, math.inf])
def test_a_reading_that_is_no_time_is_refused(read: float) -> None:
    """It would poison every conversion after it."""
    clock = GathererClock()
    assert not clock.reading(clock.probe(1.0), read, 1.1, "g1")
    assert not clock.known()


def test_a_clock_that_stood_still_is_measured_anew() -> None:
    """After a suspend the old estimate contradicts the new one, which is believed."""
    clock = GathererClock()
    clock.reading(clock.probe(10.0), 110.0, 10.0001, "g1")
    clock.reading(clock.probe(11.0), 711.0, 11.01, "g1")
    assert clock.offset(11.01) == pytest.approx(699.995)


def test_nothing_measured_is_an_error() -> None:
    """An unknown offset is no offset of zero."""
    with pytest.raises(ValueError, match="not measured"):
        GathererClock().to_local(1.0, 1.0)
