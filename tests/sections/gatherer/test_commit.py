"""The last check, the commit point, Go."""

from gathererplay import Play, section_id

from pytest_gatherscatter.machine import Publish, Record
from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.wire import messages as m


def test_go_is_one_publish_to_a_frozen_list_after_the_record() -> None:
    """The decision is on disk before anybody may act upon it."""
    play = Play()
    play.join("scope", "thermal")
    play.go("scope", "thermal")
    (go,) = play.said(m.SectionGo)
    assert go.members == ("scope", "thermal")
    assert go.t0 > go.sent == play.now
    assert go.deadline == go.t0 + 30.0
    assert play.state() is S.COMMITTED
    steps = [
        effect
        for effect in play.effects
        if (isinstance(effect, Record) and effect.event["what"] == "committed")
        or (isinstance(effect, Publish) and isinstance(effect.message, m.SectionGo))
    ]
    assert [type(step) for step in steps] == [Record, Publish]


def test_no_go_before_every_member_said_that_it_is_alive() -> None:
    """Ready was said some time ago; alive is asked now."""
    play = Play()
    play.join("scope", "thermal")
    play.enter()
    play.ready("scope", "thermal")
    play.workload_ready()
    play.alive("scope")
    assert play.state() is S.CHECKING
    assert play.said(m.SectionGo) == []
    play.alive("thermal")
    assert play.state() is S.COMMITTED


def test_a_required_monitor_that_died_after_ready_is_gathered_again() -> None:
    """Nothing is committed yet, so the section waits for it."""
    play = Play("scope")
    play.join("scope")
    section = play.enter()
    play.ready("scope")
    play.vanish("scope")
    play.workload_ready()
    assert play.state() is S.GATHERING
    assert section.awaited(now=play.now, stale_after=2.0) == ("scope (vanished)",)
    play.join("scope", instance="1" * 16)
    assert play.keys(m.PrepareSection) == ["agent.scope", "agent.scope"]


def test_an_optional_monitor_that_died_after_ready_is_left_behind() -> None:
    """The section is gathered anew without it."""
    play = Play()
    play.join("scope", "extra")
    play.enter()
    play.ready("scope", "extra")
    play.vanish("extra")
    play.workload_ready()
    assert play.state() is S.GATHERED
    play.workload_ready()
    play.alive("scope")
    assert play.said(m.SectionGo)[0].members == ("scope",)


def test_a_frozen_member_is_noticed_at_the_last_check() -> None:
    """Its inbox takes the question, but no answer comes."""
    play = Play()
    play.join("scope", "frozen")
    section = play.enter()
    play.ready("scope", "frozen")
    play.workload_ready()
    play.alive("scope")
    play.wait(2.1)
    assert play.state() is S.GATHERED
    assert section.ready() == ("scope",)


def test_a_member_that_is_no_longer_armed_is_asked_again() -> None:
    """It lost its place; the others stay ready."""
    play = Play()
    play.join("scope", "thermal")
    play.enter()
    play.ready("scope", "thermal")
    play.workload_ready()
    play.alive("scope", armed=False)
    assert play.state() is S.GATHERING
    play.ready("scope")
    assert play.state() is S.GATHERED


def test_asked_again_before_t0_it_says_the_same_go() -> None:
    """Word for word, and to the workload alone."""
    play = Play()
    play.go()
    (first,) = play.said(m.SectionGo)
    play.workload_ready()
    assert play.said(m.SectionGo) == [first]


def test_after_t0_go_is_never_said_again() -> None:
    """A workload that missed it is told to leave; the bench waits for that, it may be inside."""
    play = Play()
    play.join("scope")
    play.go("scope")
    play.said(m.SectionGo)
    play.wait(1.0)
    play.workload_ready()
    assert play.said(m.SectionGo) == []
    assert play.said(m.SectionAborted)[0].cause == m.MISSED_GO
    assert play.state() is S.LIVE
    play.leave()
    assert play.state() is S.COLLECTING


def test_the_lead_grows_with_what_is_needed() -> None:
    """A workload that needs 100 ms to fall quiet gets them, and no more than half a second."""
    play = Play()
    play.enter(1)
    play.workload_ready(1, needed=0.1)
    (go,) = play.said(m.SectionGo)
    assert 0.1 < go.t0 - go.sent <= 0.5
    play.leave(1, needed=9.0)
    play.enter(2)
    play.workload_ready(2)
    (go,) = play.said(m.SectionGo)
    assert go.t0 - go.sent == 0.5


def test_a_strange_token_commits_nothing() -> None:
    """The gatherer says that it knows no such section."""
    play = Play()
    play.enter()
    play.tell(m.WorkloadReady(section=section_id(), token=1), f"reply.{section_id()}")
    assert play.state() is S.GATHERED
    assert play.said(m.SectionRefused)[0].cause == "unknown"
