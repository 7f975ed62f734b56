"""One job at its listener: where it stands, and what is said between machine and shell about it."""

from dataclasses import dataclass

from pytest_gatherscatter.machine import Lifecycle, State
from pytest_gatherscatter.testfiles.order import DutyOver, DutyStep
from pytest_gatherscatter.wire import testfiles as m


class DutyState(State):
    """Where a job stands at its listener."""

    QUEUED = "queued"
    """It waits for a slot."""
    PREPARING = "preparing"
    """Its files are coming, or its callbacks run."""
    WORKING = "working"
    """Its workers are started."""
    RETIRING = "retiring"
    """The listener drains: the tests that run come to their end."""
    LEAVING = "leaving"
    """It was told to end now."""
    FAILED = "failed"
    """It could not be done here, and its originator has to know."""


DUTY_TABLE: dict[DutyState, tuple[DutyState, ...]] = {
    DutyState.QUEUED: (DutyState.PREPARING,),
    DutyState.PREPARING: (DutyState.WORKING, DutyState.LEAVING, DutyState.FAILED),
    DutyState.WORKING: (DutyState.RETIRING, DutyState.LEAVING, DutyState.FAILED),
    DutyState.RETIRING: (DutyState.LEAVING,),
    DutyState.LEAVING: (),
    DutyState.FAILED: (),
}
"""Which state may follow which; a job that is over is forgotten in any of them."""

RUNNING = frozenset({DutyState.PREPARING, DutyState.WORKING, DutyState.RETIRING, DutyState.LEAVING})
"""States in which there is a process, and slots are taken."""


# ── what the shell does and tells ──────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StartDuty:
    """Start the process of a job (``Run``)."""

    offer: m.JobOffered
    slots: int


@dataclass(frozen=True, slots=True)
class RetireDuty:
    """Let the tests of a job that run come to their end, and no others begin (``Run``)."""

    job: str


@dataclass(frozen=True, slots=True)
class EndDuty:
    """End a job here, whatever runs; by force if it was said before (``Run``)."""

    job: str
    kill: bool = False


@dataclass(frozen=True, slots=True)
class DutySaid:
    """The process of a job told a step, or its end: then it is gone (``Told``)."""

    job: str
    word: DutyStep | DutyOver


@dataclass(slots=True)
class Duty:
    """A job that the listener has. ``until`` is when it is ended by force, once it must end."""

    offer: m.JobOffered
    life: Lifecycle[DutyState]
    slots: int = 0
    text: str = ""
    missing_since: float | None = None
    until: float | None = None
    failure: DutyOver | None = None

    @property
    def job(self) -> str:
        """The job's id."""
        return self.offer.job

    @property
    def state(self) -> DutyState:
        """Where it stands."""
        return self.life.state
