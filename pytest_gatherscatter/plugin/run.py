"""One run of pytest in one process: its settings, its workloads, and the section that is open.

Everything is made by the first section that needs it, so that a run that deselects all of them
connects to nothing. Sections do not nest, hence there is one open passage at most.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gatherscatter.broker.provider import Found, resolve
from pytest_gatherscatter.errors import SectionMisused, SettingsInvalid
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.interrupt import interrupt_says
from pytest_gatherscatter.plugin.output import WaitLine
from pytest_gatherscatter.plugin.teller import Teller
from pytest_gatherscatter.plugin.timer import Timers
from pytest_gatherscatter.sections.section import Waiting
from pytest_gatherscatter.sections.service.ticket import ticket_directory
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings

if TYPE_CHECKING:
    from pytest_gatherscatter.plugin.passage import Passage


class Run:
    """What all sections of this process share; ``Workloads`` remembers what it met."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.timers = Timers()
        self.id: str = getattr(config, "workerinput", {}).get("testrunuid", secrets.token_hex(16))
        self.open: Passage | None = None
        self.records: list[dict[str, Any]] = []
        """Of sections that are over and not on a report yet."""
        self.steps: list[dict[str, Any]] = []
        """The same of tests with steps."""
        self.teller = Teller(self.id, self._where_to_tell, ticket_directory())
        self._line = WaitLine(config)
        self._found: Found | None = None
        self._workloads: Workloads | None = None
        self._waiting_item = ""
        self._waits_for = ""

    @property
    def settings(self) -> Settings:
        """The settings of the run.

        Raises:
            pytest.UsageError: they say something that is not allowed.
        """
        return options.settings(self.config)

    @property
    def found(self) -> Found:
        """The broker, looked for once.

        Raises:
            SettingsInvalid: its URL cannot be one.
        """
        if self._found is None:
            self._found = resolve(self.settings.broker, env=os.environ)
        return self._found

    @property
    def workloads(self) -> Workloads:
        """The workloads of this process."""
        if self._workloads is None:
            self._workloads = Workloads(
                self.settings, self.found, run=self.id, on_wait=self._on_wait
            )
        return self._workloads

    def opens(self, passage: "Passage") -> None:
        """Take note that a section is about to open.

        Raises:
            SectionMisused: one is open already.
        """
        __tracebackhide__ = True
        if self.open is not None:
            raise SectionMisused(
                f"section {self.open.name!r} is open in this process, and sections do not nest: "
                f"leave it before you enter {passage.name!r}"
            )
        self.open = passage
        self.teller.fall_quiet()
        self._waiting_item = passage.item.nodeid

    @contextlib.contextmanager
    def waiting(self, item: pytest.Item) -> Iterator[None]:
        """Wait for the lab inside the block: no timer of the test counts it, and it is shown."""
        self._line.begin()
        self._waits_for = "waiting for the lab"
        with interrupt_says(lambda: self._waits_for), self.timers.stopped(item):
            yield

    @contextlib.contextmanager
    def showing(self, item: pytest.Item) -> Iterator[Callable[[str, tuple[object, ...]], None]]:
        """Show inside the block what a test waits for; its timers go on.

        What it gives takes a text, and what that says but for the time.
        """
        self._line.begin()
        try:
            yield lambda text, what: self._line.tell(text, what, item.nodeid)
        finally:
            self._line.end()

    def closes(self, passage: "Passage") -> None:
        """Take note that a section is over, or will not be."""
        self._line.end()
        if self.open is passage:
            self.open = None
            self.teller.speak()

    def take_records(self) -> list[dict[str, Any]]:
        """Return the records of sections that are over, each once."""
        records, self.records = self.records, []
        return records

    def take_steps(self) -> list[dict[str, Any]]:
        """Return what the summary shows of steps of tests that are over, each once."""
        steps, self.steps = self.steps, []
        return steps

    def take_notes(self) -> list[str]:
        """Return lines about what sections put in order on their way, each once."""
        notes, self.workloads.notes[:] = list(self.workloads.notes), []
        return notes

    def cancel_wait(self) -> str:
        """Make the current wait raise ``KeyboardInterrupt`` soon (2 s); from any thread.

        Returns:
            In the midst of what, as the interrupt says it.
        """
        self.workloads.interrupt()
        return f"while {self._waits_for}"

    def _where_to_tell(self) -> tuple[str, str] | None:
        """Say where the lab of this run is; what is wrong with that is a section's to tell."""
        try:
            url = self.found.url
        except (SettingsInvalid, pytest.UsageError):
            return None
        return None if url is None else (url, self.settings.lab)

    def _on_wait(self, waiting: Waiting) -> None:
        self._waits_for = "; ".join(waiting.lines)
        self._line.show(waiting, self._waiting_item)
