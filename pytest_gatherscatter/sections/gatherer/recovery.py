"""From recorded decisions back to a lab: a committed section keeps its bench closed."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_gatherscatter.errors import IllegalTransition, JournalDamaged
from pytest_gatherscatter.sections.gatherer.lab import Lab
from pytest_gatherscatter.sections.gatherer.record import LEFT, Answer, Participant, SectionRecord
from pytest_gatherscatter.sections.gatherer.state import ENDED, SectionState
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import messages as m

REMEMBERED = 100
"""Ended sections that outlive a snapshot at the most: more than may end within the seconds in
which a workload asks once more, and more than a person asks about."""

ANSWERS = 4 * 1024 * 1024
"""Bytes of their answers, beyond which only the last one is kept: those of a thousand agents'
section take a third of a MiB, most take a kilobyte."""

UNKNOWN_RUN = "0" * 8

ADOPTED_REPORT_TIMEOUT = 30.0
"""Seconds: the default; what the section itself asked for is not known any more."""

TO_COMMITTED = (
    SectionState.QUEUED,
    SectionState.GATHERING,
    SectionState.GATHERED,
    SectionState.CHECKING,
    SectionState.COMMITTED,
)


def snapshot(lab: Lab) -> list[Mapping[str, Any]]:
    """Return the fewest events from which the lab could be recovered as it is now."""
    clock, wall = lab.facts.clock, lab.wall
    events: list[Mapping[str, Any]] = [{"what": "token", "token": lab.token}]
    open_ones = (one for one in lab.sections.values() if one.state not in ENDED)
    for section in (*_remembered(lab), *open_ones):
        # One that only gathers counts too: its commit may come after this, and means nothing
        # without its opening.
        events.append({"what": "opened", **section.opened()})
        if section.was_committed:
            events.append({"what": "committed", **section.committed(clock, wall)})
        if section.left is not None:
            events.append({"what": "left", **section.leaving()})
        if section.state in ENDED:
            events.append({"what": section.state.value, **section.ending(clock, wall)})
    return events


def _remembered(lab: Lab) -> list[SectionRecord]:
    """Choose the ended sections that a snapshot keeps; who ended first is forgotten first."""
    kept: list[SectionRecord] = []
    room = ANSWERS
    for section in lab.ended_last(REMEMBERED):
        if section.closed is not None:
            room -= codec.size(section.closed)
        if kept and room < 0:
            break
        if section.was_committed:
            kept.append(section)
    return kept[::-1]


def recover(lab: Lab, events: tuple[Mapping[str, Any], ...], wall: float, *, now: float) -> None:
    """Fold recorded events into a new lab; ``wall`` is Unix time at ``now``.

    Sections that were not committed are forgotten: their workloads ask again. Those that have
    ended are remembered with what came of them.

    Raises:
        JournalDamaged: an event is none of this version's. To go on without it could open a
            bench whose workload is inside.
    """
    lab.wall = wall - now
    lab.remembers = bool(events)
    opened: dict[str, Mapping[str, Any]] = {}
    for number, event in enumerate(events, start=1):
        try:
            _fold(lab, opened, event, now)
        except (KeyError, TypeError, ValueError, IllegalTransition) as error:
            problem = f"not an event of this version: {type(error).__name__} {error}"
            raise JournalDamaged("the gatherer's journal", number, problem) from None
    if not events:
        # Nothing is on record: perhaps a state directory was lost. Milliseconds of the
        # world's clock are above every token that was given out before.
        lab.token = max(lab.token, int(wall * 1000))
    lab.at(now)  # to forget what ended long ago
    for section in lab.sections.values():
        bench = lab.bench(section.bench)
        bench.token = max(bench.token, section.token)
        if section.state in ENDED:
            continue
        bench.current = section.id
        lab.at(max(now, section.t0))
        lab.at(max(now, section.deadline))
        if section.left is not None:
            lab.at(now + section.entered.report_timeout)


def _fold(
    lab: Lab, opened: dict[str, Mapping[str, Any]], event: Mapping[str, Any], now: float
) -> None:
    lab.token = max(lab.token, int(event.get("token", 0)))
    match event["what"]:
        case "token":
            pass
        case "opened":
            opened[event["section"]] = event
        case "committed":
            section = _restore(lab, opened[event["section"]], event, now)
            lab.sections[section.id] = section
        case "left":
            section = lab.sections[event["section"]]
            section.left = _left(event)
            section.left_at, section.collects_since = now, math.inf  # until the link is up
            section.life.to(SectionState.COLLECTING, now=now, why="recovered")
        case "closed" | "aborted" as what:
            section = lab.sections[event["section"]]
            _end(section, SectionState(what), event, at=event["ended_at"] + _shift(lab, event))
            lab.ended[section.id] = section.life.since
        case what:
            raise ValueError(f"{what!r} is unknown")


def _end(
    section: SectionRecord, state: SectionState, event: Mapping[str, Any], *, at: float
) -> None:
    """Let a section be over as it was, with the answer that it had."""
    if state is SectionState.CLOSED:
        section.closed = msgspec.convert(event["answer"], m.SectionClosed)
        section.cause, section.text = section.closed.cause, section.closed.text
        section.fenced = list(section.closed.fenced)
        for name, instance in event["reporters"].items():
            section.reports[name] = m.AgentReport(
                section=section.id, token=section.token, agent=name, instance=instance
            )
    else:
        section.cause, section.text = event["cause"], event["text"]
    section.life.to(state, now=at, why="recovered")


def _left(event: Mapping[str, Any]) -> m.LeaveSection:
    """Make the workload's leaving again from what was recorded of it."""
    facts = {name: event[name] for name in LEFT}
    return m.LeaveSection(section=event["section"], token=event["token"], **facts)


def adoptable(lab: Lab, one: m.OpenSection, *, new: bool) -> bool:
    """Say whether a section that is on no record may be live all the same.

    So it is if it began before this gatherer, which found no journal. The first word of an
    agent may be a keepalive to the gatherer before, which bears no Go: it greets in a moment.
    """
    if lab.remembers or not one.started or one.section in lab.sections:
        return False
    if one.go is None:
        return new
    return one.go.gatherer != lab.facts.clock or one.go.sent < lab.started


def adopt(lab: Lab, one: m.OpenSection, *, now: float) -> None:
    """Take a section that is on no record out of a member's memory.

    A gatherer without its state directory knows of live sections only what their members tell.
    Left alone is what has no Go, and what stands on a bench that another section has by now:
    there the member itself holds that one up, being busy.
    """
    go = one.go
    if go is None or (go.section, go.token) != (one.section, one.token):
        return
    bench = lab.bench(go.bench)
    if bench.current is not None:
        return
    same = go.gatherer == lab.facts.clock
    t0 = go.t0 if same else now
    opened = {
        "section": one.section,
        "token": one.token,
        "name": one.name,
        "bench": go.bench,
        "test": one.test,
        "owner": one.owner,
        "run": UNKNOWN_RUN,
        "reply": "",
        "gather_timeout": 0.0,
        "report_timeout": ADOPTED_REPORT_TIMEOUT,
        "min_monitors": 0,
    }
    committed = {
        "section": one.section,
        "token": one.token,
        "sent": go.sent if same else now,
        "t0": t0,
        "deadline": t0 + (go.deadline - go.t0),
        "members": list(go.members),
        "required": [],
        "clock": lab.facts.clock,
        "wall": lab.wall,
    }
    section = _restore(lab, opened, committed, now)
    lab.sections[section.id] = section
    bench.current, bench.token = section.id, section.token
    lab.out.record("opened", **opened)
    lab.out.record("committed", **committed)
    lab.at(max(now, section.t0))
    lab.at(max(now, section.deadline))


def _shift(lab: Lab, event: Mapping[str, Any]) -> float:
    """Return what to add to a recorded time: the world's clock carries it over to another boot."""
    return 0.0 if event["clock"] == lab.facts.clock else float(event["wall"] - lab.wall)


def _restore(
    lab: Lab, opened: Mapping[str, Any], event: Mapping[str, Any], now: float
) -> SectionRecord:
    entered = m.EnterSection(
        section=opened["section"],
        name=opened["name"],
        bench=opened["bench"],
        test=opened["test"],
        owner=opened["owner"],
        run=opened["run"],
        max_duration=event["deadline"] - event["t0"],
        queue_timeout=0.0,
        gather_timeout=opened["gather_timeout"],
        hold_limit=0.0,
        report_timeout=opened["report_timeout"],
        min_monitors=opened["min_monitors"],
    )
    section = SectionRecord(
        entered, opened["token"], opened["reply"], now=now, user=opened.get("user")
    )
    section.recovered = section.was_committed = True
    shift = _shift(lab, event)
    section.sent = event["sent"] + shift
    section.t0 = event["t0"] + shift
    section.deadline = event["deadline"] + shift
    section.members = tuple(event["members"])
    required = set(event["required"])
    for name in sorted(required | set(section.members)):
        section.participants[name] = Participant(name, name in required, Answer.READY, now)
    for state in TO_COMMITTED:
        section.life.to(state, now=now, why="recovered")
    return section
