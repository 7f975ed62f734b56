"""Joining, coming back, vanishing; the lab's clock; status."""

from gathererplay import INSTANCE, Play, section_id

from pytest_gatherscatter.machine import LinkDown, LinkUp, Woken
from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.wire import messages as m


def test_joining_is_answered_and_told_once() -> None:
    """A keepalive is accepted like the first word, but it is no event."""
    play = Play()
    play.join("scope")
    play.join("scope")
    assert len(play.said(m.JoinAccepted)) == 2
    assert [one.agent for one in play.said(m.AgentJoined)] == ["scope"]


def test_a_silent_agent_leaves_the_roster() -> None:
    """Three missed keepalives, as with heartbeats."""
    play = Play()
    play.join("scope")
    play.wait(5.9)
    assert play.said(m.AgentLeft) == []
    play.wait(4.2)
    assert [one.reason for one in play.said(m.AgentLeft)] == ["silent: no keepalive"]


def test_a_large_lab_greets_less_often() -> None:
    """A hundred greetings a second are enough; who was told a longer pause may keep it."""
    play = Play()
    for number in range(500):
        play.join(f"agent{number}")
    pauses = [one.keepalive for one in play.said(m.JoinAccepted)]
    assert (pauses[0], pauses[199], pauses[-1]) == (2.0, 2.0, 5.0)
    play.wait(5.9)
    assert play.said(m.AgentLeft) == []
    play.wait(6.1)
    gone = {one.agent for one in play.said(m.AgentLeft)}
    assert "agent0" in gone
    assert "agent499" not in gone
    play.wait(6.1)
    assert "agent499" in {one.agent for one in play.said(m.AgentLeft)}


def test_silence_is_not_the_agents_while_the_gatherer_is_cut_off() -> None:
    """Its broker was away for longer than three keepalives: all are there as before, at first."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.feed(LinkDown("the broker is gone"))
    play.wait(20)
    play.feed(LinkUp())
    play.leave()
    play.wait(5.9)
    assert play.said(m.AgentLeft) == []
    assert play.state() is S.COLLECTING
    play.wait(4.2)
    assert [one.reason for one in play.said(m.AgentLeft)] == ["silent: no keepalive"]
    assert play.state() is S.CLOSED


def test_nobody_is_passed_over_while_the_gatherer_is_cut_off() -> None:
    """An optional monitor that was asked, and could not be heard, still takes part."""
    play = Play()
    play.join("scope")
    section = play.enter()
    play.feed(LinkDown("the broker is gone"))
    play.wait(10)
    assert section.pending() == ("scope",)
    play.said(m.PrepareSection)
    play.feed(LinkUp())
    assert len(play.said(m.PrepareSection)) == 1
    play.wait(1.9)
    play.ready("scope")
    assert section.ready() == ("scope",)


def test_nobody_is_passed_over_at_the_last_check_while_the_gatherer_is_cut_off() -> None:
    """Question or answer went with the connection: it is asked once more."""
    play = Play()
    play.join("scope", "psu")
    section = play.enter()
    play.ready("scope", "psu")
    play.workload_ready()
    play.alive("psu")
    play.feed(LinkDown("the broker is gone"))
    play.wait(10)
    assert play.state() is S.CHECKING
    play.said(m.CheckAlive)
    play.feed(LinkUp())
    assert len(play.said(m.CheckAlive)) == 1
    play.alive("scope")
    assert play.state() is S.COMMITTED
    assert section.members == ("psu", "scope")


def test_reports_have_their_time_when_the_gatherer_was_cut_off() -> None:
    """The report timeout counts from when somebody can be heard: the report is not lost."""
    play = Play("scope")
    play.join("scope")
    section = play.go("scope")
    play.leave()
    play.feed(LinkDown("the broker is gone"))
    play.wait(section.entered.report_timeout + 5)
    assert play.state() is S.COLLECTING
    play.feed(LinkUp())
    for _ in range(5):  # it is there all the time
        play.wait(5)
        play.join("scope")
    assert play.state() is S.COLLECTING
    play.report("scope")
    closed = play.said(m.SectionClosed)[-1]
    assert [(one.agent, one.reported) for one in closed.reports] == [("scope", True)]


def test_a_report_that_never_comes_is_waited_for_once() -> None:
    """Back on its link the gatherer waits for the report timeout, and no longer."""
    play = Play("scope")
    play.join("scope")
    section = play.go("scope")
    play.leave()
    play.feed(LinkDown("the broker is gone"))
    play.wait(section.entered.report_timeout + 5)
    play.feed(LinkUp())
    for _ in range(7):
        play.wait(5)
        play.join("scope")
    closed = play.said(m.SectionClosed)[-1]
    assert [(one.agent, one.text) for one in closed.reports] == [("scope", "no report in time")]


def test_nobody_is_passed_over_who_answered_while_the_gatherer_was_frozen() -> None:
    """The answer is in its queue when it looks first."""
    play = Play()
    play.join("scope")
    section = play.enter()
    play.now += 30
    play.feed(Woken())
    play.ready("scope")
    assert section.ready() == ("scope",)


def test_silence_is_not_the_agents_after_the_gatherer_was_frozen() -> None:
    """What they said meanwhile is still in its queue when it looks first."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.leave()
    play.now += 10
    play.feed(Woken())
    assert play.said(m.AgentLeft) == []
    play.report("scope")
    assert [one.cause for one in play.said(m.SectionClosed)[0].reports] == [""]


def test_nobody_waits_for_the_report_of_a_process_that_was_replaced() -> None:
    """It died while it should have reported, and the new one of its name knows nothing of it."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.leave()
    play.join("scope", instance="1" * 16)
    (closed,) = play.said(m.SectionClosed)
    assert [one.text for one in closed.reports] == ["died in the section and came back"]


def test_who_reported_before_the_gatherer_died_says_it_again_in_peace() -> None:
    """To a new gatherer all processes are new: that one has no section open proves no death."""
    first = Play("scope")
    first.join("scope")
    first.go("scope")
    first.wait(1)
    first.leave()
    second = Play("scope", now=first.now, recovered=tuple(first.records))
    second.join("scope")
    assert second.state() is S.COLLECTING
    second.report("scope")
    (closed,) = second.said(m.SectionClosed)
    assert [one.cause for one in closed.reports] == [""]


def test_an_old_instance_cannot_sign_the_new_one_off() -> None:
    """A LeaveLab that comes late concerns the process that is gone."""
    play = Play()
    play.join("scope", instance="1" * 16)
    play.tell(m.LeaveLab(agent="scope", instance=INSTANCE))
    assert play.said(m.AgentLeft) == []


def test_an_agent_that_missed_the_end_is_told() -> None:
    """Its keepalive says what it has open; the gatherer says how that stands."""
    play = Play("scope")
    play.join("scope")
    section = play.enter()
    play.ready("scope")
    play.tell(m.WithdrawSection(section=section.id))
    play.said(m.SectionAborted)
    still = m.OpenSection(section=section.id, token=section.token)
    play.join("scope", open=(still,))
    assert [one.section for one in play.said(m.SectionAborted)] == [section.id]


def test_an_agent_that_missed_the_stop_is_told() -> None:
    """It comes back while reports are collected."""
    play = Play("scope")
    play.join("scope")
    section = play.go("scope")
    play.leave()
    play.said(m.SectionStopped)
    started = m.OpenSection(section=section.id, token=section.token, started=True)
    play.join("scope", open=(started,))
    assert len(play.said(m.SectionStopped)) == 1


def test_an_agent_that_missed_go_hears_it_before_t0_only() -> None:
    """The same Go, and never a late one."""
    play = Play("scope")
    play.join("scope")
    section = play.go("scope")
    play.said(m.SectionGo)
    armed = m.OpenSection(section=section.id, token=section.token)
    play.join("scope", open=(armed,))
    assert [one.t0 for one in play.said(m.SectionGo)] == [section.t0]
    play.wait(1)
    play.join("scope", open=(armed,))
    assert play.said(m.SectionGo) == []


def test_an_agent_with_an_unknown_section_is_told_to_disarm() -> None:
    """The gatherer was started anew without its state."""
    play = Play()
    play.join("scope", open=(m.OpenSection(section=section_id(9), token=3),))
    assert play.said(m.SectionAborted)[0].cause == "unknown"


def test_a_member_that_comes_back_in_the_section_has_died_in_it() -> None:
    """Its new process has measured nothing."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.join("scope", instance="1" * 16)
    play.leave()
    assert "died in the section and came back" in play.said(m.SectionClosed)[0].text


def test_the_token_passes_what_any_agent_has_seen() -> None:
    """Even if the gatherer's own memory is lost."""
    play = Play()
    play.join("scope", token=2**52)
    assert play.enter().token == 2**52 + 1


def test_the_clock_is_read_by_whoever_asks() -> None:
    """The answer echoes the asker's time and names the clock."""
    play = Play()
    play.tell(m.ClockProbe(sent=3.5), "reply.ff")
    (reading,) = play.said(m.ClockReading)
    assert (reading.sent, reading.read, reading.gatherer) == (3.5, play.now, play.facts.clock)


def test_a_link_that_comes_up_calls_everybody() -> None:
    """Agents join again when they hear it."""
    play = Play()
    play.feed(LinkUp())
    assert len(play.said(m.GathererStarted)) == 1


def test_status_shows_agents_benches_and_open_sections() -> None:
    """State, who is awaited, who holds and why, token, age."""
    play = Play("thermal", "scope")
    play.join("thermal")
    section = play.enter()
    play.hold("thermal", 5.0, "settling")
    play.wait(1)
    play.tell(m.AskStatus(), "reply.ff")
    (status,) = play.said(m.LabStatus)
    assert [one.agent for one in status.agents] == ["thermal"]
    assert [one.current for one in status.benches] == [section.id]
    (shown,) = status.sections
    assert shown.state == "gathering"
    assert shown.awaited == ("scope (not in the lab)",)
    assert [(hold.agent, hold.reason) for hold in shown.holds] == [("thermal", "settling")]
    assert (shown.token, shown.age) == (section.token, 1.0)


def test_a_closed_section_is_forgotten_after_a_while() -> None:
    """Memory does not grow with the number of sections."""
    play = Play()
    for number in range(1, 50):
        play.go(number=number)
        play.leave(number)
    play.wait(700)
    assert play.machine.lab.sections == {}
    assert play.machine.lab.purposes == {}


def test_everything_that_gathers_ends_when_the_lab_is_reset() -> None:
    """Sections and persons' holds."""
    play = Play("scope")
    sections = [play.enter(1), play.enter(2), play.enter(3, bench="other")]
    play.tell(m.HoldBench(hold="f" * 8, bench="third", holder="eve", seconds=50.0))
    play.tell(m.ResetLab(everything=True, who="adam"), "reply.ff")
    assert {section.state for section in sections} == {S.ABORTED}
    assert play.said(m.ResetDone)[0].lines[-1] == "hold of eve on bench third"


def test_a_monitor_that_was_only_frozen_is_asked_again() -> None:
    """It was taken for gone; it still knows the section and would never say ready again."""
    play = Play("scope")
    play.join("scope")
    section = play.enter()
    play.ready("scope")
    play.wait(9)
    assert play.state() is S.GATHERING
    assert section.awaited(now=play.now, stale_after=2.0) == ("scope (silent: no keepalive)",)
    play.said(m.PrepareSection)
    play.join("scope", open=(m.OpenSection(section=section.id, token=section.token),))
    assert len(play.said(m.PrepareSection)) == 1
    play.ready("scope")
    assert play.state() is S.GATHERED


def test_status_tells_what_each_agent_is_about() -> None:
    """Idle, asked, ready, inside, reporting: and how well it knows the clock."""
    play = Play()

    def told() -> list[str]:
        play.tell(m.AskStatus(), "reply.ff")
        return [one.state for one in play.said(m.LabStatus)[-1].agents]

    play.join("scope", "thermal", bound=0.002)
    assert told() == ["idle", "idle"]
    play.enter()
    play.ready("scope")
    assert told() == ["ready in burst1", "asked in burst1"]
    play.ready("thermal")
    play.workload_ready()
    play.alive("scope", "thermal")
    assert told() == ["inside burst1", "inside burst1"]
    play.leave()
    play.report("scope")
    assert told() == ["idle", "reporting on burst1"]
    play.tell(m.AskStatus(), "reply.ff")
    assert play.said(m.LabStatus)[-1].agents[0].offset_bound == 0.002
