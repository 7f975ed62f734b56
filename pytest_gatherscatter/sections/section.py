"""A section as its author sees it: what was demanded, and what came of it.

Pure values. A :class:`Demand` is what the marker, the fixture or the command line ask for; a
:class:`Section` is the view that the test holds while it runs and afterwards; :func:`verdict`
turns a closed section into the errors to tell, in their order. What is known only after the
section has closed cannot be read earlier: a test that looks at ``section.reports`` inside the
section would otherwise pass on an empty mapping.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NoReturn

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
from pytest_gatherscatter.settings import NoGatherer as NoGathererPolicy
from pytest_gatherscatter.settings import NotGathered as NotGatheredPolicy
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import Finding, Hold

# ── what is asked for ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one section asks for; ``Demand.of`` fills in what the settings say.

    ``max_skew`` and all waits are in seconds. ``quiet="strict"`` fails when others in the
    process keep sockets or threads open during the section, and not only when we do.
    """

    name: str
    bench: str
    test: str
    require: frozenset[str] = frozenset()
    min_monitors: int = 0
    max_skew: float | None = None
    max_duration: float = 300.0
    no_gatherer: NoGathererPolicy | None = None
    not_gathered: NotGatheredPolicy = "fail"
    quiet: Literal["report", "strict"] = "report"
    handshake_timeout: float = 2.0
    queue_timeout: float = 3600.0
    gather_timeout: float = 60.0
    hold_limit: float = 900.0
    report_timeout: float = 30.0

    @classmethod
    def of(cls, settings: Settings, *, name: str, test: str, **given: Any) -> "Demand":  # noqa: ANN401 - keywords of many types, each checked by the dataclass's reader
        """Make a demand out of the settings, with ``given`` fields on top.

        ``require`` is the union of both; of everything else the given one wins. A value of
        ``None`` counts as not given.
        """
        given = {key: value for key, value in given.items() if value is not None}
        require = settings.require | frozenset(given.pop("require", ()))
        waits = {
            wait: getattr(settings, wait)
            for wait in (
                "bench",
                "handshake_timeout",
                "queue_timeout",
                "gather_timeout",
                "hold_limit",
                "max_duration",
                "report_timeout",
                "no_gatherer",
                "not_gathered",
            )
        }
        return cls(**{**waits, "name": name, "test": test, "require": require, **given})

    @property
    def demanding(self) -> bool:
        """Whether it asks for something that only a gatherer and monitors can give."""
        return bool(self.require) or self.min_monitors > 0 or self.max_skew is not None

    def skips(self, error: SectionFailed) -> bool:
        """Say whether the policies turn ``error`` into a skip.

        A veto and a broken hook are never skipped: somebody said no, that is news.
        """
        if isinstance(error, NoGatherer):
            return self.no_gatherer == "skip"
        return type(error) is NotGathered and self.not_gathered == "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """For whom a section waits, as shown to people while it does.

    ``state`` is ``connecting``, ``queued``, ``gathering``, ``locked`` (the bench's lock file on
    this host) or ``reporting``. ``waited`` and ``left`` are seconds.
    """

    section: str
    name: str
    bench: str
    state: str
    awaited: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    waited: float = 0.0
    left: float = 0.0

    @property
    def lines(self) -> tuple[str, ...]:
        """Say it in words, a line for each cause: ``waiting for scope (3 s of 60 s)``."""
        lines = [
            f"{hold.agent} holds {hold.seconds:.0f} s: {hold.reason or 'no reason given'}"
            for hold in self.holds
        ]
        holders = {hold.agent for hold in self.holds}
        awaited = ", ".join(agent for agent in self.awaited if agent not in holders)
        span = f"({self.waited:.0f} s of {self.waited + self.left:.0f} s)"
        match self.state:
            case "queued":
                lines.append(f"queued for bench {self.bench} behind {awaited or 'others'} {span}")
            case "locked":
                owner = awaited or "another process"
                lines.append(f"waiting for bench {self.bench} on this host: {owner} {span}")
            case "connecting":
                lines.append(f"waiting for the broker {span}")
            case "reporting":
                lines.append(f"waiting for {awaited or 'the reports'} {span}")
            case _ if awaited or not lines:
                lines.append(f"waiting for {awaited or 'the gatherer'} {span}")
        return tuple(lines)


# ── what came of it ────────────────────────────────────────────────────────────────────


class SectionState(Enum):
    """Where a section stands, for its author."""

    GATHERED = "gathered"
    RUNNING = "running"
    CLOSED = "closed"
    UNREPORTED = "unreported"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedFile:
    """A file that a monitor handed in.

    ``path`` is the copy on this host, or ``None`` if there is none: then ``host`` and
    ``remote_path`` say where the file stayed (it was larger than the limit), or ``problem``
    says what went wrong on the way.
    """

    name: str
    size: int
    sha256: str
    path: Path | None = None
    host: str = ""
    remote_path: str = ""
    problem: str = ""


class Findings(Mapping[str, Any]):
    """Values by the finding's name; of two findings of one name the later counts."""

    def __init__(self, agent: str, findings: tuple[Finding, ...]) -> None:
        self._agent = agent
        self._values = {finding.name: finding.value for finding in findings}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a finding is any JSON scalar
        """Return the value.

        Raises:
            NotMeasured: naming what was found instead (also a ``KeyError``).
        """
        try:
            return self._values[name]
        except KeyError:
            there = ", ".join(self._values) or "nothing"
            raise NotMeasured(f"{self._agent} found no {name!r}; it found {there}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the names."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show them like a dict."""
        return repr(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one member handed in.

    ``started`` and ``stopped`` are seconds after the section's ``t0``, each known to
    ``bound`` seconds; ``cause`` is empty if all is well, else ``missing``, ``died``,
    ``broken`` or ``overdue``, and ``text`` says more.
    """

    agent: str
    required: bool = False
    reported: bool = False
    started: float | None = None
    stopped: float | None = None
    bound: float | None = None
    finding_list: tuple[Finding, ...] = ()
    artifacts: tuple[CapturedFile, ...] = ()
    cause: str = ""
    text: str = ""

    @property
    def findings(self) -> Findings:
        """Values by name: ``report.findings["peak_v"] < 5.5``."""
        return Findings(self.agent, self.finding_list)

    @property
    def lateness_ms(self) -> float:
        """How long after ``t0`` it started, in milliseconds.

        Raises:
            NotMeasured: it never told.
        """
        if self.started is None:
            raise NotMeasured(f"{self.agent} did not tell when it started")
        return self.started * 1000

    @property
    def problem(self) -> str:
        """What went wrong with this member, in a line; empty if nothing."""
        return f"{self.agent}: {self.text or self.cause}" if self.cause else ""


class Reports(Mapping[str, Report]):
    """Reports by agent, of a closed section."""

    def __init__(self, reports: tuple[Report, ...], *, missing: str) -> None:
        self._reports = {report.agent: report for report in reports}
        self._missing = missing

    def __getitem__(self, agent: str) -> Report:
        """Return the agent's report.

        Raises:
            NotMeasured: nothing came from it (also a ``KeyError``).
        """
        try:
            return self._reports[agent]
        except KeyError:
            raise NotMeasured(f"no report of {agent!r}: {self._missing}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the agents' names."""
        return iter(self._reports)

    def __len__(self) -> int:
        """Count the reports."""
        return len(self._reports)

    def __repr__(self) -> str:
        """Show them like a dict."""
        return repr(self._reports)


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
    ``artifacts`` is the folder into which captures come, one folder an agent.
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
    closing: Closing | None = None

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
        closing = self._closed("reports")
        return Reports(closing.reports, missing=self._why_nothing())

    @property
    def skew_ms(self) -> float:
        """Spread of the measured starts in milliseconds.

        Raises:
            SectionMisused: the section is not closed yet.
            NotMeasured: nobody told when it started.
        """
        skew = self._closed("skew_ms").skew
        return self._unmeasured("skew") if skew is None else skew * 1000

    @property
    def skew_bound_ms(self) -> float:
        """How far ``skew_ms`` may be off, in milliseconds; raises like it."""
        bound = self._closed("skew_bound_ms").skew_bound
        return self._unmeasured("bound of the skew") if bound is None else bound * 1000

    @property
    def fenced(self) -> tuple[str, ...]:
        """Agents whose reports came too late to count; raises like ``reports``."""
        return self._closed("fenced").fenced

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
            facts |= _closing_facts(self.closing)
        return facts

    def _closed(self, what: str) -> Closing:
        if self.closing is None:
            raise SectionMisused(
                f"{what} is known only after section {self.name!r} has closed;"
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
    if section.state is SectionState.UNREPORTED and section.demand.demanding:
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
