"""What somebody will still read of a small lab's state, kind by kind.

All else differs from way to way and decides nothing. This is where an exploration could be blinded:
a state that is left out because it looks like another must be like it in all that somebody reads.
So each entry says who asks, or until when.
"""

from collections.abc import Callable
from typing import Any

from pytest_gatherscatter.sections.gatherer import Gatherer
from pytest_gatherscatter.sections.gatherer.bench import Bench
from pytest_gatherscatter.sections.gatherer.lab import Lab as GathererLab
from pytest_gatherscatter.sections.gatherer.presence import Presence as GathererPresence
from pytest_gatherscatter.sections.gatherer.record import Answer, Participant, SectionRecord
from pytest_gatherscatter.sections.gatherer.roster import Agent
from pytest_gatherscatter.sections.gatherer.state import SectionState
from pytest_gatherscatter.sections.gatherer.steering import Steering
from pytest_gatherscatter.sections.hook import SectionInfo
from pytest_gatherscatter.sections.monitor.arming import Arming, ArmingState
from pytest_gatherscatter.sections.monitor.hookcall import CallHook
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.state import AFTER_GO, WorkloadState
from pytest_gatherscatter.simulation.admission import GoOnlyWhenReady
from pytest_gatherscatter.simulation.smallrun import SmallRun
from pytest_gatherscatter.wire import messages as m

LONG_AGO = 30.0
"""Seconds after which it does not matter any more when something was: over all waits of a small
lab."""

AGES = {
    "entered_at": LONG_AGO,
    "begun": LONG_AGO,
    "_missing_since": LONG_AGO,
    "hold_since": LONG_AGO,
    "since": LONG_AGO,
    "_began": LONG_AGO,
    "heard": 6.5,  # an agent's three keepalives; a workload waits six seconds
    "told_at": 5.0,
    "_looked": 5.0,  # a gatherer that looked four seconds ago, a workload five
    "collects_since": 2.0,
    "checked_at": 2.0,
    "asked_at": 2.0,
    "_probed_at": 1.0,
}
"""Times of the past of which somebody asks how long ago they were, and the seconds after which
the answer is always the same."""

FORGOTTEN = frozenset(
    {
        "_wakes",  # what a deadline asked for; the deadlines themselves are compared
        "wakes",
        "_wake_at",
        "purposes",  # outcomes come at once
        "ends",  # on its way to a recorder, who has no part in a section
        "_asked",
        "_join_effect",
        "missed",  # whether a line of the log was said
        "fenced",  # for people, as are:
        "waiting",
        "waited",
        "holds",
        "version",
        # What never changes in one small lab:
        "_take",
        "_phases",
        "_make",
        "clocks",
        "demand",
        "_demand",
        "_demands",
        "facts",
        "identity",
        "_me",
        "world",
    }
)
"""Attributes that only number things, follow from others, or are the same all along."""

WHETHER = frozenset(
    {
        "text",
        "why",
        "reason",
        "hold_reason",
        "broken",
        "_error",
        "alone_because",
        "_unreached",
        "absent_because",
        "_busy",
        "_refused",
        "skew",
        "skew_bound",
        "bound",
        "offset",
        "lateness",
    }
)
"""Words, and figures about clocks: one clock for all, so that they are right if there are any."""

_S = SectionState
_GATHERS = ("told_at", "participants", "_missed_for", "_missing_since", "needed")
_GOES = ("t0", "deadline", "sent", "members", "participants", "lost", "reports", "recovered")
_SECTION = {
    _S.ENTERED: ("entered_at",),
    _S.QUEUED: ("entered_at", "told_at"),
    _S.GATHERING: _GATHERS,
    _S.GATHERED: _GATHERS,
    _S.CHECKING: (*_GATHERS, "checked_at"),
    _S.COMMITTED: _GOES,
    _S.LIVE: _GOES,
    _S.OVERDUE: _GOES,
    _S.COLLECTING: (*_GOES, "left", "collects_since", "cause"),
    _S.CLOSED: ("closed", "reports"),
    _S.ABORTED: ("cause", "deadline"),
}

_A = ArmingState
_ARMING_BEFORE = (
    "answer",
    "say_at",
    "until",
    "touched",
    "cause",
    "broken",
    "owes_report",
    "yielding",
)
_ARMING_INSIDE = ("gatherer", "go", "go_sent", "started", "offset", "needed", "overdue", "broken")
_ARMING_AFTER = (*_ARMING_INSIDE, "stopped", "say_at", "cause", "owes_report", "report")
_ARMING = {
    _A.STARTING: _ARMING_INSIDE,
    _A.RUNNING: _ARMING_INSIDE,
    _A.OVERDUE: _ARMING_INSIDE,
    _A.STOPPING: _ARMING_AFTER,
    _A.REPORTING: _ARMING_AFTER,
    _A.ABORTING: _ARMING_AFTER,
    _A.REPORTED: ("report", "cause"),
    _A.ABORTED: ("cause",),
}


def _of_section(section: SectionRecord) -> tuple[str, ...]:
    return ("id", "entered", "token", "reply", "state", *_SECTION[section.state])


def _of_participant(one: Participant) -> tuple[str, ...]:
    if one.answer is Answer.ASKED:
        return ("name", "required", "answer", "asked_at", "hold_since")
    if one.answer is Answer.HOLDING:
        return ("name", "required", "answer", "hold_until", "hold_since")
    return ("name", "required", "answer", "alive")


def _of_arming(arming: Arming) -> tuple[str, ...]:
    return ("info", "state", *_ARMING.get(arming.state, _ARMING_BEFORE))


def _of_workload(machine: Workload) -> tuple[str, ...]:
    always = ("section", "state", "token", "met", "linked", "absent", "answered", "told_of")
    asks = ("_questions", "_probing")
    if machine.state in AFTER_GO:
        return (*always, *asks, "ended", "acknowledged", "closed", "t0", "deadline", "members")
    if machine.state is WorkloadState.GO:
        return (*always, "_probing", "go", "t0", "deadline", "ready", "members")
    before = ("begun", "heard", "ready", "ended", "acknowledged", "refusal", "alone_because")
    if machine.state is WorkloadState.READY:
        return (*always, *asks, *before, "life")
    return (*always, *asks, *before)


def _of_guide(guide: Guide) -> tuple[str, ...]:
    always = ("phase", "machine", "memory", "alone_because", "_met", "_has_lock", "_todo")
    return (*always, *_GUIDE[guide.phase])


_SEEKS = ("_until", "_retry", "_contacted", "_unreached", "_nobody", "_refused", "_looked")
_LEAVES = ("_until", "_outcome", "_patience", "_refused", "_looked")
_GUIDE: dict[Phase, tuple[str, ...]] = {
    Phase.SEEK: _SEEKS,
    Phase.LOCK: ("_busy", "_outcome"),
    Phase.GATHERED: ("_looked",),
    Phase.COMMIT: ("_began", "_busy", "_ticket", "_refused", "_looked"),
    Phase.QUIET: ("_quiet", "_ticket", "_looked"),
    Phase.INSIDE: ("needed", "_looked"),
    Phase.LEAVE: _LEAVES,
    Phase.DROP: _LEAVES,
    Phase.OVER: (),
}

_RUNS = ("_section", "_life", "_contacts", "_alarm", "_lock_until", "_started", "_owed")

LIVE: dict[type, Callable[[Any], tuple[str, ...]]] = {
    SectionRecord: _of_section,
    Participant: _of_participant,
    Arming: _of_arming,
    Workload: _of_workload,
    Guide: _of_guide,
    Gatherer: lambda _: ("lab", "_presence", "_steering", "_begun"),
    GathererLab: lambda _: (
        *("roster", "lead", "benches", "sections", "ended", "token", "remembers", "opens_at"),
        *("unreadable", "touched"),
    ),
    GathererPresence: lambda _: ("_linked", "_looked"),
    Steering: lambda _: ("_given_up",),
    Bench: lambda _: ("name", "current", "queue"),
    GoOnlyWhenReady: lambda _: ("_ready", "_promised", "_alive", "_went"),
    SmallRun: lambda run: ("_guide", "up", *_RUNS) if run.waits else ("_life",),
    Agent: lambda _: ("name", "instance", "heard"),
    CallHook: lambda _: ("hook", "section", "at"),
    SectionInfo: lambda _: ("id", "token", "t0", "deadline"),
    m.SectionWaiting: lambda _: ("section", "state"),
    m.EnterSection: lambda _: ("section", "token", "gather_timeout"),
}
"""Of some kinds, what somebody will read in the state in which they are."""
