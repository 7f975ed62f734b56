"""What a person sees of requests that are graded: each grade of a few, a summary of many."""

import msgspec

from pytest_gatherscatter.cli.output import complain, say, say_json
from pytest_gatherscatter.cli.tally import Progress, paces, paces_line
from pytest_gatherscatter.graders.given import GivenGrade, not_graded
from pytest_gatherscatter.wire.grading import GradeAnswer

MOST_COMPLAINTS = 10
"""Requests that were not graded and are told one by one; the summary counts all."""


class GradeView:
    """Shows answers as they come, and sums them up.

    With ``as_json`` each answer is one object on stdout, and of many the summary is another one.
    """

    def __init__(self, count: int, *, as_json: bool) -> None:
        self.passed = self.ungraded = self.ended = 0
        self._count, self._as_json = count, as_json
        self._took: list[float] = []
        self._progress = Progress(count)

    def tell(self, answer: GradeAnswer, seconds: float) -> None:
        """Take an answer that came after so many seconds."""
        self.ended += 1
        self._took.append(seconds)
        graded = answer.outcome == "graded"
        self.ungraded += not graded
        self.passed += graded and answer.passed
        if self._as_json:
            bare = msgspec.structs.replace(answer, details=msgspec.Raw(b"{}"))
            plain = msgspec.json.decode(msgspec.json.encode(bare))
            plain["details"] = dict(GivenGrade(answer).details)
            say_json({**plain, "seconds": round(seconds, 6)})
        elif self._count == 1:
            self._one(answer)
        elif not graded and self.ungraded <= MOST_COMPLAINTS:
            complain(f"request {answer.request}: {not_graded(answer)}")
        self._progress.tell(self.ended)

    def end(self, seconds: float) -> None:
        """Sum up what came in so many seconds, if it was more than one."""
        self._progress.end()
        if self._count == 1:
            return
        figures = paces(self._took, seconds)
        facts = {
            "ended": self.ended,
            "passed": self.passed,
            "not_graded": self.ungraded,
            **figures,
        }
        if self._as_json:
            say_json({"summary": facts})
            return
        say(
            f"{self.ended} of {self._count} ended, {self.passed} passed, "
            f"{self.ended - self.passed - self.ungraded} did not, {self.ungraded} not graded"
        )
        say(paces_line(figures))

    @staticmethod
    def _one(answer: GradeAnswer) -> None:
        if answer.outcome != "graded":
            complain(not_graded(answer))
            return
        grade = GivenGrade(answer)
        score = "" if grade.score is None else f", score {grade.score:g}"
        say(f"{'passed' if grade.passed else 'not passed'}{score}: {grade.message}".rstrip(": "))
        for name, value in grade.details.items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            say(f"  {name}: {text}")
