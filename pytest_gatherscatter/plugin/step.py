"""``gs_step``: the named steps of a test, timed, and how far each of them is.

A step only writes down what happens; a :class:`Teller` tells the lab of it, at once or after the
quiet time. Steps are on the test's report in any case.
"""

import asyncio
import contextlib
import itertools
import math
import time
import unittest
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from pytest_gatherscatter.errors import SectionMisused
from pytest_gatherscatter.plugin.plain import speakable, text_of
from pytest_gatherscatter.wire.messages import StepFinished, StepProgressed

LABEL = 512
"""Characters in a step's name: what the wire carries."""

MOST_STEPS = 10_000
"""Steps of one test; more of them are a loop whose turns nobody reads."""

MOST_SHOWN = 200
"""Steps of one test that its report carries for the summary: those that went wrong first. A report
from another host has 200 KiB in all."""

WHY = 200
"""Characters of what ended a step: the test's own report has all of it."""

WRONG = frozenset({"failed", "interrupted"})
"""Outcomes that somebody should look at."""

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, pytest.exit.Exception, asyncio.CancelledError)
_SKIPS = (pytest.skip.Exception, unittest.SkipTest)


class Teller(Protocol):
    """Takes what steps say, at once; it never raises, but for Ctrl-C."""

    def tell(self, message: StepProgressed | StepFinished) -> None:
        """Take it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is over. ``outcome`` is ``passed``, ``failed``, ``skipped`` or ``interrupted``.

    ``started_wall`` is Unix time, ``seconds`` how long it took, ``parent`` the number of the step
    that it stands in, 0 for none, and ``depth`` how many these are. It has ``done`` so much of its
    ``total``, if that was said; ``text`` is the last that it said, ``why`` what ended it early.
    """

    number: int
    name: str
    started_wall: float
    seconds: float
    outcome: str
    parent: int = 0
    depth: int = 0
    done: float = 0
    total: float | None = None
    text: str = ""
    why: str = ""


class OpenStep:
    """A step that runs: what ``with gs_step(…) as step`` gives. Any thread may advance it.

    Its facts are those of :class:`Step`.
    """

    def __init__(
        self, steps: "Steps", number: int, name: str, total: float | None, parent: "OpenStep | None"
    ) -> None:
        self.number = number
        self.name = name
        self.total = total
        self.done: float = 0
        self.text = ""
        self.parent = 0 if parent is None else parent.number
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.started_wall = time.time()
        self.over = False
        self._steps = steps
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._started

    def is_in(self, steps: "Steps") -> bool:
        """Whether it is one of these, and runs still."""
        return self._steps is steps and not self.over

    def advance(self, n: float = 1, text: str = "") -> None:
        """Say that ``n`` more of its total are done, and what it is at.

        Raises:
            SectionMisused: ``n`` is no number from 0 up, or the step is over.
        """
        if self.over:
            raise SectionMisused(f"step {self.name!r} is over, and advances no more")
        if not _is_amount(n):
            raise SectionMisused(f"step {self.name!r} advances by a number from 0 up, not by {n!r}")
        self.done += n
        self.text = text_of(text)[:LABEL] or self.text
        self._steps.teller.tell(self._steps.progressed(self))

    def _end(self, error: BaseException | None) -> Step:
        self.over = True
        why = "" if error is None else _line(error)
        return Step(
            number=self.number,
            name=self.name,
            started_wall=self.started_wall,
            seconds=self.seconds,
            outcome=outcome_of(error),
            parent=self.parent,
            depth=self.depth,
            done=self.done,
            total=self.total,
            text=self.text,
            why=why,
        )


_inside: ContextVar[OpenStep | None] = ContextVar("gatherscatter_step", default=None)
"""The innermost open step: of each task of an event loop, and of each thread."""


class Steps:
    """What ``gs_step`` is: called with a name, it returns the context of one step.

    Args:
        test: its node id.
        run: id of the run.
        teller: hears of each step as it goes on.
    """

    def __init__(self, test: str, run: str, teller: Teller) -> None:
        self.test = test
        self.run = run
        self.teller = teller
        self.done: list[Step] = []
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def __call__(self, name: str, *, total: float | None = None) -> Iterator[OpenStep]:
        """Time the block as the step ``name``; steps may nest, and are numbered from 1.

        ``total`` is how much there is to be done, in whatever unit ``advance`` counts.

        Raises:
            SectionMisused: the name is empty or longer than 512 characters, the total is no
                number above 0, or there are more than 10,000 steps in the test.
        """
        if not 0 < len(name) <= LABEL:
            raise SectionMisused(f"a step's name has 1 to {LABEL} characters, not {len(name)}")
        if total is not None and not (_is_amount(total) and total):
            raise SectionMisused(f"step {name!r}: total is a number above 0, not {total!r}")
        number = next(self._numbers)
        if number > MOST_STEPS:
            raise SectionMisused(f"a test has at most {MOST_STEPS} steps")
        outer = _inside.get()
        parent = outer if outer is not None and outer.is_in(self) else None
        step = OpenStep(self, number, name, total, parent)
        _inside.set(step)
        error: BaseException | None = None
        try:
            self.teller.tell(self.progressed(step))
            yield step
        except BaseException as caught:
            error = caught
            raise
        finally:
            _inside.set(outer)
            ended = step._end(error)  # noqa: SLF001 - ended by who began it
            self.done.append(ended)
            self.teller.tell(self._finished(ended))

    def progressed(self, step: OpenStep) -> StepProgressed:
        """Say how far a step is, as the lab hears it."""
        return StepProgressed(**self._facts(step), text=speakable(step.text)[:LABEL])

    def _finished(self, step: Step) -> StepFinished:
        text = speakable(step.why or step.text)[:LABEL]
        return StepFinished(**self._facts(step), outcome=step.outcome, text=text)

    def _facts(self, step: OpenStep | Step) -> dict[str, Any]:
        return {
            "run": self.run,
            "test": speakable(self.test)[:LABEL],
            "number": step.number,
            "step": speakable(step.name)[:LABEL],
            "started_wall": step.started_wall,
            "seconds": step.seconds,
            "depth": step.depth,
            "done": step.done,
            "total": step.total,
        }

    # ── what the report carries ────────────────────────────────────────────────────────

    def properties(self) -> list[tuple[str, object]]:
        """Return the steps as properties of the test, in the order of starting: their seconds.

        What did not pass has its outcome too, and what counted how far it came.
        """
        found: list[tuple[str, object]] = []
        for step in self._in_order():
            # Dots part a property's name.
            key = f"gs.step.{step.number}.{step.name.replace('.', '_')}"
            found.append((key, round(step.seconds, 6)))
            if step.outcome != "passed":
                found.append((f"{key}.outcome", step.outcome))
            if step.done or step.total is not None:
                found.append((f"{key}.done", step.done))
            if step.total is not None:
                found.append((f"{key}.total", step.total))
        return found

    def record(self) -> dict[str, Any]:
        """Return what the summary shows, in plain types; of too many steps the good are left out.

        A step that went wrong on its own, and not by one inside it, has a ``path``: the names of
        the steps that it stood in, and its own.
        """
        steps = self._in_order()
        bad = [step for step in steps if step.outcome in WRONG][:MOST_SHOWN]
        good = [step for step in steps if step.outcome not in WRONG][: MOST_SHOWN - len(bad)]
        shown = sorted([*bad, *good], key=lambda step: step.number)
        by_number = {step.number: step for step in steps}
        told_inside = {(step.parent, step.why) for step in bad}
        return {
            "test": self.test,
            "left_out": len(steps) - len(shown),
            "steps": [
                {
                    "number": step.number,
                    "name": step.name,
                    "depth": step.depth,
                    "seconds": step.seconds,
                    "outcome": step.outcome,
                    "done": step.done,
                    "total": step.total,
                    "text": step.text,
                    "why": step.why,
                    "path": _path(step, by_number)
                    if step.outcome in WRONG and (step.number, step.why) not in told_inside
                    else [],
                }
                for step in shown
            ],
        }

    def _in_order(self) -> list[Step]:
        return sorted(self.done, key=lambda step: step.number)


def outcome_of(error: BaseException | None) -> str:
    """Say how a step ended that ``error`` left, if one did."""
    if error is None:
        return "passed"
    if isinstance(error, _SKIPS):
        return "skipped"
    return "interrupted" if isinstance(error, _INTERRUPTIONS) else "failed"


def _path(step: Step, by_number: dict[int, Step]) -> list[str]:
    names = [step.name]
    while step.parent in by_number:
        step = by_number[step.parent]
        names.append(step.name)
    return names[::-1]


def _line(error: BaseException) -> str:
    """Say in a line what ended a step."""
    kind = "" if isinstance(error, _SKIPS) else f"{type(error).__name__}: "
    first, *_ = [*text_of(error).strip().splitlines(), ""]
    return f"{kind}{first}"[:WHY].removesuffix(": ")


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value < 2**63  # what JSON's readers take
