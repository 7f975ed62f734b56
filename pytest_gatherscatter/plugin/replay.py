"""Lets pytest hear what workers told, as if it had happened here.

Terminal, junitxml, ``-x``, ``--lf`` and other plugins see the hooks of a plain run: each test from
its start to its finish, in one piece, file by file as they come.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from pytest_gatherscatter.plugin.node import Node
from pytest_gatherscatter.plugin.reports import Report, unpack_report, unpack_warning
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.schedule import TESTS


class Count:
    """How many tests there are, as far as can be said: percentages are of it."""

    def __init__(self, files: Mapping[str, int]) -> None:
        """Take the files, each with how many tests it had in an earlier run, 0 for unknown."""
        self._unopened = dict(files)
        known = sorted(number for number in files.values() if number)
        self._usual = known[len(known) // 2] if known else TESTS
        self._rest = sum(number or self._usual for number in files.values())
        self.found = 0
        """Tests of the files that were opened."""
        self._expected = 0

    def open(self, file: str, tests: int) -> None:
        """Take how many tests a file has."""
        self._expected += self._take(file) or self._usual
        self.found += tests

    def lose(self, file: str) -> None:
        """Take it that a file has none."""
        self._take(file)

    def _take(self, file: str) -> int:
        """Take note that a file is shut no more; returns how many tests it was thought to have."""
        number = self._unopened.pop(file, None)
        if number is None:
            return 0
        self._rest -= number or self._usual
        return number

    @property
    def guess(self) -> int:
        """All tests: those that are known, and for the rest what the known ones suggest.

        It is more than what is known for as long as a file is shut, so that nothing looks done.
        """
        if not self._unopened:
            return self.found
        rate = self.found / self._expected if self._expected else 1.0
        return self.found + max(len(self._unopened), round(self._rest * rate))


class Said(TerminalRepr):
    """What became of a test or a file that has no traceback; summaries quote its first line."""

    def __init__(self, file: str, text: str) -> None:
        self._text = text
        self.reprcrash = ReprFileLocation(file, 1, text.partition("\n")[0])

    def toterminal(self, tw: TerminalWriter) -> None:
        """Write all of it."""
        tw.line(self._text)


class Replay:
    """Calls the hooks of one session.

    Args:
        session: the originator's.
        count: of its files.
    """

    def __init__(self, session: pytest.Session, count: Count) -> None:
        self._session = session
        self._config = session.config
        self._count = count
        self._index = 0
        session.testscollected = count.guess

    def open(self, opened: news.FileOpened) -> None:
        """Show that a file was collected."""
        self._count.open(opened.file, len(opened.tests))
        self._session.testscollected = self._count.guess
        if opened.deselected:
            gone = [SimpleNamespace(nodeid=opened.file) for _ in range(opened.deselected)]
            self._config.hook.pytest_deselected(items=gone)
        for raw in opened.reports:
            self._config.hook.pytest_collectreport(report=unpack_report(self._config, raw))

    def lose_file(self, lost: news.FileLost) -> None:
        """Show that a file could not be collected."""
        self._count.lose(lost.file)
        self._session.testscollected = self._count.guess
        said: Any = Said(lost.file, lost.why)
        report = pytest.CollectReport(nodeid=lost.file, outcome="failed", longrepr=said, result=[])
        self._config.hook.pytest_collectreport(report=report)

    def test(self, reports: list[Report], node: Node) -> None:
        """Show one test.

        Its reports know their worker only once all were heard: a terminal that sees one in ``-v``
        writes two lines a test, and this one is whole; junitxml must find them all under one key.
        """
        if not reports:
            return
        hook = self._config.hook
        nodeid, location = reports[0].nodeid, reports[0].location
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        self._index += 1
        for report in reports:
            told: Any = report
            told.worker_id, told.item_index = node.id, self._index
            hook.pytest_runtest_logreport(report=report)
        for report in reports:
            told = report
            told.node = node
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def lose_test(self, lost: news.TestLost, node: Node) -> None:
        """Show that a test was lost: it failed."""
        self.test([_lost(f"{lost.file}::{lost.test}", lost.why, "call")], node)

    def lose_teardown(self, gone: news.WorkerGone, node: Node) -> None:
        """Show that fixtures were not torn down: an error of the test that ran last."""
        died, _, said = gone.died.partition("\n")
        why = f"{died}, after its last test and before the end of its session\n{said}"
        self.test([_lost(gone.after, why.rstrip(), "teardown")], node)

    def warn(self, told: news.WarningTold) -> None:
        """Show a warning."""
        message, when, nodeid, location = unpack_warning(told.warning)
        self._config.hook.pytest_warning_recorded.call_historic(
            kwargs={
                "warning_message": message,
                "when": when,
                "nodeid": nodeid,
                "location": location,
            }
        )

    def settle(self) -> None:
        """Say how many tests there were: no file will be opened any more."""
        self._session.testscollected = self._count.found


def _lost(nodeid: str, why: str, when: Literal["call", "teardown"]) -> pytest.TestReport:
    """Make the report of what nobody reported."""
    file, _, test = nodeid.partition("::")
    said: Any = Said(file, why)  # pytest knows no type for it: it asks what a text has
    return pytest.TestReport(
        nodeid=nodeid,
        location=(file, None, test),
        keywords={},
        outcome="failed",
        longrepr=said,
        when=when,
        sections=[],
        duration=0.0,
        start=0.0,
        stop=0.0,
    )
