"""A gatherer that was killed and started again on its journal."""

import pytest
from gathererplay import WALL, Play, section_id

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


def test_uncommitted_is_forgotten_and_entered_again() -> None:
    """The workload asks again, with the same id, and gets a higher token."""
    old = Play("scope")
    token = old.enter().token
    new = again(old)
    assert new.machine.lab.sections == {}
    assert new.enter().token > token


def test_closed_and_aborted_leave_the_bench_open() -> None:
    """Nothing of them is restored."""
    old = Play()
    old.go(number=1)
    old.leave(1)
    old.go(number=2)
    old.tell(m.ResetLab(everything=True))
    new = again(old)
    assert new.enter(3).state is S.GATHERED


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
    old.go("scope", number=6)
    events = tuple(dict(event) for event in old.machine.snapshot())
    assert len(events) == 3
    new = Play("scope", recovered=events)
    assert list(new.machine.lab.sections) == [section_id(6)]
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
