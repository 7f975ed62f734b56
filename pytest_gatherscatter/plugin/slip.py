"""``gs_run_slip``: a test gives a routing slip out, and waits for its end.

It waits in the test's own thread and shows where the slip is, as sections show for whom they wait.
The test's timeout goes on counting: what the slip does is what the test does.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_gatherscatter.errors import (
    GatherScatterError,
    SectionMisused,
    SettingsInvalid,
    SlipLost,
)
from pytest_gatherscatter.plugin.run import Run
from pytest_gatherscatter.quantity import seconds
from pytest_gatherscatter.sections.service.visit import owner_line
from pytest_gatherscatter.slips.document import Document, document
from pytest_gatherscatter.slips.finished import FinishedSlip, failure, step_title
from pytest_gatherscatter.slips.order import Say
from pytest_gatherscatter.slips.service.asker import SlipRun
from pytest_gatherscatter.slips.service.file import read_document
from pytest_gatherscatter.wire.slips import (
    Slip,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Step,
    Task,
)

LOOK = 0.5
"""Seconds between two words on how long a step has run."""

CANCEL_SECONDS = 10.0
"""How long a slip that is cancelled is waited for: its processor ends a step in 5 s. What it
compensates then may take longer, and is done without anybody waiting."""

Steps = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any] | Step]


class SlipRunner:
    """What ``gs_run_slip`` is, for one test."""

    def __init__(self, run: Run, item: pytest.Item) -> None:
        self._run = run
        self._item = item
        self._closed = False

    def close(self) -> None:
        """Cancel what other threads still wait for: the test is over."""
        self._closed = True

    def __call__(
        self,
        steps_or_file: Steps,
        params: Mapping[str, object] | None = None,
        timeout: float | str | None = None,
        *,
        check: bool = True,
    ) -> FinishedSlip:
        """Give a slip out, wait for its end, and return it; fail the test unless all was done.

        Args:
            steps_or_file: a TOML or JSON file, by its path from the test's own folder; or what
                stands in one; or a list of steps.
            params: the slip's parameters.
            timeout: seconds, or a text like ``"10m"``: its deadline, if its own is not nearer.
            check: whether an end other than ``done`` fails the test.

        Raises:
            SectionMisused: a section is open, which is quiet.
        """
        __tracebackhide__ = True
        if self._run.open is not None:
            raise SectionMisused(
                f"section {self._run.open.name!r} is quiet, and a slip needs the lab: run it "
                "before the section or after it"
            )
        try:
            slip = self._slip(steps_or_file, params or {}, timeout)
            finished = self._follow(slip)
        except GatherScatterError as error:
            text = error.told
        else:
            self._set_properties(finished)
            if finished.done or not check:
                return finished
            text = failure(finished)
        pytest.fail(text, pytrace=False)

    # ── what is to be done ─────────────────────────────────────────────────────────────

    def _slip(
        self, given: Steps, params: Mapping[str, object], timeout: float | str | None
    ) -> Slip:
        if not isinstance(params, Mapping):
            problem = f"{params!r} is no mapping of names to values"
            raise SettingsInvalid("gs_run_slip(): params", problem)
        try:
            limit = None if timeout is None else seconds(timeout)
        except (TypeError, ValueError) as error:
            raise SettingsInvalid("gs_run_slip(): timeout", str(error)) from None
        return self._document(given).slip(
            params,
            id=secrets.token_hex(8),
            now=time.time(),
            owner=f"{self._item.nodeid} of {owner_line()}",
            timeout=limit,
        )

    def _document(self, given: Steps) -> Document:
        if not isinstance(given, str | Path):
            return document(given, "gs_run_slip()", name=self._item.name)
        return read_document(self._item.path.parent / Path(given).expanduser())

    # ── doing it ───────────────────────────────────────────────────────────────────────

    def _follow(self, slip: Slip) -> FinishedSlip:
        """Give it out, and show where it is until it is over; Ctrl-C cancels it."""
        found = self._run.found
        if found.url is None:
            raise SettingsInvalid("broker", found.why or "none is configured")
        shown = Shown(slip)
        with (
            self._run.showing(self._item) as show,
            SlipRun(self._run.settings.lab, found.url, slip) as going,
        ):
            try:
                while going.result is None:
                    self._check_open(slip)
                    for news in going.poll(LOOK):
                        shown.take(news)
                    show(shown.text(time.monotonic()), shown.what)
            except BaseException as error:
                self._cancel(going, shown)
                if isinstance(error, KeyboardInterrupt):
                    over = going.result
                    end = "ends by itself" if over is None else f"is {over.outcome}"
                    raise KeyboardInterrupt(f"while slip {slip.name} ran; it {end}") from None
                raise
        return FinishedSlip(going.result)

    def _check_open(self, slip: Slip) -> None:
        if self._closed:
            raise SlipLost(f"slip {slip.name}: its test was over before it")

    @staticmethod
    def _cancel(going: SlipRun, shown: "Shown") -> None:
        """Let it end, and wait for that within bounds; a second Ctrl-C waits no more."""
        if going.over:
            return
        end = time.monotonic() + CANCEL_SECONDS
        going.cancel(owner_line())
        try:
            while going.result is None and time.monotonic() < end:
                for news in going.poll(LOOK):
                    shown.take(news)
        except GatherScatterError:
            return  # the first error says it

    # ── what the report carries ────────────────────────────────────────────────────────

    def _set_properties(self, finished: FinishedSlip) -> None:
        """Put its end on the test's report, in plain types; a second of one name gets a number."""
        taken = {name for name, _ in self._item.user_properties}
        name = finished.name.replace(".", "_")
        prefix, number = f"gs.slip.{name}", 1
        while f"{prefix}.outcome" in taken:
            number += 1
            prefix = f"gs.slip.{name}#{number}"
        facts: dict[str, object] = {
            "outcome": finished.outcome,
            "id": finished.id,
            "seconds": round(finished.seconds, 6),
        }
        for one in finished.progress:
            if one.final:
                undone = ".undone" if one.compensating else ""
                facts[f"{one.number}{undone}.status"] = one.status
                facts[f"{one.number}{undone}.host"] = one.host
                if one.exit_status is not None:
                    facts[f"{one.number}{undone}.exit_status"] = one.exit_status
        self._item.user_properties += [(f"{prefix}.{key}", value) for key, value in facts.items()]


class Shown:
    """What a person sees of a slip that runs: the steps that are begun, and how far they are."""

    def __init__(self, slip: Slip) -> None:
        self.what: tuple[object, ...] = ()
        """What is shown but for the time."""
        self._slip = slip
        self._running: dict[Task, tuple[SlipStepBegun, float, str]] = {}
        self._over = 0
        self._note = ""

    def take(self, news: object) -> None:
        """Take what was heard of it."""
        match news:
            case SlipStepBegun():
                self._running[news.task] = (news, time.monotonic(), "")
                self._note = ""
            case SlipStepMoved() if news.task in self._running:
                begun, since, _ = self._running[news.task]
                moved = f"{news.share:.0%}" + (f" {news.text}" if news.text else "")
                self._running[news.task] = (begun, since, moved)
            case SlipStepEnded():
                one = news.attempt
                task = Task(number=one.number, attempt=one.attempt, compensating=one.compensating)
                self._running.pop(task, None)
                self._over += one.final and not one.compensating
            case Say(text):
                self._note = text
            case _:
                return
        self.what = (*self._running, self._note)

    def since(self, task: Task) -> float:
        """Return when a task was begun that runs."""
        return self._running[task][1]

    def text(self, now: float) -> str:
        """Say it in a line."""
        head = f"slip {self._slip.name}, {self._over} of {len(self._slip.steps)} done"
        if not self._running:
            return f"{head}: {self._note or 'waiting for a processor'}"
        parts = []
        for task, (begun, since, moved) in self._running.items():
            title = step_title(self._slip, task.number, compensating=task.compensating)
            how = f", {moved}" if moved else ""
            parts.append(f"{title} on {begun.host}{how} ({now - since:.0f} s)")
        return f"{head}: {'; '.join(parts)}"
