"""The workload's machine: inputs in, effects out, time as an argument."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from pytest_gatherscatter.machine import (
    Effect,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Run,
    Send,
    Told,
    Woken,
)
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.question import ABSENT_REPEAT, REPEAT
from pytest_gatherscatter.sections.workload.standing import LEAST_SILENCE
from pytest_gatherscatter.sections.workload.state import (
    ENDED,
    WORKLOAD_TABLE,
    AnswerTo,
    BodyEnded,
    GiveUp,
    KeepChunk,
    TellOf,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.wire.messages import (
    ArtifactChunk,
    ClockProbe,
    ClockReading,
    EnterSection,
    Hold,
    LeaveAccepted,
    LeaveSection,
    Message,
    SectionAborted,
    SectionAccepted,
    SectionClosed,
    SectionGathered,
    SectionGo,
    SectionRefused,
    SectionWaiting,
    WithdrawSection,
    WorkloadReady,
)

W = WorkloadState
ID, OTHER = "1" * 16, "2" * 16
GATHERER, SECOND = "a" * 8, "b" * 8
TOKEN = 7
AHEAD = 1000.0
"""The gatherer's clock minus ours, in these tests."""

M = TypeVar("M", bound=Message)

ACCEPTED = SectionAccepted(section=ID, token=TOKEN, gatherer=GATHERER)
WAITING = SectionWaiting(
    section=ID, state="gathering", awaited=("scope",), holds=(Hold(agent="th", seconds=5.0),)
)
GATHERED = SectionGathered(section=ID, token=TOKEN, members=("scope",))
REFUSED = SectionRefused(section=ID, cause="not-gathered", text="bench is busy")
ABORTED = SectionAborted(section=ID, token=TOKEN, bench="b", cause="vetoed", text="door open")
GO = SectionGo(
    section=ID,
    token=TOKEN,
    bench="b",
    gatherer=GATHERER,
    members=("scope",),
    sent=AHEAD + 100.0,
    t0=AHEAD + 100.5,
    deadline=AHEAD + 130.5,
)
LEFT = LeaveAccepted(section=ID)
FORGOTTEN = LeaveAccepted(section=ID, known=False)
CLOSED = SectionClosed(section=ID, token=TOKEN, t0=AHEAD + 100.5, lead=0.5, skew=0.001)
CHUNK = ArtifactChunk(section=ID, agent="scope", artifact="trace", number=0, data=b"x")


def demand(**given: object) -> Demand:
    """A demand with short waits."""
    facts: dict[str, object] = {"name": "burst", "bench": "b", "test": "test_it", **given}
    return Demand(**facts)  # type: ignore[arg-type]


@dataclass
class Bench:
    """A machine, the time, and everything that it did."""

    machine: Workload
    now: float = 100.0
    effects: list[Effect] = field(default_factory=list)

    @classmethod
    def make(cls, *, met: bool = False, **given: object) -> "Bench":
        """A machine that has just been linked."""
        machine = Workload(demand(**given), section=ID, owner="me", run="0" * 8, met=met, now=100.0)
        bench = cls(machine)
        bench.feed(Told(AnswerTo("reply.1")), LinkUp())
        return bench

    def feed(self, *inputs: Input | Message) -> list[Effect]:
        """Feed inputs (messages as received) now; returns the effects of them all."""
        done: list[Effect] = []
        for one in inputs:
            received = Received(one, 1) if isinstance(one, Message) else one
            done += self.machine.handle(received, now=self.now)
        self.effects += done
        return done

    def after(self, seconds: float) -> list[Effect]:
        """Let time pass, and wake the machine."""
        self.now += seconds
        return self.feed(Woken())

    def where(self) -> WorkloadState:
        """Where the machine stands now (a call, since mypy takes attributes for constant)."""
        return self.machine.state

    def read_clock(self) -> None:
        """Answer the last probe at once."""
        sent = sends(self.effects, ClockProbe)[-1].sent
        self.feed(ClockReading(sent=sent, read=self.now + AHEAD, gatherer=GATHERER))


def sends(effects: Iterable[Effect], kind: type[M]) -> list[M]:
    """The messages of one kind among the sends."""
    found = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in found if isinstance(message, kind)]


def id_of(effects: Iterable[Effect], kind: type[Message]) -> int:
    """The id of the last send of a kind."""
    return [e.id for e in effects if isinstance(e, Send) and isinstance(e.message, kind)][-1]


def at(state: WorkloadState) -> Bench:
    """A machine that came to ``state`` on its usual way."""
    bench = Bench.make()
    match state:
        case W.ENTERING:
            return bench
        case W.ALONE:
            bench.feed(Returned(id_of(bench.effects, EnterSection)))
        case W.REFUSED:
            bench.feed(REFUSED)
        case W.WITHDRAWN:
            bench.feed(Told(GiveUp("ctrl-c")))
        case _:
            bench.read_clock()
            bench.feed(*TOWARDS[: STEPS[state]])
    assert bench.where() is state
    return bench


TOWARDS: tuple[Input | Message, ...] = (
    ACCEPTED,
    GATHERED,
    Told(TicketSynced(TOKEN, 0.01)),
    GO,
    Told(BodyEnded("passed", 100.5, 101.0)),
    LEFT,
    CLOSED,
)
STEPS = {
    W.ACCEPTED: 1,
    W.GATHERED: 2,
    W.READY: 3,
    W.GO: 4,
    W.LEAVING: 5,
    W.LEFT: 6,
    W.CLOSED: 7,
}

BEFORE = (W.ENTERING, W.ACCEPTED, W.GATHERED, W.READY)
AFTER = (W.LEAVING, W.LEFT)
FED: dict[str, Input | Message] = {
    "accepted": ACCEPTED,
    "waiting": WAITING,
    "gathered": GATHERED,
    "refused": REFUSED,
    "aborted": ABORTED,
    "go": GO,
    "left": LEFT,
    "forgotten": FORGOTTEN,
    "closed": CLOSED,
    "chunk": CHUNK,
    "synced": Told(TicketSynced(TOKEN)),
    "ended": Told(BodyEnded("failed", 1.0, 2.0)),
    "give up": Told(GiveUp("enough")),
    "link up": LinkUp(),
    "link down": LinkDown("gone"),
    "woken": Woken(),
    "returned": Returned(999),
    "strange": SectionAccepted(section=OTHER, token=1, gatherer=GATHERER),
}
"""One of each input."""

MOVES: dict[tuple[WorkloadState, str], WorkloadState] = {
    (W.ENTERING, "accepted"): W.ACCEPTED,
    **{(state, "waiting"): W.ACCEPTED for state in BEFORE},
    **{(state, "gathered"): W.GATHERED for state in (W.ENTERING, W.ACCEPTED)},
    **{(state, "refused"): W.REFUSED for state in BEFORE},
    **{(state, "aborted"): W.REFUSED for state in BEFORE},
    **{(state, "give up"): W.WITHDRAWN for state in BEFORE},
    (W.GATHERED, "synced"): W.READY,
    (W.READY, "go"): W.GO,
    (W.GO, "ended"): W.LEAVING,
    (W.LEAVING, "left"): W.LEFT,
    **{(state, "closed"): W.CLOSED for state in AFTER},
    **{
        (state, what): W.UNREPORTED
        for state in AFTER
        for what in ("forgotten", "refused", "aborted", "give up")
    },
}
"""Every pair that moves the machine; all others leave it where it is."""


@pytest.mark.parametrize("what", FED)
@pytest.mark.parametrize("state", [s for s in W if s is not W.UNREPORTED])
def test_every_input_in_every_state(state: WorkloadState, what: str) -> None:
    """Each input moves each state where the table of this test says, and a second one nowhere."""
    bench = at(state)
    bench.feed(FED[what])
    expected = MOVES.get((state, what), state)
    assert bench.where() is expected
    bench.feed(FED[what])
    assert bench.where() is MOVES.get((expected, what), expected)


@pytest.mark.parametrize("what", FED)
def test_the_end_is_final(what: str) -> None:
    """Nothing moves a section that could not be reported."""
    bench = at(W.LEFT)
    bench.feed(Told(GiveUp("enough")))
    bench.feed(FED[what])
    assert bench.where() is W.UNREPORTED


def test_the_table_is_whole() -> None:
    """Every state is in the table, ends lead nowhere, and every other state can be reached."""
    assert set(WORKLOAD_TABLE) == set(W)
    assert {state for state, after in WORKLOAD_TABLE.items() if not after} == ENDED
    assert {one for after in WORKLOAD_TABLE.values() for one in after} == set(W) - {W.ENTERING}


# ── asking ─────────────────────────────────────────────────────────────────────────────


def test_it_asks_at_once_and_every_second() -> None:
    """The question is sent with the link, and again each second, whatever was answered."""
    bench = Bench.make()
    (first,) = sends(bench.effects, EnterSection)
    assert first.section == ID
    assert first.test == "test_it"
    bench.feed(ACCEPTED)
    assert sends(bench.after(REPEAT / 2), EnterSection) == []
    assert len(sends(bench.after(REPEAT / 2), EnterSection)) == 1
    assert len(sends(bench.after(REPEAT), EnterSection)) == 1


def test_answers_go_to_the_newest_queue() -> None:
    """After a new connection the questions carry its own reply key."""
    bench = Bench.make()
    effects = bench.feed(LinkDown("x"), Told(AnswerTo("reply.2")), LinkUp())
    assert {e.reply_to for e in effects if isinstance(e, Send)} == {"reply.2"}


def test_nothing_is_sent_without_a_link() -> None:
    """A lost connection silences the machine until the next one."""
    bench = at(W.ACCEPTED)
    bench.feed(LinkDown("x"))
    assert [e for e in bench.after(5.0) if isinstance(e, Send)] == []


def test_holds_are_kept() -> None:
    """Who held, and why, is known afterwards."""
    bench = at(W.ACCEPTED)
    bench.feed(WAITING)
    assert bench.machine.holds["th"].seconds == 5.0


# ── nobody there ───────────────────────────────────────────────────────────────────────


def test_a_returned_question_means_alone() -> None:
    """No queue of the gatherer: the section runs alone at once, and says so."""
    bench = Bench.make()
    effects = bench.feed(Returned(id_of(bench.effects, EnterSection)))
    assert bench.where() is W.ALONE
    assert bench.machine.absent
    assert len(sends(effects, WithdrawSection)) == 1


def test_silence_means_alone_after_the_handshake() -> None:
    """A gatherer that does not answer is as none, once the handshake timeout is over."""
    bench = Bench.make(handshake_timeout=2.0)
    bench.after(1.9)
    assert bench.where() is W.ENTERING
    effects = bench.after(0.1)
    assert bench.where() is W.ALONE
    assert not bench.machine.absent
    assert len(sends(effects, WithdrawSection)) == 1


def test_a_late_acceptance_is_withdrawn_again() -> None:
    """A gatherer that answers late never gathers for a workload that runs alone."""
    bench = at(W.ALONE)
    effects = bench.feed(ACCEPTED)
    assert bench.where() is W.ALONE
    assert len(sends(effects, WithdrawSection)) == 1


def test_accepted_never_falls_back() -> None:
    """Once accepted, an absent gatherer is waited for, and then it is a failure."""
    bench = Bench.make(handshake_timeout=1.0, gather_timeout=10.0)
    bench.feed(ACCEPTED)
    effects = bench.after(1.0)
    bench.feed(Returned(id_of(effects, EnterSection)))
    bench.after(8.5)
    assert bench.where() is W.ACCEPTED
    bench.after(0.5)
    assert bench.where() is W.REFUSED
    assert bench.machine.refusal is not None
    assert bench.machine.refusal.cause == "not-gathered"
    assert "went away" in bench.machine.refusal.text


def test_one_that_was_met_is_waited_for() -> None:
    """After a gatherer was met in this run, its absence is retried, then fails."""
    bench = Bench.make(met=True, handshake_timeout=1.0, gather_timeout=10.0)
    bench.feed(Returned(id_of(bench.effects, EnterSection)))
    assert bench.where() is W.ENTERING
    assert len(sends(bench.after(ABSENT_REPEAT), EnterSection)) == 1
    bench.after(10.0)
    assert bench.where() is W.REFUSED
    assert bench.machine.refusal is not None
    assert bench.machine.refusal.cause == "no-gatherer"


def test_one_that_comes_back_is_accepted() -> None:
    """A gatherer that restarts within the gather timeout goes on with the section."""
    bench = Bench.make(met=True, gather_timeout=10.0)
    bench.feed(Returned(id_of(bench.effects, EnterSection)))
    bench.after(9.0)
    effects = bench.feed(ACCEPTED)
    assert bench.where() is W.ACCEPTED
    assert not bench.machine.absent
    assert len(sends(effects, ClockProbe)) == 1
    bench.after(9.0)
    assert bench.where() is W.ACCEPTED


def test_a_short_gather_timeout_is_the_gatherers_to_tell() -> None:
    """A second of silence is no absence: the gatherer itself says who is missing by then."""
    bench = Bench.make(gather_timeout=1.0)
    bench.feed(ACCEPTED, WAITING)
    bench.after(1.1)
    assert bench.where() is W.ACCEPTED
    bench.after(LEAST_SILENCE - 1.0)
    assert bench.where() is W.REFUSED
    assert bench.machine.refusal is not None
    assert "did not come back in 5 s" in bench.machine.refusal.text


def test_a_live_gatherer_cannot_keep_it_for_ever() -> None:
    """All waits together bound a section that a gatherer keeps waiting."""
    bench = Bench.make(queue_timeout=10.0, gather_timeout=10.0, hold_limit=10.0)
    for _ in range(50):
        bench.feed(ACCEPTED, WAITING)
        bench.after(1.0)
    assert bench.where() is W.REFUSED


def test_a_go_that_never_comes_is_given_up() -> None:
    """Ready and answered, but never started: it leaves, in case the commit happened."""
    bench = at(W.READY)
    for _ in range(61):
        bench.after(1.0)
        bench.feed(ACCEPTED)
    assert bench.where() is W.REFUSED
    assert bench.machine.owes_leave
    assert sends(bench.effects, LeaveSection)[-1].outcome == "interrupted"


# ── towards go ─────────────────────────────────────────────────────────────────────────


def test_ready_is_repeated_until_go() -> None:
    """The commit is asked for at once and every second."""
    bench = at(W.READY)
    assert len(sends(bench.effects, WorkloadReady)) == 1
    (ready,) = sends(bench.after(REPEAT), WorkloadReady)
    assert (ready.token, ready.needed) == (TOKEN, 0.01)
    bench.feed(GO)
    assert sends(bench.after(REPEAT), WorkloadReady) == []


def test_a_silent_gatherer_is_told_all_again() -> None:
    """Ready, without an answer for long: perhaps it restarted, so the section is entered again."""
    bench = at(W.READY)
    bench.after(REPEAT)
    bench.after(REPEAT)
    assert len(sends(bench.after(REPEAT), EnterSection)) == 1


def test_gathering_may_start_over() -> None:
    """A monitor that died before the commit takes the section back to waiting, then on."""
    bench = at(W.READY)
    bench.feed(WAITING)
    assert bench.where() is W.ACCEPTED
    bench.feed(GATHERED)
    assert bench.where() is W.GATHERED
    bench.feed(Told(TicketSynced(TOKEN)))
    assert bench.where() is W.READY


def test_another_token_needs_another_ticket() -> None:
    """A section that was opened anew by a restarted gatherer is not ready by the old ticket."""
    bench = at(W.READY)
    bench.feed(SectionGathered(section=ID, token=TOKEN + 1, members=()))
    assert bench.where() is W.GATHERED
    bench.feed(Told(TicketSynced(TOKEN)))
    assert bench.where() is W.GATHERED
    bench.feed(GO)
    assert bench.where() is W.GO  # it bears what was on the ticket: the commit was in time


def test_a_go_of_another_token_is_no_go() -> None:
    """Only what is on the ticket starts the body."""
    bench = at(W.READY)
    bench.feed(
        SectionGo(
            section=ID,
            token=TOKEN + 1,
            bench="b",
            gatherer=GATHERER,
            members=(),
            sent=1.0,
            t0=2.0,
            deadline=3.0,
        )
    )
    assert bench.where() is W.READY


def test_a_go_without_a_ticket_is_no_go() -> None:
    """A Go before the ticket was synced is nobody's."""
    bench = at(W.GATHERED)
    bench.feed(GO)
    assert bench.where() is W.GATHERED


def test_t0_is_on_the_local_clock() -> None:
    """t0 and the deadline are converted by the measured offset."""
    bench = at(W.GO)
    assert bench.machine.t0 == pytest.approx(100.5)
    assert bench.machine.deadline == pytest.approx(130.5)


def test_an_unknown_clock_errs_on_the_late_side() -> None:
    """Without a reading t0 is as if the Go had come in no time: never earlier than the truth."""
    bench = Bench.make()
    bench.feed(ACCEPTED, GATHERED, Told(TicketSynced(TOKEN)))
    bench.now = 100.2  # the Go took 0.2 s
    bench.feed(GO)
    assert bench.machine.t0 == pytest.approx(100.7)


def test_another_gatherers_clock_is_read_anew() -> None:
    """A restarted gatherer is another clock: the old readings are dropped."""
    bench = at(W.ACCEPTED)
    effects = bench.feed(SectionAccepted(section=ID, token=TOKEN, gatherer=SECOND))
    assert not bench.machine.clock_settled
    assert len(sends(effects, ClockProbe)) == 1


def test_five_probes_one_after_the_other() -> None:
    """The next probe leaves when the last was answered, five in all."""
    bench = Bench.make()
    for _ in range(8):
        bench.now += 0.001
        bench.read_clock()
    assert len(sends(bench.effects, ClockProbe)) == 5


def test_a_long_wait_reads_the_clock_again() -> None:
    """What was read long ago has aged: t0 is converted by what is read when all are gathered."""
    bench = at(W.ACCEPTED)
    assert sends(bench.feed(GATHERED), ClockProbe) == []
    bench = at(W.ACCEPTED)
    bench.now += 50.0
    assert len(sends(bench.feed(GATHERED), ClockProbe)) == 1


def test_a_lost_probe_is_sent_again() -> None:
    """Without any reading by then, the clock is asked once more when all are gathered."""
    bench = Bench.make()
    bench.feed(ACCEPTED)
    assert len(sends(bench.feed(GATHERED), ClockProbe)) == 1


# ── giving up ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [W.ENTERING, W.ACCEPTED, W.GATHERED])
def test_giving_up_early_withdraws(state: WorkloadState) -> None:
    """Before the commit was asked for, a withdrawal is all that is owed."""
    bench = at(state)
    effects = bench.feed(Told(GiveUp("ctrl-c")))
    assert [m.reason for m in sends(effects, WithdrawSection)] == ["ctrl-c"]
    assert not bench.machine.owes_leave


def test_giving_up_late_leaves() -> None:
    """Once the commit was asked for it may have happened: leave, until that was heard."""
    bench = at(W.READY)
    effects = bench.feed(Told(GiveUp("ctrl-c")))
    assert [m.outcome for m in sends(effects, LeaveSection)] == ["interrupted"]
    assert bench.machine.owes_leave
    assert len(sends(bench.after(REPEAT), LeaveSection)) == 1
    bench.feed(LEFT)
    assert not bench.machine.owes_leave
    assert sends(bench.after(REPEAT), LeaveSection) == []


# ── after the body ─────────────────────────────────────────────────────────────────────


def back(*, wait: float = 0.0) -> Bench:
    """A machine whose body is over and which is linked again."""
    bench = at(W.GO)
    bench.feed(LinkDown("quiet"))
    bench.now = 101.0 + wait
    bench.feed(Told(BodyEnded("passed", 100.5, 101.0, needed=0.02)))
    bench.effects.clear()
    bench.feed(Told(AnswerTo("reply.2")), LinkUp())
    return bench


def test_it_reads_the_clock_before_it_leaves() -> None:
    """On return the offset is measured first; one good reading is enough."""
    bench = back()
    assert sends(bench.effects, LeaveSection) == []
    bench.read_clock()
    (leave,) = sends(bench.effects, LeaveSection)
    assert leave.started == pytest.approx(AHEAD + 100.5)
    assert leave.stopped == pytest.approx(AHEAD + 101.0)
    assert leave.bound is not None
    assert leave.bound < 0.001
    assert (leave.outcome, leave.needed) == ("passed", 0.02)


def test_a_poor_reading_is_not_enough() -> None:
    """A slow round trip is measured again before the section leaves."""
    bench = back()
    bench.now += 0.1
    bench.read_clock()
    # The old estimate is still the best one, so nothing is waited for.
    assert len(sends(bench.effects, LeaveSection)) == 1
    slow = back(wait=600.0)
    slow.now += 0.1
    slow.read_clock()
    assert sends(slow.effects, LeaveSection) == []
    assert len(sends(slow.effects, ClockProbe)) == 2


def test_a_clock_that_is_not_answered_delays_little() -> None:
    """Without readings it leaves all the same, soon."""
    bench = back()
    assert len(sends(bench.after(0.25), LeaveSection)) == 1


def test_leaving_is_repeated_until_closed() -> None:
    """Also after the acceptance: the repetition fetches a lost ``SectionClosed``."""
    bench = at(W.LEAVING)
    assert len(sends(bench.after(REPEAT), LeaveSection)) == 1
    bench.feed(LEFT)
    assert bench.machine.acknowledged
    assert len(sends(bench.after(REPEAT), LeaveSection)) == 1
    bench.feed(CLOSED)
    assert bench.machine.closed == CLOSED
    assert sends(bench.after(REPEAT), LeaveSection) == []


def test_a_forgotten_section_is_unreported() -> None:
    """A gatherer without a record of it cannot close it; the ticket may go all the same."""
    bench = at(W.LEAVING)
    bench.feed(FORGOTTEN)
    assert bench.machine.acknowledged
    assert "no record" in bench.machine.unreported


def test_a_section_that_was_reset_is_over_at_once() -> None:
    """Nobody waits for the reports of a section that was given up; who did it is told."""
    bench = at(W.LEAVING)
    bench.feed(LEFT, ABORTED)
    assert bench.where() is W.UNREPORTED
    assert bench.machine.given_up
    assert bench.machine.unreported == "the lab gave it up: door open"


def test_chunks_are_kept_before_they_are_acked() -> None:
    """A chunk becomes a command of the same step, so that its ack follows its writing."""
    bench = at(W.CLOSED)
    (effect,) = bench.feed(CHUNK)
    assert isinstance(effect, Run)
    assert effect.command == KeepChunk(CHUNK)


def test_it_tells_of_other_sections() -> None:
    """A dead neighbour's section is left for it, and the acceptance is noted."""
    bench = at(W.ACCEPTED)
    effects = bench.feed(Told(TellOf(OTHER, 3, "died")))
    (leave,) = sends(effects, LeaveSection)
    assert (leave.section, leave.token, leave.outcome) == (OTHER, 3, "died")
    bench.feed(LeaveAccepted(section=OTHER))
    assert bench.machine.told_of == {OTHER}
    assert bench.where() is W.ACCEPTED
