"""How far one attempt at one test has come. A rerun starts with a new one."""

import asyncio
from collections.abc import Iterable

import pytest

from pytest_gatherscatter.errors import GatherScatterError, SectionFailed
from pytest_gatherscatter.plugin.marker import Arguments
from pytest_gatherscatter.plugin.passage import Passage
from pytest_gatherscatter.plugin.run import Run
from pytest_gatherscatter.plugin.step import Steps

PROGRESS = pytest.StashKey["Progress"]()

PREFIX = "gs."
"""How the names of all our properties begin."""

_INTERRUPTIONS = (
    KeyboardInterrupt,
    SystemExit,
    pytest.exit.Exception,
    asyncio.CancelledError,
)


class Progress:
    """State of an attempt; made when its set-up begins.

    ``passage`` is the marker's section. ``owed`` are errors that its teardown has to raise.
    """

    def __init__(self, run: Run, item: pytest.Item, arguments: Arguments | None) -> None:
        self.run = run
        self.item = item
        self.arguments = arguments
        self.passage = None if arguments is None else Passage(run, item, arguments)
        self.steps = Steps(item.nodeid, run.id, run.teller)
        self.when = "setup"
        self.owed: list[SectionFailed] = []
        self.failed = False
        self._ours: list[BaseException] = []
        # pytest keeps the properties of earlier attempts; only the last attempt's are true.
        item.user_properties[:] = [
            (name, value) for name, value in item.user_properties if not name.startswith(PREFIX)
        ]

    @property
    def spans_fixtures(self) -> bool:
        """Whether the section takes in the test's fixtures."""
        return self.arguments is not None and self.arguments.span == "test"

    def add_lines(self, errors: Iterable[GatherScatterError]) -> None:
        """Show errors beside what the phase raises by itself."""
        lines = [error.told for error in errors]
        if lines:
            self.item.add_report_section(self.when, "gatherscatter", "\n".join(lines) + "\n")

    def mark_ours(self, error: BaseException) -> None:
        """Remember that the plugin raised ``error`` into the test."""
        self._ours.append(error)

    def is_ours(self, error: BaseException) -> bool:
        """Whether the plugin raised it: then its line says all, and no traceback is needed."""
        return any(error is one for one in self._ours)

    def outcome(self, error: BaseException | None) -> str:
        """Say how the body ended: ``passed``, ``failed`` or ``interrupted``."""
        if error is None:
            error = self.body_error()
        if isinstance(error, _INTERRUPTIONS):
            return "interrupted"
        if self.failed or not (error is None or isinstance(error, pytest.skip.Exception)):
            return "failed"
        return "passed"

    def body_error(self) -> BaseException | None:
        """Return what a ``unittest.TestCase`` method raised, which pytest keeps on the item."""
        kept = getattr(self.item, "_excinfo", None)
        return kept[0].value if kept else None
