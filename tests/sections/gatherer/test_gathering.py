"""Entering, queueing, asking, answering."""

from gathererplay import INSTANCE, Play, section_id

from pytest_gatherscatter.machine import Woken
from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.wire import messages as m


def test_a_section_without_monitors_is_gathered_at_once() -> None:
    """Nobody is on the bench and nobody is required."""
    play = Play()
    section = play.enter()
    assert play.state() is S.GATHERED
    assert [one.token for one in play.said(m.SectionGathered)] == [section.token]


def test_nothing_goes_on_until_the_second_required_agent_joins() -> None:
    """The seed's scene: a gatherer that needs agent1 and agent2."""
    play = Play("agent1", "agent2")
    play.join("agent1")
    section = play.enter()
    play.ready("agent1")
    assert play.state() is S.GATHERING
    assert section.awaited(now=play.now, stale_after=2.0) == ("agent2 (not in the lab)",)
    play.join("agent2")
    play.ready("agent2")
    assert play.state() is S.GATHERED


def test_again_and_again_without_restarting_anything() -> None:
    """A gatherer serves one section after another, with growing tokens."""
    play = Play("scope")
    play.join("scope")
    tokens = []
    for number in range(1, 6):
        section = play.go("scope", number=number)
        tokens.append(section.token)
        play.leave(number)
        play.report("scope", number)
        assert play.state() is S.CLOSED
        play.join("scope")
    assert tokens == sorted(set(tokens))


def test_asking_again_changes_nothing_and_is_answered() -> None:
    """EnterSection doubles as the question how things stand."""
    play = Play("scope")
    first = play.enter()
    play.said(m.SectionAccepted)
    assert play.enter() is first
    assert [one.token for one in play.said(m.SectionAccepted)] == [first.token]
    assert play.said(m.SectionWaiting)[-1].awaited == ("scope (not in the lab)",)


def test_nobody_is_asked_for_a_workload_that_went_on_alone() -> None:
    """A workload that fell back took its queue along: the acceptance comes back."""
    play = Play()
    play.join("scope")
    play.there.discard(f"reply.{section_id()}")
    entered = m.EnterSection(
        section=section_id(),
        name="late",
        bench="default",
        test="t",
        owner="o",
        run="0123456789abcdef",
        max_duration=1,
        queue_timeout=1,
        gather_timeout=1,
        hold_limit=1,
        report_timeout=1,
    )
    play.tell(entered, f"reply.{section_id()}")
    assert play.section().state is S.ABORTED
    assert play.said(m.PrepareSection) == []


def test_first_come_first_served_on_one_bench() -> None:
    """The second section waits for the first, and hears who has the bench."""
    play = Play()
    play.join("scope")
    play.go("scope", number=1)
    play.enter(2)
    play.enter(3)
    assert play.state(2) is play.state(3) is S.QUEUED
    (waiting, _) = play.said(m.SectionWaiting)[-2:]
    assert waiting.awaited == ("burst1 of pid 2@host (test_x)",)
    play.leave(1)
    play.report("scope", 1)
    assert (play.state(2), play.state(3)) == (S.GATHERING, S.QUEUED)


def test_different_benches_overlap() -> None:
    """A section on another bench does not wait."""
    play = Play()
    play.go(number=1)
    assert play.enter(2, bench="other").state is S.GATHERED


def test_a_busy_bench_fails_at_the_queue_timeout_naming_the_owner() -> None:
    """Who waits is told for whom it waited in vain."""
    play = Play()
    play.go(number=1, max_duration=1000)
    second = play.enter(2, queue_timeout=5.0)
    play.wait(5.1)
    assert play.state(2) is S.ABORTED
    assert "burst1 of pid 2@host (test_x)" in second.text


def test_a_missing_required_agent_fails_at_the_gather_timeout_by_name() -> None:
    """The text says who is missing and why it is thought so."""
    play = Play()
    play.join("scope", benches=("elsewhere",))
    section = play.enter(require=("scope", "thermal"))
    play.wait(59)
    assert play.state() is S.GATHERING
    play.join("scope", benches=("elsewhere",))
    play.wait(1.1)
    assert section.cause == "not-gathered"
    assert "scope (is on elsewhere, not on default)" in section.text
    assert "thermal (not in the lab)" in section.text


def test_a_silent_optional_monitor_is_passed_over() -> None:
    """It had two seconds; the section goes on without it."""
    play = Play()
    play.join("scope", "frozen")
    section = play.enter()
    play.ready("scope")
    assert play.state() is S.GATHERING
    play.wait(2.1)
    assert play.state() is S.GATHERED
    play.ready("frozen")
    assert section.ready() == ("scope",)


def test_a_hold_is_waited_for_and_renewed() -> None:
    """A monitor that holds keeps the section past the gather timeout."""
    play = Play()
    play.join("thermal")
    play.enter(gather_timeout=3.0)
    for _ in range(5):
        play.hold("thermal", 2.0)
        play.wait(1.5)
        play.join("thermal")
        assert play.state() is S.GATHERING
    assert play.said(m.SectionWaiting)[-1].holds[0].reason == "settling"
    play.ready("thermal")
    assert play.state() is S.GATHERED


def test_an_endless_hold_fails_with_its_reason() -> None:
    """The hold limit counts from the first hold, however often it is renewed."""
    play = Play()
    play.join("thermal")
    section = play.enter(hold_limit=10.0)
    for _ in range(11):
        play.hold("thermal", 2.0, "still 80 degrees")
        play.wait(1.0)
        play.join("thermal")
    assert section.cause == "not-gathered"
    assert section.text == "thermal held for 10 s: still 80 degrees"


def test_an_advisory_monitor_cannot_hold_for_ever() -> None:
    """Past the limit the section goes on without it."""
    play = Play()
    play.join("thermal", advisory=True)
    section = play.enter(hold_limit=10.0)
    for _ in range(11):
        play.hold("thermal", 2.0)
        play.wait(1.0)
        play.join("thermal", advisory=True)
    assert play.state() is S.GATHERED
    assert section.ready() == ()


def test_an_advisory_monitor_past_its_limit_is_waited_for_no_more() -> None:
    """Where too few take part it may still come; but its holds are over, and no word is of them."""
    play = Play()
    play.join("thermal", advisory=True)
    section = play.enter(hold_limit=3.0, gather_timeout=30.0, min_monitors=1)
    for _ in range(6):
        play.hold("thermal", 2.0)
        play.wait(1.0)
        play.join("thermal", advisory=True)
    play.said(m.SectionWaiting)
    play.hold("thermal", 2.0)
    play.wait(1.0)
    assert [one.holds for one in play.said(m.SectionWaiting) if one.holds] == []
    play.ready("thermal")
    assert play.state() is S.GATHERED
    assert section.ready() == ("thermal",)


def test_a_hold_that_ran_out_silently_is_asked_again() -> None:
    """The monitor may have lost its place: Prepare is repeated."""
    play = Play()
    play.join("thermal")
    play.enter()
    play.said(m.PrepareSection)
    play.hold("thermal", 1.0)
    play.wait(3.2)
    assert len(play.said(m.PrepareSection)) == 1


def test_a_monitor_that_dies_again_and_again_uses_up_one_gather_timeout() -> None:
    """Each time all are ready again; what counts is how long it was missing, in sum."""
    play = Play("scope")
    play.join("scope")
    section = play.enter(gather_timeout=10.0)
    deaths = 0
    while play.state() is not S.ABORTED and deaths < 10:
        play.ready("scope")
        assert play.state() is S.GATHERED
        play.wait(3.0)  # nobody is missing while the workload prepares
        play.tell(m.LeaveLab(agent="scope", instance=INSTANCE))
        assert play.state() is S.GATHERING
        deaths += 1
        play.wait(2.9)
        play.join("scope")
    assert deaths == 4
    assert section.text == "not gathered after 10 s: scope (left the lab)"


def test_others_holds_leave_a_monitor_its_whole_gather_timeout() -> None:
    """It dies after a hold that was longer than that, and is waited for all the same."""
    play = Play("scope")
    play.join("scope", "thermal")
    play.enter(gather_timeout=10.0)
    play.ready("scope")
    play.hold("thermal", 100.0)
    for _ in range(20):
        play.wait(1.0)
        play.join("scope", "thermal")
    play.tell(m.LeaveLab(agent="scope", instance=INSTANCE))
    play.wait(1.1)
    assert play.state() is S.GATHERING
    assert 8.0 < play.said(m.SectionWaiting)[-1].left < 10.0
    play.wait(8.0)
    assert play.state() is S.GATHERING
    play.join("scope")
    play.ready("scope")
    play.join("thermal")
    play.ready("thermal")
    assert play.state() is S.GATHERED


def test_a_veto_ends_the_section_for_everybody() -> None:
    """All are told to disarm, and the workload hears who said no and why."""
    play = Play()
    play.join("scope", "thermal")
    section = play.enter()
    play.ready("scope")
    play.veto("thermal", "door open")
    assert (section.cause, section.text) == ("vetoed", "thermal vetoes: door open")
    assert play.keys(m.SectionAborted) == ["section.aborted.default", f"reply.{section_id()}"]


def test_a_broken_hook_ends_the_section() -> None:
    """The text carries the hook's last words."""
    play = Play()
    play.join("scope")
    section = play.enter()
    play.broken("scope", "exit 127")
    assert (section.cause, section.text) == ("broken", "scope is broken: exit 127")


def test_min_monitors_waits_for_newcomers_and_then_fails() -> None:
    """Measured by nobody is no measurement."""
    play = Play()
    section = play.enter(min_monitors=1)
    assert play.state() is S.GATHERING
    play.wait(2.0)
    shortage = ("more monitors (0 of min_monitors=1 are ready)",)
    assert play.said(m.SectionWaiting)[-1].awaited == shortage
    assert section.status(now=play.now, stale_after=2.0).awaited == shortage
    play.wait(58.1)
    assert section.text == "measured by nobody: 0 of min_monitors=1 monitors are ready"
    play.enter(2, min_monitors=1)
    play.join("scope")
    play.ready("scope", number=2)
    assert play.state(2) is S.GATHERED


def test_who_joins_after_prepare_waits_for_the_next_section() -> None:
    """An optional latecomer is not asked, so that nobody can keep a section from starting."""
    play = Play()
    play.join("scope")
    section = play.enter()
    play.join("late")
    assert play.keys(m.PrepareSection) == ["agent.scope"]
    play.ready("scope")
    assert section.ready() == ("scope",)


def test_a_monitor_that_was_started_anew_is_asked_anew() -> None:
    """Its new process knows nothing of the section that the old one was armed for."""
    play = Play()
    play.join("scope", "thermal")
    play.enter()
    play.ready("scope", "thermal")
    assert play.state() is S.GATHERED
    play.join("scope", instance="0" * 16)
    assert play.state() is S.GATHERING
    assert play.keys(m.PrepareSection) == ["agent.scope", "agent.thermal", "agent.scope"]


def test_a_person_holds_a_bench() -> None:
    """No section begins while a person holds; it hears who and why."""
    play = Play()
    play.there.add("reply.ff")
    hold = m.HoldBench(hold="f" * 8, bench="default", holder="eve", reason="probe", seconds=5.0)
    play.tell(hold, "reply.ff")
    assert play.said(m.BenchHeld)[0].live == ""
    play.enter()
    assert play.state() is S.QUEUED
    told = play.said(m.SectionWaiting)[-1]
    assert (told.holds[0].agent, told.holds[0].seconds, told.awaited) == ("eve", 0.0, ())
    play.tell(m.ReleaseBench(hold="f" * 8))
    assert play.state() is S.GATHERED


def test_a_person_that_went_away_holds_no_longer() -> None:
    """A hold that nobody renews runs out."""
    play = Play()
    hold = m.HoldBench(hold="f" * 8, bench="default", holder="eve", reason="", seconds=5.0)
    play.tell(hold)
    play.enter()
    play.wait(5.1)
    assert play.state() is S.GATHERED


def test_a_hold_between_gathered_and_go_is_respected() -> None:
    """The probe moved after all were ready: no Go until it is released."""
    play = Play()
    play.join("scope")
    play.enter()
    play.ready("scope")
    play.tell(m.HoldBench(hold="f" * 8, bench="default", holder="eve", reason="", seconds=50.0))
    assert play.state() is S.GATHERING
    play.workload_ready()
    assert play.said(m.SectionGo) == []
    play.tell(m.ReleaseBench(hold="f" * 8))
    assert play.state() is S.GATHERED


def test_a_workload_that_vanishes_while_it_waits_frees_the_bench() -> None:
    """Its queue is gone, the next word to it comes back."""
    play = Play("scope")
    play.enter(1)
    play.enter(2)
    play.there.discard(f"reply.{section_id(1)}")
    play.wait(1.1)
    assert play.state() is S.ABORTED
    assert play.state(2) is S.GATHERING


def test_a_required_monitor_that_does_not_answer_is_asked_again() -> None:
    """Prepare, or its answer, may be lost with a connection."""
    play = Play("scope")
    play.join("scope")
    section = play.enter()
    for _ in range(3):
        play.said(m.PrepareSection)
        play.wait(2.1)
        play.join("scope")
        assert len(play.said(m.PrepareSection)) == 1
    assert section.awaited(now=play.now, stale_after=2.0) == ("scope (silent)",)
    play.ready("scope")
    assert play.state() is S.GATHERED


def test_a_slow_monitor_counts_where_too_few_take_part() -> None:
    """It was passed over, but the section still waits for somebody to measure it."""
    play = Play()
    play.join("slow")
    play.enter(1)
    play.wait(2.1)
    assert play.state(1) is S.GATHERED
    play.tell(m.WithdrawSection(section=section_id(1)))
    play.join("slow")
    section = play.enter(2, min_monitors=1)
    play.wait(2.1)
    assert play.state(2) is S.GATHERING
    play.ready("slow", number=2)
    assert section.ready() == ("slow",)
    assert play.state(2) is S.GATHERED


def test_nobody_is_asked_for_a_section_that_was_just_given_up() -> None:
    """One monitor's endless hold ends it in the look in which another's hold has run out."""
    play = Play()
    play.join("a", "b")
    section = play.enter(hold_limit=4.0)
    play.hold("a", 30.0)
    play.hold("b", 1.99)
    play.join("a", "b")
    play.said(m.PrepareSection)
    play.now += 4.0
    play.feed(Woken())
    assert section.text.startswith("a held for 4 s")
    assert play.said(m.PrepareSection) == []
