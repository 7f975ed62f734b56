"""What a grader's author writes, and gets: a class with one method, which may take its time.

Each thread has an instance of its own, made by :meth:`Grader.from_config`, and calls
:meth:`Grader.grade` of it, one request after the other; so a grader needs no locks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.wire.grading import GradingFile


@dataclass(frozen=True, slots=True)
class Grade:
    """What a grader found. ``details`` are plain JSON, at most 256 KiB of it.

    ``message`` says to a person why; of more than 4096 characters the rest is cut off.
    """

    passed: bool
    score: float | None = None
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GraderRequest:
    """What is to be judged: ``payload`` is plain JSON, as who asked has written it.

    ``seconds`` are left for it from when it is begun; what takes longer is answered as timed out.
    ``attempt`` is above 1 where somebody has died with it before. ``ended`` is a descriptor that
    becomes readable when nobody waits for the grade any more; -1 for none.
    """

    id: str
    queue: str
    payload: Any
    files: tuple[GradingFile, ...] = ()
    seconds: float = 60.0
    attempt: int = 1
    owner: str = ""
    ended: int = -1


class Grader:
    """The base of graders: one that needs no options has to bring :meth:`grade` only.

    It blocks while it grades, keeps nothing between two requests that it could not lose, and stands
    to be given one request twice: somebody may have died with it.
    """

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Make one of the options in ``[grader.options]``; called once for each thread.

        Raises:
            SettingsInvalid: an option is not allowed; its ``where`` is the option's name.
        """
        for name in options:
            raise SettingsInvalid(name, "there is no such option; allowed is none")
        return cls()

    def grade(self, request: GraderRequest) -> Grade:
        """Judge a request.

        Raises:
            GradingTimedOut: it took longer than ``request.seconds``.
            Exception: anything else is answered as failed, with its text.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what it has open; called by its thread, at its end."""
