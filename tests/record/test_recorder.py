"""The machine of a recorder: nothing is acked before it is on record, nothing is tried for ever."""

from collections.abc import Iterable

import pytest

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.machine import (
    Effect,
    Exited,
    Input,
    Keep,
    LinkDown,
    Received,
    Recovered,
    Run,
    Settle,
    Told,
    Woken,
)
from pytest_gatherscatter.record.order import Done, Drain, NotWritten, Say, Write, Written
from pytest_gatherscatter.record.recorder import FIRST_PAUSE, RecorderMachine
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import SectionChanged

PATIENCE = 60.0


class Play:
    """A recorder, and what it did."""

    def __init__(self) -> None:
        self.machine = RecorderMachine("x", patience=PATIENCE)
        self.now = 100.0
        self.orders: list[tuple[int, object]] = []
        self.settled: dict[int, Verdict] = {}
        self.kept: list[int] = []
        self.give(Recovered((), 1_795_000_000.0))

    def give(self, message: Input) -> list[Effect]:
        """Give it an input."""
        effects = self.machine.handle(message, now=self.now)
        for effect in effects:
            match effect:
                case Run(id_, command):
                    self.orders.append((id_, command))
                case Settle(_, delivery, verdict):
                    self.settled[delivery] = verdict
                case Keep(_, delivery):
                    self.kept.append(delivery)
                case _:
                    pass
        return effects

    def come(self, *deliveries: int, prefix: str = "m") -> None:
        """Messages come; the id of each is its delivery's number, unless said otherwise."""
        for delivery in deliveries:
            answer = GradeAnswer(request=f"{delivery:08x}", queue="q", outcome="graded")
            self.give(Received(answer, delivery, id=f"{prefix}{delivery}"))

    def told(self, kind: type) -> list[object]:
        """What it ordered of a kind."""
        return [command for _, command in self.orders if isinstance(command, kind)]

    @property
    def batch(self) -> list[str]:
        """The ids of what it writes, or wrote last."""
        write = self.told(Write)[-1]
        assert isinstance(write, Write)
        return [entry.id for entry in write.entries]

    def end(self, result: object) -> None:
        """The write that is under way ends."""
        run = next(id_ for id_, command in reversed(self.orders) if isinstance(command, Write))
        self.give(Exited(run, result))

    def pass_(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        self.give(Woken())


@pytest.fixture
def play() -> Play:
    """A recorder that has begun."""
    return Play()


def ids(numbers: Iterable[int]) -> list[str]:
    """What :meth:`Play.come` calls them."""
    return [f"m{number}" for number in numbers]


def test_acked_after_the_commit(play: Play) -> None:
    """What comes while a transaction is under way is the next one, all of it."""
    play.come(1, 2, 3)
    assert (play.batch, play.kept, play.settled) == (ids([1]), [1, 2, 3], {})
    play.end(Written(1, {}))
    assert (play.batch, play.settled) == (ids([2, 3]), {1: Verdict.ACK})
    play.end(Written(1, {}))
    assert play.settled == dict.fromkeys([1, 2, 3], Verdict.ACK)
    assert (play.machine.fresh, play.machine.known) == (2, 1)
    assert len(play.told(Write)) == 2


def test_what_tells_no_end_is_forgotten(play: Play) -> None:
    """A section that goes on is acked by the pump, and written nowhere."""
    changed = SectionChanged(section="ab" * 8, name="s", bench="b", state="live")
    play.give(Received(changed, 1, id="m1"))
    assert (play.kept, play.orders) == ([], [])


def test_a_lost_connection_loses_nothing(play: Play) -> None:
    """What is under way may be committed all the same, and comes again; what waits, too."""
    play.come(1, 2)
    play.give(LinkDown("gone"))
    play.come(11)
    play.end(Written(1, {}))
    assert play.batch == ["m11"]  # not 2: it has no delivery any more, and comes again
    play.end(Written(0, {}))
    assert play.settled[11] == Verdict.ACK


def test_a_database_that_fails_is_tried_again_with_growing_pauses(play: Play) -> None:
    """The same messages, told once, and nothing is acked."""
    play.come(1)
    play.end(NotWritten("database is locked"))
    play.come(2)
    assert len(play.told(Write)) == 1
    play.pass_(FIRST_PAUSE)
    assert play.batch == ["m1"]
    play.end(NotWritten("database is locked"))
    play.pass_(FIRST_PAUSE)
    assert len(play.told(Write)) == 2
    play.pass_(FIRST_PAUSE)
    assert len(play.told(Write)) == 3
    assert play.settled == {}
    (said,) = play.told(Say)
    assert isinstance(said, Say)
    assert "database is locked" in said.text
    play.end(Written(1, {}))
    assert play.settled == {1: Verdict.ACK}
    assert play.batch == ["m2"]
    assert len(play.told(Say)) == 2


def test_it_ends_when_its_patience_is_over(play: Play) -> None:
    """With the last reason, and not one try more; nothing is acked."""
    play.come(1, 2)
    tries = 0
    while not play.told(Done):
        tries += 1
        assert tries < 20
        play.end(NotWritten("disk full"))
        play.pass_(min(FIRST_PAUSE * 2**tries, 30.0))
    assert play.told(Done) == [Done("disk full", 2)]
    assert tries == len(play.told(Write))
    assert play.now <= 100 + 2 * PATIENCE
    assert play.settled == {}
    play.come(3)
    play.pass_(PATIENCE)
    assert len(play.told(Done)) == 1


def test_it_ends_where_a_database_does_not_answer(play: Play) -> None:
    """A write that does not come back is waited for as long as one that fails."""
    play.come(1)
    play.pass_(PATIENCE - 1)
    assert play.told(Done) == []
    play.pass_(1)
    assert play.told(Done) == [Done("it has not answered for 60 s", 1)]


def test_what_a_database_refuses_is_set_aside_when_it_comes_again(play: Play) -> None:
    """The others are on record; the pump buries it, with the reason, and it comes no third time."""
    play.come(1, 2)
    play.end(Written(1, {}))
    play.end(Written(0, {"m2": "value out of range"}))
    assert play.settled == {1: Verdict.ACK, 2: Verdict.REQUEUE}
    with pytest.raises(MessageUnreadable, match="value out of range"):
        play.come(2)
    play.come(2)  # another one of this id is a new chance: nothing is remembered for ever
    assert play.batch == ["m2"]


def test_draining_writes_what_is_in_hand(play: Play) -> None:
    """It ends when that is on record, and at once if there is nothing."""
    play.come(1, 2)
    play.give(Told(Drain()))
    play.end(Written(1, {}))
    assert play.told(Done) == []
    play.end(Written(1, {}))
    assert play.told(Done) == [Done("", 0)]
    idle = Play()
    idle.give(Told(Drain()))
    assert idle.told(Done) == [Done("", 0)]


def test_draining_does_not_wait_for_a_database_that_fails(play: Play) -> None:
    """The broker has it all."""
    play.come(1)
    play.give(Told(Drain()))
    play.end(NotWritten("locked"))
    assert play.told(Done) == [Done("locked", 1)]
    assert play.settled == {}
