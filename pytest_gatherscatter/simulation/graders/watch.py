"""What must hold of grades, whatever happens: seen from the threads and the answers alone."""

from dataclasses import dataclass, field

from pytest_gatherscatter.simulation.world import EPOCH, Violated, World
from pytest_gatherscatter.wire.grading import GradeAnswer, GradeRequest

SLACK = 0.01
"""Seconds for which clocks of the play may disagree: they drift, and deadlines are minutes away."""


@dataclass(slots=True)
class Fate:
    """One request, and what was seen of it."""

    request: GradeRequest
    begun: list[str] = field(default_factory=list)
    killed: int = 0
    """How often somebody who had it died, was cut off, or its program was killed."""
    computed: list[float] = field(default_factory=list)
    broke: int = 0
    late: int = 0
    """How often a thread took longer than it may."""
    answer: GradeAnswer | None = None


class GradeWatch:
    """Sees gradings begin and end, and answers; raises at the first broken rule."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fates: dict[str, Fate] = {}
        self.troubles = 0
        """Deaths, cuts and freezes of anybody so far: each may cost a request an attempt."""
        self._busy: dict[tuple[str, str], dict[str, None]] = {}
        self._given: set[str] = set()

    def asked(self, request: GradeRequest) -> None:
        """Note a request that goes out."""
        self.fates[request.request] = Fate(request)

    def began(self, examiner: str, grader: str, request: GradeRequest, threads: int) -> None:
        """Note that a thread begins: a free one, and with what no other thread of it has."""
        busy = self._busy.setdefault((examiner, grader), {})
        if request.request in busy:
            raise Violated("one thread for a request", f"{request.request} twice at {examiner}")
        busy[request.request] = None
        if len(busy) > threads:
            raise Violated("no more than its threads", f"{examiner} {grader}: {len(busy)}")
        fate = self.fates[request.request]
        if fate.begun.count(examiner) > self.troubles + fate.killed:
            raise Violated("who knows it does not grade it again", f"{request.request}, {examiner}")
        fate.begun.append(examiner)
        self.world.tell(examiner, f"grades {request.request}, attempt {request.attempt}")

    def ended(self, examiner: str, grader: str, request: GradeRequest, how: str) -> None:
        """Note how a thread came back, or was lost."""
        self._busy[examiner, grader].pop(request.request, None)
        fate = self.fates[request.request]
        if how == "failed":
            fate.broke += 1
        elif how == "killed":
            fate.killed += 1
        elif how == "timed-out":
            fate.late += 1
        self.world.tell(examiner, f"{request.request}: {how}")

    def died(self, examiner: str) -> None:
        """Note that all threads of an examiner are gone."""
        for (name, _), busy in self._busy.items():
            if name == examiner:
                busy.clear()

    def given_back(self, ids: tuple[str, ...]) -> None:
        """Note what a drain gave back."""
        self._given.update(ids)

    def answered(self, answer: GradeAnswer) -> None:
        """Look at an answer: the only one, and a true one."""
        fate = self.fates[answer.request]
        self.world.tell("asker", f"{answer.request} is {answer.outcome}")
        if fate.answer is not None:
            raise Violated("exactly one answer", f"{answer.request} is answered twice")
        fate.answer = answer
        passed = self.world.now + EPOCH - fate.request.deadline
        match answer.outcome:
            case "graded" if answer.score not in fate.computed:
                raise Violated("a grade is true", f"{answer.request}: nobody computed that")
            case "failed" if not fate.broke and self.troubles + fate.killed < answer.attempt:
                raise Violated("who lives is not failed", f"{answer.request}: {answer.text}")
            case "timed-out" if not fate.begun:
                raise Violated("timed out is true", f"{answer.request} was never begun")
            case "no-response" | "expired" if passed < -SLACK:
                text = f"{answer.request} is {answer.outcome} {-passed:.2f} s early"
                raise Violated("nobody gives up early", text)
            case "refused":
                raise Violated("who serves does not refuse", answer.request)
            case _:
                pass

    def end(self, calm_at: float) -> None:
        """Say what was lost: unanswered, or without response though all was well for long."""
        for fate in self.fates.values():
            if fate.answer is None:
                raise Violated("exactly one answer", f"{fate.request.request} has none")
            calm = fate.request.deadline - EPOCH - calm_at
            if fate.answer.outcome == "no-response" and calm > 0:
                raise Violated("no request is lost", f"{fate.request.request} has no response")
