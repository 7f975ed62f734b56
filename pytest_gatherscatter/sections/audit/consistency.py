"""Each side by itself: do its times, its figures and its verdict follow from one another?"""

from collections.abc import Iterable

from pytest_gatherscatter.sections.audit.claim import (
    Committed,
    Ended,
    GathererClaim,
    Key,
    MemberClaim,
    Time,
    WorkloadClaim,
)
from pytest_gatherscatter.sections.audit.remark import ROUNDING, Said, names, saying


def workload(one: WorkloadClaim) -> Said:
    """Look whether what a workload says holds together."""
    say = saying(one.key)
    yield from _own_times(one)
    if one.started is not None and one.t0 is not None:
        early = one.t0 - one.started - (one.bound or 0.0) - (one.t0_bound or 0.0)
        if early > ROUNDING:
            yield say("start", f"began {early:.6f} s before t0, beyond its bounds")
    if one.what == "begun":
        return
    if one.reports is not None:
        yield from _members(one.key, one.members, one.reports)
        if one.started is not None:  # else the gatherer is on another clock by now
            yield from _starts(one.key, one.t0, one.reports)
            slack = (one.bound or 0.0) + (one.skew_bound or 0.0)
            yield from _skew(one.key, one, one.reports, (one.started, one.bound), slack)
    if (one.reports is None) == (one.coordinated and one.state == "closed"):
        yield say("state", f"it is {one.state}, and its reports do not fit to that")
    if one.given_up and one.state != "unreported":
        yield say("state", f"it was given up, and is {one.state}")
    due = _verdict_due(one)
    if one.verdict not in due:
        yield say("verdict", f"is {one.verdict}, and follows to be {' or '.join(sorted(due))}")


def _own_times(one: WorkloadClaim) -> Said:
    """Look at the times of this host's own clock, which has no bound."""
    say, local, limit = saying(one.key), one.local, one.max_duration
    if one.deadline is not None and one.t0 is not None:
        limit = one.deadline - one.t0
        if abs(limit - one.max_duration) > ROUNDING:
            yield say("deadline", f"{limit:g} s after t0, {one.max_duration:g} s were asked for")
    if local.started is None or local.t0 is None:
        return
    if local.started < local.t0:
        yield say("start", f"began {local.t0 - local.started:.6f} s before t0, on its own clock")
    if local.stopped is None:
        return
    if local.stopped < local.started:
        yield say("stop", "stopped before it started")
    over = local.stopped - local.t0 - limit
    if abs(over) > ROUNDING and (over > 0) is not one.overdue:
        yield say("overdue", f"came back {over:+.6f} s after its deadline: not called so")
    if one.started is not None and one.stopped is not None:
        taken, told = local.stopped - local.started, one.stopped - one.started
        if abs(taken - told) > ROUNDING:
            yield say("duration", f"{told:.6f} s on one clock, {taken:.6f} s on the other")


def _verdict_due(one: WorkloadClaim) -> set[str]:  # noqa: PLR0911 - one for each verdict
    """Work out the verdict of a workload from its facts."""
    if one.local.started is None and not one.outcome:
        return {"not-gathered", "withdrawn"}
    if one.given_up:
        return {"reset"}
    if one.outcome != "passed":
        return {{"failed": "device", "interrupted": "interrupted"}.get(one.outcome, "?")}
    reports = one.reports or ()
    closed = one.coordinated and one.state == "closed"
    if any(report.failed for report in reports):
        return {"finding"}
    if one.overdue:
        return {"overdue"}
    measured = {report.agent for report in reports if _measured(report)}
    required = {*one.require} | {report.agent for report in reports if report.required}
    if closed and (required - measured or len(measured) < one.min_monitors or one.cause):
        return {"unmeasured"}
    if closed and one.max_skew is not None:
        worst = None if one.skew is None else one.skew + (one.skew_bound or 0.0)
        if worst is None or worst > one.max_skew:
            return {"skew"}
    if one.noise:
        return {"noisy"}
    return {"unreported" if one.state == "unreported" else "passed"}


def _measured(report: MemberClaim) -> bool:
    return report.reported and report.cause in {"", "overdue"}


def gatherer(one: GathererClaim) -> Said:
    """Look whether what the gatherer says of a section holds together."""
    say, go, left, end = saying(one.key), one.committed, one.left, one.ended
    if go is not None and not go.sent <= go.t0 <= go.deadline:
        yield say("order", "Go, t0 and deadline are not in this order")
    if left is not None and go is None:
        yield say("order", "it was left without having been committed")
    yield from _left_in_time(one)
    if end is None:
        return
    if one.opened is not None and one.opened.bench != end.bench:
        yield say("bench", f"was opened on {one.opened.bench} and ended on {end.bench}")
    if end.reports is not None and go is not None:
        yield from _end_of(one, go, end, end.reports)
    due = _gatherer_due(one, end)
    if end.verdict not in due:
        text = f"of the gatherer is {end.verdict}, follows {' or '.join(sorted(due))}"
        yield say("verdict", text)


def _end_of(
    one: GathererClaim, go: Committed, end: Ended, reports: tuple[MemberClaim, ...]
) -> Said:
    """Look at the reports of a closed section."""
    say, left = saying(one.key), one.left
    yield from _members(one.key, go.members, reports)
    own = (None, None) if left is None else (left.started, left.bound)
    yield from _skew(one.key, end, reports, own, 0.0)
    for report in reports:
        if report.required is not (report.agent in go.required):
            yield say("members", f"{report.agent} is required in one line only")
    if end.clock != go.clock:
        return  # the gatherer was started anew, on another clock
    yield from _starts(one.key, go.t0, reports)
    if end.left_at is not None and not go.sent <= end.left_at <= end.ended_at:
        yield say("order", "Go, leaving and end are not in this order")


def _left_in_time(one: GathererClaim) -> Said:
    """Look whether a workload that came back late is called overdue, and no other."""
    say, go, left = saying(one.key), one.committed, one.left
    if go is None or left is None or left.stopped is None or left.clock != go.clock:
        return
    over, bound = left.stopped - go.deadline, (left.bound or 0.0) + ROUNDING
    if left.started is not None and left.started < go.t0 - 2 * bound:
        yield say("start", f"began {go.t0 - left.started:.6f} s before t0, known to {bound:.6f} s")
    if (over > 2 * bound and not left.overdue) or (over < -2 * bound and left.overdue):
        yield say("overdue", f"left {over:+.6f} s after its deadline: not called so")


def _gatherer_due(one: GathererClaim, end: Ended) -> set[str]:  # noqa: PLR0911 - as above
    """Work out the verdict of the gatherer from its facts."""
    left = one.left
    if one.committed is None:
        causes = {"gone": "died-before-go", "withdrawn": "withdrawn"}
        return {causes.get(end.cause, "not-gathered")}
    if end.reports is None:
        return {"reset"}
    outcome = "interrupted" if left is None else left.outcome
    words = {"died": "died-in-section", "failed": "device", "interrupted": "interrupted"}
    if outcome in words:
        return {words[outcome]}
    if any(report.failed for report in end.reports):
        return {"finding"}
    if left is not None and left.overdue:
        return {"overdue"}
    measured = [report for report in end.reports if _measured(report)]
    missing = [one for one in end.reports if one.required and not _measured(one)]
    if missing or end.cause or len(measured) < end.min_monitors:
        return {"unmeasured"}
    return {"unreported" if left is not None and left.told_later else "passed"}


def _members(key: Key, members: tuple[str, ...], reports: Iterable[MemberClaim]) -> Said:
    told = sorted(report.agent for report in reports)
    if told != sorted(members):
        yield saying(key)("members", f"{names(members)} went in, {names(told)} are told of")


def _starts(key: Key, t0: Time, reports: Iterable[MemberClaim]) -> Said:
    """Look that nobody began before t0, as far as that is known."""
    for report in reports:
        if report.started is None or report.bound is None or t0 is None:
            continue
        early = t0 - report.started - report.bound
        if early > ROUNDING:
            text = f"{report.agent} began {early:.6f} s before t0, beyond its bound"
            yield saying(key)("start", text)


def _skew(
    key: Key,
    told: WorkloadClaim | Ended,
    reports: Iterable[MemberClaim],
    own: tuple[Time, Time],
    slack: float,
) -> Said:
    """Work the skew out again: the spread of all starts that were measured, the test's too."""
    starts = [(r.started, r.bound) for r in reports] + [own]
    known = sorted((s, max(0.0, b)) for s, b in starts if s is not None and b is not None)
    say = saying(key)
    if len(known) < 2:  # noqa: PLR2004 - a spread has two ends
        # The workload may know its clock only after it has left.
        if told.skew is not None and not slack:
            yield say("skew", "is told, and nobody's start is known")
        return
    if told.skew is None:
        if not slack:
            yield say("skew", "is not told, though the starts are known")
        return
    skew = known[-1][0] - known[0][0]
    bound = sum(sorted(b for _, b in known)[-2:])
    if abs(skew - told.skew) > slack + ROUNDING:
        yield say("skew", f"is told as {told.skew:.6f} s, the starts lie {skew:.6f} s apart")
    if told.skew_bound is None or abs(bound - told.skew_bound) > slack + ROUNDING:
        yield say("skew", f"its bound follows to be {bound:.6f} s")
