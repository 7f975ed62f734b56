"""How one section stands, as its workload knows it; the parts of the machine share it."""

from pytest_gatherscatter.machine import Lifecycle
from pytest_gatherscatter.sections.demand import Demand
from pytest_gatherscatter.sections.workload.state import (
    WORKLOAD_TABLE,
    BodyEnded,
    Refusal,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.wire.messages import Hold, SectionClosed, SectionGo, SectionWaiting

LEAST_SILENCE = 5.0
"""Seconds for which a gatherer that may be there may be silent, however short ``gather_timeout``
is: it answers each second and keeps that timeout itself, so that two equal deadlines would race
about which of them ends the section; five answers are not lost by chance."""


class Standing:
    """What was asked for, what is known of it, and what came of it.

    Times are local monotonic seconds. The shell reads it; only the machine's parts write.
    """

    def __init__(self, demand: Demand, *, section: str, token: int, met: bool, now: float) -> None:
        self.demand = demand
        self.section = section
        self.met = met
        """A gatherer was met in this run, so that its absence is a fault and no choice."""
        self.life = Lifecycle(f"section {section}", WorkloadState.ENTERING, WORKLOAD_TABLE, now=now)
        self.linked = False
        self.absent = False
        """The broker said that nobody has the gatherer's queue."""
        self.begun: float | None = None
        """When the first connection was there."""
        self.heard = now
        """When the gatherer spoke last."""
        self.answered = False
        """It spoke at all."""
        self.token = token
        self.members: tuple[str, ...] = ()
        self.waiting: SectionWaiting | None = None
        self.holds: dict[str, Hold] = {}
        self.ready: TicketSynced | None = None
        """What is on the ticket."""
        self.go: SectionGo | None = None
        self.t0: float | None = None
        self.deadline: float | None = None
        self.ended: BodyEnded | None = None
        self.acknowledged = False
        """The gatherer knows that it is over."""
        self.closed: SectionClosed | None = None
        self.refusal: Refusal | None = None
        self.alone_because = ""
        self.unreported = ""
        self.given_up = False
        """The lab gave it up while the body ran."""
        self.told_of: set[str] = set()
        """Other sections of this host whose end the gatherer knows by now."""

    @property
    def state(self) -> WorkloadState:
        """Where it stands."""
        return self.life.state

    @property
    def story(self) -> tuple[str, ...]:
        """Its recent transitions, for errors and logs."""
        return self.life.story

    @property
    def owes_leave(self) -> bool:
        """Whether it ended before go, but perhaps after the commit, and nobody said yes yet."""
        early = self.state in {WorkloadState.REFUSED, WorkloadState.WITHDRAWN}
        return early and self.ended is not None and not self.acknowledged

    @property
    def longest_silence(self) -> float:
        """Seconds of silence that end it: less is needed where the broker says nobody is there."""
        limit = self.demand.gather_timeout
        return limit if self.absent else max(limit, LEAST_SILENCE)

    def patience(self, now: float) -> float:
        """Seconds until the silence of an absent gatherer ends the section."""
        return max(0.0, self.heard + self.longest_silence - now)

    def unreport(self, why: str, now: float) -> None:
        """End it without the lab's reports."""
        self.unreported = why
        self.life.to(WorkloadState.UNREPORTED, now=now, why=why)
