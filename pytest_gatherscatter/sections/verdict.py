"""What came of a section, in one word: the same word wherever it is told.

The terminal's summary, the property ``gs.<section>.verdict`` of a report, ``gatherscatter
status`` and ``workload``, and the records on both sides all take it from here. Of several things
that went wrong the first one counts, in the order of :func:`verdict_of`; the lines of a report
tell the others. Pure.
"""

from collections.abc import Collection
from enum import Enum


class SectionVerdict(Enum):
    """What became of a section. The page on failures draws its table from here."""

    PASSED = "passed"
    """It ran, the lab closed it, and nothing is wrong with it; alone, if `coordinated` is false."""
    NOT_GATHERED = "not-gathered"
    """It never began: somebody was missing, held, broke or said no, or the bench was busy."""
    WITHDRAWN = "withdrawn"
    """It never began: its own workload gave it up, by Ctrl-C for instance."""
    DIED_BEFORE_GO = "died-before-go"
    """It never began: its workload was gone before the commit."""
    DIED_IN_SECTION = "died-in-section"
    """Its workload died after the commit, as its ticket proves; a later run or `leave` told it."""
    RESET = "reset"
    """A person gave it up after the commit: its bench was open to others while it ran."""
    INTERRUPTED = "interrupted"
    """It was ended from outside after the commit, by Ctrl-C or a signal."""
    DEVICE = "device"
    """The test, or the command, failed by itself: what it did with the device went wrong."""
    FINDING = "finding"
    """The test passed, and something that a monitor measured is out of bounds."""
    OVERDUE = "overdue"
    """It came back after its deadline; the monitors have made safe."""
    UNMEASURED = "unmeasured"
    """A required monitor did not report, or fewer monitors measured than were demanded."""
    SKEW = "skew"
    """The starts lay too far apart, or cannot be said to lie close enough together."""
    NOISY = "noisy"
    """Sockets or threads were open in the test's process that should have been quiet."""
    UNREPORTED = "unreported"
    """It ran well, and the lab did not close it in time: the test does not know what was
    measured, and the gatherer knows of that only if it is told later."""


_V = SectionVerdict

OF_ITS_OWN_SIDE = frozenset({_V.SKEW, _V.NOISY})
"""Verdicts that only the workload can give: the gatherer does not know its limits."""

_OUTCOMES = {
    "died": _V.DIED_IN_SECTION,
    "interrupted": _V.INTERRUPTED,
    "failed": _V.DEVICE,
}

_CAUSES = (_V.FINDING, _V.OVERDUE, _V.UNMEASURED, _V.SKEW, _V.NOISY, _V.UNREPORTED)
"""What may be wrong with a section whose body passed, first things first: a fault of the device
counts before what makes its measurement doubtful."""


def verdict_of(
    outcome: str, causes: Collection[str] = (), *, given_up: bool = False
) -> SectionVerdict:
    """Give the verdict on a section that was committed, or ran alone.

    Args:
        outcome: ``passed``, ``failed``, ``interrupted`` or ``died``.
        causes: words of what is wrong, as errors carry them; others than those known are
            passed over.
        given_up: a person gave it up after the commit.
    """
    if given_up:
        return _V.RESET
    if outcome in _OUTCOMES:
        return _OUTCOMES[outcome]
    return next((one for one in _CAUSES if one.value in causes), _V.PASSED)
