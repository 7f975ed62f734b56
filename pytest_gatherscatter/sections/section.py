"""A section as its author sees it: what was demanded, and what came of it.

Pure values. A :class:`Demand` (``demand.py``) is what the marker, the fixture or the command
line ask for; a :class:`Section` is the view that the test holds while it runs and afterwards,
with a :class:`Report` (``report.py``) of each member; :func:`verdict` turns a closed section
into the errors to tell, in their order. What is known only after the section has closed cannot
be read earlier: a test that looks at ``section.reports`` inside the section would otherwise
pass on an empty mapping.
"""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NoReturn

from pytest_gatherscatter.errors import (
    FindingFailed,
    MonitorBroken,
    NoGatherer,
    NotGathered,
    NotMeasured,
    SectionFailed,
    SectionMisused,
    SectionNoisy,
    SectionOverdue,
    SectionUnmeasured,
    SectionUnreported,
    SectionVetoed,
    SkewExceeded,
)
from pytest_gatherscatter.sections.census import Census
from pytest_gatherscatter.sections.demand import Demand, Waiting
from pytest_gatherscatter.sections.report import CapturedFile, Findings, Report, Reports
from pytest_gatherscatter.sections.verdict import SectionVerdict, verdict_of
from pytest_gatherscatter.wire.messages import Finding, Hold

__all__ = [
    "CapturedFile",
    "Closing",
    "Demand",
    "Findings",
    "Quiet",
    "Report",
    "Reports",
    "Section",
    "SectionState",
    "SectionVerdict",
    "Waiting",
    "error_of",
    "finding_line",
    "verdict",
]


class SectionState(Enum):
    """Where a section stands, for its author."""

    GATHERED = "gathered"
    RUNNING = "running"
    CLOSED = "closed"
    UNREPORTED = "unreported"


@dataclass(slots=True, kw_only=True)
class Closing:
    """What the lab says at the end of a section, on this host's terms."""

    reports: tuple[Report, ...] = ()
    skew: float | None = None
    skew_bound: float | None = None
    fenced: tuple[str, ...] = ()
    cause: str = ""
    text: str = ""


@dataclass(slots=True, kw_only=True)
class Quiet:
    """What the process kept open right before the body and right after it."""

    entry: Census | None = None
    exit: Census | None = None

    def noise(self, *, ours: bool) -> tuple[str, ...]:
        """Lines of the sockets and threads that were open at either end, each once."""
        lines = [
            line
            for census in (self.entry, self.exit)
            if census is not None
            for line in (census.ours() if ours else census.foreign())
        ]
        return tuple(dict.fromkeys(lines))


@dataclass(slots=True, kw_only=True)
class Section:
    """One section, in the hands of the test. Times are on this host's monotonic clock.

    ``coordinated`` is false when it ran without a gatherer, and ``alone_because`` says why.
    ``started`` is when the body began, ``late`` how many seconds after ``t0`` that was.
    ``artifacts`` is the folder into which captures come, one folder an agent. ``given_up``
    says that the lab opened the bench while the body ran, as a person's reset does.
    ``outcome`` is how the body ended, once it has: ``passed``, ``failed`` or ``interrupted``.
    """

    demand: Demand
    id: str
    artifacts: Path
    coordinated: bool = False
    alone_because: str = ""
    token: int = 0
    members: tuple[str, ...] = ()
    state: SectionState = SectionState.GATHERED
    waited: float = 0.0
    holds: tuple[Hold, ...] = ()
    t0: float | None = None
    deadline: float | None = None
    started: float | None = None
    stopped: float | None = None
    lead: float | None = None
    overdue: bool = False
    census: Quiet = field(default_factory=Quiet)
    unreported_because: str = ""
    given_up: bool = False
    closing: Closing | None = None
    outcome: str = ""

    def __repr__(self) -> str:
        """Show it in a few words: pytest prints it beside a failed assertion."""
        how = "coordinated" if self.coordinated else "alone"
        return f"<Section {self.name!r} on {self.bench}: {self.state.value}, {how}>"

    @property
    def name(self) -> str:
        """The name that the test gave it."""
        return self.demand.name

    @property
    def bench(self) -> str:
        """The bench that it has for itself."""
        return self.demand.bench

    @property
    def late(self) -> float:
        """Seconds from ``t0`` to the start of the body; 0 before it began."""
        if self.t0 is None or self.started is None:
            return 0.0
        return max(0.0, self.started - self.t0)

    @property
    def duration(self) -> float | None:
        """Seconds that the body took, once it is over."""
        if self.started is None or self.stopped is None:
            return None
        return self.stopped - self.started

    # ── known only after it closed ─────────────────────────────────────────────────────

    @property
    def reports(self) -> Reports:
        """Reports by agent.

        Raises:
            SectionMisused: the section is not closed yet.
        """
        __tracebackhide__ = True
        closing = self._closed("reports")
        return Reports(closing.reports, missing=self._why_nothing())

    @property
    def skew_ms(self) -> float:
        """Spread of the measured starts in milliseconds.

        Raises:
            SectionMisused: the section is not closed yet.
            NotMeasured: nobody told when it started.
        """
        __tracebackhide__ = True
        skew = self._closed("skew_ms").skew
        return self._unmeasured("skew") if skew is None else skew * 1000

    @property
    def skew_bound_ms(self) -> float:
        """How far ``skew_ms`` may be off, in milliseconds; raises like it."""
        __tracebackhide__ = True
        bound = self._closed("skew_bound_ms").skew_bound
        return self._unmeasured("bound of the skew") if bound is None else bound * 1000

    @property
    def fenced(self) -> tuple[str, ...]:
        """Agents whose reports came too late to count; raises like ``reports``."""
        __tracebackhide__ = True
        return self._closed("fenced").fenced

    @property
    def verdict(self) -> SectionVerdict:
        """What came of it, in one word; raises like ``reports``."""
        __tracebackhide__ = True
        self._closed("verdict")
        causes = {error.cause for error in verdict(self)}
        if self.state is SectionState.UNREPORTED:
            causes.add(SectionVerdict.UNREPORTED.value)
        return verdict_of(self.outcome, causes, given_up=self.given_up)

    def facts(self) -> dict[str, bool | int | float | str]:
        """What is known by now in plain types, for a report's properties."""
        facts: dict[str, bool | int | float | str] = {
            "coordinated": self.coordinated,
            "bench": self.bench,
            "state": self.state.value,
            "waited": round(self.waited, 3),
        }
        if not self.coordinated:
            facts["alone_because"] = self.alone_because
        if self.coordinated:
            facts |= {"id": self.id, "token": self.token, "members": ",".join(self.members)}
        if self.lead is not None:
            facts["lead_ms"] = round(self.lead * 1000, 3)
        if self.started is not None:
            facts["late_ms"] = round(self.late * 1000, 3)
        if self.duration is not None:
            facts["duration"] = round(self.duration, 3)
        if self.overdue:
            facts["overdue"] = True
        if self.holds:
            facts["holds"] = "; ".join(f"{hold.agent}: {hold.reason}" for hold in self.holds)
        if self.unreported_because:
            facts["unreported_because"] = self.unreported_because
        if self.closing is not None:
            facts |= {"verdict": self.verdict.value, **_closing_facts(self.closing)}
        return facts

    def _closed(self, what: str) -> Closing:
        __tracebackhide__ = True
        if self.closing is None:
            raise SectionMisused(
                f"{what} can be read only after section {self.name!r} has closed;"
                " look at it after the with block, or in check="
            )
        return self.closing

    def _why_nothing(self) -> str:
        if not self.coordinated:
            return f"the section ran alone ({self.alone_because})"
        if self.state is SectionState.UNREPORTED:
            return f"the section is unreported ({self.unreported_because})"
        return f"its members were {', '.join(self.members) or 'none'}"

    def _unmeasured(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        raise NotMeasured(f"the {what} was not measured: {self._why_nothing()}")


def _closing_facts(closing: Closing) -> dict[str, bool | int | float | str]:
    facts: dict[str, bool | int | float | str] = {}
    if closing.skew is not None:
        facts["skew_ms"] = round(closing.skew * 1000, 3)
    if closing.skew_bound is not None:
        facts["skew_bound_ms"] = round(closing.skew_bound * 1000, 3)
    for report in closing.reports:
        for finding in report.finding_list:
            value = finding.value
            facts[f"{report.agent}.{finding.name}"] = "" if value is None else value
        if report.problem:
            facts[f"{report.agent}.problem"] = report.text or report.cause
    if closing.fenced:
        facts["fenced"] = ",".join(closing.fenced)
    return facts


# ── what to tell ───────────────────────────────────────────────────────────────────────

_BY_CAUSE: dict[str, type[SectionFailed]] = {
    kind.cause: kind
    for kind in (
        NoGatherer,
        NotGathered,
        SectionVetoed,
        MonitorBroken,
        SectionUnmeasured,
        SectionOverdue,
        SectionUnreported,
        SkewExceeded,
    )
}


def error_of(cause: str, text: str) -> SectionFailed:
    """Return the error that a ``cause`` on the wire stands for.

    A cause that has no error of its own (``reset``, ``withdrawn``) is a
    :class:`NotGathered` that says so.
    """
    kind = _BY_CAUSE.get(cause)
    return NotGathered(text or cause) if kind is None else kind(text or cause)


def verdict(section: Section) -> list[SectionFailed]:
    """Return what is wrong with a section that is over, in the order to tell it.

    The device's fault (:class:`FindingFailed`) comes first, then what makes its measurement
    doubtful. A section that ran alone by policy was measured by nobody, and that is no error
    here: whether it may is decided before it starts.
    """
    closing = section.closing
    errors: list[SectionFailed] = []
    if closing is not None:
        errors += _failed_findings(closing)
    if section.overdue:
        errors.append(SectionOverdue(_overdue_text(section)))
    if closing is not None and section.coordinated and section.state is SectionState.CLOSED:
        errors += _unmeasured(section, closing)
        errors += _skew(section, closing)
        if closing.cause and closing.cause not in {error.cause for error in errors}:
            kind = _BY_CAUSE.get(closing.cause, SectionUnmeasured)
            errors.append(kind(closing.text or closing.cause))
    errors += _noise(section)
    told = section.demand.demanding or section.given_up
    if section.state is SectionState.UNREPORTED and told:
        errors.append(SectionUnreported(section.unreported_because or "the gatherer was not told"))
    return errors


def _failed_findings(closing: Closing) -> list[SectionFailed]:
    return [
        FindingFailed(f"{report.agent}: {finding_line(finding)}")
        for report in closing.reports
        for finding in report.finding_list
        if finding.passed is False
    ]


def finding_line(finding: Finding) -> str:
    """Say a finding in a line: ``peak_v = 5.71 V (above 5.5 V)``."""
    value = f"{finding.value:g}" if isinstance(finding.value, float) else f"{finding.value}"
    unit = f" {finding.unit}" if finding.unit else ""
    return f"{finding.name} = {value}{unit}" + (f" ({finding.text})" if finding.text else "")


def _overdue_text(section: Section) -> str:
    took = f"took {section.duration:.1f} s" if section.duration is not None else "ran on"
    return f"section {section.name!r} {took}, {section.demand.max_duration:g} s were allowed"


def _unmeasured(section: Section, closing: Closing) -> list[SectionFailed]:
    errors: list[SectionFailed] = []
    there = {r.agent for r in closing.reports if r.reported and r.cause in {"", "overdue"}}
    told = {report.agent: report for report in closing.reports}
    for agent in sorted(
        section.demand.require | {report.agent for report in closing.reports if report.required}
    ):
        report = told.get(agent)
        if agent not in there:
            why = "no report" if report is None else report.text or report.cause or "no report"
            errors.append(SectionUnmeasured(f"unmeasured: {agent} ({why})"))
    if len(there) < section.demand.min_monitors:
        who = ", ".join(sorted(there)) or "nobody"
        errors.append(
            SectionUnmeasured(
                f"measured by {who}: {section.demand.min_monitors} monitors were demanded"
            )
        )
    return errors


def _skew(section: Section, closing: Closing) -> list[SectionFailed]:
    limit = section.demand.max_skew
    if limit is None:
        return []
    if closing.skew is None:
        return [SkewExceeded("the skew was not measured: nobody told when it started")]
    worst = closing.skew + (closing.skew_bound or 0.0)
    if worst <= limit:
        return []
    return [
        SkewExceeded(
            f"skew {closing.skew * 1000:.3f} ms + bound {(closing.skew_bound or 0.0) * 1000:.3f} ms"
            f" passes {limit * 1000:g} ms"
        )
    ]


def _noise(section: Section) -> list[SectionFailed]:
    if not section.coordinated:
        return []  # there was nothing to be quiet for
    lines = section.census.noise(ours=True)
    if section.demand.quiet == "strict":
        lines += section.census.noise(ours=False)
    return [SectionNoisy("not quiet: " + "; ".join(lines))] if lines else []
