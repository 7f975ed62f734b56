"""What a monitor's machine asks of its shell, and what comes back: pure data.

The machine says *that* a hook is to be called and for how long it may run; only the shell
knows whether the hook is a Python method or a program. Times are seconds on the local
monotonic clock.
"""

from dataclasses import dataclass
from typing import TypeAlias

from pytest_gatherscatter.machine import State
from pytest_gatherscatter.sections.hook import Hold, SectionInfo, Veto
from pytest_gatherscatter.wire.messages import Artifact, Finding

CHUNK = 256 * 1024
"""Bytes of an artifact in one message: base64 makes 342 KiB of it, below ``codec.MAX_BODY``,
and a heartbeat behind a few of them is not late on a slow network."""


class Hook(State):
    """Which hook."""

    PREPARE = "prepare"
    STARTED = "started"
    STOPPED = "stopped"
    ABORTED = "aborted"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class CallHook:
    """Call ``hook``; not before ``at`` and not from ``until`` on, if these are given.

    ``limit`` counts from the call. The machine has at most one of these under way; it comes back
    as :class:`HookEnded`.
    """

    hook: Hook
    section: SectionInfo
    limit: float
    at: float | None = None
    until: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CancelHook:
    """Do not make the call of effect ``effect``, if it still waits for its time."""

    effect: int


@dataclass(frozen=True, slots=True)
class DeclareQueue:
    """Declare the queue of a section's artifacts; comes back as :class:`QueueDeclared`."""

    section: str


@dataclass(frozen=True, slots=True)
class DiscardCaptures:
    """The section's captures have been handed in: the local copies may go. No answer."""

    section: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A hook did not do its work; ``reason`` is its last words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Capture:
    """An artifact's manifest, and its bytes unless it stays on its host."""

    manifest: Artifact
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What ``stopped`` brought, read and hashed; ``problem`` is what could not be."""

    findings: tuple[Finding, ...] = ()
    captures: tuple[Capture, ...] = ()
    problem: str = ""


Answer: TypeAlias = Hold | Veto | Broken | Collected | None


@dataclass(frozen=True, slots=True)
class HookEnded:
    """How a :class:`CallHook` went.

    ``ready`` is when everything was in place to call it (before sleeping to ``at``),
    ``began`` when it was called, both ``None`` if it never was. ``stuck`` means that it runs
    on past its limit and cannot be ended: no other hook can be called until
    :class:`HookReturned`.
    """

    answer: Answer = None
    ready: float | None = None
    began: float | None = None
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class QueueDeclared:
    """The queue is there, or ``problem`` says why not; ``lost`` if only the link was."""

    problem: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class HookReturned:
    """Told: the hook that was stuck has come back."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Told: leave the lab in good order, within ``limit`` seconds."""

    limit: float
    reason: str = ""
