"""The examiner's machine, told things by hand: what the play in virtual time does not look at."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from pytest_gatherscatter import machine
from pytest_gatherscatter.answering import AGAIN, KEPT, UNWANTED
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.graders.case import GraderFacts
from pytest_gatherscatter.graders.examiner import ExaminerFacts, ExaminerMachine
from pytest_gatherscatter.graders.order import (
    BeginGrading,
    Done,
    Drain,
    EndGrading,
    GradingOver,
    Say,
)
from pytest_gatherscatter.machine import Effect, Publish, Received, Run, Send, Settle
from pytest_gatherscatter.wire.grading import (
    ExaminerSeen,
    GradeAnswer,
    GradeRequest,
    SeekExaminers,
)

WALL = 1_000_000.0
REPLY = "grade.0123456789abcdef"


class Lab:
    """An examiner with a grader ``two`` of two threads and queues, and what it says."""

    def __init__(self, **said: Any) -> None:  # noqa: ANN401 - facts of a grader
        facts = GraderFacts(name="two", kind="k", queues=("a", "b"), threads=2, **said)
        self.machine = ExaminerMachine(
            ExaminerFacts("e", "host", 1, "v", (facts,), drain=60.0), now=0.0
        )
        self.now = 0.0
        self.deliveries = 0
        self.tell(machine.Recovered((), WALL))
        self.tell(machine.LinkUp())

    def tell(self, message: machine.Input, after: float = 0.0) -> list[Effect]:
        """Tell it something, after some seconds."""
        self.now += after
        return self.machine.handle(message, now=self.now)

    def ask(self, id_: str, queue: str = "a", seconds: float = 100.0, **said: Any) -> list[Effect]:  # noqa: ANN401 - of the message, or of how it comes
        """Let a request come."""
        self.deliveries += 1
        request = GradeRequest(
            request=id_, queue=queue, deadline=WALL + self.now + seconds, created=WALL
        )
        facts = {"reply_to": REPLY, "key": f"grading.{queue}", **said}
        attempt = facts.pop("attempt", 1)
        request = msgspec.structs.replace(request, attempt=attempt)
        return self.tell(Received(request, self.deliveries, **facts))

    def over(self, run: int, how: Any = "graded", **said: Any) -> list[Effect]:  # noqa: ANN401 - of an end
        """Let a thread come back."""
        return self.tell(machine.Exited(run, GradingOver(how, **said)))


def begun(effects: list[Effect]) -> dict[str, int]:
    """The requests that are begun, with their runs."""
    return {
        one.command.request.request: one.id
        for one in effects
        if isinstance(one, Run) and isinstance(one.command, BeginGrading)
    }


def answer(effects: list[Effect]) -> GradeAnswer:
    """The one answer that is said."""
    (found,) = [
        one.message
        for one in effects
        if isinstance(one, Send) and isinstance(one.message, GradeAnswer)
    ]
    return found


def sent(effects: list[Effect]) -> Send:
    """The one message that goes to somebody."""
    (found,) = [one for one in effects if isinstance(one, Send)]
    return found


def settled(effects: list[Effect]) -> list[tuple[int, Verdict]]:
    """What is settled."""
    return [(one.delivery, one.verdict) for one in effects if isinstance(one, Settle)]


def test_a_request_is_settled_when_its_answer_is_confirmed() -> None:
    """Not before; and the answer says what the thread found, and how long it took."""
    lab = Lab()
    run = begun(lab.ask("aaaaaaaa"))["aaaaaaaa"]
    lab.now += 2.0
    said = lab.over(run, passed=True, score=0.5, text="good", details=Raw(b'{"v":1}'))
    found = answer(said)
    assert (found.outcome, found.passed, found.score, found.text) == ("graded", True, 0.5, "good")
    assert (bytes(found.details), found.took) == (b'{"v":1}', 2.0)
    assert settled(said) == []
    assert settled(lab.tell(machine.Confirmed(sent(said).id))) == [(1, Verdict.ACK)]
    assert begun(lab.ask("aaaaaaaa")) == {}, "it is known, and acked"


def test_its_queues_have_their_turns() -> None:
    """A flood on one queue does not keep the other one waiting."""
    lab = Lab()
    runs = begun(lab.ask("a0000001")) | begun(lab.ask("a0000002"))
    for number in range(3, 6):
        assert begun(lab.ask(f"a000000{number}")) == {}
    assert begun(lab.ask("b0000001", "b")) == {}
    order = []
    while runs:
        name, run = runs.popitem()
        order.append(name)
        runs |= begun(lab.over(run))
    assert order.index("b0000001") <= 3


def test_what_cannot_be_judged_is_answered_or_buried() -> None:
    """Too old, of no queue here, without anybody to answer, unreadable."""
    lab = Lab()
    assert answer(lab.ask("aaaaaaaa", seconds=-1.0)).outcome == "expired"
    assert settled(lab.ask("aaaaaaab", "other")) == [(2, Verdict.DEAD)]
    assert settled(lab.ask("aaaaaaac", reply_to=None)) == [(3, Verdict.DEAD)]
    assert settled(lab.ask("aaaaaaad", reply_to="gatherer")) == [(4, Verdict.DEAD)]
    unreadable = machine.Unreadable("no JSON", REPLY, "abababab", "gs.lab.grading.b")
    found = answer(lab.tell(unreadable))
    assert (found.outcome, found.request, found.queue) == ("undecodable", "abababab", "b")
    for reply, id_ in (("steps.x", "abababab"), (REPLY, "no id"), (None, None)):
        assert lab.tell(machine.Unreadable("no", reply, id_, "gs.lab.grading.b")) == []


def test_who_takes_too_long_is_answered_and_keeps_its_thread() -> None:
    """Its late word counts no more, and until it comes the thread is overdue."""
    lab = Lab(timeout=5.0)
    run = begun(lab.ask("aaaaaaaa"))["aaaaaaaa"]
    assert lab.tell(machine.Woken(), after=5.4) == []
    said = lab.tell(machine.Woken(), after=0.2)
    assert answer(said).outcome == "timed-out"
    assert [one.command for one in said if isinstance(one, Run)] == [EndGrading(run)]
    seen = lab.tell(Received(SeekExaminers(asker="abababab"), 9))
    status = sent(seen).message
    assert isinstance(status, ExaminerSeen)
    assert (status.graders[0].busy, status.graders[0].overdue) == (1, 1)
    assert not any(isinstance(one, Send) for one in lab.over(run, passed=True))


def test_a_death_is_counted_until_it_is_enough() -> None:
    """It goes to the suspects as the next attempt, and at last to the dead letters."""
    lab = Lab(attempts=2)
    passed = lab.ask("aaaaaaaa", redelivered=True)
    onward = sent(passed)
    assert (onward.key, onward.reply_to) == ("suspects.a", REPLY)
    assert isinstance(onward.message, GradeRequest)
    assert onward.message.attempt == 2
    assert settled(passed) == []
    assert settled(lab.tell(machine.Confirmed(onward.id))) == [(1, Verdict.ACK)]
    run = begun(lab.ask("aaaaaaaa", attempt=2, key="suspects.a"))["aaaaaaaa"]
    said = lab.over(run, "killed", text="SIGSEGV")
    found = answer(said)
    assert found.outcome == "failed"
    assert "2 attempts ended with their grader, the last one: SIGSEGV" in found.text
    assert settled(lab.tell(machine.Confirmed(sent(said).id))) == [(2, Verdict.DEAD)]


def test_an_answer_that_nobody_takes_is_kept_for_a_while() -> None:
    """Then its request is dead-lettered; the next one to that asker is not waited for."""
    lab = Lab()
    run = begun(lab.ask("aaaaaaaa"))["aaaaaaaa"]
    said = lab.over(run, score=0.5)
    for _ in range(int(KEPT / AGAIN)):
        assert settled(lab.tell(machine.Returned(sent(said).id))) == []
        said = lab.tell(machine.Woken(), after=AGAIN)
    gone = lab.tell(machine.Returned(sent(said).id))
    assert settled(gone) == [(1, Verdict.DEAD)]
    assert any(isinstance(one, Run) and isinstance(one.command, Say) for one in gone)
    run = begun(lab.ask("aaaaaaab"))["aaaaaaab"]
    said = lab.over(run)
    assert settled(lab.tell(machine.Returned(sent(said).id))) == [(2, Verdict.DEAD)]


def test_an_answer_that_nobody_waits_for_is_not_kept() -> None:
    """Past its deadline whoever asked has given up."""
    lab = Lab()
    run = begun(lab.ask("aaaaaaaa", seconds=10.0))["aaaaaaaa"]
    lab.now += 10.0 + UNWANTED
    said = lab.over(run)
    assert settled(lab.tell(machine.Returned(sent(said).id))) == [(1, Verdict.DEAD)]


def test_what_drains_gives_back_without_an_attempt() -> None:
    """What waits at once, what runs at the end of its time; then it is done."""
    lab = Lab()
    runs = begun(lab.ask("aaaaaaa1")) | begun(lab.ask("aaaaaaa2"))
    lab.ask("aaaaaaa3")
    back = lab.tell(machine.Told(Drain()))
    assert sent(back).key == "grading.a"
    assert isinstance(message := sent(back).message, GradeRequest)
    assert (message.request, message.attempt) == ("aaaaaaa3", 1)
    assert settled(lab.tell(machine.Confirmed(sent(back).id))) == [(3, Verdict.ACK)]
    said = lab.over(runs["aaaaaaa1"])
    lab.tell(machine.Confirmed(sent(said).id))
    late = lab.tell(machine.Woken(), after=60.0)
    assert [one.command for one in late if isinstance(one, Run)] == [EndGrading(runs["aaaaaaa2"])]
    done = lab.tell(machine.Confirmed(sent(late).id))
    assert [one.command for one in done if isinstance(one, Run)] == [
        Done(("aaaaaaa3", "aaaaaaa2"), ())
    ]


@pytest.mark.parametrize("comes", ["here", "elsewhere"])
def test_a_lost_connection_loses_no_grade(comes: str) -> None:
    """What was being graded is answered over the next one; if it comes again it is not begun."""
    lab = Lab()
    run = begun(lab.ask("aaaaaaaa"))["aaaaaaaa"]
    lab.tell(machine.LinkDown("lost"))
    assert not any(isinstance(one, Send) for one in lab.over(run, score=0.5))
    up = lab.tell(machine.LinkUp())
    assert answer(up).score == 0.5
    if comes == "here":
        again = lab.ask("aaaaaaaa", redelivered=True)
        assert (begun(again), settled(again)) == ({}, [])
        assert settled(lab.tell(machine.Confirmed(sent(up).id))) == [(2, Verdict.ACK)]
    else:
        assert settled(lab.tell(machine.Confirmed(sent(up).id))) == []


def test_what_a_broker_has_forgotten_is_graded_again() -> None:
    """A broker that was started anew may have forgotten the answer; any other one has said it."""
    lab = Lab()
    lab.tell(machine.LinkUp("first"))
    run = begun(lab.ask("aaaaaaaa"))["aaaaaaaa"]
    lab.tell(machine.Confirmed(sent(lab.over(run)).id))
    for broker, again in (("first", False), ("second", True)):
        lab.tell(machine.LinkDown("gone"))
        lab.tell(machine.LinkUp(broker))
        assert ("aaaaaaaa" in begun(lab.ask("aaaaaaaa"))) == again


def test_an_event_that_was_lost_is_said_again() -> None:
    """Who records has each answer once there is a connection; what it has is not repeated."""
    lab = Lab()
    for id_ in ("aaaaaaaa", "bbbbbbbb"):
        run = begun(lab.ask(id_))[id_]
        (event,) = [one for one in lab.over(run) if isinstance(one, Publish)]
        assert event.key == "grading.answered.a"
        if id_ == "aaaaaaaa":
            lab.tell(machine.Confirmed(event.id))
        else:
            lab.tell(machine.Failed(event.id, "reset"))
    lab.tell(machine.LinkDown("reset"))
    (again,) = [one for one in lab.tell(machine.LinkUp()) if isinstance(one, Publish)]
    assert getattr(again.message, "request", "") == "bbbbbbbb"
    lab.tell(machine.Confirmed(again.id))
    assert not [one for one in lab.tell(machine.LinkUp()) if isinstance(one, Publish)]
