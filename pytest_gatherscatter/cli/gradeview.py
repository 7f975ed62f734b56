"""What a person sees of requests that are graded: each grade of a few, a summary of many."""

import sys
import time

import click
import msgspec

from pytest_gatherscatter.cli.output import complain, say, say_json
from pytest_gatherscatter.graders.given import GivenGrade, not_graded
from pytest_gatherscatter.wire.grading import GradeAnswer

PACE = 0.2
"""Seconds between two looks of the line that says how far it is."""

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
        self._shown_at = 0.0
        self._progress = count > 1 and sys.stderr.isatty()

    def tell(self, answer: GradeAnswer, seconds: float) -> None:
        """Take an answer that came after so many seconds."""
        self.ended += 1
        self._took.append(seconds)
        graded = answer.outcome == "graded"
        self.ungraded += not graded
        self.passed += graded and answer.passed
        if self._as_json:
            plain = msgspec.json.decode(msgspec.json.encode(answer))  # its details are JSON already
            say_json({**plain, "seconds": round(seconds, 6)})
        elif self._count == 1:
            self._one(answer)
        elif not graded and self.ungraded <= MOST_COMPLAINTS:
            complain(f"request {answer.request}: {not_graded(answer)}")
        if self._progress and time.monotonic() >= self._shown_at + PACE:
            self._shown_at = time.monotonic()
            click.echo(f"\r{self.ended} of {self._count} ended", err=True, nl=False)

    def end(self, seconds: float) -> None:
        """Sum up what came in so many seconds, if it was more than one."""
        if self._progress:
            click.echo("\r\x1b[K", err=True, nl=False)
        if self._count == 1:
            return
        took = sorted(self._took)
        facts = {
            "ended": self.ended,
            "passed": self.passed,
            "not_graded": self.ungraded,
            "seconds": round(seconds, 3),
            "per_second": round(self.ended / seconds, 1) if seconds else 0.0,
            **{f"p{share}_ms": round(1000 * percentile(took, share), 3) for share in (50, 95, 99)},
        }
        if self._as_json:
            say_json({"summary": facts})
            return
        say(
            f"{self.ended} of {self._count} ended, {self.passed} passed, "
            f"{self.ended - self.passed - self.ungraded} did not, {self.ungraded} not graded"
        )
        say(
            f"{facts['seconds']} s, {facts['per_second']} a second, answered in "
            f"p50 {facts['p50_ms']} ms, p95 {facts['p95_ms']} ms, p99 {facts['p99_ms']} ms"
        )

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


def percentile(ordered: list[float], share: int) -> float:
    """Return the value below which ``share`` percent of some ordered values are."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]
