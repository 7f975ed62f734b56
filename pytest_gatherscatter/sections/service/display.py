"""What people see of a wait: at each change, and now and then while nothing changes."""

import time
from collections.abc import Callable

from pytest_gatherscatter.sections.section import Section, Waiting
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.state import ENDED, WorkloadState

AGAIN = 0.5
"""Seconds between two words about the same wait, so that its seconds can be seen to count."""


class Display:
    """Calls ``on_wait`` in the waiting thread; what it raises ends the wait.

    :meth:`interrupt` may be called from any thread.
    """

    def __init__(self, on_wait: Callable[[Waiting], None]) -> None:
        self._on_wait = on_wait
        self._interrupted = False
        self._shown: tuple[object, ...] = ()
        self._shown_at = 0.0

    def interrupt(self) -> None:
        """Let the wait raise ``KeyboardInterrupt`` at its next step."""
        self._interrupted = True

    def begin(self) -> None:
        """Start a new call: an earlier interrupt is over."""
        self._interrupted = False

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if somebody asked for it."""
        if self._interrupted:
            raise KeyboardInterrupt

    def progress(self, section: Section, machine: Workload, began: float, left: float) -> None:
        """Show what the machine waits for; ``left`` is the caller's own limit in seconds."""
        waited = time.monotonic() - began
        told = machine.waiting
        if machine.state in ENDED:
            self.check()
        elif machine.absent and section.stopped is None:
            left = machine.patience(time.monotonic())
            self.show(section, "gathering", ("the gatherer",), waited=waited, left=left)
        elif section.stopped is not None:
            self.show(section, "reporting", waited=waited, left=left)
        elif machine.state is WorkloadState.ACCEPTED and told is not None:
            self._show(
                Waiting(
                    section=section.id,
                    name=section.name,
                    bench=section.bench,
                    state=told.state,
                    awaited=told.awaited,
                    holds=told.holds,
                    waited=told.waited,
                    left=told.left,
                )
            )

    def show(
        self,
        section: Section,
        state: str,
        awaited: tuple[str, ...] = (),
        *,
        waited: float = 0.0,
        left: float = 0.0,
    ) -> None:
        """Show a wait of our own: for the broker, for a lock, for reports."""
        self._show(
            Waiting(
                section=section.id,
                name=section.name,
                bench=section.bench,
                state=state,
                awaited=awaited,
                waited=max(0.0, waited),
                left=max(0.0, left),
            )
        )

    def _show(self, waiting: Waiting) -> None:
        self.check()
        now = time.monotonic()
        holders = tuple((hold.agent, hold.reason) for hold in waiting.holds)
        shown = (waiting.section, waiting.state, waiting.awaited, holders)
        if shown != self._shown or now - self._shown_at >= AGAIN:
            self._shown, self._shown_at = shown, now
            self._on_wait(waiting)
