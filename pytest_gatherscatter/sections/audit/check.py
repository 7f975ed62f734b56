"""Holds the claims of both sides against one another, and each against itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from pytest_gatherscatter.sections.audit import agreement, consistency, sequence
from pytest_gatherscatter.sections.audit.claim import (
    ArtifactClaim,
    GathererClaim,
    GathererSide,
    Key,
    Side,
    WorkloadClaim,
    WorkloadSide,
)
from pytest_gatherscatter.sections.audit.remark import Audit, Remark, Said, saying


def audit(
    workloads: WorkloadSide | None,
    gatherers: GathererSide | None,
    artifact: Callable[[ArtifactClaim], str],
) -> Audit:
    """Hold both sides against each other; a side of which nothing was given is ``None``.

    ``artifact`` says what is wrong with a captured file, in a few words; nothing if it is there.
    """
    result = Audit()
    ours = {} if workloads is None else workloads.claims
    theirs = {} if gatherers is None else gatherers.claims
    result.sections = len(ours.keys() | theirs.keys())
    for claim in ours.values():
        result.contradictions += [*consistency.workload(claim), *_artifacts(claim, artifact)]
    for told in theirs.values():
        result.contradictions += consistency.gatherer(told)
    result.contradictions += sequence.overlaps_here(ours.values())
    result.contradictions += sequence.overlaps_between_hosts(ours.values())
    result.contradictions += sequence.order(theirs.values())
    for key, claim in ours.items():
        if claim.went and key in theirs:
            result.contradictions += agreement.went(claim, theirs[key])
        elif key in theirs:
            result.contradictions += agreement.never_began(claim, theirs[key])
    for remark, is_open in (*_here_only(workloads, gatherers), *_there_only(workloads, gatherers)):
        (result.open if is_open else result.contradictions).append(remark)
    result.open += [*_unended(ours.values(), theirs), *_undecided(ours, theirs)]
    for side in (workloads, gatherers):
        unreadable = [] if side is None else side.unreadable
        result.open += [Remark("-", "line", one) for one in unreadable]
    result.contradictions.sort()
    result.open.sort()
    return result


def _artifacts(one: WorkloadClaim, artifact: Callable[[ArtifactClaim], str]) -> Said:
    for file in one.artifacts:
        if file.problem or (file.path is None and file.host):
            continue  # it did not arrive, and the record says so
        what = artifact(file) if file.path is not None else "is nowhere"
        if what:
            yield saying(one.key)("artifact", f"{file.agent}'s {file.name} {what}")


def _here_only(
    workloads: WorkloadSide | None, gatherers: GathererSide | None
) -> Iterator[tuple[Remark, bool]]:
    """Find sections of which the gatherer says nothing, and whether that may be."""
    theirs = {} if gatherers is None else gatherers.claims
    for key, one in ({} if workloads is None else workloads.claims).items():
        if one.went and key not in theirs:
            why = _unreached(gatherers, one.at, "the gatherer's records")
            text = why or "the gatherer knows nothing of it"
            yield saying(key)("other side", text), bool(why)


def _there_only(
    workloads: WorkloadSide | None, gatherers: GathererSide | None
) -> Iterator[tuple[Remark, bool]]:
    """Find committed sections of which no workload says anything, and whether that may be."""
    ours = {} if workloads is None else workloads.claims
    runs = {one.run for one in ours.values()}
    for key, told in ({} if gatherers is None else gatherers.claims).items():
        go, left = told.committed, told.left
        if go is None or key in ours:
            continue
        why = _unreached(workloads, go.at, "the workload's records")
        if not why and told.opened is not None and told.opened.run not in runs:
            why = f"nothing of its run {told.opened.run} is in the records that were given"
        if not why and left is not None and left.outcome == "died":
            why = "its workload died between the commit and its Go"
        if not why and left is None and told.ended is None:
            why = "it is between the commit and its Go"
        yield saying(key)("other side", why or "its workload knows nothing of it"), bool(why)


def _unended(ours: Iterable[WorkloadClaim], theirs: Mapping[Key, GathererClaim]) -> Said:
    """Find sections that began, and of whose end nobody has heard yet."""
    for one in ours:
        told = theirs.get(one.key)
        if one.what == "begun" and (told is None or told.over_at is None):
            text = "nobody has said yet how it ended: it runs, or its ticket will tell"
            yield saying(one.key)("end", text)


def _undecided(ours: Mapping[Key, WorkloadClaim], theirs: Mapping[Key, GathererClaim]) -> Said:
    """Find what cannot be compared, for a reason that is no contradiction."""
    for key, told in theirs.items():
        go, one = told.committed, ours.get(key)
        if go is not None and told.opened is None:
            yield saying(key)("opening", "whose it is was put aside, or is not on record")
        if go is not None and one is not None and one.went and one.gatherer != go.clock:
            text = "the gatherer was started anew, on another clock: times are not compared"
            yield saying(key)("clock", text)


def _unreached(side: Side | None, at: float, what: str) -> str:
    """Say why a side says nothing of a section of Unix time ``at``; empty if it should."""
    if side is None or not side.lines:
        return f"{what} were not given"
    if side.since is not None and at < side.since:
        return f"{what} do not reach back to it"
    return ""
