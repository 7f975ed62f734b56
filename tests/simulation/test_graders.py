"""Graders in virtual time: whatever dies, each request has one answer, and a true one."""
# ruff: noqa: ANN401 - a planted bug stands in for a call of any kind

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import pytest

from pytest_gatherscatter.asking import Ended
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.graders.asker import AskerMachine
from pytest_gatherscatter.graders.case import Desk
from pytest_gatherscatter.graders.examiner import ExaminerMachine
from pytest_gatherscatter.graders.reply import Replies
from pytest_gatherscatter.simulation.graders.play import FAULTS, play
from pytest_gatherscatter.simulation.story import tell

SEEDS = 300

ENOUGH = 300
"""Seeds in which a planted bug has to show: a change elsewhere may move it to another one."""

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def test_every_rule_holds() -> None:
    """Examiners die before any effect, freeze, are cut off and drain; askers are cut off."""
    outcomes = [play(seed) for seed in range(SEEDS)]
    assert [one.line for one in outcomes if one.violated] == []
    assert {fault for one in outcomes for fault in one.faults} == {*FAULTS}
    assert sum(one.begun for one in outcomes) > 8 * SEEDS
    ends = {end for one in outcomes for end in one.ends}
    assert ends >= {"graded", "failed", "timed-out", "expired", "no-response"}


def test_the_same_seed_tells_the_same_story() -> None:
    """Word for word."""
    first, again = (tell(play(7, story=True).history, whole=True) for _ in range(2))
    assert [*first] == [*again]


# ── planted bugs ───────────────────────────────────────────────────────────────────────


def settles_before_it_has_answered(patch: pytest.MonkeyPatch) -> None:
    """The request is acked when it is graded."""
    say = Replies.say

    def hasty(self: Replies, case: Any, now: float) -> None:
        delivery, case.delivery = case.delivery, None
        if delivery is not None:
            self._out.settle(delivery, Verdict.ACK)
        say(self, case, now)

    patch.setattr(Replies, "say", hasty)


def settles_when_it_begins(patch: pytest.MonkeyPatch) -> None:
    """The request is acked before it is graded."""
    begin = ExaminerMachine._begin

    def hasty(self: ExaminerMachine, desk: Desk, now: float) -> None:
        begin(self, desk, now)
        for case in desk.running.values():
            if case.delivery is not None:
                self._out.settle(case.delivery, Verdict.ACK)
                case.delivery = None

    patch.setattr(ExaminerMachine, "_begin", hasty)


def counts_no_deaths(patch: pytest.MonkeyPatch) -> None:
    """What was delivered before is begun as if it were new: it kills for ever."""
    take = ExaminerMachine._take

    def fresh(self: ExaminerMachine, request: Any, received: Any, now: float) -> None:
        take(self, request, msgspec.structs.replace(received, redelivered=False), now)

    patch.setattr(ExaminerMachine, "_take", fresh)


def passes_on_without_waiting(patch: pytest.MonkeyPatch) -> None:
    """A suspect is acked before it is on its way."""
    pass_on = ExaminerMachine._pass_on

    def hasty(self: ExaminerMachine, case: Any, key: str) -> None:
        if case.delivery is not None:
            self._out.settle(case.delivery, Verdict.ACK)
        pass_on(self, case, key)

    patch.setattr(ExaminerMachine, "_pass_on", hasty)


def forgets_what_it_grades(patch: pytest.MonkeyPatch) -> None:
    """What comes again after a lost connection is put beside its own copy."""
    other = ExaminerMachine._other

    def forgetful(self: ExaminerMachine, message: Any, now: float) -> None:
        other(self, message, now)
        if type(message).__name__ == "LinkDown":
            self._cases.clear()

    patch.setattr(ExaminerMachine, "_other", forgetful)


def drops_what_it_cannot_say(patch: pytest.MonkeyPatch) -> None:
    """An answer whose confirm was lost is said no more, and neither is its request graded."""

    def careless(self: Replies, effect: int, now: float, *, returned: bool) -> bool:
        del now, returned
        case = self._answers.confirmed(effect)
        if case is not None:
            self._answers.remember(case.request.request)
            self._cases.forget(case)
        return True

    patch.setattr(Replies, "unheard", careless)


def begins_more_than_it_has_threads(patch: pytest.MonkeyPatch) -> None:
    """A thread too few is counted."""
    next_ = Desk.next

    def greedy(self: Desk) -> Any:
        run, case = self.running.popitem() if len(self.running) > 1 else (0, None)
        found = next_(self)
        if case is not None:
            self.running[run] = case
        return found

    patch.setattr(Desk, "next", greedy)


def takes_every_answer(patch: pytest.MonkeyPatch) -> None:
    """Who asks is told of each answer that comes."""
    end = AskerMachine._end

    def twice(self: AskerMachine, answer: Any) -> None:
        known = answer.request in self._open
        end(self, answer)
        if not known:
            self._out.run(Ended(answer))

    patch.setattr(AskerMachine, "_end", twice)


def gives_up_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    """Requests are called too old long before they are."""
    wall = ExaminerMachine._wall
    patch.setattr(ExaminerMachine, "_wall", lambda self, now: wall(self, now) + 100.0)


def asks_once(patch: pytest.MonkeyPatch) -> None:
    """What was never confirmed is not sent again."""
    send = AskerMachine._send
    sent: set[object] = set()

    def once(self: AskerMachine, question: Any) -> None:
        if question not in sent:
            sent.add(question)
            send(self, question)

    patch.setattr(AskerMachine, "_send", once)


def begins_what_is_lost_and_all_at_once(patch: pytest.MonkeyPatch) -> None:
    """Lost ones are begun too, though the broker gives them to others as well, twice here."""

    def blind(self: Desk) -> Any:
        for lane in self.lanes:
            if lane:
                return lane.popleft()
        return None

    patch.setattr(Desk, "next", blind)


def calls_it_lost_at_once(patch: pytest.MonkeyPatch) -> None:
    """A request is failed at its first death."""
    suspect = ExaminerMachine._suspect

    def hasty(self: ExaminerMachine, case: Any, desk: Any, why: str, now: float) -> None:
        case.request = msgspec.structs.replace(case.request, attempt=3)
        suspect(self, case, desk, why, now)

    patch.setattr(ExaminerMachine, "_suspect", hasty)


def makes_grades_up(patch: pytest.MonkeyPatch) -> None:
    """What comes late is taken for the grade of another request."""
    over = ExaminerMachine._over

    def mixed(self: ExaminerMachine, run: int, how: Any, now: float) -> None:
        last = self.__dict__.get("_last", how)
        self.__dict__["_last"] = how
        over(self, run, last if last.how == how.how == "graded" else how, now)

    patch.setattr(ExaminerMachine, "_over", mixed)


def drops_what_waits_at_a_drain(patch: pytest.MonkeyPatch) -> None:
    """What waits is acked instead of given back."""

    def careless(self: ExaminerMachine, case: Any) -> None:
        if case.delivery is not None:
            self._out.settle(case.delivery, Verdict.ACK)

    patch.setattr(ExaminerMachine, "_give_back", careless)


PLANTED: dict[Plant, int] = {
    settles_before_it_has_answered: 341,
    settles_when_it_begins: 2,
    counts_no_deaths: 526,
    passes_on_without_waiting: 118,
    forgets_what_it_grades: 24,
    drops_what_it_cannot_say: 24,
    begins_more_than_it_has_threads: 9,
    takes_every_answer: 4,
    gives_up_at_the_deadline: 0,
    asks_once: 13,
    begins_what_is_lost_and_all_at_once: 8,
    calls_it_lost_at_once: 1,
    makes_grades_up: 0,
    drops_what_waits_at_a_drain: 71,
}
"""Each with the first seed that found it when it was planted: it is looked for from there on."""


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each breaks a rule in some seed."""
    plant(monkeypatch)
    first = PLANTED[plant]
    assert any(play(seed).violated for seed in range(first, first + ENOUGH))
