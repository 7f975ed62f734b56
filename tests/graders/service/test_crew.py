"""The threads of a grader: each has an end to tell of, whatever a grader does to it."""

import os
from queue import SimpleQueue

import msgspec
import pytest
from msgspec import Raw

from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
from pytest_gatherscatter.graders.order import BeginGrading, GradingOver
from pytest_gatherscatter.graders.service.crew import Crew
from pytest_gatherscatter.machine import Exited, Input
from pytest_gatherscatter.wire.grading import GradeRequest


class Mute(Exception):
    """One that fails where it is asked what it says."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError


class Vandal(Grader):
    """Does to its thread what the payload says."""

    def grade(self, request: GraderRequest) -> Grade:
        """Do it."""
        match request.payload:
            case "mute":
                raise Mute
            case "half":
                raise ValueError("half \ud800 of a pair")
            case "close":
                os.close(request.ended)
            case "exit":
                raise SystemExit(3)
        return Grade(passed=True, message="\ud800")


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ("mute", "Mute: it cannot say what went wrong"),
        ("half", "ValueError: half ? of a pair"),
        ("close", "?"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_a_thread_outlives_its_graders_errors(payload: str, told: str) -> None:
    """And says them in text that can be sent; the one thread judges the next one, too."""
    over: SimpleQueue[Input] = SimpleQueue()
    crew = Crew("g", [Vandal()], over.put)
    crew.start()
    try:
        for run, what in ((1, payload), (2, "nothing")):
            request = GradeRequest(
                request="ab" * 8, queue="q", deadline=1e9, payload=Raw(msgspec.json.encode(what))
            )
            crew.begin(run, BeginGrading("g", request, 30.0))
            exited = over.get(timeout=10)
            assert isinstance(exited, Exited)
            assert isinstance(exited.result, GradingOver)
            assert exited.result.text == (told if run == 1 else "?")
            msgspec.json.encode(exited.result)
    finally:
        assert crew.close(10) == []
