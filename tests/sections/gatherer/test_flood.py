"""More of everything than there is room for: memory stays bounded, answers stay readable."""

from collections.abc import Iterator

import pytest
from gathererplay import INSTANCE, Play, section_id

from pytest_gatherscatter.machine import Received, Returned, Send
from pytest_gatherscatter.sections.gatherer import abridgement, lab
from pytest_gatherscatter.sections.gatherer.record import MOST_FENCED, SHOWN
from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.sections.token import LAST_CLAIM
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import messages as m

LONG = "\N{SNOWMAN}" * 4096


def heard(play: Play) -> Iterator[m.Message]:
    """Decode all that the machine said, as whoever it is for would."""
    for effect in play.effects:
        if (message := getattr(effect, "message", None)) is not None:
            yield codec.decode(codec.encode(message), codec.type_of(message))


def test_sections_that_nobody_waits_for_are_not_kept_by_the_thousand() -> None:
    """Each is entered for a reply queue that is not there."""
    play = Play()
    for number in range(1, lab.MOST_ENDED + 300):
        play.enter(number)
        play.there.clear()
        play.tell(m.WithdrawSection(section=section_id(number)))
    assert len(play.machine.lab.sections) == len(play.machine.lab.ended) == lab.MOST_ENDED
    play.wait(lab.KEPT + 1)
    kept = play.machine.lab
    assert (len(kept.sections), len(kept.ended), len(kept.purposes)) == (0, 0, 0)


def test_an_open_section_too_many_is_refused() -> None:
    """With a word; what has ended makes room."""
    play = Play()
    for number in range(1, lab.MOST_SECTIONS + 1):
        play.enter(number, bench=f"b{number % 4}")
    with pytest.raises(KeyError):
        play.enter(lab.MOST_SECTIONS + 1)
    assert play.said(m.SectionRefused)[0].cause == "not-gathered"
    play.tell(m.WithdrawSection(section=section_id(7)))
    assert play.enter(lab.MOST_SECTIONS + 1, bench="b3").state is S.QUEUED


def test_a_section_too_many_on_a_bench_is_refused_and_others_are_not() -> None:
    """The word says what to do; what has ended makes room; nothing of it was on record."""
    play = Play()
    for number in range(1, lab.MOST_ON_A_BENCH + 1):
        play.enter(number)
    records = len(play.records)
    with pytest.raises(KeyError):
        play.enter(5000)
    (refused,) = play.said(m.SectionRefused)
    assert (refused.section, refused.cause) == (section_id(5000), "not-gathered")
    assert refused.text == (
        "bench default has 1000 open sections; wait until some are over, or give them up with "
        "gatherscatter reset --bench default"
    )
    assert len(play.records) == records
    assert play.enter(5001, bench="other").state is S.GATHERED
    play.tell(m.WithdrawSection(section=section_id(7)))
    assert play.enter(5000).state is S.QUEUED


def test_entering_for_a_queue_that_is_not_there_costs_no_sync() -> None:
    """Nor does giving up what was not committed: a restart forgets it without a word."""
    play = Play()
    for number in range(1, 50):
        enter = m.EnterSection(
            section=section_id(number),
            name="flood",
            bench="default",
            test="t",
            owner="mallory",
            run="0" * 16,
            max_duration=1.0,
            queue_timeout=1.0,
            gather_timeout=1.0,
            hold_limit=1.0,
            report_timeout=1.0,
        )
        play.tell(enter, "reply.gone")
    assert play.records == []
    play.enter(1)
    play.tell(m.WithdrawSection(section=section_id(1)))
    assert play.state(1) is S.ABORTED
    assert [record["what"] for record in play.records] == ["opened"]


def test_a_token_that_was_not_recorded_is_not_given_twice_to_those_who_know_it() -> None:
    """The gatherer dies before it hears that its acceptance was taken; the workload tells it."""
    old = Play()
    enter = old.enter(1)
    new = Play(recovered=({"what": "token", "token": enter.token - 1},))
    assert new.enter(2, bench="other").token == enter.token
    assert new.enter(1, token=enter.token).token > enter.token


def test_agents_that_are_not_there_do_not_stay_in_the_roster() -> None:
    """The acceptance comes back at once; and for those that are there, room is bounded."""
    play = Play()
    for number in range(100):
        play.tell(m.JoinLab(agent=f"a{number}", instance=INSTANCE, benches=("default",)))
    assert len(play.machine.lab.roster) == 0
    for number in range(lab.MOST_AGENTS + 10):
        play.join(f"a{number}")
    assert len(play.machine.lab.roster) == lab.MOST_AGENTS
    play.join("a1")
    assert len(play.machine.lab.roster) == lab.MOST_AGENTS


def test_what_comes_back_from_a_former_process_does_not_take_the_new_one_out() -> None:
    """The return of its question is overtaken by the joining of the next process."""
    play = Play("scope")
    play.join("scope")
    play.enter()
    play.ready("scope")
    play.vanish("scope")
    ready = m.WorkloadReady(section=section_id(), token=play.section().token)
    effects = play.machine.handle(Received(ready, 1), now=play.now)
    (check,) = [one for one in effects if isinstance(one, Send)]
    play.join("scope", instance="1" * 16)
    play.said(m.AgentLeft)
    play.feed(Returned(check.id))
    assert play.said(m.AgentLeft) == []
    assert [agent.instance for agent in play.machine.lab.roster] == ["1" * 16]


def test_idle_benches_are_forgotten_and_others_are_not() -> None:
    """Names of benches cost nothing to make up."""
    play = Play()
    play.go(bench="live")
    hold = m.HoldBench(hold="f" * 8, bench="held", holder="eve", seconds=3600.0)
    play.tell(hold)
    for number in range(4 * lab.MOST_BENCHES // 256 + 8):
        benches = tuple(f"b{number}-{one}" for one in range(256))
        play.join("scope", benches=benches)
    kept = set(play.machine.lab.benches)
    assert len(kept) <= lab.MOST_BENCHES
    assert {"live", "held"} <= kept
    assert play.enter(2, bench="live").state is S.QUEUED
    assert play.enter(3, bench="held").state is S.QUEUED


def test_wakes_are_bounded_and_none_is_missed() -> None:
    """A hold may last for a year; what is far ahead is asked for again, to the grain."""
    play = Play()
    for number in range(10_000):
        hold = m.HoldBench(hold="f" * 8, bench="b", holder="eve", seconds=100.0 + number * 7.3)
        play.tell(hold)
    assert len(play.machine.lab._wakes) < 10
    play.tell(m.HoldBench(hold="f" * 8, bench="b", holder="eve", seconds=500.0))
    play.go(max_duration=300.0)
    play.enter(2, queue_timeout=400.0)
    deadline = play.section().deadline
    play.wait(deadline - play.now - 0.001)
    assert play.state() is S.LIVE
    play.wait(0.02)
    assert play.state() is S.OVERDUE
    play.wait(play.section(2).entered_at + 400.0 - play.now - 0.001)
    assert play.state(2) is S.QUEUED
    play.wait(0.02)
    assert play.state(2) is S.ABORTED


def test_a_hold_too_many_is_not_answered() -> None:
    """Who has no answer does not put a hand in."""
    play = Play()
    play.there.add("reply.ff")
    for number in range(lab.MOST_HOLDS + 1):
        hold = m.HoldBench(hold=section_id(number), bench=f"b{number}", holder="eve", seconds=9.0)
        play.tell(hold, "reply.ff")
    assert len(play.said(m.BenchHeld)) == lab.MOST_HOLDS
    play.wait(10)
    assert all(bench.idle for bench in play.machine.lab.benches.values())


def test_stale_words_are_kept_once() -> None:
    """However often, and in however many variants, they are said."""
    play = Play()
    section = play.go()
    for number in range(3 * MOST_FENCED):
        play.leave(token=number)
        play.leave(token=number)
    assert len(section.fenced) == MOST_FENCED


def test_a_token_at_the_end_of_all_numbers_is_not_believed() -> None:
    """The next one could not be said any more."""
    play = Play()
    play.join("scope", token=2**53 - 1)
    assert play.enter(token=2**53 - 1).token < LAST_CLAIM


def test_the_status_of_a_crowded_lab_is_readable() -> None:
    """What has no room is counted."""
    play = Play()
    play.there.add("reply.ff")
    benches = tuple(f"{'b' * 50}{one}" for one in range(100))
    for number in range(400):
        play.join(f"a{number}", benches=benches)
    play.machine.lab.unreadable = 10**7
    play.effects.clear()
    play.wait(5.0)
    play.machine.lab.started = play.now - 400 * 24 * 3600.0
    play.tell(m.AskStatus(), "reply.ff")
    (status,) = [one for one in heard(play) if isinstance(one, m.LabStatus)]
    assert status.left_out == 400 - len(status.agents) > 0
    assert len(status.benches) == 100
    assert status.unreadable == 10**7


def test_every_word_about_a_long_story_is_readable() -> None:
    """Reasons as long as the wire allows are cut where they are put into a sentence."""
    play = Play()
    play.there |= {"reply.ff"}
    play.join("scope", "thermal", "extra", advisory=True)
    names = {"name": "n" * 512, "owner": "o" * 512, "test": "t" * 512}
    play.enter(1, **names)
    play.hold("thermal", 5.0, LONG)
    play.broken("extra", LONG)
    play.veto("scope", LONG)
    assert play.state() is S.ABORTED
    play.join("far", benches=tuple(f"{'b' * 50}{one}" for one in range(256)))
    play.enter(2, require=("far", *(f"a{one}" for one in range(9_000))), **names)
    play.enter(3, queue_timeout=2.0, **names)
    play.wait(1.1)
    waits = {one.section: one for one in play.said(m.SectionWaiting)}
    assert len(waits[section_id(2)].awaited) == SHOWN + 1
    for hold in range(3):
        play.tell(
            m.HoldBench(
                hold=f"{hold:08x}", bench="default", holder="h" * 512, reason=LONG, seconds=50.0
            )
        )
    play.wait(61)
    assert play.state(2) is play.state(3) is S.ABORTED
    play.tell(m.ResetLab(everything=True, who="w" * 512), "reply.ff")
    play.join("scope")
    play.go("scope", number=4, require=("scope",), **names)
    play.tell(m.HoldBench(hold="f" * 8, bench="default", holder="eve", seconds=1.0), "reply.ff")
    play.tell(m.LeaveLab(agent="scope", instance=INSTANCE, reason=LONG))
    play.leave(4)
    assert play.state(4) is S.CLOSED
    kinds = {type(message) for message in heard(play)}
    assert {m.SectionAborted, m.SectionClosed, m.BenchHeld, m.ResetDone} <= kinds


def findings(count: int, *, passed: bool = True) -> tuple[m.Finding, ...]:
    """Make findings with much to say."""
    return tuple(m.Finding(name=f"f{one}", text="x" * 4000, passed=passed) for one in range(count))


def test_findings_that_have_no_room_are_not_lost_in_silence() -> None:
    """The largest report is cut, counts as broken, and what failed in it still fails."""
    play = Play("scope")
    play.join("scope", "thermal")
    play.go("scope", "thermal")
    play.leave()
    play.report("thermal", findings=findings(90))
    play.report("scope", findings=(*findings(180), *findings(5, passed=False)))
    closed = [one for one in heard(play) if isinstance(one, m.SectionClosed)][-1]
    scope, thermal = closed.reports
    assert len(thermal.findings) == 90
    assert scope.cause == "broken"
    assert [finding.passed for finding in scope.findings] == [False]
    assert "185 findings (5 failed)" in scope.text
    assert closed.cause == "unmeasured"


def test_reports_of_the_largest_lab_fit() -> None:
    """Each of its monitors has a finding that failed."""
    failed = (m.Finding(name="f" * 300, passed=False, text="x" * 4000),)
    reports = [
        m.MemberReport(
            agent=f"{'a' * 60}{number:04}",
            reported=True,
            required=True,
            started=1234567.123456,
            stopped=1234567.123456,
            lateness=0.000123456,
            bound=0.0000123456,
            findings=failed,
        )
        for number in range(lab.MOST_AGENTS)
    ]
    cut = abridgement.abridged(reports)
    assert sum(codec.size(report) + 1 for report in cut) < codec.MAX_BODY
    assert [report.agent for report in cut] == [report.agent for report in reports]
