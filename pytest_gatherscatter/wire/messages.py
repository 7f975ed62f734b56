"""The messages of critical sections, and what all messages are made of.

Commands are imperative (``EnterSection``), events and answers past tense or a state
(``SectionAccepted``). Each docstring says sender, receiver, and what a redelivery does.
All times are seconds. A time on the wire is on the **gatherer's clock** unless its field
says ``wall``: whoever needs it on a clock of its own converts it by its measured offset.
Unknown fields are ignored, so that a newer party may say more.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from pytest_gatherscatter.wire.names import ID_PATTERN, NAME_PATTERN

Name: TypeAlias = Annotated[str, Meta(pattern=NAME_PATTERN)]
Id: TypeAlias = Annotated[str, Meta(pattern=ID_PATTERN)]
Token: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # JSON numbers are exact to 2**53
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
Label: TypeAlias = Annotated[str, Meta(max_length=512)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=31_536_000)]  # a year: nobody means more
Age: TypeAlias = Annotated[float, Meta(ge=0)]  # a gatherer may be up for more than a year
Pid: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=100_000)]
Amount: TypeAlias = Annotated[float, Meta(ge=0)]  # of whatever a step counts
Scalar: TypeAlias = bool | int | float | str | None


class Message(Struct, frozen=True, tag_field="kind", tag=True):
    """The base of all messages: a JSON object whose ``kind`` is the class's name."""


class Part(Struct, frozen=True, omit_defaults=True):
    """The base of what stands inside messages."""


# ── parts of sections ──────────────────────────────────────────────────────────────────


class OpenSection(Part, frozen=True, kw_only=True):
    """A section that an agent has prepared or started and not seen the end of.

    To a gatherer that does not know the agent yet, one that has begun is told with its whole
    ``go`` and whose it is: a gatherer that lost its memory then keeps the bench closed.
    """

    section: Id
    token: Token
    started: bool = False
    go: "SectionGo | None" = None
    name: Label = ""
    test: Label = ""
    owner: Label = ""


class Hold(Part, frozen=True, kw_only=True):
    """Who holds a section or a bench, for how much longer, and why.

    ``seconds`` is 0 where nobody can say: a person's hold lasts until its holder ends it.
    """

    agent: Label
    seconds: Seconds
    reason: Text = ""


class Finding(Part, frozen=True, kw_only=True):
    """One thing that a monitor measured.

    ``passed`` is the monitor's verdict: ``False`` fails the test, ``None`` is only a figure.
    """

    name: Label
    value: Scalar = None
    unit: Label = ""
    passed: bool | None = None
    text: Text = ""


class Artifact(Part, frozen=True, kw_only=True):
    """A file in a monitor's manifest.

    ``chunks`` is how many :class:`ArtifactChunk` carry it; 0 means that it stayed on
    ``host`` at ``path``, because it is larger than the limit.
    """

    name: Label
    size: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    chunks: Count = 0
    host: Label = ""
    path: Text = ""


class MemberReport(Part, frozen=True, kw_only=True):
    """What the gatherer knows of one member at the end.

    ``started`` and ``stopped`` are on the gatherer's clock, each known to ``bound`` seconds.
    ``lateness`` is ``started - t0``. ``cause`` is empty if all is well, else ``missing``,
    ``died``, ``broken``, ``overdue``.
    """

    agent: Name
    required: bool = False
    reported: bool = False
    started: float | None = None
    stopped: float | None = None
    lateness: float | None = None
    bound: float | None = None
    findings: tuple[Finding, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    cause: Label = ""
    text: Text = ""


class AgentStatus(Part, frozen=True, kw_only=True):
    """An agent as ``status`` shows it; ``state`` says what it does in which section."""

    agent: Name
    benches: tuple[Name, ...]
    host: Label = ""
    pid: Pid = 0
    advisory: bool = False
    heard: Age = 0.0
    state: Label = ""
    offset_bound: float | None = None


class SectionStatus(Part, frozen=True, kw_only=True):
    """A section as ``status`` shows it; ``age`` in seconds since it was entered."""

    section: Id
    name: Label
    bench: Name
    state: Label
    test: Label
    owner: Label
    token: Token
    age: Age
    awaited: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    members: tuple[str, ...] = ()
    overdue: Age = 0.0


class SectionEnd(Part, frozen=True, kw_only=True):
    """A section that has ended, as ``status`` shows it: ``ago`` in seconds since then.

    ``verdict`` is a word of the table of verdicts, as far as the gatherer can know it; ``text``
    says why in a line.
    """

    section: Id
    name: Label
    bench: Name
    test: Label
    owner: Label
    token: Token
    verdict: Label
    ago: Age
    text: Text = ""


class BenchStatus(Part, frozen=True, kw_only=True):
    """A bench as ``status`` shows it: who is in, who waits, who holds."""

    bench: Name
    current: str = ""
    queued: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    token: Token = 0


# ── presence and clocks ────────────────────────────────────────────────────────────────


class JoinLab(Message, frozen=True, kw_only=True):
    """Agent → gatherer, at start, on ``GathererStarted`` and as a keepalive.

    ``bound`` is how well it knows the gatherer's clock, in seconds, if it does. Redelivered:
    the same ``instance`` is refreshed, a new one replaces the old.
    """

    agent: Name
    instance: Id
    benches: Annotated[tuple[Name, ...], Meta(max_length=256)]
    host: Label = ""
    pid: Pid = 0
    advisory: bool = False
    token: Token = 0
    bound: Seconds | None = None
    open: Annotated[tuple[OpenSection, ...], Meta(max_length=256)] = ()


class JoinAccepted(Message, frozen=True, kw_only=True):
    """Gatherer → agent: known now; say it again every ``keepalive`` seconds."""

    agent: Name
    gatherer: Id
    keepalive: Seconds


class LeaveLab(Message, frozen=True, kw_only=True):
    """Agent → gatherer, when it ends in good order. Redelivered: nothing more."""

    agent: Name
    instance: Id
    reason: Text = ""


class ClockProbe(Message, frozen=True, kw_only=True):
    """Anybody → gatherer: read your clock. ``sent`` is on the asker's clock, echoed."""

    sent: float


class ClockReading(Message, frozen=True, kw_only=True):
    """Gatherer → asker. A reading of another ``gatherer`` is another clock."""

    sent: float
    read: float
    gatherer: Id


class GathererStarted(Message, frozen=True, kw_only=True):
    """Gatherer → all: join again. Redelivered: they join once more."""

    gatherer: Id


class AgentJoined(Message, frozen=True, kw_only=True):
    """Gatherer → all: an event to watch."""

    agent: Name
    benches: tuple[Name, ...]


class AgentLeft(Message, frozen=True, kw_only=True):
    """Gatherer → all: an event to watch; ``reason`` tells leaving from vanishing."""

    agent: Name
    reason: Text = ""


# ── a section, from entering to going ──────────────────────────────────────────────────


class EnterSection(Message, frozen=True, kw_only=True):
    """Workload → gatherer: open a section. Sent again it asks how things stand.

    ``token`` is the highest fencing token that the workload's host has on record.
    """

    section: Id
    name: Label
    bench: Name
    test: Label
    owner: Label
    run: Id
    require: Annotated[tuple[Name, ...], Meta(max_length=10_000)] = ()
    min_monitors: Count = 0
    max_duration: Seconds
    queue_timeout: Seconds
    gather_timeout: Seconds
    hold_limit: Seconds
    report_timeout: Seconds
    token: Token = 0


class SectionAccepted(Message, frozen=True, kw_only=True):
    """Gatherer → workload: from now on there is no falling back. Redelivered: the same."""

    section: Id
    token: Token
    gatherer: Id


class SectionRefused(Message, frozen=True, kw_only=True):
    """Gatherer → workload: it will not be; ``cause`` is a word of the error tree."""

    section: Id
    cause: Label
    text: Text


class SectionWaiting(Message, frozen=True, kw_only=True):
    """Gatherer → workload, on each change and about every second: for whom it waits.

    ``state`` is ``queued`` or ``gathering``; ``left`` are the seconds until it gives up.
    """

    section: Id
    state: Label
    awaited: tuple[Text, ...] = ()
    holds: tuple[Hold, ...] = ()
    waited: Seconds = 0.0
    left: Seconds = 0.0


class SectionGathered(Message, frozen=True, kw_only=True):
    """Gatherer → workload: all are ready; sync your ticket and say so. Redelivered: same."""

    section: Id
    token: Token
    members: tuple[Name, ...]


class WorkloadReady(Message, frozen=True, kw_only=True):
    """Workload → gatherer: commit. Redelivered after the commit: the same Go once more.

    ``needed`` is how long the workload takes from Go to quiet, for the lead.
    """

    section: Id
    token: Token
    needed: Seconds = 0.0


class WithdrawSection(Message, frozen=True, kw_only=True):
    """Workload → gatherer: forget it (fallback, interrupt). Redelivered: nothing more."""

    section: Id
    reason: Text = ""


class SectionGo(Message, frozen=True, kw_only=True):
    """Gatherer → the frozen ``members`` and the workload, once, as an event of the bench.

    ``sent``, ``t0`` and ``deadline`` are on the gatherer's clock. Redelivered: ignored by
    whoever has it already; never sent after ``t0``.
    """

    section: Id
    token: Token
    bench: Name
    gatherer: Id
    members: tuple[Name, ...]
    sent: float
    t0: float
    deadline: float


# ── a section, at the monitors ─────────────────────────────────────────────────────────


class PrepareSection(Message, frozen=True, kw_only=True):
    """Gatherer → agent: arm. Redelivered: the agent repeats its last answer."""

    section: Id
    token: Token
    bench: Name
    name: Label
    test: Label
    owner: Label
    required: bool
    max_duration: Seconds
    hold_limit: Seconds


class AgentReady(Message, frozen=True, kw_only=True):
    """Agent → gatherer: armed. Redelivered: nothing more."""

    section: Id
    token: Token
    agent: Name
    instance: Id


class AgentHolding(Message, frozen=True, kw_only=True):
    """Agent → gatherer: not yet. Each one renews the hold for ``seconds`` from its receipt."""

    section: Id
    token: Token
    agent: Name
    instance: Id
    seconds: Seconds
    reason: Text = ""


class AgentVetoed(Message, frozen=True, kw_only=True):
    """Agent → gatherer: no. The section ends for everybody."""

    section: Id
    token: Token
    agent: Name
    instance: Id
    reason: Text = ""


class AgentBroken(Message, frozen=True, kw_only=True):
    """Agent → gatherer: its hook broke before the start; ``reason`` is its last words."""

    section: Id
    token: Token
    agent: Name
    instance: Id
    reason: Text = ""


class CheckAlive(Message, frozen=True, kw_only=True):
    """Gatherer → member, right before the commit. Answered at once, hooks or not."""

    section: Id
    token: Token


class AgentAlive(Message, frozen=True, kw_only=True):
    """Agent → gatherer: still here, still armed for this section."""

    section: Id
    token: Token
    agent: Name
    instance: Id
    armed: bool


class SectionStopped(Message, frozen=True, kw_only=True):
    """Gatherer → all of the bench: stop and report. Redelivered: the same report again."""

    section: Id
    token: Token
    bench: Name


class SectionAborted(Message, frozen=True, kw_only=True):
    """Gatherer → all of the bench: disarm; ``cause`` is a word, ``text`` a line."""

    section: Id
    token: Token
    bench: Name
    cause: Label
    text: Text = ""


UNKNOWN = "unknown"
"""Cause of a ``SectionRefused`` or ``SectionAborted`` by a gatherer that was started anew and
has no record of the section: its workload may enter again, its monitors disarm."""

MISSED_GO = "missed-go"
"""Cause of a ``SectionAborted`` to a workload that asks for the commit after t0. The section is
open still: only the workload knows whether it is inside, or waits and now has to leave."""


class AgentReport(Message, frozen=True, kw_only=True):
    """Agent → gatherer, until ``ReportAccepted``. Redelivered: accepted again, merged once.

    ``started`` and ``stopped`` are on the gatherer's clock, known to ``bound`` seconds;
    ``needed`` is how long after ``sent`` of the Go this agent could have started.
    """

    section: Id
    token: Token
    agent: Name
    instance: Id
    started: float | None = None
    stopped: float | None = None
    bound: float | None = None
    needed: Seconds = 0.0
    overdue: bool = False
    broken: Text = ""
    findings: Annotated[tuple[Finding, ...], Meta(max_length=10_000)] = ()
    artifacts: Annotated[tuple[Artifact, ...], Meta(max_length=1_000)] = ()


class ReportAccepted(Message, frozen=True, kw_only=True):
    """Gatherer → agent: no need to say it again; ``fenced`` if it came too late to count."""

    section: Id
    agent: Name
    fenced: bool = False


class ArtifactChunk(Message, frozen=True, kw_only=True):
    """Agent → the section's own queue: ``data`` is chunk ``number`` (from 0) of an artifact."""

    section: Id
    agent: Name
    artifact: Label
    number: Count
    data: bytes


# ── a section, from leaving to closed ──────────────────────────────────────────────────


class LeaveSection(Message, frozen=True, kw_only=True):
    """Workload → gatherer, after it reconnected. Redelivered: accepted again.

    ``outcome`` is ``passed``, ``failed``, ``interrupted`` or ``died`` (told by a later run
    that found the ticket of a dead owner).
    """

    section: Id
    token: Token
    outcome: Label
    started: float | None = None
    stopped: float | None = None
    bound: float | None = None
    needed: Seconds = 0.0
    overdue: bool = False


class LeaveAccepted(Message, frozen=True, kw_only=True):
    """Gatherer → workload: the ticket may go. ``known`` is false for a section not on record."""

    section: Id
    known: bool = True


class SectionClosed(Message, frozen=True, kw_only=True):
    """Gatherer → workload, when all reports are in or the report timeout ran out.

    ``cause`` and ``text`` tell what the lab did wrong, empty if nothing. ``skew`` is the
    spread of the measured starts in seconds, ``skew_bound`` how far that may be off.
    """

    section: Id
    token: Token
    t0: float
    lead: Seconds
    skew: float | None = None
    skew_bound: float | None = None
    reports: tuple[MemberReport, ...] = ()
    fenced: tuple[Label, ...] = ()
    cause: Label = ""
    text: Text = ""


class SectionChanged(Message, frozen=True, kw_only=True):
    """Gatherer → all: an event to watch, at each change of a section's state."""

    section: Id
    name: Label
    bench: Name
    state: Label
    token: Token = 0
    text: Text = ""


class StepProgressed(Message, frozen=True, kw_only=True):
    """Workload → all: a step of a test has begun, or has come further; never in the quiet time.

    ``done`` of ``total``, if there is one, after ``seconds``. ``depth`` is how many steps it stands
    in, ``started_wall`` Unix time. Redelivered: of one (run, test, number) the latest counts.
    """

    run: Id
    test: Label
    number: Count
    step: Label
    started_wall: float
    seconds: Seconds
    depth: Count = 0
    done: Amount = 0.0
    total: Amount | None = None
    text: Label = ""


class StepFinished(Message, frozen=True, kw_only=True):
    """Workload → all: a step of a test, kept through the quiet time and sent afterwards.

    The fields are as in :class:`StepProgressed`. ``outcome`` is ``passed``, ``failed``,
    ``skipped`` or ``interrupted``; ``text`` says why, or what it said last. Redelivered: the same
    (run, test, number) again.
    """

    run: Id
    test: Label
    number: Count
    step: Label
    started_wall: float
    seconds: Seconds
    outcome: Label
    depth: Count = 0
    done: Amount = 0.0
    total: Amount | None = None
    text: Label = ""


# ── seeing and steering ────────────────────────────────────────────────────────────────


class AskStatus(Message, frozen=True, kw_only=True):
    """Anybody → gatherer."""


class LabStatus(Message, frozen=True, kw_only=True):
    """Gatherer → asker. ``left_out`` counts agents, benches and sections that had no room.

    ``ended`` are the sections that ended last, the latest first.
    """

    gatherer: Id
    host: Label
    pid: Pid
    version: Label
    uptime: Age
    required: tuple[Name, ...]
    agents: tuple[AgentStatus, ...]
    benches: tuple[BenchStatus, ...]
    sections: tuple[SectionStatus, ...]
    ended: tuple[SectionEnd, ...] = ()
    lead: Seconds
    unreadable: Annotated[int, Meta(ge=0)] = 0
    left_out: Count = 0


class HoldBench(Message, frozen=True, kw_only=True):
    """A person → gatherer: no section starts on ``bench`` until released or run out.

    Sent again with the same ``hold`` it renews the hold; the holder says it every few
    seconds, and ``seconds`` is how long it lasts without being renewed. One that was given up
    is not taken again: its holder is told by ``HoldEnded``.
    """

    hold: Id
    bench: Name
    holder: Label
    reason: Text = ""
    seconds: Seconds


class BenchHeld(Message, frozen=True, kw_only=True):
    """Gatherer → holder; ``live`` names the section that is inside all the same."""

    hold: Id
    live: Label = ""


class HoldEnded(Message, frozen=True, kw_only=True):
    """Gatherer → holder: the hold was given up; ``text`` says by whom. Renewing it is in vain."""

    hold: Id
    text: Text


class ReleaseBench(Message, frozen=True, kw_only=True):
    """A person → gatherer. Redelivered: nothing more."""

    hold: Id


class ResetLab(Message, frozen=True, kw_only=True):
    """A person → gatherer: give up ``bench``'s, one, or all sections; exactly one is named."""

    bench: Name | None = None
    section: Id | None = None
    everything: bool = False
    who: Label = ""


class ResetDone(Message, frozen=True, kw_only=True):
    """Gatherer → person: a line for each thing given up."""

    lines: tuple[Text, ...]


STEERING = (HoldBench, ReleaseBench, ResetLab)
"""What only persons say: it counts with the key for persons only."""

SectionMessage: TypeAlias = (
    JoinLab
    | JoinAccepted
    | LeaveLab
    | ClockProbe
    | ClockReading
    | GathererStarted
    | AgentJoined
    | AgentLeft
    | EnterSection
    | SectionAccepted
    | SectionRefused
    | SectionWaiting
    | SectionGathered
    | WorkloadReady
    | WithdrawSection
    | SectionGo
    | PrepareSection
    | AgentReady
    | AgentHolding
    | AgentVetoed
    | AgentBroken
    | CheckAlive
    | AgentAlive
    | SectionStopped
    | SectionAborted
    | AgentReport
    | ReportAccepted
    | ArtifactChunk
    | LeaveSection
    | LeaveAccepted
    | SectionClosed
    | SectionChanged
    | StepProgressed
    | StepFinished
    | AskStatus
    | LabStatus
    | HoldBench
    | BenchHeld
    | HoldEnded
    | ReleaseBench
    | ResetLab
    | ResetDone
)
"""Every message of critical sections."""
