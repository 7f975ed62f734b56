"""The messages of critical sections, from one place; each of its modules has those of one matter.

Commands are imperative (``EnterSection``), events and answers past tense or a state
(``SectionAccepted``). Each docstring says sender, receiver, and what a redelivery does.
All times are seconds. A time on the wire is on the **gatherer's clock** unless its field
says ``wall``: whoever needs it on a clock of its own converts it by its measured offset.
Unknown fields are ignored, so that a newer party may say more.
"""

from typing import TypeAlias

from pytest_gatherscatter.wire.capture import (
    MISSED_GO,
    UNKNOWN,
    AgentAlive,
    AgentBroken,
    AgentHolding,
    AgentReady,
    AgentReport,
    AgentVetoed,
    ArtifactChunk,
    CheckAlive,
    PrepareSection,
    ReportAccepted,
    SectionAborted,
    SectionStopped,
)
from pytest_gatherscatter.wire.closing import (
    LeaveAccepted,
    LeaveSection,
    SectionChanged,
    SectionClosed,
    StepFinished,
    StepProgressed,
)
from pytest_gatherscatter.wire.gathering import (
    EnterSection,
    SectionAccepted,
    SectionGathered,
    SectionGo,
    SectionRefused,
    SectionWaiting,
    WithdrawSection,
    WorkloadReady,
)
from pytest_gatherscatter.wire.message import (
    Age,
    Amount,
    Count,
    Id,
    Label,
    Message,
    Name,
    Part,
    Pid,
    Scalar,
    Seconds,
    Text,
    Token,
)
from pytest_gatherscatter.wire.part import (
    AgentStatus,
    Artifact,
    BenchStatus,
    Finding,
    Hold,
    MemberReport,
    SectionEnd,
    SectionResult,
    SectionStatus,
)
from pytest_gatherscatter.wire.presence import (
    AgentJoined,
    AgentLeft,
    ClockProbe,
    ClockReading,
    GathererStarted,
    JoinAccepted,
    JoinLab,
    LeaveLab,
    OpenSection,
)
from pytest_gatherscatter.wire.steering import (
    STEERING,
    AskStatus,
    BenchHeld,
    HoldBench,
    HoldEnded,
    LabStatus,
    ReleaseBench,
    ResetDone,
    ResetLab,
)

__all__ = [
    "MISSED_GO",
    "STEERING",
    "UNKNOWN",
    "Age",
    "AgentAlive",
    "AgentBroken",
    "AgentHolding",
    "AgentJoined",
    "AgentLeft",
    "AgentReady",
    "AgentReport",
    "AgentStatus",
    "AgentVetoed",
    "Amount",
    "Artifact",
    "ArtifactChunk",
    "AskStatus",
    "BenchHeld",
    "BenchStatus",
    "CheckAlive",
    "ClockProbe",
    "ClockReading",
    "Count",
    "EnterSection",
    "Finding",
    "GathererStarted",
    "Hold",
    "HoldBench",
    "HoldEnded",
    "Id",
    "JoinAccepted",
    "JoinLab",
    "LabStatus",
    "Label",
    "LeaveAccepted",
    "LeaveLab",
    "LeaveSection",
    "MemberReport",
    "Message",
    "Name",
    "OpenSection",
    "Part",
    "Pid",
    "PrepareSection",
    "ReleaseBench",
    "ReportAccepted",
    "ResetDone",
    "ResetLab",
    "Scalar",
    "Seconds",
    "SectionAborted",
    "SectionAccepted",
    "SectionChanged",
    "SectionClosed",
    "SectionEnd",
    "SectionGathered",
    "SectionGo",
    "SectionMessage",
    "SectionRefused",
    "SectionResult",
    "SectionStatus",
    "SectionStopped",
    "SectionWaiting",
    "StepFinished",
    "StepProgressed",
    "Text",
    "Token",
    "WithdrawSection",
    "WorkloadReady",
]

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
