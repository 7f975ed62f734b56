"""What counts by which key and with whose login; what does not is set aside and changes nothing."""

import pytest
from gathererplay import Play, section_id

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Settle
from pytest_gatherscatter.sections.gatherer.state import SectionState as S
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import GATHERER_KEY, STEER_KEY

REPLY = f"reply.{section_id()}"


def set_aside(play: Play) -> list[str]:
    """Take the reasons for which deliveries were dead-lettered."""
    dead = [one for one in play.effects if isinstance(one, Settle) and one.verdict is Verdict.DEAD]
    play.effects.clear()
    return [one.reason for one in dead]


def inside(user: str = "ci") -> Play:
    """A section that a login has entered, and that is live."""
    play = Play()
    play.there.add(REPLY)
    play.tell(
        m.EnterSection(
            section=section_id(),
            name="burst",
            bench="default",
            test="t",
            owner="pid 2@host",
            run="0" * 8,
            max_duration=30.0,
            queue_timeout=60.0,
            gather_timeout=60.0,
            hold_limit=60.0,
            report_timeout=30.0,
        ),
        REPLY,
        user=user,
    )
    ready = m.WorkloadReady(section=section_id(), token=play.section().token)
    play.tell(ready, REPLY, user=user)
    assert play.state() is S.COMMITTED
    return play


def leaving(play: Play) -> m.LeaveSection:
    """What ends it."""
    return m.LeaveSection(section=section_id(), token=play.section().token, outcome="died")


@pytest.mark.parametrize(
    "message",
    [
        m.HoldBench(hold="f" * 8, bench="default", holder="eve", seconds=50.0),
        m.ReleaseBench(hold="e" * 8),
        m.ResetLab(everything=True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_steering_by_the_key_for_everybody_does_not_count(message: m.Message) -> None:
    """So whoever may not publish with the key for persons cannot steer, whatever it sends."""
    play = inside()
    play.tell(m.HoldBench(hold="e" * 8, bench="default", holder="ann", seconds=50.0), REPLY)
    before = play.machine.lab.bench("default").holds.copy()
    play.tell(message, REPLY, key=GATHERER_KEY)
    assert set_aside(play) == [f"{type(message).__name__} counts with the key {STEER_KEY} only"]
    assert play.state() is S.COMMITTED
    assert play.machine.lab.bench("default").holds == before


def test_nobody_leaves_with_another_login() -> None:
    """Nor with none, nor after a restart of the gatherer; the login that entered does."""
    for restarted in (False, True):
        play = inside()
        if restarted:
            play = Play(recovered=tuple(play.records), now=play.now)
            play.there.add(REPLY)
        for other in ("scope", ""):
            play.tell(leaving(play), REPLY, user=other)
            assert len(set_aside(play)) == 1
            assert play.said(m.LeaveAccepted) == []
        play.tell(leaving(play), REPLY, user="ci")
        assert len(play.said(m.LeaveAccepted)) == 1
        assert play.state() is S.CLOSED


def test_a_person_leaves_in_a_dead_owners_name() -> None:
    """By the key for persons, whatever the login."""
    play = inside()
    play.tell(leaving(play), REPLY, key=STEER_KEY, user="ann")
    assert play.state() is S.CLOSED


def test_where_no_login_was_vouched_for_the_token_is_enough() -> None:
    """A party that sets no ``user_id`` is in the lab as it was."""
    play = inside(user="")
    play.tell(leaving(play), REPLY, user="somebody")
    assert play.state() is S.CLOSED
