"""The machine of an examiner: it takes requests, has its threads judge them, and answers.

See ``docs/decisions/0014``: the answer is confirmed, then the request is settled; what may have
killed somebody goes to the suspects as the next attempt; what it knows it does not begin again.
"""

import re
from dataclasses import dataclass

import msgspec

from pytest_gatherscatter import machine
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.graders.case import Case, Cases, Desk, GraderFacts
from pytest_gatherscatter.graders.order import (
    BeginGrading,
    Done,
    Drain,
    EndGrading,
    GradingOver,
    Say,
)
from pytest_gatherscatter.graders.reply import Replies
from pytest_gatherscatter.machine import Effect, Effects, Input, Received
from pytest_gatherscatter.telling import Telling
from pytest_gatherscatter.wire.grading import (
    ExaminerSeen,
    GradeAnswer,
    GradeOutcome,
    GradeRequest,
    SeekExaminers,
)
from pytest_gatherscatter.wire.names import (
    ID_PATTERN,
    grade_key,
    grading_event,
    grading_key,
    suspects_key,
)

GRACE = 0.5
"""Seconds for which a grader may be late to say itself that its time is over."""

LAST = 5.0
"""Seconds after the end of the drain in which what was given back may be confirmed."""

_ID = re.compile(ID_PATTERN)
_REPLY = re.compile(re.escape(grade_key("")) + ID_PATTERN.lstrip("^"))


@dataclass(frozen=True, slots=True)
class ExaminerFacts:
    """What an examiner is; ``drain`` in seconds. No queue is served by two of its graders."""

    examiner: str
    host: str
    pid: int
    version: str
    graders: tuple[GraderFacts, ...]
    drain: float = 60.0


class ExaminerMachine:
    """See the module. Fed with ``Recovered`` for Unix time, now and then: it has no journal."""

    def __init__(self, facts: ExaminerFacts, *, now: float) -> None:
        self.facts = facts
        self._out = Effects()
        self._began = now
        self._wall_at = (0.0, 0.0)
        self.desks = tuple(Desk(one) for one in facts.graders)
        self._desk_of = {queue: desk for desk in self.desks for queue in desk.facts.queues}
        self._cases = Cases()
        self._passing: dict[int, Case] = {}
        """What is handed on: the effect that does, and what it was."""
        self._telling = Telling(self._out)
        self._replies = Replies(self._out, self._cases, self._wall)
        self._draining: float | None = None
        self._finished = False
        self._given_back: list[str] = []

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(message=GradeRequest() as request):
                self._take(request, message, now)
            case machine.Confirmed(effect):
                if not (self._telling.outcome(message) or self._replies.confirmed(effect)):
                    self._passed_on(effect)
            case machine.Exited(effect, GradingOver() as over):
                self._over(effect, over, now)
            case Received(message=SeekExaminers(asker=asker)):
                self._out.send(grade_key(asker), self.seen(now))
            case machine.Returned(effect) | machine.Failed(effect):
                returned = isinstance(message, machine.Returned)
                if not self._telling.outcome(message):
                    self._unheard(effect, now, returned=returned)
            case machine.Unreadable():
                self._unreadable(message)
            case _:
                self._other(message, now)
        if self._draining is not None:
            self._look_at_the_end(now)
        return self._out.take()

    def _other(self, message: Input, now: float) -> None:
        match message:
            case machine.Woken():
                self._look(now)
            case machine.LinkUp(broker):
                self._telling.again()
                self._replies.link_up(broker)
            case machine.LinkDown():
                self._replies.link_down()
                for case in self._cases.values():
                    case.delivery = None
                self._passing.clear()
            case machine.Recovered(wall=wall):
                self._wall_at = (now, wall)
            case machine.Told(Drain(at_once)):
                self._drain(now, at_once=at_once)
            case _:
                pass

    def _wall(self, now: float) -> float:
        at, wall = self._wall_at
        return wall + now - at

    # ── what comes ─────────────────────────────────────────────────────────────────────

    def _take(self, request: GradeRequest, received: Received, now: float) -> None:
        delivery, reply_to = received.delivery, received.reply_to or ""
        desk = self._desk_of.get(request.queue)
        if _REPLY.fullmatch(reply_to) is None:
            self._out.settle(delivery, Verdict.DEAD, f"{request.request} names nobody to answer")
            return
        if desk is None:
            text = f"{request.request} is for {request.queue!r}, which is not served here"
            self._out.settle(delivery, Verdict.DEAD, text)
            return
        known = self._cases.get(request.request)
        if known is not None:
            if known.delivery is None:
                self._adopt(known, request, delivery, desk, now)
            return  # else one copy is in hand, and the other one is acked
        if self._replies.knows(request.request):
            return
        self._out.keep(delivery)
        case = Case(request, delivery, now, reply_to=reply_to)
        if self._wall(now) >= request.deadline:
            self._cases[request.request] = case
            self._expire(case, desk, now)
        elif received.redelivered:
            self._suspect(case, desk, "its examiner died, or its connection", now)
        elif self._draining is not None:
            self._give_back(case)
        else:
            self._cases[request.request] = case
            desk.put(received.key, case)
            self._begin(desk, now)
            if case.run is None:
                self._out.wake(now + request.deadline - self._wall(now))

    def _adopt(
        self, case: Case, request: GradeRequest, delivery: int, desk: Desk, now: float
    ) -> None:
        """Take the delivery of a request that is in hand, and lost its own with a connection."""
        self._out.keep(delivery)
        case.delivery = delivery
        if request.attempt > case.request.attempt:
            case.request = request
        if case.answer is not None and case.send is None:
            self._replies.say(case, now)
        elif case.run is None:
            self._begin(desk, now)

    def _unreadable(self, said: machine.Unreadable) -> None:
        """Answer who has sent what nobody can read, if the message says who, and which one."""
        reply_to, id_ = said.reply_to or "", said.correlation or ""
        queue = said.queue.rpartition(".")[2]
        if queue in self._desk_of and _REPLY.fullmatch(reply_to) and _ID.fullmatch(id_):
            answer = self._answer_to(id_, queue, "undecodable", said.reason)
            self._out.send(reply_to, answer)
            self._desk_of[queue].failed += 1

    # ── grading ────────────────────────────────────────────────────────────────────────

    def _begin(self, desk: Desk, now: float) -> None:
        """Give free threads something to do."""
        while self._draining is None and (case := desk.next()) is not None:
            left = case.request.deadline - self._wall(now)
            if left <= 0:
                self._expire(case, desk, now)
                continue
            seconds = min(desk.facts.timeout, left)
            case.run = self._out.run(BeginGrading(desk.facts.name, case.request, seconds))
            case.began, case.due = now, now + seconds + GRACE
            desk.running[case.run] = case
            self._out.wake(case.due)

    def _over(self, run: int, over: GradingOver, now: float) -> None:
        for desk in self.desks:
            case = desk.running.pop(run, None)
            if case is not None:
                break
        else:
            return
        desk.overdue.discard(run)
        took = now - case.began
        desk.seconds += took
        if took >= desk.facts.slow:
            desk.slow += 1
            self._out.run(Say(f"slow: {case.words} took {took:.1f} s"))
        if self._cases.get(case.request.request) is not case or case.answer is not None:
            pass  # answered as timed out, or given back
        elif over.how == "killed":
            self._cases.forget(case)
            self._suspect(case, desk, over.text, now)
        elif over.how == "ended":
            self._cases.forget(case)
            self._give_back(case)
        else:
            self._end(case, desk, over.how, over.text, now, over=over)
        self._begin(desk, now)

    def _suspect(self, case: Case, desk: Desk, why: str, now: float) -> None:
        """Count that somebody died with a request: on to the suspects, or to its end."""
        request, attempts = case.request, desk.facts.attempts
        if request.attempt >= attempts:
            text = f"{request.attempt} attempts ended with their grader, the last one: {why}"
            case.dead = f"{request.request} of {request.queue}: {text}"
            self._cases[request.request] = case
            self._end(case, desk, "failed", text, now)
            return
        case.request = msgspec.structs.replace(request, attempt=request.attempt + 1)
        self._pass_on(case, suspects_key(request.queue))

    def _give_back(self, case: Case) -> None:
        self._given_back.append(case.request.request)
        make = grading_key if case.request.attempt == 1 else suspects_key
        self._pass_on(case, make(case.request.queue))

    def _pass_on(self, case: Case, key: str) -> None:
        """Publish a request anew, and ack it once that is confirmed; the broker has a lost one."""
        if case.delivery is not None:
            effect = self._out.send(key, case.request, reply_to=case.reply_to)
            self._passing[effect] = case

    def _passed_on(self, effect: int) -> None:
        case = self._passing.pop(effect, None)
        if case is not None and case.delivery:
            self._out.settle(case.delivery, Verdict.ACK)

    def _unheard(self, effect: int, now: float, *, returned: bool) -> None:
        """Keep an answer that nobody took, for a while; bury what cannot be handed on."""
        if self._replies.unheard(effect, now, returned=returned):
            return
        case = self._passing.pop(effect, None)
        if case is not None and case.delivery:
            text = f"{case.request.request} can be given to nobody else"
            self._out.settle(case.delivery, Verdict.DEAD, text)

    # ── answers ────────────────────────────────────────────────────────────────────────

    def _expire(self, case: Case, desk: Desk, now: float) -> None:
        late = self._wall(now) - case.request.deadline
        self._end(case, desk, "expired", f"its time was over {max(0.0, late):.1f} s before", now)

    def _end(  # noqa: PLR0913, PLR0917 - what there is to say
        self,
        case: Case,
        desk: Desk,
        outcome: GradeOutcome,
        text: str,
        now: float,
        over: GradingOver | None = None,
    ) -> None:
        """Answer a case."""
        desk.drop(case)
        if outcome == "graded":
            desk.graded += 1
        else:
            desk.failed += 1
        request = case.request
        began = now if case.run is None else case.began
        answer = self._answer_to(request.request, request.queue, outcome, text, request.attempt)
        waited = max(0.0, self._wall(began) - request.created) if request.created else 0.0
        facts: dict[str, object] = {"waited": waited, "took": max(0.0, now - began)}
        facts["owner"] = request.owner
        if over is not None and outcome == "graded":
            details = answer.details if over.details is None else over.details
            facts |= {"passed": over.passed, "score": over.score, "details": details}
        case.answer = msgspec.structs.replace(answer, **facts)
        self._telling.say(grading_event("answered", request.queue), case.answer)
        self._replies.say(case, now)

    def _answer_to(
        self, request: str, queue: str, outcome: GradeOutcome, text: str, attempt: int = 1
    ) -> GradeAnswer:
        return GradeAnswer(
            request=request,
            queue=queue,
            outcome=outcome,
            text=text[:4096],
            examiner=self.facts.examiner,
            host=self.facts.host,
            attempt=attempt,
        )

    # ── what is due ────────────────────────────────────────────────────────────────────

    def _look(self, now: float) -> None:
        """See to what is due: answers to be said again, gradings and requests out of time."""
        self._replies.due(now)
        for case in [*self._cases.values()]:
            desk = self._desk_of[case.request.queue]
            if case.answer is not None:
                continue
            if case.run is not None:
                if now >= case.due:
                    desk.overdue.add(case.run)
                    self._out.run(EndGrading(case.run))
                    text = f"it took longer than {case.due - GRACE - case.began:g} s"
                    self._end(case, desk, "timed-out", text, now)
            elif self._wall(now) >= case.request.deadline:
                if case.delivery is None:  # whoever has it now says so
                    desk.drop(case)
                    self._cases.forget(case)
                else:
                    self._expire(case, desk, now)

    def seen(self, now: float) -> ExaminerSeen:
        """Say how it stands; for the thread that feeds it."""
        facts = self.facts
        return ExaminerSeen(
            examiner=facts.examiner,
            host=facts.host,
            pid=facts.pid,
            version=facts.version,
            graders=tuple(desk.seen() for desk in self.desks),
            up=now - self._began,
            draining=self._draining is not None,
        )

    # ── the end ────────────────────────────────────────────────────────────────────────

    def _drain(self, now: float, *, at_once: bool) -> None:
        """Begin nothing more, and give back what waits; ``at_once`` what runs, too."""
        if self._draining is None:
            self._draining = now + self.facts.drain
            self._out.wake(self._draining)
            for desk in self.desks:
                for case in [*desk.waiting()]:
                    desk.drop(case)
                    self._cases.forget(case)
                    self._give_back(case)
        if at_once:
            self._draining = min(self._draining, now)

    def _look_at_the_end(self, now: float) -> None:
        if self._finished or self._draining is None:
            return
        if now >= self._draining:
            for case in [*self._cases.values()]:
                if case.answer is None and case.run is not None:
                    self._out.run(EndGrading(case.run))
                    self._cases.forget(case)
                    self._give_back(case)
            self._replies.hurry(now)
            self._out.wake(self._draining + LAST)
        nothing_left = not self._cases and not self._passing
        if nothing_left or now >= self._draining + LAST:
            self._finished = True
            self._out.run(Done(tuple(self._given_back), tuple(self._replies.unsaid)))
