"""Answers on their way: said until somebody has them, and no longer than anybody wants them."""

from pytest_gatherscatter.answering import AGAIN, GONE, KEPT, TRIES, Answers, Owed
from pytest_gatherscatter.machine import Effect, Effects, Send, Wake
from pytest_gatherscatter.wire.messages import ClockProbe


class Lab:
    """Answers to requests that are wanted for 100 seconds from 0 on."""

    def __init__(self) -> None:
        self.out = Effects()
        self.answers = Answers[Owed[ClockProbe]](self.out, lambda _, now: 100.0 - now)

    def owe(self, reply_to: str = "one", now: float = 0.0) -> Owed[ClockProbe]:
        """Say an answer."""
        owed = Owed(reply_to=reply_to, answer=ClockProbe(sent=1.0))
        assert self.answers.say(owed, now)
        return owed

    def sent(self) -> list[int]:
        """The effects that say something."""
        return [one.id for one in self.out.take() if isinstance(one, Send)]

    def give_up(self, reply_to: str, now: float = 0.0) -> None:
        """Let an answer find nobody, for as long as it is kept."""
        owed = self.owe(reply_to, now)
        (effect,) = self.sent()
        assert self.answers.unheard(effect, now, returned=True) is None
        assert self.answers.due(now + KEPT) == []
        (effect,) = self.sent()
        assert self.answers.unheard(effect, now + KEPT, returned=True) is owed


def test_nothing_is_said_without_a_connection() -> None:
    """Not before there is one, and not after it was lost."""
    lab = Lab()
    lab.owe()
    assert lab.sent() == []
    lab.answers.link_up("")
    (effect,) = lab.sent()
    lab.answers.link_down()
    assert lab.answers.unheard(effect, 1.0, returned=False) is None
    assert lab.answers.due(1.0 + AGAIN) == []
    assert lab.sent() == []
    lab.answers.link_up("")
    (effect,) = lab.sent()
    assert lab.answers.says(effect)
    assert lab.answers.confirmed(effect) is not None
    assert not lab.answers.says(effect)
    lab.answers.link_up("")
    assert lab.sent() == [], "that is over"
    assert not lab.answers._open


def test_what_was_not_heard_is_said_again_once_at_a_time() -> None:
    """In its time, of which it wants to be told; not while it has no outcome."""
    lab = Lab()
    lab.answers.link_up("")
    lab.owe()
    (effect,) = lab.sent()
    assert lab.answers.unheard(effect, 1.0, returned=False) is None
    taken: list[Effect] = lab.out.take()
    assert [one.at for one in taken if isinstance(one, Wake)] == [1.0 + AGAIN]
    assert lab.answers.due(1.0 + AGAIN / 2) == []
    assert lab.sent() == []
    assert lab.answers.due(1.0 + AGAIN) == []
    assert len(lab.sent()) == 1
    assert lab.answers.due(100.0) == []
    assert lab.sent() == []


def test_whoever_is_gone_is_not_waited_for_until_heard_of() -> None:
    """A minute long; one whose answers are taken is back, and counts as any other."""
    lab = Lab()
    lab.answers.link_up("")
    lab.give_up("one")
    late = lab.owe("one", KEPT)
    (effect,) = lab.sent()
    assert lab.answers.unheard(effect, KEPT, returned=True) is late
    lab.owe("one", KEPT)
    (effect,) = lab.sent()
    assert lab.answers.confirmed(effect) is not None
    lab.owe("one", KEPT)
    (effect,) = lab.sent()
    assert lab.answers.unheard(effect, KEPT, returned=True) is None, "it was there just now"
    for number in range(3):
        lab.give_up(f"other{number}", number * (GONE + KEPT + 1.0) - 500.0)
    assert len(lab.answers._gone) == 1


def test_what_cannot_be_said_is_given_up_for_good() -> None:
    """After some tries, whatever becomes of the connection then."""
    lab = Lab()
    lab.answers.link_up("")
    owed = lab.owe()
    for number in range(TRIES):
        (effect,) = lab.sent()
        assert lab.answers.unheard(effect, float(number), returned=False) is None
        given_up = lab.answers.due(number + AGAIN)
    assert given_up == [owed]
    lab.answers.link_up("")
    assert lab.sent() == []
    next_ = lab.owe(now=30.0)
    (effect,) = lab.sent()
    assert lab.answers.unheard(effect, 30.0, returned=True) is next_
