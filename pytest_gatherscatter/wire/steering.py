"""What persons see of a lab, and what they may do in it."""

from typing import Annotated

from msgspec import Meta

from pytest_gatherscatter.wire.message import (
    Age,
    Count,
    Id,
    Label,
    Message,
    Name,
    Pid,
    Seconds,
    Text,
)
from pytest_gatherscatter.wire.part import AgentStatus, BenchStatus, SectionEnd, SectionStatus

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
