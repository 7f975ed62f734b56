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

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Properties
from pytest_gatherscatter.broker.provider import Found, resolve
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.errors import BrokerError, SectionMisused
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.output import WaitLine
from pytest_gatherscatter.plugin.step import Steps
from pytest_gatherscatter.plugin.timer import Timers
from pytest_gatherscatter.sections.section import Waiting
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.names import event_exchange, step_event

if TYPE_CHECKING:
    from pytest_gatherscatter.plugin.passage import Passage


TELL_SECONDS = 2.0
"""How long telling a test's steps may take: they are news, and the next test waits."""


class Run:
    """What all sections of this process share; ``Workloads`` remembers what it met."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.timers = Timers()
        self.id: str = getattr(config, "workerinput", {}).get("testrunuid", secrets.token_hex(16))
        self.open: Passage | None = None
        self.met = False
        """Whether a gatherer coordinated a section of this run."""
        self.records: list[dict[str, Any]] = []
        """Of sections that are over and not on a report yet."""
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
        self._waiting_item = passage.item.nodeid

    @contextlib.contextmanager
    def waiting(self, item: pytest.Item) -> Iterator[None]:
        """Wait for the lab inside the block: no timer of the test counts it, and it is shown."""
        self._line.begin()
        self._waits_for = "waiting for the lab"
        with _interrupt_says(lambda: self._waits_for), self.timers.stopped(item):
            yield

    def closes(self, passage: "Passage") -> None:
        """Take note that a section is over, or will not be."""
        if self.open is passage:
            self.open = None
        self._line.end()

    def take_records(self) -> list[dict[str, Any]]:
        """Return the records of sections that are over, each once."""
        records, self.records = self.records, []
        return records

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

    def tell_steps(self, steps: Steps) -> None:
        """Tell the lab about a test's steps, if this run has met it; nobody waits for long.

        The report has them in any case, so what goes wrong here is no trouble of the test.
        """
        if not self.met or self.found.url is None:
            return
        lab = self.settings.lab
        with (
            _interrupt_says(lambda: "telling the lab about steps"),
            contextlib.suppress(BrokerError),
        ):
            link = Link(self.found.url, lab_topology(lab), name=f"gatherscatter steps {self.id}")
            try:
                link.open(TELL_SECONDS)
                for message in steps.messages(self.id):
                    link.publish(
                        event_exchange(lab),
                        step_event(self.id),
                        codec.encode(message),
                        Properties(type=codec.type_of(message)),
                        mandatory=False,
                    )
            finally:
                link.close(timeout=TELL_SECONDS)

    def _on_wait(self, waiting: Waiting) -> None:
        self._waits_for = "; ".join(waiting.lines)
        self._line.show(waiting, self._waiting_item)


@contextlib.contextmanager
def _interrupt_says(what: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end here, and say in the midst of what: pytest shows that and no traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"while {what()}") from None
