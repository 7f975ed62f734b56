"""A grade as who asked for it sees it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_gatherscatter.errors import GradeFailed, NotGraded
from pytest_gatherscatter.graders.grader import Grade
from pytest_gatherscatter.wire.grading import GradeAnswer

MOST_SHOWN = 2000
"""Characters of details in the text of a failure; ``details`` has all of them."""


class GivenGrade(Grade):
    """What ``gs_grade`` returns: a :class:`Grade`, and how it came about.

    ``number`` is the request's place among those of one call, from 0; ``answer`` is what came over
    the wire, with examiner, attempt and seconds.
    """

    __slots__ = ("answer", "number")

    answer: GradeAnswer
    number: int

    def __init__(self, answer: GradeAnswer, number: int = 0) -> None:
        super().__init__(answer.passed, answer.score, answer.text, _details(answer))
        object.__setattr__(self, "answer", answer)
        object.__setattr__(self, "number", number)

    @property
    def outcome(self) -> str:
        """How it ended: ``graded``, or ``failed``, ``timed-out``, ``no-response`` and the like."""
        return self.answer.outcome

    @property
    def queue(self) -> str:
        """The queue that it was asked on."""
        return self.answer.queue

    def check(self) -> "GivenGrade":
        """Return it if it passed.

        Raises:
            GradeFailed: it did not; with the grader's message and details.
            NotGraded: it is no grade at all; with the reason.
        """
        __tracebackhide__ = True
        self.need()
        if not self.passed:
            raise GradeFailed(self.failure)
        return self

    def need(self) -> "GivenGrade":
        """Return it if it is a grade, passed or not.

        Raises:
            NotGraded: it is none; with the reason.
        """
        __tracebackhide__ = True
        if self.outcome != "graded":
            raise NotGraded(not_graded(self.answer), self.outcome)
        return self

    @property
    def failure(self) -> str:
        """Say what the grader found, with its details."""
        score = "" if self.score is None else f", score {self.score:g}"
        lines = [f"{self.queue} does not pass{score}: {self.message or 'no reason given'}"]
        for name, value in self.details.items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            lines.append(f"  {name}: {text}"[:MOST_SHOWN])
        return "\n".join(lines)[: 2 * MOST_SHOWN]


def not_graded(answer: GradeAnswer) -> str:
    """Say in a line why there is no grade."""
    if answer.outcome == "no-response" and answer.text:
        return answer.text
    words = {
        "failed": f"the grader of queue {answer.queue} broke",
        "timed-out": f"the grader of queue {answer.queue} timed out",
        "expired": f"the request was too old when queue {answer.queue} came to it",
        "undecodable": f"the request could not be read by queue {answer.queue}",
        "refused": f"refused by queue {answer.queue}",
        "no-response": f"No response from queue {answer.queue}",
    }
    head = words.get(answer.outcome, answer.outcome)
    where = f" ({answer.examiner} on {answer.host})" if answer.examiner else ""
    return f"{head}{where}" + (f": {answer.text}" if answer.text else "")


def _details(answer: GradeAnswer) -> Mapping[str, Any]:
    try:
        details = msgspec.json.decode(answer.details)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {"details": details}
