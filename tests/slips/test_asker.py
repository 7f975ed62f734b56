"""Who gives out a slip: asks first, sends, follows, and never waits without an end."""

import msgspec
import pytest

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Failed,
    Input,
    LinkUp,
    Publish,
    Received,
    Returned,
    Run,
    Send,
    Told,
    Woken,
)
from pytest_gatherscatter.slips.asker import (
    AGAIN,
    CHECK,
    GRACE,
    SAY_AGAIN,
    AskerMachine,
    AskState,
    CancelWish,
    Checked,
    Refusal,
    Silence,
)
from pytest_gatherscatter.slips.order import Say
from pytest_gatherscatter.slips.slip import note
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.slips import (
    Attempt,
    CancelSlip,
    CheckSlip,
    KeepSlip,
    RunStep,
    Slip,
    SlipChecked,
    SlipOver,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Step,
    StepChecked,
    Task,
)

ID = "ab" * 8
ONE = Step(number=1, process="power", command="on")
TWO = Step(number=2, process="flash", command="write")
OFF = Step(number=3, process="power", command="off", mandatory=True, timeout=7)
LASTS = 1000.0


class Play:
    """One asker, and what it did."""

    def __init__(
        self,
        *steps: Step,
        checks: bool = False,
        only_checks: bool = False,
        route_wait: float = 2.0,
    ) -> None:
        self.slip = Slip(id=ID, name="n", steps=steps, route_wait=route_wait)
        self.machine = AskerMachine(
            self.slip,
            asker="cd" * 8,
            checks=checks,
            only_checks=only_checks,
            lasts=LASTS,
            now=0.0,
        )
        self.now = 0.0
        self.effects: list[Effect] = []

    def tell(self, message: Input, *, at: float | None = None) -> list[Effect]:
        """Tell it something."""
        self.now = self.now if at is None else at
        self.effects = self.machine.handle(message, now=self.now)
        return self.effects

    def hear(self, message: Message) -> list[Effect]:
        """Let it hear a message."""
        return self.tell(Received(message, 1))

    def sent(self) -> list[Send]:
        """What it sent in the last step."""
        return [one for one in self.effects if isinstance(one, Send)]

    def said(self) -> list[Message]:
        """What it told all in the last step."""
        return [one.message for one in self.effects if isinstance(one, Publish)]

    def news(self) -> list[object]:
        """What it showed in the last step."""
        return [one.command for one in self.effects if isinstance(one, Run)]

    def given_out(self) -> "Play":
        """Have it on its way."""
        self.tell(LinkUp())
        (send,) = self.sent()
        self.tell(Confirmed(send.id))
        assert self.machine.life.state is AskState.UNDERWAY
        return self


def checked(*numbers: int, refused: str = "") -> SlipChecked:
    """An answer of a processor."""
    steps = tuple(StepChecked(number=one, line="x", refused=refused) for one in numbers)
    return SlipChecked(slip=ID, processor="rack1", host="h", steps=steps)


def test_it_goes_out_when_somebody_has_answered_for_each_process() -> None:
    """No longer is waited; then its first step goes to its queue."""
    play = Play(ONE, TWO, checks=True)
    play.tell(LinkUp())
    assert [type(one) for one in play.said()] == [CheckSlip]
    play.hear(checked(1))
    assert play.sent() == []
    play.hear(checked(1, 2))
    (send,) = play.sent()
    assert send.key == "steps.power"
    assert send.message == RunStep(slip=play.slip, task=Task(number=1, attempt=1))
    assert [type(one) for one in play.news()] == [Checked]


def test_who_only_asks_hears_everybody() -> None:
    """The first answer for a process is not the only one: another may refuse its steps."""
    play = Play(ONE, checks=True, only_checks=True)
    play.tell(LinkUp())
    play.hear(checked(1))
    play.hear(msgspec.structs.replace(checked(1), processor="rack2"))
    assert not play.machine.over
    play.tell(Woken(), at=CHECK)
    (found,) = play.news()
    assert isinstance(found, Checked)
    assert [one.processor for one in found.answers] == ["rack1", "rack2"]
    assert play.machine.over


def test_it_goes_out_though_nobody_answers() -> None:
    """After a moment, and it says for whom nobody did."""
    play = Play(ONE, TWO, checks=True)
    play.tell(LinkUp())
    play.hear(checked(2))
    play.tell(Woken(), at=CHECK)
    assert play.sent()
    (said,) = [one for one in play.news() if isinstance(one, Say)]
    assert "no processor answers for power" in said.text


def test_a_refusal_stops_it_before_anything_runs() -> None:
    """It says who refuses which step; nothing is sent, then or later."""
    play = Play(ONE, TWO, checks=True)
    play.tell(LinkUp())
    play.hear(checked(2, refused="no such command"))
    play.tell(Woken(), at=CHECK)
    refusal = play.news()[-1]
    assert refusal == Refusal("step 2: no such command (processor rack1 on h)")
    assert play.machine.over
    play.tell(LinkUp(), at=CHECK + 1)
    assert play.sent() == []


def test_a_slip_with_parallel_steps_goes_to_the_waiting_room() -> None:
    """Its steps are begun and joined there."""
    play = Play(ONE, Step(number=2, process="flash", command="write", after=()))
    play.tell(LinkUp())
    (send,) = play.sent()
    assert (send.key, send.message) == ("waiting", KeepSlip(slip=play.slip, why="parallel"))


def test_a_queue_that_is_not_there_is_waited_for() -> None:
    """Again and again, until the slip's time for that is over; then the mandatory step is tried."""
    play = Play(ONE, OFF, route_wait=2 * AGAIN)
    play.tell(LinkUp())
    tried = 0
    while play.sent():
        (send,) = play.sent()
        if send.message.task.number == 3:  # type: ignore[attr-defined]
            break
        tried += 1
        play.tell(Returned(send.id))
        if not play.sent():
            play.tell(Woken(), at=play.now + AGAIN)
    assert tried == 3
    (ended,) = play.news()
    assert isinstance(ended, SlipStepEnded)
    assert (ended.attempt.number, ended.attempt.status) == (1, "unserved")
    (send,) = play.sent()
    assert send.message.slip.progress == (ended.attempt,)  # type: ignore[attr-defined]


def test_what_nobody_serves_at_all_is_over_here() -> None:
    """With nothing left to send it ends here, and all hear of it."""
    play = Play(ONE, TWO, route_wait=0)
    play.tell(LinkUp())
    play.tell(Returned(play.sent()[0].id))
    over = play.news()[-1]
    assert isinstance(over, SlipOver)
    assert over.outcome == "failed"
    assert play.said() == [over]
    assert play.machine.over


def test_a_send_of_which_nobody_knows_is_said_again_with_doubt() -> None:
    """The connection was lost: the first one may have got through."""
    play = Play(ONE)
    play.tell(LinkUp())
    play.tell(Failed(play.sent()[0].id, "lost"))
    assert play.sent() == []
    play.tell(LinkUp(), at=1)
    (send,) = play.sent()
    assert send.message == RunStep(slip=play.slip, task=Task(number=1, attempt=1), doubt=True)


def begun(number: int, attempt: int = 1) -> SlipStepBegun:
    """A step begins."""
    return SlipStepBegun(
        slip=ID,
        name="n",
        task=Task(number=number, attempt=attempt),
        process="power",
        command="on",
        processor="rack1",
        host="h",
    )


def test_it_is_followed_and_each_thing_shown_once() -> None:
    """What is said twice is shown once; other slips' events are not its own."""
    play = Play(ONE).given_out()
    attempt = Attempt(number=1, attempt=1, status="done")
    moved = SlipStepMoved(slip=ID, task=Task(number=1, attempt=1), share=0.5)
    ended = SlipStepEnded(slip=ID, name="n", attempt=attempt)
    over = SlipOver(slip=note(play.slip, attempt), outcome="done")
    shown = []
    for message in (begun(1), begun(1), moved, ended, ended, over, over, ended, begun(1)):
        play.hear(message)
        shown += play.news()
    assert shown == [begun(1), moved, ended, over]
    assert play.machine.slip == over.slip
    other = Play(ONE).given_out()
    other.hear(SlipOver(slip=Slip(id="cd" * 8, name="o", steps=(ONE,)), outcome="done"))
    assert other.news() == []


def test_a_wish_to_cancel_is_said_again_until_it_is_over() -> None:
    """Each second; somebody may just have got the slip."""
    play = Play(ONE, OFF).given_out()
    play.tell(Told(CancelWish("me")), at=10)
    assert play.said() == [CancelSlip(slip=ID, who="me")]
    play.tell(Woken(), at=10 + SAY_AGAIN / 2)
    assert play.said() == []
    play.tell(Woken(), at=10 + SAY_AGAIN)
    assert play.said() == [CancelSlip(slip=ID, who="me")]
    play.hear(SlipOver(slip=play.slip, outcome="cancelled"))
    play.tell(Woken(), at=20)
    assert play.said() == []


def test_a_slip_that_is_still_here_is_cancelled_here() -> None:
    """Nobody else has to be asked."""
    play = Play(ONE)
    play.tell(LinkUp())
    play.tell(Returned(play.sent()[0].id))
    play.tell(Told(CancelWish("me")))
    over = play.news()[-1]
    assert isinstance(over, SlipOver)
    assert (over.outcome, over.slip.cancelled) == ("cancelled", "me")
    assert [one.status for one in over.slip.progress] == ["cancelled"]


def test_a_slip_that_may_be_here_is_cancelled_wherever_it_is() -> None:
    """Come back unheard it ends here; where nobody knows, it is sent and the wish said again."""
    back = Play(ONE)
    back.tell(LinkUp())
    (send,) = back.sent()
    back.tell(Told(CancelWish("me")))
    assert back.said() == [CancelSlip(slip=ID, who="me")]
    back.tell(Returned(send.id))
    assert back.machine.over
    assert isinstance(back.news()[-1], SlipOver)
    lost = Play(ONE, OFF)
    lost.tell(LinkUp())
    lost.tell(Failed(lost.sent()[0].id, "lost"))
    lost.tell(Told(CancelWish("me")))
    lost.tell(LinkUp())
    (send,) = lost.sent()
    assert isinstance(send.message, RunStep)
    assert send.message.doubt
    assert lost.said() == [CancelSlip(slip=ID, who="me")]


@pytest.mark.parametrize("cancelled", [False, True])
def test_its_end_is_not_waited_for_for_ever(cancelled: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Not after its time, and not long after it was cancelled and may have cleaned up."""
    play = Play(ONE, OFF).given_out()
    end = LASTS
    if cancelled:
        play.tell(Told(CancelWish("me")), at=1)
        end = 1 + OFF.timeout + GRACE
    play.tell(Woken(), at=end - 0.1)
    assert play.news() == []
    play.tell(Woken(), at=end)
    assert isinstance(play.news()[-1], Silence)
    assert play.machine.over
