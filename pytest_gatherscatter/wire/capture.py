"""A section at the monitors: they arm, start, stop, and hand in what they saw."""

from typing import Annotated

from msgspec import Meta

from pytest_gatherscatter.wire.message import Count, Id, Label, Message, Name, Seconds, Text, Token
from pytest_gatherscatter.wire.part import Artifact, Finding

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
