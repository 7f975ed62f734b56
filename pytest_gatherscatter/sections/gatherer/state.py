"""The life of a section at the gatherer, as a table; the documentation draws it from here."""

from pytest_gatherscatter.machine import State


class SectionState(State):
    """Where a section stands.

    The commit point is the step to ``COMMITTED``: a failure before it is "not gathered",
    after it "died in section".
    """

    ENTERED = "entered"
    """Asked for; the acceptance has not reached the workload's queue yet."""
    QUEUED = "queued"
    """Accepted; another section or a person's hold has the bench."""
    GATHERING = "gathering"
    """The monitors are arming."""
    GATHERED = "gathered"
    """All are ready; the workload syncs its ticket."""
    CHECKING = "checking"
    """The workload is ready; each member is asked once more whether it is alive."""
    COMMITTED = "committed"
    """Go is said; t0 lies ahead."""
    LIVE = "live"
    """t0 has passed; the workload is quiet."""
    OVERDUE = "overdue"
    """Past its deadline; the monitors make safe, the bench stays closed."""
    COLLECTING = "collecting"
    """The workload has left; reports come in."""
    CLOSED = "closed"
    """Reported."""
    ABORTED = "aborted"
    """Given up: every monitor that was asked to prepare is told to disarm."""


_S = SectionState

SECTION_TABLE: dict[SectionState, tuple[SectionState, ...]] = {
    _S.ENTERED: (_S.QUEUED, _S.ABORTED),
    _S.QUEUED: (_S.GATHERING, _S.ABORTED),
    _S.GATHERING: (_S.GATHERED, _S.ABORTED),
    _S.GATHERED: (_S.CHECKING, _S.GATHERING, _S.ABORTED),
    _S.CHECKING: (_S.COMMITTED, _S.GATHERING, _S.ABORTED),
    _S.COMMITTED: (_S.LIVE, _S.COLLECTING, _S.ABORTED),
    _S.LIVE: (_S.OVERDUE, _S.COLLECTING, _S.ABORTED),
    _S.OVERDUE: (_S.COLLECTING, _S.ABORTED),
    _S.COLLECTING: (_S.CLOSED,),
    _S.CLOSED: (),
    _S.ABORTED: (),
}
"""Which state may follow which."""

GATHERS = frozenset({_S.GATHERING, _S.GATHERED, _S.CHECKING})
"""States in which monitors have been asked and nothing is committed."""

INSIDE = frozenset({_S.COMMITTED, _S.LIVE, _S.OVERDUE})
"""States in which the workload may be at work: the bench is closed to everybody else."""

ENDED = frozenset({_S.CLOSED, _S.ABORTED})
"""Final states."""
