"""A section from its workload's leaving until it is closed, and the steps of a test."""

from pytest_gatherscatter.wire.message import (
    Amount,
    Count,
    Id,
    Label,
    Message,
    Name,
    Seconds,
    Text,
    Token,
)
from pytest_gatherscatter.wire.part import MemberReport, SectionResult

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
    """Gatherer → all: an event to watch, at each change of a section's state.

    The last one has its ``result``; said by two gatherers, the first counts.
    """

    section: Id
    name: Label
    bench: Name
    state: Label
    token: Token = 0
    text: Text = ""
    result: SectionResult | None = None


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
