"""What hooks may answer: verdicts from bounds, values that JSON can carry, limits."""

import math
from decimal import Decimal
from pathlib import Path

import pytest

from pytest_gatherscatter.sections.hook import (
    MOST_ATTACHMENTS,
    MOST_FINDINGS,
    Findings,
    Hold,
    Monitor,
    SectionInfo,
    Veto,
)
from pytest_gatherscatter.wire.codec import encode
from pytest_gatherscatter.wire.messages import AgentReport, Scalar

INFO = SectionInfo(
    id="0123abcd", name="burst", test="t.py::t", bench="b", owner="me", token=1, max_duration=3.0
)


@pytest.mark.parametrize(
    ("value", "low", "high", "passed"),
    [
        (5.5, None, 5.5, True),
        (5.6, None, 5.5, False),
        (0, 0, 1, True),
        (-1, 0, 1, False),
        (math.nan, 0, None, False),
        (math.inf, None, 5, False),
        ("5", 0, 10, False),
        (True, 0, 10, False),
        (None, 0, 10, False),
    ],
)
def test_bounds_give_the_verdict(
    value: Scalar, low: float | None, high: float | None, *, passed: bool
) -> None:
    """Both bounds are inclusive, and what is no number is within none."""
    finding = Findings().add("v", value, "V", low=low, high=high)
    assert finding.passed is passed
    assert bool(finding.text) is not passed


def test_a_given_verdict_can_only_make_it_worse() -> None:
    """Within bounds and failed by its author is failed."""
    assert Findings().add("v", 1, high=2, passed=False).passed is False
    assert Findings().add("v", 3, high=2, passed=True).passed is False
    assert Findings().add("v", 3).passed is None
    assert Findings().add("v", 3, passed=True).passed is True


def test_numbers_of_other_libraries_become_plain() -> None:
    """Whatever offers a float or an index is one; a list is not a value."""
    findings = Findings()
    assert findings.add("d", Decimal("1.5")).value == 1.5  # type: ignore[arg-type]
    assert findings.add("big", 10**30).value == 1e30
    with pytest.raises(TypeError, match="plain one, not list"):
        findings.add("l", [1])  # type: ignore[arg-type]


def test_everything_that_is_added_can_be_sent() -> None:
    """Lone surrogates, NaN and huge integers do not break the codec."""
    findings = Findings()
    findings.add("\ud800", "\udcff", "\ud800", text="\udc80")
    findings.add("nan", math.nan)
    findings.add("big", -(10**400 // 10**100))
    report = AgentReport(
        section="0123abcd", token=1, agent="a", instance="0123abcd", findings=tuple(findings)
    )
    assert b"nan" in encode(report)
    assert len(findings) == 3


def test_limits_are_told_where_they_are_passed() -> None:
    """The gatherer would dead-letter a larger report, far from who wrote it."""
    findings = Findings()
    for number in range(MOST_FINDINGS):
        findings.add(str(number), number)
    with pytest.raises(ValueError, match="attach a file"):
        findings.add("more", 1)
    for number in range(MOST_ATTACHMENTS):
        findings.attach(str(number), b"")
    with pytest.raises(ValueError, match="pack them"):
        findings.attach("more", b"")
    with pytest.raises(ValueError, match="1 to 512"):
        Findings().add("", 1)
    with pytest.raises(ValueError, match="1 to 512"):
        Findings().attach("x" * 513, b"")


def test_attachments_are_bytes_or_paths() -> None:
    """A str could mean both, so it is refused."""
    findings = Findings()
    findings.attach("a", bytearray(b"1"))  # type: ignore[arg-type]
    findings.attach("b", Path("b"))
    assert [item.data for item in findings.attachments] == [b"1", Path("b")]
    with pytest.raises(TypeError, match="bytes or a Path, not str"):
        findings.attach("c", "text")  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_hold_has_a_sane_length(seconds: float) -> None:
    """A hold that never ends, or has ended before, is a mistake of its author."""
    with pytest.raises(ValueError, match="a hold lasts"):
        Hold(seconds)
    assert len(Hold(1, "x" * 9999).reason) == 4096
    assert len(Veto("x" * 9999).reason) == 4096


def test_a_bare_monitor_is_ready_at_once() -> None:
    """Every hook has a default, so that an author writes only what is needed."""
    monitor = Monitor()
    assert monitor.prepare(INFO) is None
    assert monitor.stopped(INFO) is None
