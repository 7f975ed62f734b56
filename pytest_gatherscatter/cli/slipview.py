"""Shows a slip on its way: a bar for each step on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from pytest_gatherscatter.cli.output import printable, say
from pytest_gatherscatter.slips.asker import Checked, SlipNews
from pytest_gatherscatter.slips.finished import attempt_end, step_title
from pytest_gatherscatter.slips.order import Say
from pytest_gatherscatter.slips.slip import step_of
from pytest_gatherscatter.wire.slips import (
    Attempt,
    Slip,
    SlipOver,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Step,
    Task,
)

TAIL_LINES = 10
"""Lines of a failed command's output that are shown; its log has all."""


MOST_BARS = 20
"""Bars that a terminal has room for; of a longer slip, those are shown that are on their way."""


class View(Protocol):
    """Somebody who watches."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show nothing more."""

    def tell(self, news: SlipNews) -> None:
        """Show what happened."""


def view_of(slip: Slip) -> View:
    """Return what suits where the output goes."""
    return BarView(slip) if sys.stdout.isatty() else LineView(slip, say)


def what(step: Step, *, compensating: bool = False) -> str:
    """Say what a step does: its process and its command."""
    name = step.compensate if compensating else step.command
    return f"{step.process} {name or step.shell[:40]}"


def end_of(attempt: Attempt) -> str:
    """Say how an attempt ended, in a few words."""
    return attempt_end(attempt) + ("" if attempt.final else "; it is tried again")


def output_of(attempt: Attempt) -> list[str]:
    """Return the last lines of what a failed command said, and where the rest is."""
    if attempt.status == "done":
        return []
    text = attempt.stderr_tail.strip() or attempt.stdout_tail.strip()
    lines = text.splitlines()[-TAIL_LINES:]
    return [*lines, *([f"all of it is in {attempt.log} on {attempt.host}"] if attempt.log else [])]


class LineView:
    """A line for each thing that happens; bars move in steps of a tenth."""

    def __init__(self, slip: Slip, out: Callable[[str], None]) -> None:
        self._slip = slip
        self._out = out
        self._tenths: dict[object, int] = {}
        self._added: dict[tuple[int, bool], str] = {}

    def __enter__(self) -> Self:
        """Say what begins."""
        self._say(f"slip {self._slip.name} ({self._slip.id}), {len(self._slip.steps)} steps")
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be put right."""

    def tell(self, news: SlipNews) -> None:
        """Say it in a line."""
        slip = self._slip
        match news:
            case SlipStepBegun(task=task):
                again = f", attempt {task.attempt}" if task.attempt > 1 else ""
                undo = "undoing " if task.compensating else ""
                name = f"{undo}step {task.number}, {news.process} {news.command}"
                if step_of(slip, task.number) is None:  # it was added on the way
                    self._added[task.number, task.compensating] = name
                self._say(f"{self._title(task)}: begun on {news.host}{again}")
            case SlipStepMoved(task=task, share=share):
                tenth = int(share * 10)
                if self._tenths.get(task) != tenth:
                    self._tenths[task] = tenth
                    self._say(f"{self._title(task)}: {share:.0%} {news.text}".rstrip())
            case SlipStepEnded(attempt=attempt):
                self._say(f"{self._title(attempt)}: {end_of(attempt)}")
                for line in output_of(attempt):
                    self._say(f"  {line}")
            case SlipOver(outcome=outcome):
                self._slip = news.slip
                self._say(f"slip {slip.name} is over: {outcome}")
            case Say(text):
                self._say(text)
            case Checked():
                pass

    def _title(self, one: Task | Attempt) -> str:
        added = self._added.get((one.number, one.compensating))
        return added or step_title(self._slip, one.number, compensating=one.compensating)

    def _say(self, line: str) -> None:
        self._out(f"{datetime.now().astimezone():%H:%M:%S} {printable(line)}")


class BarView:
    """A bar for each step, its time, and where it runs."""

    def __init__(self, slip: Slip) -> None:
        # Imported late: a pipe need not pay for it.
        from rich import progress  # noqa: PLC0415

        self._slip = slip
        self._many = len(slip.steps) > MOST_BARS
        self._began = time.monotonic()
        self._bars: dict[tuple[int, bool], Any] = {}
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[said]}"),
        )

    def __enter__(self) -> Self:
        """Draw a bar for each step."""
        self._progress.start()
        self._note(f"slip {self._slip.name} ({self._slip.id})")
        for step in () if self._many else self._slip.steps:
            self._bar(step.number, what(step))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def tell(self, news: SlipNews) -> None:
        """Move the bar that is meant."""
        match news:
            case SlipStepBegun(task=task):
                undo = "undo " if task.compensating else ""
                bar = self._bar(
                    task.number, f"{undo}{news.process} {news.command}", undo=bool(undo)
                )
                self._progress.reset(bar, total=None, said=printable(f"on {news.host}"))
            case SlipStepMoved(task=task, share=share, text=text):
                bar = self._bar(task.number, "", undo=task.compensating)
                self._progress.update(bar, total=1.0, completed=share)
                if text:
                    self._progress.update(bar, said=printable(text))
            case SlipStepEnded(attempt=attempt):
                self._ended(attempt)
            case SlipOver(outcome=outcome):
                took = time.monotonic() - self._began
                self._note(f"slip {self._slip.name} is over: {outcome} after {took:.1f} s")
            case Say(text):
                self._note(text)
            case Checked():
                pass

    def _ended(self, attempt: Attempt) -> None:
        bar = self._bar(attempt.number, f"step {attempt.number}", undo=attempt.compensating)
        done = 1.0 if attempt.status == "done" else None
        if done is not None:
            self._progress.update(bar, total=1.0, completed=done)
        self._progress.update(bar, said=printable(end_of(attempt)))
        self._progress.stop_task(bar)
        if self._many and attempt.status == "done":
            self._progress.update(bar, visible=False)
        for line in output_of(attempt):
            self._note(f"  {line}")

    def _bar(self, number: int, name: str, *, undo: bool = False) -> Any:  # noqa: ANN401 - rich's own id
        key = (number, undo)
        if key not in self._bars:
            from rich.markup import escape  # noqa: PLC0415 - as above

            text = escape(printable(f"{number} {name}"))
            self._bars[key] = self._progress.add_task(text, start=False, total=1.0, said="")
        return self._bars[key]

    def _note(self, line: str) -> None:
        self._progress.console.print(printable(line), markup=False, highlight=False)
