"""Leaving, reports, closing, resets, and what stays closed."""

from gathererplay import Play, section_id

from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.wire import messages as m


def test_closed_when_all_have_reported() -> None:
    """The workload hears each report, the skew and its bound."""
    play = Play("scope")
    play.join("scope", "thermal")
    section = play.go("scope", "thermal")
    play.wait(1)
    t0 = section.t0
    play.leave(started=t0 + 0.002, stopped=t0 + 1, bound=0.001)
    peak = m.Finding(name="peak", value=4.9, unit="V", passed=True)
    play.report("scope", started=t0, stopped=t0 + 1, bound=0.0005, findings=(peak,))
    assert play.said(m.SectionClosed) == []
    play.report("thermal", started=t0 + 0.001, bound=0.0001)
    (closed,) = play.said(m.SectionClosed)
    assert play.state() is S.CLOSED
    assert closed.skew is not None
    assert closed.skew_bound is not None
    assert abs(closed.skew - 0.002) < 1e-9
    assert abs(closed.skew_bound - 0.0015) < 1e-9
    scope, thermal = closed.reports
    assert (scope.agent, scope.required, scope.findings) == ("scope", True, (peak,))
    assert (thermal.agent, thermal.required) == ("thermal", False)
    assert closed.cause == ""


def test_a_missing_required_report_is_unmeasured() -> None:
    """After the report timeout the section closes and says who is missing."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.leave()
    for _ in range(16):
        play.wait(2)
        play.join("scope")
    (closed,) = play.said(m.SectionClosed)
    assert (closed.cause, closed.text) == ("unmeasured", "unmeasured: scope (no report in time)")


def test_a_missing_optional_report_is_a_line() -> None:
    """The section is not at fault, but the report says that it is missing."""
    play = Play()
    play.join("extra")
    play.go("extra")
    play.leave()
    for _ in range(16):
        play.wait(2)
        play.join("extra")
    (closed,) = play.said(m.SectionClosed)
    assert closed.cause == ""
    assert closed.reports[0].cause == "missing"


def test_a_required_member_that_died_is_not_waited_for() -> None:
    """Its inbox is gone: the section closes at once, unmeasured."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.tell(m.LeaveLab(agent="scope", instance="abcdef0123456789", reason="crashed"))
    play.leave()
    (closed,) = play.said(m.SectionClosed)
    assert closed.text == "unmeasured: scope (died in the section: crashed)"


def test_a_broken_required_report_is_unmeasured() -> None:
    """A monitor whose stop hook broke has measured nothing."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.leave()
    play.report("scope", broken="exit 1")
    assert play.said(m.SectionClosed)[0].text == "unmeasured: scope (exit 1)"


def test_leaving_twice_is_answered_twice_and_counts_once() -> None:
    """The second answer is the first one again."""
    play = Play()
    play.go()
    play.leave()
    (first,) = play.said(m.SectionClosed)
    play.leave()
    assert play.said(m.SectionClosed) == [first]
    assert len(play.said(m.LeaveAccepted)) == 2
    assert [record["what"] for record in play.records].count("closed") == 1


def test_a_leave_with_an_old_token_opens_nothing() -> None:
    """It is refused and on record."""
    play = Play()
    section = play.go()
    play.leave(token=section.token - 1)
    assert play.said(m.LeaveAccepted)[0].known is False
    assert play.state() is S.COMMITTED
    assert section.fenced == [f"leave with token {section.token - 1}"]


def test_a_report_after_closing_is_fenced() -> None:
    """The agent hears that it came too late; nothing is merged."""
    play = Play()
    play.join("scope")
    section = play.go("scope")
    play.leave()
    play.wait(30.1)
    closed = section.closed
    play.join("scope")
    play.said(m.ReportAccepted)
    play.report("scope")
    assert play.said(m.ReportAccepted)[0].fenced is True
    assert section.closed is closed
    assert section.reports == {}


def test_a_report_twice_is_accepted_twice_and_merged_once() -> None:
    """The agent may not have heard the first answer."""
    play = Play()
    play.join("scope", "thermal")
    section = play.go("scope", "thermal")
    play.leave()
    play.report("scope")
    play.report("scope")
    assert [one.fenced for one in play.said(m.ReportAccepted)] == [False, False]
    assert section.fenced == []


def test_time_alone_never_opens_a_live_bench() -> None:
    """Overdue is said, and the bench stays closed."""
    play = Play()
    play.go(max_duration=1.0)
    play.enter(2, queue_timeout=1000)
    play.wait(500)
    assert play.state() is S.OVERDUE
    assert play.state(2) is S.QUEUED
    assert "overdue" in play.said(m.SectionWaiting)[-1].awaited[0]
    play.leave(1)
    assert play.state(2) is S.GATHERED


def test_a_reset_opens_the_bench_and_names_who_did_it() -> None:
    """Monitors are told to disarm, the person hears what was given up."""
    play = Play()
    section = play.go()
    play.enter(2)
    play.there.add("reply.ff")
    play.tell(m.ResetLab(section=section_id(1), who="eve"), "reply.ff")
    assert (play.state(), section.text) == (S.ABORTED, "reset by eve")
    assert play.state(2) is S.GATHERED
    assert play.said(m.ResetDone)[0].lines == (
        "section burst1 of pid 2@host (test_x): was committed",
    )


def test_who_comes_back_from_a_section_that_was_reset_is_told() -> None:
    """It was quiet when it happened: without an answer it would wait for reports in vain."""
    play = Play()
    play.go()
    play.wait(1)
    play.tell(m.ResetLab(bench="default", who="eve"))
    play.said(m.SectionAborted)
    play.leave()
    assert play.said(m.LeaveAccepted)[0].known is True
    assert [one.text for one in play.said(m.SectionAborted)] == ["reset by eve"]


def test_a_hold_that_was_reset_is_not_renewed() -> None:
    """Its holder is told at once and at each renewal; another hold of the bench is taken."""
    play = Play()
    play.there.add("reply.ff")
    hold = m.HoldBench(hold="f" * 8, bench="default", holder="ann", seconds=10.0)
    play.tell(hold, "reply.ff")
    play.tell(m.ResetLab(bench="default", who="eve"))
    assert [one.text for one in play.said(m.HoldEnded)] == ["reset by eve"]
    play.said(m.BenchHeld)
    play.wait(300)
    play.tell(hold, "reply.ff")
    assert [one.hold for one in play.said(m.HoldEnded)] == ["f" * 8]
    assert play.said(m.BenchHeld) == []
    play.enter()
    assert play.state() is S.GATHERED
    play.tell(m.HoldBench(hold="e" * 8, bench="other", holder="ann", seconds=1.0), "reply.ff")
    assert play.said(m.BenchHeld)[0].hold == "e" * 8


def test_holds_that_were_reset_are_forgotten_in_time() -> None:
    """The gatherer's memory does not grow for ever."""
    play = Play()
    play.there.add("reply.ff")
    hold = m.HoldBench(hold="f" * 8, bench="default", holder="ann", seconds=10.0)
    play.tell(hold)
    play.tell(m.ResetLab(everything=True))
    play.wait(601)
    play.tell(hold, "reply.ff")
    assert len(play.said(m.BenchHeld)) == 1


def test_withdrawing_before_the_commit_frees_the_bench() -> None:
    """An interrupted test waits for nobody."""
    play = Play("scope")
    play.enter(1)
    play.enter(2)
    play.tell(m.WithdrawSection(section=section_id(1), reason="interrupted"))
    assert play.state() is S.ABORTED
    assert play.state(2) is S.GATHERING


def test_withdrawing_after_the_commit_changes_nothing() -> None:
    """Inside, only leaving counts."""
    play = Play()
    play.go()
    play.tell(m.WithdrawSection(section=section_id(1)))
    assert play.state() is S.COMMITTED


def test_a_report_that_is_said_in_other_words_is_still_the_same_report() -> None:
    """One process makes one report of a section; the first that came counts."""
    play = Play()
    play.join("scope", "thermal")
    section = play.go("scope", "thermal")
    play.leave()
    play.report("scope", started=101.0)
    play.report("scope", started=101.001)
    assert [one.fenced for one in play.said(m.ReportAccepted)] == [False, False]
    assert section.reports["scope"].started == 101.0
    assert section.fenced == []
    play.report("scope", instance="1" * 16)
    assert play.said(m.ReportAccepted)[0].fenced is True


def test_a_start_without_a_bound_is_no_measurement() -> None:
    """Its clock was never read; nor does a bound below nothing make others finer."""
    play = Play()
    play.join("scope", "thermal", "assumed")
    section = play.go("scope", "thermal", "assumed")
    play.leave()
    play.report("assumed", started=section.t0 + 9.0)
    play.report("scope", started=section.t0, bound=0.001)
    play.report("thermal", started=section.t0 + 0.002, bound=-5.0)
    (closed,) = play.said(m.SectionClosed)
    assert closed.skew is not None
    assert abs(closed.skew - 0.002) < 1e-9
    assert closed.skew_bound == 0.001


def test_a_report_of_another_process_is_fenced() -> None:
    """Who has the token, which all may read in the Go, has not yet the member's name."""
    play = Play("scope")
    play.join("scope")
    section = play.go("scope")
    play.leave()
    play.report("scope", instance="f" * 16)
    assert play.said(m.ReportAccepted)[-1].fenced
    assert section.reports == {}
    play.report("scope")
    assert play.said(m.SectionClosed)[0].cause == ""
