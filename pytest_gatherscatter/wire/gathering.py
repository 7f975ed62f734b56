"""A section from its workload's entering to its going."""

from typing import Annotated

from msgspec import Meta

from pytest_gatherscatter.wire.message import Count, Id, Label, Message, Name, Seconds, Text, Token
from pytest_gatherscatter.wire.part import Hold

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
