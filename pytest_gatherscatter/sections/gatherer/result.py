"""What came of a section, as the gatherer knows it: its verdict, why, and all that it knows."""

from pytest_gatherscatter.sections.account import reported
from pytest_gatherscatter.sections.gatherer.ending import GONE
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.state import SectionState
from pytest_gatherscatter.sections.hook import clip
from pytest_gatherscatter.sections.section import finding_line
from pytest_gatherscatter.sections.verdict import SectionVerdict, verdict_of
from pytest_gatherscatter.wire.messages import SectionEnd, SectionResult

RECENT = 20
"""Ended sections that ``status`` shows: what a person asks about who comes to see what happened."""

_BEFORE = {
    GONE: SectionVerdict.DIED_BEFORE_GO,
    "withdrawn": SectionVerdict.WITHDRAWN,
}


def verdict(section: SectionRecord) -> SectionVerdict:
    """Give the verdict on a section that has ended.

    What its workload alone can know (``OF_ITS_OWN_SIDE``) is not in it, but for one: who tells
    later that it passed, without a time of it, has not heard of any report.
    """
    if section.state is SectionState.ABORTED:
        if not section.was_committed:
            return _BEFORE.get(section.cause, SectionVerdict.NOT_GATHERED)
        return verdict_of("interrupted", given_up=True)
    left = section.left
    return verdict_of("interrupted" if left is None else left.outcome, _causes(section))


def _causes(section: SectionRecord) -> set[str]:
    """Collect the words of what is wrong with a closed section."""
    closed, left = section.close(), section.left
    causes = set()
    if any(one.passed is False for report in closed.reports for one in report.findings):
        causes.add(SectionVerdict.FINDING.value)
    if left is not None and left.overdue:
        causes.add(SectionVerdict.OVERDUE.value)
    measured = [one for one in closed.reports if one.reported and one.cause in {"", "overdue"}]
    if closed.cause or len(measured) < section.entered.min_monitors:
        causes.add(SectionVerdict.UNMEASURED.value)
    if left is not None and left.started is None and not left.needed:
        causes.add(SectionVerdict.UNREPORTED.value)
    return causes


def why(section: SectionRecord) -> str:
    """Say in a line why the verdict is what it is; empty if there is nothing to say."""
    if section.text:
        return section.text
    if section.state is not SectionState.CLOSED:
        return ""
    if section.left is not None and section.left.outcome == "died":
        return "its ticket proves that its owner died inside"
    failed = [
        f"{report.agent}: {finding_line(one)}"
        for report in section.close().reports
        for one in report.findings
        if one.passed is False
    ]
    return clip("; ".join(failed))


def facts(section: SectionRecord) -> dict[str, object]:
    """State all that an audit needs of an ended section; times are on the gatherer's clock."""
    left, closed = section.left, section.closed
    stated: dict[str, object] = {
        "section": section.id,
        "token": section.token,
        "bench": section.bench,
        "verdict": verdict(section).value,
        "cause": section.cause,
        "text": why(section),
        "ended_at": section.life.since,
        "fenced": section.fenced,
    }
    if section.was_committed:
        stated["min_monitors"] = section.entered.min_monitors
    if left is not None:
        stated["left_at"] = section.left_at
    if closed is not None:
        stated |= {
            "skew": closed.skew,
            "skew_bound": closed.skew_bound,
            "reports": [reported(report) for report in closed.reports],
        }
    return stated


def result(section: SectionRecord) -> SectionResult:
    """State what came of an ended section to whoever records it."""
    left, closed = section.left, section.closed
    seconds = None
    if left is not None and left.started is not None and left.stopped is not None:
        seconds = left.stopped - left.started
    return SectionResult(
        test=section.entered.test,
        owner=section.entered.owner,
        run=section.entered.run,
        verdict=verdict(section).value,
        text=why(section),
        cause=section.cause,
        outcome="" if left is None else left.outcome,
        seconds=seconds,
        skew=None if closed is None else closed.skew,
        skew_bound=None if closed is None else closed.skew_bound,
        reports=() if closed is None else closed.reports,
    )


def shown(section: SectionRecord, *, now: float) -> SectionEnd:
    """Show an ended section to whoever asks."""
    return SectionEnd(
        section=section.id,
        name=section.entered.name,
        bench=section.bench,
        test=section.entered.test,
        owner=section.entered.owner,
        token=section.token,
        verdict=verdict(section).value,
        ago=max(0.0, now - section.life.since),
        text=why(section),
    )
