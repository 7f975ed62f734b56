"""Who answers: each answer is said until the broker has it, or until nobody wants it any more.

An answer is confirmed before what it answers is settled (``docs/decisions/0014``), and what was
answered is known if it comes again. Examiners and workers of services do so, each as part of its
machine; what becomes of a request in the end is theirs to say. Pure.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, TypeVar

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.wire.message import Message

AGAIN = 1.0
"""Seconds until an answer that could not be said is said again."""

KEPT = 10.0
"""Seconds for which an answer without a queue is kept: an asker whose broker was restarted is back
by then; one that was killed is not waited for by those behind it."""

UNWANTED = 5.0
"""Seconds after its deadline from which nobody waits for an answer: whoever asked has given up two
seconds after it, and clocks do not agree to the second."""

GONE = 60.0
"""Seconds for which an asker that was given up is not waited for again."""

MOST_REMEMBERED = 4096
"""Ids of answered requests that are known if they come again: those of a lost connection are as
many as were in hand, a few hundred at the most."""

TRIES = 20
"""How often an answer is said over one connection: what nobody can encode is no answer."""

AnswerT = TypeVar("AnswerT", bound=Message)


@dataclass(slots=True, eq=False, kw_only=True)
class Owed(Generic[AnswerT]):
    """What somebody waits for an answer to, at the key ``reply_to``; the base of what is in hand.

    Without an ``answer`` it is not known yet. ``send`` is the effect that says it, until its
    outcome. Times are of the machine's clock.
    """

    reply_to: str
    answer: AnswerT | None = None
    send: int | None = None
    tries: int = 0
    retry_at: float | None = None
    give_up_at: float | None = None


OwedT = TypeVar("OwedT", bound=Owed[Any])


class Answers(Generic[OwedT]):
    """Answers that are on their way.

    Args:
        out: collects the machine's effects.
        left: says for how many seconds, at some time, somebody is entitled to an answer.
    """

    def __init__(self, out: Effects, left: Callable[[OwedT, float], float]) -> None:
        self._out, self._left = out, left
        self._up = False
        self._broker = ""
        self._open: dict[OwedT, None] = {}
        self._sends: dict[int, OwedT] = {}
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._gone: dict[str, float] = {}

    def knows(self, id_: str) -> bool:
        """Whether the request of this id has been answered."""
        return id_ in self._answered

    def remember(self, id_: str) -> None:
        """Know from now on that it has been."""
        self._answered[id_] = None
        if len(self._answered) > MOST_REMEMBERED:
            self._answered.popitem(last=False)

    def link_up(self, broker: str) -> None:
        """Say what is still to be said, over a new connection.

        A ``broker`` that was started anew may have forgotten what was answered: it is asked again.
        """
        self._up = True
        if broker and self._broker not in {"", broker}:
            self._answered.clear()
        self._broker = broker or self._broker
        for owed in self._open:
            if owed.send is None:
                owed.tries, owed.retry_at = 0, None
                self._say(owed)

    def link_down(self) -> None:
        """Say nothing more until there is a connection."""
        self._up = False

    def say(self, owed: OwedT, now: float) -> bool:
        """Say the answer that there is now; without a connection when there is one.

        False if that was tried too often: it is given up.
        """
        self._open[owed] = None
        owed.retry_at = None
        if not self._up:
            return True
        if owed.tries >= TRIES:
            self._give_up(owed, now)
            return False
        self._say(owed)
        return True

    def says(self, effect: int) -> bool:
        """Whether an effect says an answer, and has no outcome yet."""
        return effect in self._sends

    def confirmed(self, effect: int) -> OwedT | None:
        """Return what was answered, if that is what was confirmed."""
        owed = self._sends.pop(effect, None)
        if owed is not None:
            self._open.pop(owed, None)
            self._gone.pop(owed.reply_to, None)
        return owed

    def unheard(self, effect: int, now: float, *, returned: bool) -> OwedT | None:
        """Keep an answer that nobody took for a while; return what is given up instead."""
        owed = self._sends.pop(effect, None)
        if owed is None:
            return None
        owed.send = None
        if returned and owed.give_up_at is None:
            known = self._gone.get(owed.reply_to, -inf) + GONE > now
            wanted = self._left(owed, now) + UNWANTED
            owed.give_up_at = now if known else now + min(KEPT, max(0.0, wanted))
        if owed.give_up_at is not None and now >= owed.give_up_at:
            self._give_up(owed, now)
            return owed
        owed.retry_at = now + AGAIN
        self._out.wake(owed.retry_at)
        return None

    def due(self, now: float) -> list[OwedT]:
        """Say again what is due; return what is given up instead."""
        late = [one for one in self._open if one.retry_at is not None and now >= one.retry_at]
        return [one for one in late if not self.say(one, now)]

    def hurry(self, now: float) -> None:
        """Keep no longer what has found nobody."""
        for owed in self._open:
            if owed.give_up_at is not None:
                owed.give_up_at = now

    def _say(self, owed: OwedT) -> None:
        if owed.answer is None:
            return
        owed.tries += 1
        owed.send = self._out.send(owed.reply_to, owed.answer)
        self._sends[owed.send] = owed

    def _give_up(self, owed: OwedT, now: float) -> None:
        self._open.pop(owed, None)
        self._gone = {key: at for key, at in self._gone.items() if at + GONE > now}
        self._gone[owed.reply_to] = now
