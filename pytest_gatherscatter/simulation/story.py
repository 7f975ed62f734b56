"""The history in words: a line for each thing that a reader wants to know, in its order."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    Died,
    Froze,
    Happened,
    Heard,
    HookAnswered,
    HookCalled,
    LockBusy,
    LockReleased,
    LockTaken,
    Recorded,
    Said,
    Sight,
    TicketGone,
    TicketSynced,
    VisitBegan,
    VisitEnded,
    WentAlone,
)
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.slips import Slip

DULL = (
    m.JoinLab,
    m.JoinAccepted,
    m.ClockProbe,
    m.ClockReading,
    m.AgentJoined,
    m.GathererStarted,
    m.SectionChanged,
    m.ArtifactChunk,
)
"""Messages that come all the time, left out unless the story is wanted whole."""

SHOWN = (
    *("token", "agent", "cause", "text", "reason", "seconds", "state", "awaited", "armed"),
    *("why", "doubt", "standing", "outcome"),
)
"""Fields of a message that are shown; most others are the same all along."""


def tell(history: Iterable[Sight], *, whole: bool = False) -> Iterator[str]:
    """Tell the story; ``whole`` with the messages that come all the time."""
    for sight in history:
        words = _words(sight, whole=whole)
        if words:
            yield f"{sight.at:10.4f}  {sight.party:<9} {words}"


def _words(sight: Sight, *, whole: bool) -> str:  # noqa: C901, PLR0911, PLR0912 - a kind of sight each
    match sight:
        case Said(message=message) | Heard(message=message):
            if not whole and isinstance(message, DULL):
                return ""
            if isinstance(sight, Said):
                return f"> {sight.key}: {_message(message)}"
            return f"< {_message(message)}"
        case Recorded(event=event):
            section = event.get("section", "")
            return f"! records {event['what']} {section} {event.get('token', '')}".rstrip()
        case HookCalled():
            return f"* {sight.hook.value}({sight.section}) is called"
        case HookAnswered():
            answer = f" -> {sight.answer}" if sight.answer else ""
            return f"* {sight.hook.value}({sight.section}) is over{answer}"
        case VisitBegan():
            require = ", ".join(sorted(sight.demand.require)) or "nobody"
            return f"= wants {sight.section} on {sight.demand.bench}, requires {require}"
        case WentAlone():
            return f"= runs {sight.section} alone"
        case BodyBegan():
            return f"= is inside {sight.section} on {sight.bench}"
        case BodyLeft():
            return f"= is outside {sight.section}"
        case VisitEnded():
            return f"= {sight.section} ends: {sight.outcome}"
        case TicketSynced():
            return f"= its ticket of {sight.section} {sight.token} is on disk"
        case LockTaken():
            return f"= has the lock of {sight.bench}"
        case LockBusy() if whole:
            return f"= finds the lock of its bench held for {sight.holder}"
        case LockReleased():
            return f"= opens the lock of {sight.bench}"
        case TicketGone():
            return f"= takes the ticket of {sight.section} away"
        case Froze():
            return f"# stands still for {sight.seconds:.1f} s"
        case Died():
            return "# is dead"
        case Happened():
            return f"# {sight.what}"
    return ""


def _message(message: m.Message) -> str:
    facts = msgspec.structs.asdict(message)
    parts = [type(message).__name__, facts.get("section", "")]
    if "slip" in facts:
        parts += _slip_words(facts)
    if isinstance(message, m.SectionGo):
        parts.append(f"t0={message.t0:.4f} members={','.join(message.members)}")
    parts += [f"{key}={facts[key]}" for key in SHOWN if facts.get(key) not in {None, "", ()}]
    return " ".join(part for part in parts if part)


def _slip_words(facts: dict[str, Any]) -> list[str]:
    """Say which slip, which attempt at which step, and what is behind it."""
    slip, task = facts["slip"], facts.get("task") or facts.get("attempt")
    words = [slip.id if isinstance(slip, Slip) else str(slip)]
    if task is not None:
        undoing = "undo " if task.compensating else ""
        words.append(f"{undoing}step {task.number}.{task.attempt}")
    if isinstance(slip, Slip) and slip.progress:
        behind = (f"{one.number}.{one.attempt} {one.status}" for one in slip.progress)
        words.append(f"({', '.join(behind)})")
    return words
