"""A gatherer that was killed and started again on its journal."""

import pytest
from gathererplay import WALL, Play, section_id
from msgspec.structs import replace

from pytest_gatherscatter.errors import JournalDamaged
from pytest_gatherscatter.machine import LinkUp, Record, Send
from pytest_gatherscatter.sections.gatherer.recovery import snapshot
from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.wire import messages as m


def again(play: Play) -> Play:
    """Start a new gatherer on the records of an old one."""
    return Play(recovered=tuple(play.records))


def test_committed_and_not_closed_keeps_the_bench_closed() -> None:
    """Who enters after the restart waits, and hears the owner's name."""
    old = Play()
    old.join("scope")
    section = old.go("scope")
    new = again(old)
    new.enter(2)
    assert new.state(2) is S.QUEUED
    assert new.section(1).members == section.members
    new.there.add(f"reply.{section_id(1)}")
    new.leave(1)
    new.join("scope")
    new.report("scope", 1)
    assert new.section(1).state is S.CLOSED
    assert new.state(2) is S.GATHERING


def test_before_t0_the_same_go_is_said_again() -> None:
    """Word for word; the members may have missed it."""
    old = Play()
    old.go()
    (go,) = old.said(m.SectionGo)
    new = again(old)
    new.feed(LinkUp())
    assert new.said(m.SectionGo) == [go]


def test_past_t0_go_is_not_said_again() -> None:
    """The restart took longer than the lead."""
    old = Play()
    old.go()
    new = Play(recovered=tuple(old.records))
    new.now += 1.0
    new.feed(LinkUp())
    assert new.said(m.SectionGo) == []


def test_a_go_that_the_gatherer_did_not_live_to_say_is_its_fault() -> None:
    """The workload kept its connection, so it is not told that it lost it."""
    old = Play()
    old.go()
    new = again(old)
    new.there.add(f"reply.{section_id()}")
    new.now += 1.0
    new.workload_ready()
    told = new.said(m.SectionAborted)[-1]
    assert told.cause == m.MISSED_GO
    assert told.text == "the gatherer went away around the commit, and the workload missed the Go"


def test_uncommitted_is_forgotten_and_entered_again() -> None:
    """The workload asks again, with the same id, and gets a higher token."""
    old = Play("scope")
    token = old.enter().token
    new = again(old)
    assert new.machine.lab.sections == {}
    assert new.enter().token > token


def test_closed_and_aborted_leave_the_bench_open() -> None:
    """They are remembered, and hold nothing up."""
    old = Play()
    old.go(number=1)
    old.leave(1)
    old.go(number=2)
    old.tell(m.ResetLab(everything=True))
    new = again(old)
    assert (new.state(1), new.state(2)) == (S.CLOSED, S.ABORTED)
    assert new.section(2).text == old.section(2).text
    assert new.enter(3).state is S.GATHERED


def measured() -> Play:
    """Let a section with a report and a fenced word be over; its answer reached nobody."""
    old = Play("scope")
    old.join("scope")
    old.go("scope", min_monitors=1)
    old.leave(token=1)
    old.leave(started=101.0, stopped=102.0, bound=0.001)
    found = (m.Finding(name="peak", value=3.5, unit="V", passed=False),)
    old.report("scope", started=101.001, bound=0.002, findings=found)
    assert old.state() is S.CLOSED
    return old


def test_a_closed_section_is_answered_by_the_next_gatherer() -> None:
    """What was measured survives, also where the monitor has gone and the journal was folded."""
    old = measured()
    (answer,) = old.said(m.SectionClosed)
    folded = tuple(dict(event) for event in old.machine.snapshot())
    for events in (tuple(old.records), folded):
        new = Play("scope", recovered=events)
        new.there.add(f"reply.{section_id()}")
        new.leave(started=101.0, stopped=102.0, bound=0.001)
        assert new.said(m.LeaveAccepted)[-1].known
        assert new.said(m.SectionClosed) == [answer]
        assert new.said(m.SectionChanged) == []


def test_what_came_of_a_section_is_shown_after_a_restart() -> None:
    """With its verdict, and how long ago it was by the gatherer's clock."""
    old = measured()
    old.tell(m.AskStatus(), "reply.me")
    new = Play("scope", recovered=tuple(old.records), now=old.now)
    new.wait(5)
    new.tell(m.AskStatus(), "reply.me")
    (before,), (after,) = (play.said(m.LabStatus)[-1].ended for play in (old, new))
    assert after.verdict == "finding"
    assert after == replace(before, ago=before.ago + 5)


def test_a_report_said_again_after_the_restart_is_no_late_one() -> None:
    """Its acceptance was lost with the gatherer; one of another process is late."""
    new = again(measured())
    new.there.add("agent.scope")
    new.report("scope")
    assert not new.said(m.ReportAccepted)[-1].fenced
    new.report("scope", instance="f" * 16)
    assert new.said(m.ReportAccepted)[-1].fenced


def test_an_ended_section_is_forgotten_in_time_whatever_restarts() -> None:
    """Ten minutes after its end, not after the restart."""
    old = measured()
    new = Play("scope", recovered=tuple(old.records), now=old.now + 590)
    new.wait(9)
    assert section_id() in new.machine.lab.sections
    new.wait(2)
    assert section_id() not in new.machine.lab.sections


def test_a_commit_of_long_before_the_boot_is_one() -> None:
    """Its deadline is below zero on the new clock; a fold must not take its bench away."""
    old = Play()
    old.go(max_duration=1.0)
    moved = [
        {**record, "clock": "0" * 32, "wall": WALL - 10_000.0} if "clock" in record else record
        for record in old.records
    ]
    new = Play(recovered=tuple(moved))
    assert new.section().deadline < 0
    folded = Play(recovered=tuple(dict(event) for event in new.machine.snapshot()))
    assert folded.state() in {S.COMMITTED, S.LIVE, S.OVERDUE}
    assert folded.enter(2).state is S.QUEUED


def test_a_fold_keeps_few_of_the_ended_and_no_mountain() -> None:
    """The last hundred, or what has room; the very last one in any case."""
    play = Play()
    for number in range(1, 106):
        play.go(number=number)
        play.leave(number)
    kept = [one["section"] for one in play.machine.snapshot() if one["what"] == "closed"]
    assert kept == [section_id(number) for number in range(6, 106)]
    play.join("scope")
    large = tuple(m.Finding(name=f"f{n}", text="x" * 300) for n in range(10_000))
    for number in range(106, 112):
        play.go("scope", number=number)
        play.leave(number)
        for part in range(0, 10_000, 2_500):
            findings = large[part : part + 2_500]
        play.report("scope", number, findings=findings)
        play.join("scope")
    kept = [one["section"] for one in play.machine.snapshot() if one["what"] == "closed"]
    assert len(kept) < 100
    assert kept[-1] == section_id(111)


def test_tokens_grow_over_a_restart_with_and_without_the_journal() -> None:
    """Without one, the world's clock is above every token given before."""
    old = Play()
    token = old.go().token
    assert again(old).enter(2).token == token + 1
    assert Play().enter().token > int(WALL * 1000) - 1


def test_a_snapshot_recovers_the_same_lab() -> None:
    """Fewer events, the same decisions."""
    old = Play("scope")
    old.join("scope")
    for number in range(1, 6):
        old.go("scope", number=number)
        old.leave(number)
        old.report("scope", number)
        old.join("scope")
    old.enter(6)
    old.tell(m.WithdrawSection(section=section_id(6), reason="it was never committed"))
    old.go("scope", number=7)
    events = tuple(dict(event) for event in old.machine.snapshot())
    assert len(events) == 1 + 5 * 4 + 2
    new = Play("scope", recovered=events)
    assert list(new.machine.lab.sections) == [section_id(n) for n in (1, 2, 3, 4, 5, 7)]
    assert new.machine.lab.token == old.machine.lab.token
    assert snapshot(new.machine.lab) == list(events)


def test_times_of_another_boot_are_carried_over_by_the_worlds_clock() -> None:
    """The monotonic clock starts anew; the deadline in the world does not move."""
    old = Play()
    section = old.go(max_duration=100.0)
    moved = [
        dict(record, clock="0" * 32) if "clock" in record else record for record in old.records
    ]
    for record in moved:
        if "wall" in record:
            record["wall"] = float(str(record["wall"])) - 50.0  # committed 50 s earlier
    new = Play(recovered=tuple(moved))
    assert abs(new.section().deadline - (section.deadline - 50.0)) < 1e-6


def test_a_snapshot_while_a_section_gathers_does_not_lose_its_commit() -> None:
    """The opening is before the snapshot, the commit after it: the bench stays closed."""
    old = Play("scope")
    old.join("scope")
    old.enter()
    events = [dict(event) for event in old.machine.snapshot()]
    old.records.clear()
    old.ready("scope")
    old.workload_ready()
    old.alive("scope")
    assert old.state() is S.COMMITTED
    new = Play("scope", recovered=(*events, *old.records))
    assert new.state() is S.COMMITTED
    assert new.enter(2).state is S.QUEUED


def test_events_of_another_version_are_not_guessed_at() -> None:
    """To pass over one could open a bench whose workload is inside."""
    old = Play()
    old.go()
    opened, committed = old.records
    cases: tuple[tuple[int, tuple[dict[str, object], ...]], ...] = (
        (2, (opened, {**committed, "what": "suspended"})),
        (2, (opened, {"what": "committed", "section": section_id()})),
        (1, ({**opened, "token": "many"}, committed)),
        (1, (committed,)),
    )
    for number, events in cases:
        with pytest.raises(JournalDamaged, match=f"line {number} is damaged"):
            Play(recovered=events)


def test_left_and_not_closed_is_not_inside_after_a_restart() -> None:
    """Its ticket is gone with the answer, so nobody else could open the bench; reports come."""
    old = Play("scope")
    old.join("scope")
    old.go("scope")
    old.leave(started=101.0, bound=0.001)
    assert old.state() is S.COLLECTING
    snapshotted = tuple(dict(event) for event in old.machine.snapshot())
    for events in (tuple(old.records), snapshotted):
        new = Play("scope", recovered=events)
        assert new.state() is S.COLLECTING
        assert new.section().left == old.section().left
        new.feed(LinkUp())
        assert len(new.said(m.SectionStopped)) == 1
        new.join("scope")
        new.report("scope", started=101.0, bound=0.001)
        assert new.state() is S.CLOSED
    new = Play(recovered=snapshotted)
    new.wait(30.1)
    assert new.state() is S.COLLECTING  # nobody could report yet
    new.feed(LinkUp())
    new.wait(30.1)
    assert new.state() is S.CLOSED


def test_leaving_is_on_record_before_it_is_answered() -> None:
    """The answer takes the ticket away."""
    play = Play("scope")
    play.join("scope")
    play.go("scope")
    play.effects.clear()
    play.leave()
    said = [one.message for one in play.effects if isinstance(one, Send)]
    (record, *_) = play.effects
    assert isinstance(record, Record)
    assert record.event["what"] == "left"
    assert isinstance(said[0], m.LeaveAccepted)
    play.leave()
    assert [one["what"] for one in play.records].count("left") == 1


def greeting(play: Play, number: int = 1, *, go: bool = True) -> m.OpenSection:
    """Make what a member that is inside says to a gatherer that it does not know."""
    section = play.section(number)
    return m.OpenSection(
        section=section.id,
        token=section.token,
        started=True,
        go=play.machine.lab.go(section) if go else None,
        name="burst1",
        test="test_x",
        owner="pid 2@host",
    )


def test_without_a_journal_the_members_remember() -> None:
    """A live bench stays closed, and the section ends as it should have."""
    old = Play()
    old.join("scope")
    section = old.go("scope")
    old.wait(1)
    new = Play(now=old.now)
    new.feed(LinkUp())
    new.enter(2)
    assert new.state(2) is S.QUEUED
    new.join("scope", open=(greeting(old),))
    new.wait(1)
    assert new.state(2) is S.QUEUED
    assert "burst1 of pid 2@host (test_x)" in new.said(m.SectionWaiting)[-1].awaited[0]
    assert new.said(m.SectionAborted) == []
    assert new.section().t0 == section.t0
    new.there.add(f"reply.{section_id(1)}")
    new.leave(1)
    new.report("scope", 1)
    assert new.said(m.SectionClosed)[0].reports[0].reported
    assert new.state(2) is S.GATHERING
    assert [record["what"] for record in new.records][:2] == ["opened", "opened"]


def test_a_keepalive_to_the_gatherer_before_is_no_reason_to_disarm() -> None:
    """It bears no Go; the greeting that does follows when the agent hears of the new one."""
    old = Play()
    old.join("scope")
    old.go("scope")
    new = Play(now=old.now + 1)
    new.join("scope", open=(greeting(old, go=False),))
    assert new.said(m.SectionAborted) == []
    new.join("scope", open=(greeting(old),))
    assert new.state() is not S.ABORTED


def test_what_began_after_the_gatherer_and_is_unknown_to_it_is_over() -> None:
    """It was closed and forgotten: an agent that comes back late must not close the bench."""
    play = Play()
    play.join("scope")
    play.wait(1)
    play.go("scope")
    late = greeting(play)
    play.leave()
    for _ in range(400):
        play.wait(2)
        play.join("scope")
    assert play.machine.lab.sections == {}
    play.join("scope", open=(late,))
    assert play.said(m.SectionAborted)[-1].cause == "unknown"
    assert play.machine.lab.sections == {}


def test_a_gatherer_with_a_journal_trusts_it() -> None:
    """Who is still inside of what it has as closed stops; what it does not have was forgotten."""
    old = Play()
    old.join("scope")
    old.go("scope")
    late = greeting(old)
    old.leave()
    old.report("scope")
    new = again(old)
    new.join("scope", open=(late,))
    assert new.said(m.SectionStopped)[-1].section == section_id()
    assert new.said(m.SectionAborted) == []
    new = Play(recovered=tuple(old.machine.snapshot()[:1]))  # type: ignore[arg-type]
    new.join("scope", open=(late,))
    assert new.said(m.SectionAborted)[-1].cause == "unknown"
