"""From recorded decisions back to a lab: a committed section keeps its bench closed."""

from collections.abc import Mapping
from typing import Any

from pytest_gatherscatter.sections.gatherer.lab import Lab
from pytest_gatherscatter.sections.gatherer.record import Answer, Participant, SectionRecord
from pytest_gatherscatter.sections.gatherer.state import INSIDE, SectionState
from pytest_gatherscatter.wire import messages as m

TO_COMMITTED = (
    SectionState.QUEUED,
    SectionState.GATHERING,
    SectionState.GATHERED,
    SectionState.CHECKING,
    SectionState.COMMITTED,
)


def snapshot(lab: Lab) -> list[Mapping[str, Any]]:
    """Return the fewest events from which the lab could be recovered as it is now."""
    events: list[Mapping[str, Any]] = [{"what": "token", "token": lab.token}]
    for section in lab.sections.values():
        if section.state in INSIDE:
            events += [
                {"what": "opened", **section.opened()},
                {"what": "committed", **section.committed(lab.facts.clock, lab.wall)},
            ]
    return events


def recover(lab: Lab, events: tuple[Mapping[str, Any], ...], wall: float, *, now: float) -> None:
    """Fold recorded events into a new lab; ``wall`` is Unix time at ``now``.

    Sections that were not committed are forgotten: their workloads ask again.
    """
    lab.wall = wall - now
    opened: dict[str, Mapping[str, Any]] = {}
    for event in events:
        lab.token = max(lab.token, int(event.get("token", 0)))
        match event["what"]:
            case "opened":
                opened[event["section"]] = event
            case "committed" if event["section"] in opened:
                section = _restore(lab, opened[event["section"]], event, now)
                lab.sections[section.id] = section
            case "closed" | "aborted":
                lab.sections.pop(event["section"], None)
    if not events:
        # Nothing is on record: perhaps a state directory was lost. Milliseconds of the
        # world's clock are above every token that was given out before.
        lab.token = max(lab.token, int(wall * 1000))
    for section in lab.sections.values():
        bench = lab.bench(section.bench)
        bench.current, bench.token = section.id, section.token
        lab.at(max(now, section.t0))
        lab.at(max(now, section.deadline))


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
    )
    section = SectionRecord(entered, opened["token"], opened["reply"], now=now)
    # Times on another clock (another boot) are carried over by the world's clock.
    shift = 0.0 if event["clock"] == lab.facts.clock else event["wall"] - lab.wall
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
