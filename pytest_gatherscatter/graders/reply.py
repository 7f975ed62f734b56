"""How an examiner's answers are said: until somebody has each of them, or nobody wants it.

A request is settled when its answer is confirmed, and not before (``docs/decisions/0014``). One
whose asker is gone is dead-lettered, with the outcome in the reason.
"""

from collections import OrderedDict
from collections.abc import Callable

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.graders.case import Case, Cases
from pytest_gatherscatter.graders.order import Say
from pytest_gatherscatter.machine import Effects

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


class Replies:
    """The answers of an examiner; ``wall`` says Unix time, ``now`` is its machine's.

    ``unsaid`` are the ids of those that nobody took.
    """

    def __init__(self, out: Effects, cases: Cases, wall: Callable[[float], float]) -> None:
        self.unsaid: list[str] = []
        self._out, self._cases, self._wall = out, cases, wall
        self._up = False
        self._broker = ""
        self._sends: dict[int, Case] = {}
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._gone: dict[str, float] = {}

    def knows(self, request: str) -> bool:
        """Whether somebody has the answer of a request."""
        return request in self._answered

    def link_up(self, broker: str, now: float) -> None:
        """Say what is still to be said, over a new connection.

        A ``broker`` that was started anew may have forgotten what was answered: it is asked again.
        """
        self._up = True
        if broker and self._broker not in {"", broker}:
            self._answered.clear()
        self._broker = broker or self._broker
        for case in self._cases.values():
            if case.answer is not None and case.send is None:
                case.tries = 0
                self.say(case, now)

    def link_down(self) -> None:
        """Say nothing more until there is a connection."""
        self._up = False

    def say(self, case: Case, now: float) -> None:
        """Say a case's answer, unless there is no connection: then when there is one."""
        case.retry_at = None
        if case.answer is None or not self._up:
            return
        case.tries += 1
        if case.tries > TRIES:
            self._give_up(case, "it cannot be said", now)
            return
        case.send = self._out.send(case.reply_to, case.answer)
        self._sends[case.send] = case

    def confirmed(self, effect: int) -> bool:
        """Settle what was answered, if that is what was confirmed."""
        case = self._sends.pop(effect, None)
        if case is None:
            return False
        self._settle(case, case.dead)
        self._gone.pop(case.reply_to, None)
        self._answered[case.request.request] = None
        if len(self._answered) > MOST_REMEMBERED:
            self._answered.popitem(last=False)
        return True

    def unheard(self, effect: int, now: float, *, returned: bool) -> bool:
        """Keep an answer that nobody took, for a while, if that is what it was."""
        case = self._sends.pop(effect, None)
        if case is None:
            return False
        case.send = None
        if returned and case.give_up_at is None:
            known = self._gone.get(case.reply_to, -GONE) + GONE > now
            wanted = case.request.deadline + UNWANTED - self._wall(now)
            case.give_up_at = now if known else now + min(KEPT, max(0.0, wanted))
        if case.give_up_at is not None and now >= case.give_up_at:
            self._give_up(case, "whoever asked is gone", now)
        else:
            case.retry_at = now + AGAIN
            self._out.wake(case.retry_at)
        return True

    def _give_up(self, case: Case, why: str, now: float) -> None:
        answer = case.answer
        outcome = "" if answer is None else answer.outcome
        score = "" if answer is None or answer.score is None else f" {answer.score:g}"
        text = f"{case.words}: {outcome}{score}, and {why}"
        self.unsaid.append(case.request.request)
        self._gone = {key: at for key, at in self._gone.items() if at + GONE > now}
        self._gone[case.reply_to] = now
        self._out.run(Say(text, wrong=True))
        self._settle(case, text)

    def _settle(self, case: Case, dead: str) -> None:
        if case.delivery is not None:
            self._out.settle(case.delivery, Verdict.DEAD if dead else Verdict.ACK, dead)
        self._cases.forget(case)
