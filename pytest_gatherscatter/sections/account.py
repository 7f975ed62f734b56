"""What a workload writes down about its section, for an audit to hold against the gatherer's word.

Two lines of JSON a section: ``begun`` at go, so that one that is killed inside has a line too,
and ``ended``, which says all of it again with what came of it. Times are on the gatherer's clock;
those under ``local`` are on this host's, whose id is ``clock``. Pure: the shell writes.
"""

import hashlib
from typing import Any

import msgspec

from pytest_gatherscatter.sections.section import CapturedFile, Section, SectionState
from pytest_gatherscatter.sections.verdict import SectionVerdict
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.wire.messages import MemberReport

Facts = dict[str, Any]


def begun(section: Section, machine: Workload, *, now: float) -> Facts:
    """State what is known at go; ``now`` is local."""
    demand, go, clock = section.demand, machine.go, machine.clock
    facts: Facts = {
        "what": "begun",
        "section": section.id,
        "token": section.token,
        "bench": section.bench,
        "name": section.name,
        "test": demand.test,
        "coordinated": section.coordinated,
        "alone_because": section.alone_because,
        "require": sorted(demand.require),
        "min_monitors": demand.min_monitors,
        "max_skew": demand.max_skew,
        "max_duration": demand.max_duration,
        "local": {"t0": section.t0, "started": section.started, "stopped": section.stopped},
    }
    if go is not None:
        known = clock.known(go.gatherer) and section.t0 is not None
        facts |= {
            "gatherer": go.gatherer,
            "members": list(go.members),
            "sent": go.sent,
            "t0": go.t0,
            "deadline": go.deadline,
            "t0_bound": clock.bound(section.t0 or now) if known else None,
        }
    return facts


def ended(section: Section, machine: Workload, verdict: SectionVerdict, *, now: float) -> Facts:
    """State what came of a section, begun or not; ``now`` is local."""
    facts = begun(section, machine, now=now) | {
        "what": "ended",
        "verdict": verdict.value,
        "outcome": section.outcome,
        "state": section.state.value,
        "overdue": section.overdue,
        "given_up": section.given_up,
        "unreported_because": section.unreported_because,
        "noise": _noise(section),
    }
    go, clock, times = machine.go, machine.clock, (section.started, section.stopped)
    if go is not None and clock.known(go.gatherer):
        facts["started"], facts["stopped"] = (
            None if time is None else clock.to_gatherer(time, now) for time in times
        )
        facts["bound"] = max((clock.bound(time) for time in times if time is not None), default=0.0)
    closed = machine.closed
    if closed is not None and section.closing is not None and section.state is SectionState.CLOSED:
        facts |= {
            "cause": closed.cause,
            "skew": closed.skew,
            "skew_bound": closed.skew_bound,
            "reports": [reported(report) for report in closed.reports],
            "fenced": list(closed.fenced),
            "artifacts": [
                _artifact(section, report.agent, file)
                for report in section.closing.reports
                for file in report.artifacts
            ],
        }
    return facts


def _noise(section: Section) -> list[str]:
    """List what was open and should not have been."""
    if not section.coordinated:
        return []
    lines = section.census.noise(ours=True)
    if section.demand.quiet == "strict":
        lines += section.census.noise(ours=False)
    return list(lines)


def _artifact(section: Section, agent: str, file: CapturedFile) -> Facts:
    """State where a captured file is: under the folder of all artifacts, or on its host."""
    place = None if file.path is None else file.path.relative_to(section.artifacts.parent)
    return {
        "agent": agent,
        "name": file.name,
        "size": file.size,
        "sha256": file.sha256,
        "path": None if place is None else place.as_posix(),
        "host": file.host,
        "problem": file.problem,
    }


# ── both sides ─────────────────────────────────────────────────────────────────────────


def reported(report: MemberReport) -> Facts:
    """State one member's report: what a verdict rests on, and the digest of all of it."""
    return {
        "agent": report.agent,
        "required": report.required,
        "reported": report.reported,
        "started": report.started,
        "stopped": report.stopped,
        "bound": report.bound,
        "cause": report.cause,
        "failed": [one.name for one in report.findings if one.passed is False],
        "sha256": digest(report),
    }


def digest(report: MemberReport) -> str:
    """Return the SHA-256 of what a report says, the same on both sides.

    Its fields are named here, so that one of a newer version changes nothing.
    """
    said = (
        report.agent,
        report.required,
        report.reported,
        report.started,
        report.stopped,
        report.bound,
        report.cause,
        report.text,
        [(one.name, one.value, one.unit, one.passed, one.text) for one in report.findings],
        [(one.name, one.size, one.sha256) for one in report.artifacts],
    )
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()
