"""What is left of an answer that is too large for one message: never nothing, never silently.

A lab of thousands, or monitors with ten thousand findings each, make answers that nobody could
read. What has no room is left out in a way that shows: a report that lost its contents counts as
broken, so that a required one is unmeasured; a failed finding stays.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import (
    Finding,
    LabStatus,
    MemberReport,
)

REPORT_ROOM = codec.MAX_BODY - 128 * 1024
"""Bytes for all reports of one section; the rest is for what else its answer says: at most a
hundred fenced words, and a text of 4096 characters, each of which may take six bytes."""


def abridged(reports: Sequence[MemberReport]) -> tuple[MemberReport, ...]:
    """Return the reports so that they fit into one message; the largest are cut first."""
    fitting = list(reports)
    sizes = [codec.size(report) + 1 for report in fitting]
    over = sum(sizes) - REPORT_ROOM
    for cut in (_without_figures, _without_findings):
        for number in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
            if over <= 0:
                return tuple(fitting)
            fitting[number] = cut(fitting[number])
            size = codec.size(fitting[number]) + 1
            over -= sizes[number] - size
            sizes[number] = size
    return tuple(fitting)


def _without_figures(report: MemberReport) -> MemberReport:
    """Keep one failed finding, by name."""
    if not report.findings and not report.artifacts:
        return report
    failed = [finding for finding in report.findings if finding.passed is False]
    lost = (
        f"{len(report.findings)} findings ({len(failed)} failed) and {len(report.artifacts)} "
        f"artifacts had no room in one message"
    )
    first = tuple(Finding(name=one.name, passed=False, text=lost) for one in failed[:1])
    return replace(
        report,
        findings=first,
        artifacts=(),
        cause=report.cause or "broken",
        text=f"{lost}; {report.text[:200]}" if report.text else lost,
    )


def _without_findings(report: MemberReport) -> MemberReport:
    """Keep the bare report."""
    return replace(report, findings=(), text=report.text[:80])


def fitting(status: LabStatus) -> LabStatus:
    """Return the status so that it fits into one message; it counts what had no room."""
    while codec.size(status) > codec.MAX_BODY:
        lists = {name: getattr(status, name) for name in ("agents", "benches", "sections", "ended")}
        largest = max(lists, key=lambda name: sum(map(codec.size, lists[name])))
        kept = lists[largest][: len(lists[largest]) // 2]
        left_out = status.left_out + len(lists[largest]) - len(kept)
        status = replace(status, left_out=left_out, **{largest: kept})
    return status
