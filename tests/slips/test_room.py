"""The waiting room over a broker whose confirms are late: RabbitMQ's are, it writes first."""

import msgspec
import pytest

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.errors import JournalDamaged
from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Exited,
    Input,
    Keep,
    LinkUp,
    Received,
    Recovered,
    Run,
    Send,
    Settle,
    Woken,
)
from pytest_gatherscatter.slips.hand import LONG
from pytest_gatherscatter.slips.order import BeginCommand, CommandOver
from pytest_gatherscatter.slips.processor import ProcessorFacts, ProcessorMachine
from pytest_gatherscatter.slips.repertoire import Repertoire
from pytest_gatherscatter.slips.route import TOO_LATE
from pytest_gatherscatter.slips.search import DOUBT
from pytest_gatherscatter.slips.template import Template
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import WAITING_KEY, steps_key
from pytest_gatherscatter.wire.slips import KeepSlip, RunStep, Slip, SlipOver, Step, Task

FACTS = ProcessorFacts(
    processor="rack1", host="h", pid=1, version="0", processes=("power",), slots=1
)
TASK = Task(number=1, attempt=1)


WALL = 1000.0


def slip(
    *,
    timeout: float = 2 * LONG,
    deadline: float | None = None,
    reply_to: str = "slip.0123abcd",
) -> Slip:
    """One step, on its way."""
    step = Step(number=1, process="power", command="on", timeout=timeout, retries=1)
    return Slip(id="ab" * 8, name="n", steps=(step,), reply_to=reply_to, deadline=deadline)


class Play:
    """A processor that also keeps the room, and what it did."""

    def __init__(self) -> None:
        templates = Repertoire({"power": {"on": Template("on", "psu on")}})
        self.machine = ProcessorMachine(FACTS, templates, now=0.0)
        self.now = 0.0
        self._deliveries = 0
        self.settled: dict[int, Verdict] = {}
        self.tell(Recovered((), wall=WALL))
        self.tell(LinkUp())

    def tell(self, message: Input, *, at: float | None = None) -> list[Effect]:
        """Tell it something."""
        self.now = self.now if at is None else at
        effects = self.machine.handle(message, now=self.now)
        self.settled |= {one.delivery: one.verdict for one in effects if isinstance(one, Settle)}
        return effects

    def hear(self, message: Message, *, key: str = "") -> tuple[int, list[Effect]]:
        """Let it hear a message; returns its delivery too."""
        self._deliveries += 1
        key = key or (WAITING_KEY if isinstance(message, KeepSlip) else steps_key("power"))
        return self._deliveries, self.tell(Received(message, self._deliveries, key=key))


def one_sent(effects: list[Effect]) -> Send:
    """Return the one message to one party."""
    (sent,) = (one for one in effects if isinstance(one, Send))
    return sent


def test_what_is_back_in_the_room_before_its_confirm_is_kept() -> None:
    """The confirm settles the copy that has left, and not the one that came back of it."""
    for back in (
        KeepSlip(slip=slip(), why="elsewhere", task=TASK, processor="rack2"),
        KeepSlip(slip=slip(), why="doubt", task=TASK),
    ):
        play = Play()
        first, _ = play.hear(KeepSlip(slip=slip(), why="doubt", task=TASK))
        left = one_sent(play.tell(Woken(), at=DOUBT))
        assert isinstance(left.message, RunStep)
        second, _ = play.hear(back)
        play.tell(Confirmed(left.id))
        assert play.settled == {first: Verdict.ACK}
        assert second not in play.settled


def test_what_makes_no_sense_in_the_room_is_set_aside() -> None:
    """No branches of a chain, no step that is not there; nothing waits for it."""
    branches = slip()
    first = msgspec.structs.replace(branches.steps[0], after=())
    branches = msgspec.structs.replace(branches, steps=(first,))
    twice = msgspec.structs.replace(branches, steps=(first, first))
    strange = Task(number=7, attempt=1)
    for keep in (
        KeepSlip(slip=slip(), why="parallel"),
        KeepSlip(slip=slip(), why="parallel", task=TASK),
        KeepSlip(slip=slip(), why="elsewhere"),
        KeepSlip(slip=slip(), why="elsewhere", task=strange),
        KeepSlip(slip=twice, why="parallel"),
        KeepSlip(slip=branches, why="parallel", launched=(strange,)),
    ):
        play = Play()
        delivery, effects = play.hear(keep)
        assert play.settled == {delivery: Verdict.DEAD}, keep
        assert not [one for one in effects if isinstance(one, Keep)], keep


def test_a_queue_of_steps_is_no_waiting_room() -> None:
    """What waits there would hold a slot of its queue, for as long as it waits."""
    play = Play()
    keep = KeepSlip(slip=slip(), why="retry", task=TASK, seconds=1e6)
    delivery, _ = play.hear(keep, key=steps_key("power"))
    assert play.settled == {delivery: Verdict.DEAD}


@pytest.mark.parametrize(
    "key", ["gatherer", "slip.", "slip.x", "slip.0123abcd.x", "slip." + "0" * 500]
)
def test_a_slip_whose_end_nobody_could_be_told_is_set_aside(key: str) -> None:
    """A processor would try for ever to say it, or be cut off for it each time."""
    play = Play()
    delivery, effects = play.hear(RunStep(slip=slip(reply_to=key), task=TASK))
    assert play.settled == {delivery: Verdict.DEAD}
    assert not [one for one in effects if isinstance(one, Run)]


def test_a_slip_is_given_to_the_room_when_its_step_has_taken_long() -> None:
    """Not before: it would be settled twice. The delivery goes when the room has it."""
    play = Play()
    delivery, effects = play.hear(RunStep(slip=slip(), task=TASK))
    (begun,) = (one for one in effects if isinstance(one, Run))
    assert isinstance(begun.command, BeginCommand)
    assert not [one for one in play.tell(Woken(), at=LONG - 1) if isinstance(one, Send)]
    lease = one_sent(play.tell(Woken(), at=LONG))
    assert isinstance(lease.message, KeepSlip)
    assert (lease.message.why, lease.message.processor) == ("elsewhere", "rack1")
    assert delivery not in play.settled
    play.tell(Confirmed(lease.id))
    assert play.settled == {delivery: Verdict.ACK}
    back = one_sent(play.tell(Exited(begun.id, CommandOver("done"))))
    assert isinstance(back.message, KeepSlip)
    assert back.message.why == "returned"


def test_a_step_that_may_not_take_long_keeps_its_slip() -> None:
    """Its delivery is younger than RabbitMQ's limit whenever it ends."""
    play = Play()
    play.hear(RunStep(slip=slip(timeout=LONG), task=TASK))
    assert not [one for one in play.tell(Woken(), at=LONG) if isinstance(one, Send)]


def test_a_step_that_the_deadline_ends_is_too_late_and_not_tried_again() -> None:
    """Its own time was not over, and another attempt would have none."""
    play = Play()
    _, effects = play.hear(RunStep(slip=slip(timeout=9, deadline=WALL + 5), task=TASK))
    (begun,) = (one for one in effects if isinstance(one, Run))
    assert isinstance(begun.command, BeginCommand)
    assert begun.command.timeout == 5
    over = CommandOver("timed-out", started=WALL, ended=WALL + 5, text="it took longer than 5 s")
    said = one_sent(play.tell(Exited(begun.id, over), at=5.0)).message
    assert isinstance(said, SlipOver)
    assert said.outcome == "expired"
    (attempt,) = said.slip.progress
    assert (attempt.status, attempt.text) == ("expired", TOO_LATE)


def test_a_step_whose_own_time_is_over_before_the_deadline_is_tried_again() -> None:
    """It is timed out, however near the deadline is."""
    play = Play()
    _, effects = play.hear(RunStep(slip=slip(timeout=4, deadline=WALL + 5), task=TASK))
    (begun,) = (one for one in effects if isinstance(one, Run))
    over = CommandOver("timed-out", started=WALL, ended=WALL + 4)
    said = one_sent(play.tell(Exited(begun.id, over), at=4.0)).message
    assert isinstance(said, RunStep)
    assert (said.task.attempt, said.slip.progress[0].status) == (2, "timed-out")


@pytest.mark.parametrize(
    "event", [{"what": "opened", "token": 1}, {"what": "ended", "slip": "s", "number": 1}]
)
def test_a_journal_of_something_else_is_refused(event: dict[str, object]) -> None:
    """With the number of its line; nothing is known of what it tells."""
    machine = ProcessorMachine(FACTS, Repertoire({}), now=0.0)
    with pytest.raises(JournalDamaged, match="line 1 is damaged"):
        machine.handle(Recovered((event,), wall=WALL), now=0.0)
