"""What the gatherer says came of a section: in its status, and on record."""

from gathererplay import Play, section_id

from pytest_gatherscatter.machine import Failed, LinkDown, LinkUp, Publish
from pytest_gatherscatter.sections.gatherer.result import RECENT
from pytest_gatherscatter.wire import messages as m


def ends(play: Play) -> list[tuple[str, str]]:
    """Ask for the status; return verdict and text of what ended, the latest first."""
    play.tell(m.AskStatus(), "reply.status")
    return [(end.verdict, end.text) for end in play.said(m.LabStatus)[-1].ended]


def left(*reports: str, outcome: str = "passed", **more: object) -> Play:
    """Play a section of scope and thermal to its end."""
    play = Play("scope")
    play.join("scope", "thermal")
    section = play.go("scope", "thermal")
    play.wait(1)
    said = {"started": section.t0, "stopped": section.t0 + 1, "bound": 0.001, **more}
    play.tell(
        m.LeaveSection(section=section.id, token=section.token, outcome=outcome, **said),  # type: ignore[arg-type]
        f"reply.{section.id}",
    )
    for agent in reports:
        play.report(agent, started=section.t0, bound=0.0005)
    for _ in range(16):
        play.wait(2)
        play.join("scope", "thermal")
    return play


BOTH = ("scope", "thermal")


def test_passed() -> None:
    """All reported, nothing is wrong."""
    assert ends(left(*BOTH)) == [("passed", "")]


def test_unmeasured_names_who_is_missing() -> None:
    """A required monitor did not report; an optional one is no matter."""
    assert ends(left("scope")) == [("passed", "")]
    assert ends(left("thermal")) == [("unmeasured", "unmeasured: scope (no report in time)")]


def test_too_few_are_unmeasured_too() -> None:
    """A section that demanded more monitors than reported was not measured as it should be."""
    play = Play()
    play.join("scope", "thermal")
    play.go("scope", "thermal", min_monitors=2)
    play.leave(needed=0.01)
    play.report("scope")
    for _ in range(16):
        play.wait(2)
        play.join("scope", "thermal")
    assert [verdict for verdict, _ in ends(play)] == ["unmeasured"]


def test_overdue_and_device() -> None:
    """The workload says so when it leaves."""
    assert ends(left(*BOTH, overdue=True)) == [("overdue", "")]
    assert ends(left(*BOTH, outcome="failed")) == [("device", "")]


def test_a_finding_is_told() -> None:
    """What failed stands beside the verdict."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.leave(needed=0.01)
    peak = m.Finding(name="peak_v", value=5.71, unit="V", passed=False, text="above 5.5 V")
    play.report("scope", findings=(peak,))
    assert ends(play) == [("finding", "scope: peak_v = 5.71 V (above 5.5 V)")]


def test_died_in_section_is_told_by_a_later_run() -> None:
    """The ticket's word is on record with the leaving, so that a restart knows it too."""
    play = left(*BOTH, outcome="died", started=None, stopped=None, bound=None)
    assert ends(play) == [("died-in-section", "its ticket proves that its owner died inside")]
    (record,) = [record for record in play.records if record["what"] == "left"]
    assert record["outcome"] == "died"


def test_what_is_told_later_was_unreported() -> None:
    """The owner could not come back in time, and tells it from its next section."""
    play = left(*BOTH, started=None, stopped=None, bound=None)
    assert ends(play) == [("unreported", "")]


def test_died_before_go_as_its_queue_is_gone() -> None:
    """A workload that waits is missed at the next word to it."""
    play = Play("scope")
    play.enter()
    play.there.discard(f"reply.{section_id()}")
    play.wait(3)
    assert ends(play) == [("died-before-go", "the workload is gone")]


def test_died_before_go_as_its_ticket_says() -> None:
    """A ticket may tell it first."""
    play = Play("scope")
    section = play.enter()
    died = m.LeaveSection(section=section.id, token=section.token, outcome="died")
    play.tell(died, "reply.other")
    assert ends(play) == [("died-before-go", "its owner died before the start")]


def test_withdrawn_and_not_gathered() -> None:
    """Its own wish is told from somebody else's no."""
    play = Play("scope")
    play.enter()
    play.tell(m.WithdrawSection(section=section_id(), reason="Ctrl-C"), f"reply.{section_id()}")
    play.join("scope")
    play.enter(2)
    play.veto("scope", "door open", number=2)
    assert ends(play) == [("not-gathered", "scope vetoes: door open"), ("withdrawn", "Ctrl-C")]


def test_a_reset_is_another_thing_before_the_commit() -> None:
    """Before it the section never began; after it the bench was open to others."""
    play = Play("scope")
    play.enter()
    play.tell(m.ResetLab(everything=True, who="ann"), "reply.ann")
    play.join("scope")
    play.go("scope", number=2)
    play.tell(m.ResetLab(everything=True, who="ann"), "reply.ann")
    assert ends(play) == [("reset", "reset by ann"), ("not-gathered", "reset by ann")]


def test_only_the_last_are_shown() -> None:
    """A lab that ran for weeks has an answer of the same size."""
    play = Play()
    for number in range(1, RECENT + 5):
        play.go(number=number)
        play.leave(number=number, needed=0.01)
    play.tell(m.AskStatus(), "reply.status")
    ended = play.said(m.LabStatus)[-1].ended
    assert [end.section for end in ended] == [
        section_id(number) for number in range(RECENT + 4, 4, -1)
    ]


def test_what_came_of_a_section_is_said_once_and_not_lost() -> None:
    """The last change has all that a record needs; one that got lost is said again, and no more."""
    play = left(*BOTH, outcome="failed")
    (told,) = [one.result for one in play.said(m.SectionChanged) if one.result is not None]
    assert (told.verdict, told.outcome, told.seconds) == ("device", "failed", 1.0)
    assert [report.agent for report in told.reports] == ["scope", "thermal"]
    (effect,) = [
        one
        for one in play.effects
        if isinstance(one, Publish)
        and isinstance(one.message, m.SectionChanged)
        and one.message.result is not None
    ]
    lost = Play()
    lost.join("scope")
    lost.machine.lab.ends.say(effect.key, effect.message)
    (said,) = (one for one in lost.machine.lab.out.take() if isinstance(one, Publish))
    lost.feed(Failed(said.id, "reset"))
    lost.feed(LinkDown("reset"))
    assert lost.said(m.SectionChanged) == []
    lost.feed(LinkUp())
    assert [one.result for one in lost.said(m.SectionChanged)] == [told]
    lost.feed(LinkUp())
    assert lost.said(m.SectionChanged) == []
