"""Every state meets every message, each of them twice: nothing breaks, nothing moves twice."""

from collections.abc import Callable

import pytest
from gathererplay import INSTANCE, RUN, Play, section_id

from pytest_gatherscatter.machine import Failed, LinkDown, LinkUp, Received, Told, Wake, Woken
from pytest_gatherscatter.sections.gatherer.state import SECTION_TABLE, SectionState
from pytest_gatherscatter.wire import messages as m


def entered(play: Play) -> None:
    """Enter with the acceptance still on its way: its outcome is never fed."""
    play.there.add(f"reply.{section_id()}")
    received = Received(enter_message(), 1, reply_to=f"reply.{section_id()}")
    for effect in play.machine.handle(received, now=play.now):
        if isinstance(effect, Wake):
            play.wakes.append(effect.at)


def enter_message() -> m.EnterSection:
    """Make the question."""
    return m.EnterSection(
        section=section_id(),
        name="burst",
        bench="default",
        test="t",
        owner="o",
        run=RUN,
        max_duration=5.0,
        queue_timeout=60.0,
        gather_timeout=60.0,
        hold_limit=60.0,
        report_timeout=30.0,
    )


def queued(play: Play) -> None:
    """Stand behind another section."""
    play.go("scope", number=2)
    play.enter()


def gathering(play: Play) -> None:
    """Wait for the monitor."""
    play.enter()


def gathered(play: Play) -> None:
    """All ready."""
    gathering(play)
    play.ready("scope")


def checking(play: Play) -> None:
    """Ask once more."""
    gathered(play)
    play.workload_ready()


def committed(play: Play) -> None:
    """Go is said."""
    checking(play)
    play.alive("scope")


def live(play: Play) -> None:
    """Past t0."""
    committed(play)
    play.wait(1.0)


def overdue(play: Play) -> None:
    """Past the deadline."""
    play.enter(max_duration=5.0)
    play.ready("scope")
    play.workload_ready()
    play.alive("scope")
    for _ in range(4):
        play.wait(2)
        play.join("scope", open=(m.OpenSection(section=section_id(), token=1, started=True),))


def collecting(play: Play) -> None:
    """Wait for the report."""
    live(play)
    play.leave()


def closed(play: Play) -> None:
    """Reported."""
    collecting(play)
    play.report("scope")


def aborted(play: Play) -> None:
    """Vetoed."""
    gathering(play)
    play.veto("scope", "no")


STATES: dict[SectionState, Callable[[Play], None]] = {
    SectionState.ENTERED: entered,
    SectionState.QUEUED: queued,
    SectionState.GATHERING: gathering,
    SectionState.GATHERED: gathered,
    SectionState.CHECKING: checking,
    SectionState.COMMITTED: committed,
    SectionState.LIVE: live,
    SectionState.OVERDUE: overdue,
    SectionState.COLLECTING: collecting,
    SectionState.CLOSED: closed,
    SectionState.ABORTED: aborted,
}


def messages(token: int) -> list[m.Message]:
    """Make one of everything that anybody may send to a gatherer, or to whomever."""
    about = {"section": section_id(), "token": token, "agent": "scope", "instance": INSTANCE}
    section = {"section": section_id()}
    bench = {**section, "token": token, "bench": "default"}
    return [
        m.JoinLab(agent="scope", instance=INSTANCE, benches=("default",)),
        m.JoinLab(agent="scope", instance="1" * 16, benches=("default",)),
        m.LeaveLab(agent="scope", instance=INSTANCE),
        m.ClockProbe(sent=1.0),
        enter_message(),
        m.WithdrawSection(section=section_id()),
        m.WorkloadReady(section=section_id(), token=token),
        m.LeaveSection(section=section_id(), token=token, outcome="passed"),
        m.LeaveSection(section=section_id(), token=token - 1, outcome="passed"),
        m.AgentReady(**about),  # type: ignore[arg-type]
        m.AgentHolding(seconds=1.0, **about),  # type: ignore[arg-type]
        m.AgentVetoed(**about),  # type: ignore[arg-type]
        m.AgentBroken(**about),  # type: ignore[arg-type]
        m.AgentAlive(armed=True, **about),  # type: ignore[arg-type]
        m.AgentAlive(armed=False, **about),  # type: ignore[arg-type]
        m.AgentReport(**about),  # type: ignore[arg-type]
        m.AgentReport(**{**about, "agent": "stranger"}),  # type: ignore[arg-type]
        m.AskStatus(),
        m.HoldBench(hold="f" * 8, bench="default", holder="eve", seconds=3.0),
        m.ReleaseBench(hold="f" * 8),
        m.ResetLab(section=section_id()),
        m.ResetLab(bench="default"),
        m.ResetLab(everything=True),
        # what is meant for others asks nothing of a gatherer
        m.SectionStopped(**bench),  # type: ignore[arg-type]
        m.LeaveAccepted(section=section_id()),
        m.GathererStarted(gatherer=RUN),
    ]


def at(state: SectionState) -> Play:
    """Make a lab whose first section stands in ``state``."""
    play = Play("scope") if state is not SectionState.ENTERED else Play()
    play.join("scope")
    STATES[state](play)
    assert play.section().state is state
    return play


@pytest.mark.parametrize("state", SectionState)
@pytest.mark.parametrize("number", range(len(messages(1))))
def test_every_message_twice_in_every_state(state: SectionState, number: int) -> None:
    """The second of two equal messages moves no section."""
    play = at(state)
    message = messages(play.section().token)[number]
    play.tell(message, "reply.ff")
    after = play.section().state
    story = play.section().life.story
    play.tell(message, "reply.ff")
    # Ready for the commit is the one message that a gathered section takes as a step each
    # time it has gone back to gathered, and it cannot have gone back in no time.
    # A section that was given up because its workload was gone is opened anew when it asks.
    if not (isinstance(message, m.EnterSection) and "gone" in story[-1]):
        assert play.section().life.story == story
    assert play.section().state == after


@pytest.mark.parametrize("state", SectionState)
def test_every_outcome_in_every_state(state: SectionState) -> None:
    """Outcomes of unknown effects, lost links and early wakes move nothing."""
    play = at(state)
    for told in (Failed(99_999, "lost"), LinkDown("gone"), LinkUp(), Woken(), Told(object())):
        play.feed(told)
        assert play.section().state in (state, SectionState.LIVE)


@pytest.mark.parametrize("state", SectionState)
def test_every_state_ends_in_bounded_time_when_all_fall_silent(state: SectionState) -> None:
    """Only what may be live waits for a person; everything else ends by itself."""
    play = at(state)
    lasting = {SectionState.OVERDUE, SectionState.CLOSED, SectionState.ABORTED}
    if state is SectionState.GATHERED:
        lasting |= {state}  # its workload is there, and may wait for this host's bench lock
    play.there.discard(f"reply.{section_id(2)}")  # but for the one that it is queued behind
    reached = []
    for _ in range(500):
        play.wait(8)
        if section_id() not in play.machine.lab.sections:
            break  # ended, and forgotten
        reached.append(play.section().state)
    assert reached[-1] in lasting


def test_the_table_names_every_state() -> None:
    """And nothing can be left for a state that is not in it."""
    assert set(SECTION_TABLE) == set(SectionState)
    assert {one for to in SECTION_TABLE.values() for one in to} <= set(SectionState)
