"""The life of one section at a monitor: its states, their table, and what is on record.

The diagram in the documentation is drawn from :data:`ARMING_TABLE`.
"""

from collections import deque
from dataclasses import dataclass, field

from pytest_gatherscatter.machine import Lifecycle, State
from pytest_gatherscatter.sections.hook import SectionInfo
from pytest_gatherscatter.sections.monitor.hookcall import Capture
from pytest_gatherscatter.wire.messages import AgentReport, Finding, Message, SectionGo


class ArmingState(State):
    """Where a section stands at this monitor."""

    WAITING = "waiting"
    """Asked to prepare, but busy with another section; told as a hold."""
    PREPARING = "preparing"
    """The prepare hook runs."""
    HOLDING = "holding"
    """The prepare hook asked for a moment; it is called again when that is over."""
    ARMED = "armed"
    """Ready, and said so."""
    VETOED = "vetoed"
    """The prepare hook said no."""
    BROKEN = "broken"
    """The prepare hook broke."""
    STARTING = "starting"
    """Go was heard: sleeping to t0, or in the started hook."""
    RUNNING = "running"
    """The section is on."""
    OVERDUE = "overdue"
    """Past the deadline on our own clock: made safe, still waiting for the end."""
    STOPPING = "stopping"
    """The stopped hook runs, or waits for another hook to end."""
    SENDING = "sending"
    """Captures go to the section's own queue."""
    REPORTING = "reporting"
    """The report is said until it is accepted."""
    REPORTED = "reported"
    """Accepted: the end."""
    ABORTING = "aborting"
    """The aborted hook runs, or waits for another hook to end."""
    ABORTED = "aborted"
    """Disarmed: the end."""


_S = ArmingState

ARMING_TABLE: dict[ArmingState, tuple[ArmingState, ...]] = {
    _S.WAITING: (_S.PREPARING, _S.BROKEN, _S.ABORTED),
    _S.PREPARING: (_S.ARMED, _S.HOLDING, _S.VETOED, _S.BROKEN, _S.ABORTING),
    _S.HOLDING: (_S.PREPARING, _S.ABORTING),
    _S.ARMED: (_S.STARTING, _S.ABORTING),
    _S.VETOED: (_S.ABORTING,),
    _S.BROKEN: (_S.ABORTING, _S.ABORTED),
    _S.STARTING: (_S.RUNNING, _S.STOPPING, _S.ABORTING),
    _S.RUNNING: (_S.OVERDUE, _S.STOPPING, _S.ABORTING),
    _S.OVERDUE: (_S.STOPPING, _S.ABORTING),
    _S.STOPPING: (_S.SENDING, _S.REPORTING),
    _S.SENDING: (_S.REPORTING,),
    _S.REPORTING: (_S.REPORTED,),
    _S.REPORTED: (),
    _S.ABORTING: (_S.ABORTED, _S.REPORTING, _S.WAITING),
    _S.ABORTED: (),
}
"""Which state may follow which."""

UNCOMMITTED = frozenset(
    {_S.WAITING, _S.PREPARING, _S.HOLDING, _S.ARMED, _S.VETOED, _S.BROKEN},
)
"""States before Go was heard."""

INSIDE = frozenset({_S.STARTING, _S.RUNNING, _S.OVERDUE})
"""States in which the workload may be at work."""

HANDING_IN = frozenset({_S.SENDING, _S.REPORTING})
"""States in which all hooks are over: another section may be prepared meanwhile."""

ENDED = frozenset({_S.REPORTED, _S.ABORTED})
"""Final states."""


@dataclass(slots=True, eq=False)
class Arming:
    """One section as this monitor has it on record. Times are local unless they say otherwise."""

    info: SectionInfo
    life: Lifecycle[ArmingState]
    answer: Message | None = None
    """What was said last of it before the start; said again when asked again."""
    say_at: float | None = None
    """When the answer or the report is said again by itself."""
    until: float = 0.0
    """When the hold runs out."""
    touched: bool = False
    """The prepare hook was called, so one of ``stopped`` and ``aborted`` must be."""
    gatherer: str = ""
    """Whose clock the Go was on."""
    go: SectionGo | None = None
    """The Go itself, for a gatherer that lost its memory."""
    go_sent: float = 0.0
    """When Go was sent, on the gatherer's clock."""
    offset: float | None = None
    """Gatherer's clock minus ours, as it was at the start."""
    bound: float | None = None
    started: float | None = None
    """On the gatherer's clock."""
    stopped: float | None = None
    """On the gatherer's clock."""
    needed: float = 0.0
    overdue: bool = False
    broken: str = ""
    cause: str = ""
    checked: float = float("-inf")
    """When we last said that we are alive and armed: the commit may be on its way."""
    yielding: bool = False
    """It is disarmed for an older section, and waits for its turn again."""
    owes_report: bool = False
    """It may be counted as a member although it never started: say so in a report."""
    findings: tuple[Finding, ...] = ()
    captures: tuple[Capture, ...] = ()
    unsent: deque[tuple[int, int]] = field(default_factory=deque)
    """(capture, chunk) that still have to go."""
    open_chunks: int = 0
    tries: int = 0
    """How often the broker refused what was sent of the captures."""
    report: AgentReport | None = None

    @property
    def state(self) -> ArmingState:
        """Where it stands."""
        return self.life.state

    @property
    def busy(self) -> bool:
        """Whether the monitor can take no other section because of it."""
        free = {ArmingState.WAITING} | HANDING_IN | ENDED
        return self.touched and self.state not in free

    def breaks(self, reason: str) -> None:
        """Note what broke after the start, beside what broke before."""
        self.broken = f"{self.broken}; {reason}" if self.broken else reason
