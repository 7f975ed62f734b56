"""The life of a section at the workload's side, as a table, and what its shell says to it.

The documentation draws its diagram from the table. Pure values; the machine is ``workload.py``.
"""

from dataclasses import dataclass

from pytest_gatherscatter.machine import State
from pytest_gatherscatter.wire.messages import ArtifactChunk


class WorkloadState(State):
    """Where a section stands, at the workload's side."""

    ENTERING = "entering"
    """Asked; nobody has accepted yet."""
    ACCEPTED = "accepted"
    """The gatherer has it; queued or gathering."""
    GATHERED = "gathered"
    """All are ready; the shell syncs the ticket."""
    READY = "ready"
    """The ticket is synced, the commit is asked for."""
    GO = "go"
    """t0 is known; quiet, and the body runs."""
    LEAVING = "leaving"
    """The body is over; the gatherer does not know it yet."""
    LEFT = "left"
    """The gatherer knows; reports come in."""
    CLOSED = "closed"
    """Over, with reports."""
    ALONE = "alone"
    """There is no gatherer, and none was met in this run."""
    REFUSED = "refused"
    """It will not be: ``refusal`` says why."""
    WITHDRAWN = "withdrawn"
    """Given up by its owner before the start."""
    UNREPORTED = "unreported"
    """The body ran, and the lab did not close it: ``unreported`` says why."""


_W = WorkloadState

WORKLOAD_TABLE: dict[WorkloadState, tuple[WorkloadState, ...]] = {
    _W.ENTERING: (_W.ACCEPTED, _W.GATHERED, _W.ALONE, _W.REFUSED, _W.WITHDRAWN),
    _W.ACCEPTED: (_W.GATHERED, _W.GO, _W.REFUSED, _W.WITHDRAWN),
    _W.GATHERED: (_W.READY, _W.ACCEPTED, _W.GO, _W.REFUSED, _W.WITHDRAWN),
    _W.READY: (_W.GO, _W.GATHERED, _W.ACCEPTED, _W.REFUSED, _W.WITHDRAWN),
    _W.GO: (_W.LEAVING,),
    _W.LEAVING: (_W.LEFT, _W.CLOSED, _W.UNREPORTED),
    _W.LEFT: (_W.CLOSED, _W.UNREPORTED),
    _W.CLOSED: (),
    _W.ALONE: (),
    _W.REFUSED: (),
    _W.WITHDRAWN: (),
    _W.UNREPORTED: (),
}
"""Which state may follow which. From accepted or gathered straight to go: a ``SectionGo`` may
overtake the news that the gathering started over, if the ticket bears its token already."""

BEFORE_GO = frozenset({_W.ENTERING, _W.ACCEPTED, _W.GATHERED, _W.READY})
"""States in which nothing has happened yet: the owner may withdraw."""

AFTER_GO = frozenset({_W.LEAVING, _W.LEFT})
"""States in which the body is over and the lab is being told."""

ENDED = frozenset({_W.CLOSED, _W.ALONE, _W.REFUSED, _W.WITHDRAWN, _W.UNREPORTED})
"""Final states."""

# ── what the shell says ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """Answers are taken on ``key`` from now on; said before each ``LinkUp``."""

    key: str


@dataclass(frozen=True, slots=True)
class TicketSynced:
    """The ticket with ``token`` is on disk; ``needed`` seconds from Go until quiet."""

    token: int
    needed: float = 0.0


@dataclass(frozen=True, slots=True)
class BodyEnded:
    """The body is over. Times are on the local clock; ``needed`` is what Go to quiet took."""

    outcome: str
    started: float | None
    stopped: float | None
    overdue: bool = False
    needed: float = 0.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Withdraw if it did not start; stop waiting for the lab if it is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class TellOf:
    """Tell the gatherer that another section of this host is over: nobody else will.

    ``outcome`` is ``died`` if its owner is proved dead, else what could not be told in time.
    """

    section: str
    token: int
    outcome: str


# ── what it asks of the shell ──────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class KeepChunk:
    """Write a chunk of an artifact down before its delivery is acked."""

    chunk: ArtifactChunk


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a section will not be; ``cause`` is a word of the error tree."""

    cause: str
    text: str
