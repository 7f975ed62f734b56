"""Both sides of a section: do they say the same?"""

from pytest_gatherscatter.sections.audit.claim import Ended, GathererClaim, WorkloadClaim
from pytest_gatherscatter.sections.audit.remark import ROUNDING, Said, names, saying

ADOPTED = "0" * 8
"""The run of a section that a gatherer knows of from its members only: so are its facts."""

_NAMES = ("bench", "name", "test", "owner", "run")


def went(ours: WorkloadClaim, theirs: GathererClaim) -> Said:
    """Hold a section that went against what the gatherer says of it."""
    say, go = saying(ours.key), theirs.committed
    yield from _whose(ours, theirs)
    if go is None:
        yield say("commit", "went, and the gatherer never committed it")
        return
    if sorted(go.members) != sorted(ours.members):
        yield say("members", f"{names(ours.members)} here, {names(go.members)} at the gatherer")
    if go.clock == ours.gatherer:
        for what in ("sent", "t0", "deadline"):
            here, there = getattr(ours, what), getattr(go, what)
            if here is None or abs(here - there) > ROUNDING:
                yield say(what, f"{here} here, {there} at the gatherer")
    yield from _left_alike(ours, theirs)
    end = theirs.ended
    if end is None:
        if ours.state == "closed" and not theirs.closed:
            yield say("state", "closed here, open at the gatherer")
        return
    if ours.reports is not None:
        yield from _reported_alike(ours, end)
    if end.verdict not in _verdicts_there(ours, theirs, end):
        yield say("verdict", f"{ours.verdict or 'none'} here, {end.verdict} at the gatherer")


def _whose(ours: WorkloadClaim, theirs: GathererClaim) -> Said:
    """Hold the names against each other; what a gatherer adopted it does not know."""
    opened = theirs.opened
    if opened is None:
        return
    known = ("bench", "name", "test", "owner") if opened.run == ADOPTED else _NAMES
    for what in known:
        here, there = getattr(ours, what), getattr(opened, what)
        if here[:512] != there:
            yield saying(ours.key)(what, f"{here} here, {there} at the gatherer")


def _left_alike(ours: WorkloadClaim, theirs: GathererClaim) -> Said:  # noqa: C901 - one fact each
    """Hold how it ended here against what the gatherer was told of that."""
    say, left, go = saying(ours.key), theirs.left, theirs.committed
    if left is None:
        return
    if ours.what == "begun" and left.outcome != "died":
        yield say("outcome", f"has no end here, {left.outcome} at the gatherer")
    if ours.what == "begun":
        return
    unreported = ours.state == "unreported"
    if left.outcome != ours.outcome and not (left.outcome == "died" and unreported):
        yield say("outcome", f"{ours.outcome} here, {left.outcome} at the gatherer")
    if left.told_later:
        if not unreported:
            yield say("outcome", "closed here, and told later by another")
        return
    if left.overdue is not ours.overdue:
        yield say("overdue", f"{ours.overdue} here, {left.overdue} at the gatherer")
    if go is None or not go.clock == left.clock == ours.gatherer:
        return
    for what in ("started", "stopped"):
        here, there = getattr(ours, what), getattr(left, what)
        bound = (ours.bound or 0.0) + (left.bound or 0.0) + ROUNDING
        if here is not None and there is not None and abs(here - there) > bound:
            yield say(what, f"{here} here, {there} at the gatherer")


def _reported_alike(ours: WorkloadClaim, end: Ended) -> Said:
    say = saying(ours.key)
    here = {report.agent: report for report in ours.reports or ()}
    there = {report.agent: report for report in end.reports or ()}
    for agent in sorted(here.keys() | there.keys()):
        if here.get(agent) != there.get(agent):
            yield say("reports", f"that of {agent} differs on the two sides")
    for what in ("skew", "skew_bound", "cause", "fenced"):
        mine, other = getattr(ours, what), getattr(end, what)
        if mine != other and not (what == "fenced" and set(mine) <= set(other)):
            yield say(what, f"{mine} here, {other} at the gatherer")


def _verdicts_there(ours: WorkloadClaim, theirs: GathererClaim, end: Ended) -> set[str]:
    """Say which verdicts of the gatherer agree with that of the workload."""
    if ours.what == "begun":
        return {"died-in-section", "reset"}
    if ours.state == "unreported" and not ours.given_up:
        # It may have been told later, as dead or as it was, or have been given up meanwhile;
        # its answer, of whatever kind, was not heard here.
        told = {"died-in-section", "reset", "unreported", "unmeasured"}
        return told | _heard(ours, end)
    if ours.verdict in {"skew", "noisy"}:
        return {"passed"}
    if ours.verdict == "unmeasured" and end.min_monitors < ours.min_monitors:
        return {"unmeasured", "passed"}  # what it demanded was forgotten in a restart
    if ours.outcome == "interrupted" and theirs.left is None:
        return {"reset", "interrupted"}
    return {ours.verdict}


def _heard(ours: WorkloadClaim, end: Ended) -> set[str]:
    words = {"failed": "device", "interrupted": "interrupted"}
    if ours.outcome in words:
        return {words[ours.outcome]}
    found = any(report.failed for report in end.reports or ())
    return {"finding"} if found else {"overdue"} if ours.overdue else {"passed"}


def never_began(ours: WorkloadClaim, theirs: GathererClaim) -> Said:
    """Hold a section that never began here against what the gatherer says of it."""
    say, end = saying(ours.key), theirs.ended
    yield from _whose(ours, theirs)
    if ours.local.started is not None:
        if ours.coordinated or theirs.committed is not None:
            yield say("commit", "ran alone here, and was committed at the gatherer")
        return
    if theirs.left is not None and theirs.left.outcome not in {"interrupted", "died"}:
        yield say("outcome", f"never began here, {theirs.left.outcome} at the gatherer")
    never = {"not-gathered", "withdrawn", "died-before-go"}
    missed = {"interrupted", "reset", "died-in-section"} if theirs.committed is not None else set()
    if end is not None and end.verdict not in never | missed:
        yield say("verdict", f"{ours.verdict} here, {end.verdict} at the gatherer")
