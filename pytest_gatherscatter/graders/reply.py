"""How an examiner's answers are said: see :mod:`pytest_gatherscatter.answering`.

A request is settled when its answer is confirmed, and not before. One whose asker is gone is
dead-lettered, with the outcome in the reason.
"""

from collections.abc import Callable

from pytest_gatherscatter.answering import Answers
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.graders.case import Case, Cases
from pytest_gatherscatter.graders.order import Say
from pytest_gatherscatter.machine import Effects


class Replies:
    """The answers of an examiner; ``wall`` says Unix time, ``now`` is its machine's.

    ``unsaid`` are the ids of those that nobody took.
    """

    def __init__(self, out: Effects, cases: Cases, wall: Callable[[float], float]) -> None:
        self.unsaid: list[str] = []
        self._out, self._cases = out, cases
        self._answers = Answers[Case](out, lambda case, now: case.request.deadline - wall(now))

    def knows(self, request: str) -> bool:
        """Whether somebody has the answer of a request."""
        return self._answers.knows(request)

    def link_up(self, broker: str) -> None:
        """Say what is still to be said, over a new connection to this start of a broker."""
        self._answers.link_up(broker)

    def link_down(self) -> None:
        """Say nothing more until there is a connection."""
        self._answers.link_down()

    def say(self, case: Case, now: float) -> None:
        """Say a case's answer, unless there is no connection: then when there is one."""
        if not self._answers.say(case, now):
            self._give_up(case, "it cannot be said")

    def due(self, now: float) -> None:
        """Say again what is due."""
        for case in self._answers.due(now):
            self._give_up(case, "it cannot be said")

    def hurry(self, now: float) -> None:
        """Keep no longer what has found nobody."""
        self._answers.hurry(now)

    def confirmed(self, effect: int) -> bool:
        """Settle what was answered, if that is what was confirmed."""
        case = self._answers.confirmed(effect)
        if case is None:
            return False
        self._settle(case, case.dead)
        self._answers.remember(case.request.request)
        return True

    def unheard(self, effect: int, now: float, *, returned: bool) -> bool:
        """Keep an answer that nobody took, for a while, if that is what it was."""
        if not self._answers.says(effect):
            return False
        case = self._answers.unheard(effect, now, returned=returned)
        if case is not None:
            self._give_up(case, "whoever asked is gone")
        return True

    def _give_up(self, case: Case, why: str) -> None:
        answer = case.answer
        outcome = "" if answer is None else answer.outcome
        score = "" if answer is None or answer.score is None else f" {answer.score:g}"
        text = f"{case.words}: {outcome}{score}, and {why}"
        self.unsaid.append(case.request.request)
        self._out.run(Say(text, wrong=True))
        self._settle(case, text)

    def _settle(self, case: Case, dead: str) -> None:
        if case.delivery is not None:
            self._out.settle(case.delivery, Verdict.DEAD if dead else Verdict.ACK, dead)
        self._cases.forget(case)
