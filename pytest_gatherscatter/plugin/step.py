"""``gs_step``: the named steps of a test, timed.

Steps are kept while the test runs, since a section may be quiet, and told to the lab after it,
if the run has met a gatherer by then. They are on the test's report in any case.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pytest_gatherscatter.errors import SectionMisused
from pytest_gatherscatter.wire.messages import StepFinished

LABEL = 512
"""Characters in a step's name: what the wire carries."""

MOST_STEPS = 10_000
"""Steps of one test; more of them are a loop whose turns nobody reads."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is over. ``outcome`` is ``passed``, ``failed`` or ``skipped``.

    ``started_wall`` is Unix time, ``seconds`` how long it took.
    """

    number: int
    name: str
    started_wall: float
    seconds: float
    outcome: str


class Steps:
    """What ``gs_step`` is: called with a name, it returns the context of one step."""

    def __init__(self, test: str) -> None:
        self.test = test
        self.done: list[Step] = []
        self._number = 0

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as the step ``name``; steps may nest, and are numbered from 1.

        Raises:
            SectionMisused: the name is empty or longer than 512 characters, or there are
                more than 10,000 steps in the test.
        """
        if not 0 < len(name) <= LABEL:
            raise SectionMisused(f"a step's name has 1 to {LABEL} characters, not {len(name)}")
        if self._number >= MOST_STEPS:
            raise SectionMisused(f"a test has at most {MOST_STEPS} steps")
        self._number += 1
        number, wall, start = self._number, time.time(), time.monotonic()
        outcome = "failed"
        try:
            yield
            outcome = "passed"
        except pytest.skip.Exception:
            outcome = "skipped"
            raise
        finally:
            self.done.append(Step(number, name, wall, time.monotonic() - start, outcome))

    def messages(self, run: str) -> list[StepFinished]:
        """Return the steps as the lab hears of them, in the order of their ends."""
        return [
            StepFinished(
                run=run,
                test=self.test[:LABEL],
                number=step.number,
                step=step.name,
                started_wall=step.started_wall,
                seconds=step.seconds,
                outcome=step.outcome,
            )
            for step in self.done
        ]

    def properties(self) -> list[tuple[str, object]]:
        """Return the steps as properties of the test: their seconds, in the order of starting."""
        return [
            (f"gs.step.{step.number}.{step.name}", round(step.seconds, 6))
            for step in sorted(self.done, key=lambda step: step.number)
        ]
