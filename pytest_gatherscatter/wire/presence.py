"""Who is in a lab, and what its clock says."""

from typing import Annotated

from msgspec import Meta

from pytest_gatherscatter.wire.gathering import SectionGo
from pytest_gatherscatter.wire.message import (
    Id,
    Label,
    Message,
    Name,
    Part,
    Pid,
    Seconds,
    Text,
    Token,
)


class OpenSection(Part, frozen=True, kw_only=True):
    """A section that an agent has prepared or started and not seen the end of.

    To a gatherer that does not know the agent yet, one that has begun is told with its whole
    ``go`` and whose it is: a gatherer that lost its memory then keeps the bench closed.
    """

    section: Id
    token: Token
    started: bool = False
    go: SectionGo | None = None
    name: Label = ""
    test: Label = ""
    owner: Label = ""


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
