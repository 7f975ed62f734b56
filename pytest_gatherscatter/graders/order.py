"""What the machine of an examiner asks of the process around it, and hears from it."""

from dataclasses import dataclass
from typing import Literal

from msgspec import Raw, Struct

from pytest_gatherscatter.wire.grading import GradeRequest


class BeginGrading(Struct, frozen=True):
    """A thread of ``grader`` is to judge this, in so many ``seconds`` (a ``Run``)."""

    grader: str
    request: GradeRequest
    seconds: float


class EndGrading(Struct, frozen=True):
    """Let the grading that effect ``run`` began come to an end, if it can be ended (a ``Run``)."""

    run: int


class GradingOver(Struct, frozen=True):
    """A thread has come back (``Exited``).

    ``killed``: the grader's program was killed by a signal that was not ours; ``ended``: by us, as
    :class:`EndGrading` said.
    """

    how: Literal["graded", "failed", "timed-out", "killed", "ended"]
    passed: bool = False
    score: float | None = None
    text: str = ""
    details: Raw | None = None


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing more (``Told``); with ``at_once`` give back what runs, too."""

    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """It has drained (a ``Run``). ``given_back`` are ids; ``unsaid`` answers found no asker."""

    given_back: tuple[str, ...]
    unsaid: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Say:
    """A word for the log (a ``Run``)."""

    text: str
    wrong: bool = False
