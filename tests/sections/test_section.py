"""The author's view of a section: demands, what is known when, and the verdict."""

from pathlib import Path

import pytest

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
    SettingsInvalid,
    SkewExceeded,
)
from pytest_gatherscatter.sections.census import Census, Socket, Thread
from pytest_gatherscatter.sections.section import (
    Closing,
    Demand,
    Report,
    Section,
    SectionState,
    Waiting,
    error_of,
    verdict,
)
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.codec import decode, encode
from pytest_gatherscatter.wire.messages import Finding, Hold


def demand(**given: object) -> Demand:
    """A demand of the default settings."""
    return Demand.of(Settings(), name="burst", test="test_burst", **given)


def closed(*reports: Report, asked: Demand | None = None, **closing: object) -> Section:
    """A coordinated section that the lab has closed."""
    return Section(
        demand=asked or demand(),
        id="1" * 16,
        artifacts=Path("captures"),
        coordinated=True,
        state=SectionState.CLOSED,
        members=tuple(report.agent for report in reports),
        closing=Closing(reports=reports, **closing),  # type: ignore[arg-type]
    )


def report(agent: str, *findings: Finding, cause: str = "", **given: object) -> Report:
    """A report that came in, unless there is a cause."""
    facts = {"reported": not cause, "cause": cause, "finding_list": findings, **given}
    return Report(agent=agent, **facts)  # type: ignore[arg-type]


def kinds(section: Section) -> list[type[SectionFailed]]:
    """The kinds of the verdict's errors, in order."""
    return [type(error) for error in verdict(section)]


# ── demands ────────────────────────────────────────────────────────────────────────────


def test_a_demand_takes_the_settings() -> None:
    """Waits, bench and policies come from the settings; what is given wins; None is not given."""
    settings = Settings(bench="left", gather_timeout=5.0, not_gathered="skip")
    asked = Demand.of(settings, name="n", test="t", max_duration=7.0, bench=None)
    assert (asked.bench, asked.gather_timeout, asked.not_gathered) == ("left", 5.0, "skip")
    assert asked.max_duration == 7.0


def test_requirements_are_joined() -> None:
    """What the run requires and what the test requires must both be there."""
    asked = Demand.of(Settings(require=frozenset({"a"})), name="n", test="t", require={"b"})
    assert asked.require == {"a", "b"}


@pytest.mark.parametrize(
    ("given", "demanding"),
    [
        ({}, False),
        ({"max_duration": 1.0, "quiet": "strict"}, False),
        ({"require": {"scope"}}, True),
        ({"min_monitors": 1}, True),
        ({"max_skew": 0.0}, True),
    ],
)
def test_what_demands_a_gatherer(given: dict[str, object], demanding: bool) -> None:  # noqa: FBT001 - a table
    """Required agents, a number of monitors and a skew need somebody who measures."""
    assert demand(**given).demanding is demanding


@pytest.mark.parametrize("given", [{"bench": "a.b"}, {"require": {"psu", "a b"}}])
def test_names_that_nobody_can_have(given: dict[str, object]) -> None:
    """A name that the wire cannot carry is refused at once, not taken for an absent gatherer."""
    with pytest.raises(SettingsInvalid, match="allowed are"):
        demand(**given)


def test_the_question_fits_the_wire() -> None:
    """However long the names of a test are, the gatherer can read the question."""
    asked = Demand(name="n" * 9000, bench="b", test="t" * 9000, require=frozenset({"z", "a"}))
    question = asked.question("1" * 16, owner="o" * 9000, run="2" * 16, token=3)
    assert decode(encode(question)) == question
    assert question.require == ("a", "z")


def test_what_is_skipped() -> None:
    """Policies skip absence and missing agents; a veto or a broken monitor never."""
    asked = demand(no_gatherer="skip", not_gathered="skip")
    assert asked.skips(NoGatherer("x"))
    assert asked.skips(NotGathered("x"))
    assert not asked.skips(SectionVetoed("x"))
    assert not asked.skips(MonitorBroken("x"))
    assert not demand().skips(NotGathered("x"))


# ── waiting ────────────────────────────────────────────────────────────────────────────


def waiting(state: str, *awaited: str, holds: tuple[Hold, ...] = ()) -> tuple[str, ...]:
    """The lines of a wait, 3 s of 60 s."""
    return Waiting(
        section="1" * 16,
        name="burst",
        bench="left",
        state=state,
        awaited=awaited,
        holds=holds,
        waited=3.0,
        left=57.0,
    ).lines


def test_waiting_in_words() -> None:
    """Who is awaited, who holds and why, and how long it may take."""
    assert waiting("gathering", "scope") == ("waiting for scope (3 s of 60 s)",)
    hold = Hold(agent="thermal", seconds=5.0, reason="settling")
    assert waiting("gathering", "thermal", holds=(hold,)) == ("thermal holds 5 s: settling",)
    assert len(waiting("gathering", "thermal", "scope", holds=(hold,))) == 2
    person = Hold(agent="eve@lab", seconds=0.0, reason="coffee")
    assert waiting("queued", holds=(person,)) == (
        "eve@lab holds: coffee",
        "queued for bench left (3 s of 60 s)",
    )
    assert waiting("queued", "me (t)") == ("queued for bench left behind me (t) (3 s of 60 s)",)
    assert "on this host: me" in waiting("locked", "me")[0]
    assert waiting("connecting") == ("waiting for the broker (3 s of 60 s)",)
    assert waiting("reporting") == ("waiting for the reports (3 s of 60 s)",)
    assert waiting("gathering") == ("waiting for the gatherer (3 s of 60 s)",)


# ── what is known when ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["reports", "skew_ms", "skew_bound_ms", "fenced"])
def test_too_early(what: str) -> None:
    """What is known only afterwards cannot be read inside the section."""
    section = Section(demand=demand(), id="1" * 16, artifacts=Path())
    with pytest.raises(SectionMisused, match=f"{what} can be read only after section 'burst'"):
        getattr(section, what)


def test_reports_by_name() -> None:
    """``section.reports["scope"].findings["peak_v"]`` is a plain value."""
    section = closed(report("scope", Finding(name="peak_v", value=5.1, unit="V"), started=0.002))
    assert section.reports["scope"].findings["peak_v"] < 5.5
    assert section.reports["scope"].lateness_ms == 2.0
    assert "psu" not in section.reports
    assert section.reports.get("psu") is None


def test_what_nobody_measured() -> None:
    """A missing report, finding, start or skew says what there is instead, unquoted."""
    section = closed(report("scope", Finding(name="peak_v", value=5.1)))
    with pytest.raises(NotMeasured) as caught:
        section.reports["psu"]
    assert str(caught.value) == "no report of 'psu': its members were scope"
    with pytest.raises(KeyError):
        section.reports["psu"]
    with pytest.raises(NotMeasured, match="it found peak_v"):
        section.reports["scope"].findings["peak"]
    with pytest.raises(NotMeasured, match="did not tell when it started"):
        _ = section.reports["scope"].lateness_ms
    with pytest.raises(NotMeasured, match="skew was not measured"):
        _ = section.skew_ms


def test_alone_says_why_nothing_was_measured() -> None:
    """A section that ran alone has no reports, and says why."""
    section = Section(
        demand=demand(),
        id="1" * 16,
        artifacts=Path(),
        alone_because="no gatherer in the lab",
        state=SectionState.CLOSED,
        closing=Closing(),
    )
    with pytest.raises(NotMeasured, match=r"ran alone \(no gatherer in the lab\)"):
        section.reports["scope"]


def test_facts_are_plain() -> None:
    """All that is known goes into a report's properties as bool, int, float or str."""
    section = closed(
        report("scope", Finding(name="peak_v", value=5.1), Finding(name="none")),
        report("psu", cause="missing", text="no report in time"),
        skew=0.001,
        skew_bound=0.0005,
        fenced=("old",),
    )
    section.t0, section.started, section.stopped = 10.0, 10.001, 11.0
    facts = section.facts()
    assert {type(value) for value in facts.values()} <= {bool, int, float, str}
    assert facts["skew_ms"] == 1.0
    assert facts["scope.peak_v"] == 5.1
    assert facts["psu.problem"] == "no report in time"
    assert facts["late_ms"] == 1.0
    assert facts["fenced"] == "old"


# ── the verdict ────────────────────────────────────────────────────────────────────────


def test_all_is_well() -> None:
    """A section with all that was demanded has no errors."""
    asked = demand(require={"scope"}, min_monitors=1, max_skew=0.005)
    section = closed(report("scope", required=True), asked=asked, skew=0.003, skew_bound=0.001)
    assert verdict(section) == []


def test_a_failed_finding_is_told_in_words() -> None:
    """A finding that did not pass is the device's fault; one without a verdict is a figure."""
    bad = Finding(name="peak_v", value=5.71, unit="V", passed=False, text="above 5.5 V")
    section = closed(report("scope", bad, Finding(name="rms", value=9.9)))
    (error,) = verdict(section)
    assert isinstance(error, FindingFailed)
    assert str(error) == "scope: peak_v = 5.71 V (above 5.5 V)"


@pytest.mark.parametrize("cause", ["missing", "died", "broken"])
def test_a_required_monitor_without_a_report(cause: str) -> None:
    """Unmeasured is an error that names the agent and why, once."""
    asked = demand(require={"scope"})
    section = closed(
        report("scope", cause=cause, text="exit 1", required=True),
        asked=asked,
        cause="unmeasured",
        text="unmeasured: scope (exit 1)",
    )
    (error,) = verdict(section)
    assert isinstance(error, SectionUnmeasured)
    assert str(error) == "unmeasured: scope (exit 1)"


def test_an_optional_monitor_may_fail() -> None:
    """What nobody demanded is shown and does not fail."""
    assert verdict(closed(report("scope", cause="died"))) == []


def test_a_required_agent_that_was_no_member() -> None:
    """Required, and not even in the list of reports: unmeasured all the same."""
    (error,) = verdict(closed(asked=demand(require={"scope"})))
    assert str(error) == "unmeasured: scope (no report)"


def test_too_few_monitors() -> None:
    """Fewer reports than demanded: measured by nobody, or by whom."""
    asked = demand(min_monitors=2)
    assert "measured by nobody" in str(verdict(closed(asked=asked))[0])
    assert "measured by scope" in str(verdict(closed(report("scope"), asked=asked))[0])


@pytest.mark.parametrize(
    ("skew", "bound", "fails"), [(4, 0.9, False), (4, 1.1, True), (6, 0, True)]
)
def test_the_bound_counts_against_the_skew(skew: float, bound: float, fails: bool) -> None:  # noqa: FBT001 - a table
    """The skew fails when it may be too large, not only when it surely is."""
    section = closed(asked=demand(max_skew=0.005), skew=skew / 1000, skew_bound=bound / 1000)
    assert kinds(section) == ([SkewExceeded] if fails else [])


def test_a_skew_that_nobody_measured() -> None:
    """A demanded skew without figures is exceeded."""
    assert kinds(closed(asked=demand(max_skew=0.005))) == [SkewExceeded]


def test_the_gatherers_own_words() -> None:
    """A cause that only the gatherer knows is told too."""
    assert kinds(closed(cause="reset", text="reset by ann")) == [SectionUnmeasured]


def test_the_order_of_telling() -> None:
    """The device first, then what makes its measurement doubtful."""
    section = closed(
        report("scope", Finding(name="x", passed=False)),
        asked=demand(require={"psu"}, max_skew=0.001),
        skew=0.5,
    )
    section.overdue = True
    assert kinds(section) == [FindingFailed, SectionOverdue, SectionUnmeasured, SkewExceeded]


def test_unreported() -> None:
    """Never reported is an error for a section with demands, and a line for others."""
    for asked, expected in ((demand(min_monitors=1), [SectionUnreported]), (demand(), [])):
        section = closed(asked=asked)
        section.state, section.unreported_because = SectionState.UNREPORTED, "no answer"
        assert kinds(section) == expected


def test_noise() -> None:
    """What is ours must be quiet; what is others' only if the test asks for it."""
    ours = Socket(5, "127.0.0.1:4000", "127.0.0.1:5672", "established", ours=True)
    foreign = Thread("timer", 9, python=True)
    for asked, census, expected in (
        (demand(), Census(sockets=(ours,)), [SectionNoisy]),
        (demand(), Census(threads=(foreign,)), []),
        (demand(quiet="strict"), Census(threads=(foreign,)), [SectionNoisy]),
    ):
        section = closed(asked=asked)
        section.census.entry = section.census.exit = census
        assert kinds(section) == expected


def test_causes_become_errors() -> None:
    """Each cause on the wire is its own error; others are told as not gathered."""
    assert type(error_of("vetoed", "no")) is SectionVetoed
    assert type(error_of("broken", "exit 1")) is MonitorBroken
    assert type(error_of("reset", "")) is NotGathered
    assert str(error_of("reset", "")) == "reset"
