"""What a worker does all day: it takes a file, runs its tests, tells of each, and takes the next.

A plugin in the worker's pytest, and its run loop. Session and package fixtures live on from file
to file: what pytest is told to be the next test stands for the next file. Between two tests the
worker looks for commands; while a test runs nothing of ours does.
"""

import sys
import warnings
from collections import deque
from collections.abc import Generator
from time import perf_counter
from typing import Any

import pytest
from msgspec import Raw

from pytest_gatherscatter.plugin.lazy import LazyTree
from pytest_gatherscatter.plugin.plain import clipped, speakable
from pytest_gatherscatter.plugin.reports import (
    Location,
    pack_output,
    pack_report,
    pack_together,
    pack_warning,
)
from pytest_gatherscatter.plugin.testfile import Opener, OpenFile
from pytest_gatherscatter.testfiles.service.pipe import Channel
from pytest_gatherscatter.wire.event import (
    FileBegun,
    FileFinished,
    OutputTold,
    TestBegun,
    TestRan,
    TestsGivenBack,
    WarningSeen,
    WorkerEnded,
)
from pytest_gatherscatter.wire.testfiles import BeginFile, GiveBack, JobOver, RunFile

TEXT = 4_000
"""Characters of the reason for an early end: what the wire carries."""


PIECE = 100_000
"""Characters of a piece of what plugins hand in: of up to four bytes each, within the wire's."""


class NextFile(pytest.Item):
    """Stands for the first test of the next file: fixtures of all that it is below live on."""

    def runtest(self) -> None:
        """Run nothing: nobody runs it."""


class WorkerLoop:
    """The worker's plugin.

    Args:
        config: of the worker's pytest, with its ``workerinput``.
        channel: to its supervisor.
    """

    def __init__(self, config: pytest.Config, channel: Channel) -> None:
        self.stopped = ""
        """Why it ended before it was told to, if it did."""
        self.told = False
        """Whether its end was told."""
        self._config = config
        self._channel = channel
        self._tree = LazyTree(config)
        self._queue: deque[RunFile] = deque()
        self._over = False
        self._interrupted = False
        self._file: OpenFile | None = None
        self._lease = -1
        self._todo: deque[int] = deque()
        self._awaits = -1
        """The lease of a file whose groups may be others': its tests wait for word of that."""
        self._groups: set[str] = set()
        """Groups that have begun here, and so are not given back."""
        self._kept: dict[str, OpenFile] = {}
        self._gave = False
        self._reports: list[Raw] = []
        self._late: list[Raw] = []
        self._last: pytest.Item | None = None
        self._sentinels: dict[pytest.Collector, NextFile] = {}
        config.pluginmanager.register(self._tree, "gatherscatter-lazy")

    # ── the loop ───────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what is granted, until the job is over or the supervisor is gone."""
        opener = Opener(session, self._tree)
        config = session.config
        config.pluginmanager.register(opener, "gatherscatter-opener")
        worker: str = config.workerinput["workerid"]  # type: ignore[attr-defined]
        config.hook.pytest_gs_before_start(config=config, worker=worker)
        while (run := self._next()) is not None:
            self._run_file(session, opener, run)
        self._tear_down(session, None)
        config.hook.pytest_gs_after_complete(config=config, worker=worker)
        return True

    def _next(self) -> RunFile | None:
        """Return the next grant; wait for it, if there is none yet."""
        while not self._queue and not self._over:
            self._listen(wait=True)
        return None if self._over else self._queue.popleft()

    def _listen(self, *, wait: bool = False) -> None:
        """Take the commands that came. A supervisor that is gone has ended the job, too."""
        for command in self._channel.hear(wait=wait):
            match command:
                case RunFile():
                    self._queue.append(command)
                case BeginFile(lease=lease, without=without):
                    self._begin(lease, set(without))
                case GiveBack(lease=lease, most=most):
                    self._give_back(lease, most)
                case JobOver():
                    self._over = True
        if self._channel.closed:
            self._over = True

    def _begin(self, lease: int, without: set[int]) -> None:
        """Begin the tests of a file that has groups; some are for the workers of their groups."""
        if lease == self._awaits:
            self._awaits = -1
            self._todo = deque(test for test in self._todo if test not in without)
            self._gave = self._gave or bool(without)

    def _give_back(self, lease: int, most: int) -> None:
        """Give back what is not begun, nor announced to the test before it, from the end."""
        if lease == self._lease and self._file is not None:
            untouched = list(self._todo)[1:]
            given = self._file.tail(untouched, most, self._groups)
            self._todo = deque(test for test in self._todo if test not in set(given))
            self._gave = self._gave or bool(given)
            self._channel.tell(TestsGivenBack(lease=lease, tests=tuple(given)))
            return
        waiting = [run for run in self._queue if run.lease != lease]
        if len(waiting) < len(self._queue):
            self._queue = deque(waiting)
            self._channel.tell(TestsGivenBack(lease=lease))

    # ── a file ─────────────────────────────────────────────────────────────────────────

    def _run_file(self, session: pytest.Session, opener: Opener, run: RunFile) -> None:
        self._channel.tell(FileBegun(lease=run.lease))
        self._channel.flush()  # importing it may be the last thing that this process does
        file = self._open(opener, run)
        if file is None:
            self._channel.tell(FileFinished(lease=run.lease, strange=True))
            return
        session.items = list(file.items)
        collected = file.collected(run.lease)
        self._channel.tell(collected)
        numbers = range(len(file.items))
        wanted = numbers if run.tests is None else [one for one in run.tests if one in numbers]
        self._file, self._lease, self._todo = file, run.lease, deque(wanted)
        self._gave = run.tests is not None
        self._awaits = run.lease if run.tests is None and any(collected.groups) else -1
        while self._awaits >= 0 and not self._over:
            self._listen(wait=True)
        self._run_tests(session, file)
        if self._gave:
            self._kept[run.file] = file  # for tests that come home
        self._file, self._lease = None, -1
        self._channel.tell(FileFinished(lease=run.lease))

    def _open(self, opener: Opener, run: RunFile) -> OpenFile | None:
        """Return the file with the tests that were granted; ``None`` if it has others."""
        kept = self._kept.pop(run.file, None)
        if run.tests is None:
            return opener.open(run.file, run.choice)
        if kept is not None and kept.digest == run.digest:
            return kept
        file = opener.open(run.file, run.choice)
        return file if file.digest == run.digest else None

    def _run_tests(self, session: pytest.Session, file: OpenFile) -> None:
        self._listen()
        if self._todo and not self._over:
            self._tear_down(session, file.items[self._todo[0]])
        while self._todo and not self._over:
            number = self._todo.popleft()
            follows = file.items[self._todo[0]] if self._todo else self._after(session, file)
            self._run_test(file, number, follows)
            if session.shouldfail:
                self.stopped = str(session.shouldfail)
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                self.stopped = str(session.shouldstop)
                raise session.Interrupted(session.shouldstop)
            self._listen()

    def _run_test(self, file: OpenFile, number: int, follows: pytest.Item | None) -> None:
        item = self._last = file.items[number]
        self._groups.add(file.groups[number])
        self._channel.tell(TestBegun(lease=self._lease, test=number))
        self._channel.flush()
        self._reports = []
        began = perf_counter()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=follows)
        ran = TestRan(
            lease=self._lease,
            test=number,
            seconds=perf_counter() - began,
            reports=pack_together(self._reports),
        )
        self._channel.tell(ran)

    def _after(self, session: pytest.Session, file: OpenFile) -> pytest.Item:
        """Return what stands for the next file; it is a neighbour, as long as nobody knows it."""
        above: pytest.Collector | None = None
        if self._queue:
            run = self._queue[0]
            kept = self._kept.get(run.file)
            if run.file == file.file and run.tests and run.digest == file.digest:
                kept = file
            if kept is not None and run.tests and run.digest == kept.digest:
                return kept.items[run.tests[0]]
            above = self._tree.deepest(self._tree.path(run.file))
        elif file.items:
            above = file.items[0].getparent(pytest.Directory)  # type: ignore[type-abstract]
        above = above or session
        sentinel = self._sentinels.get(above)
        if sentinel is None:
            sentinel = self._sentinels[above] = NextFile.from_parent(above, name="next file")
        return sentinel

    def _tear_down(self, session: pytest.Session, follows: pytest.Item | None) -> None:
        """Tear down what the next test is not below, as part of the last one's teardown.

        Its reports are told already, so what fails here is told at the end.
        """
        last, state = self._last, session._setupstate  # noqa: SLF001 - there is no other way
        if last is None:
            return
        manager = session.config.pluginmanager
        capture = None if self._interrupted else manager.get_plugin("capturemanager")
        if capture is not None:
            capture.resume_global_capture()
        call = pytest.CallInfo.from_call(
            lambda: state.teardown_exact(follows), when="teardown", reraise=pytest.exit.Exception
        )
        out = err = ""
        if capture is not None:
            capture.suspend_global_capture(in_=False)
            out, err = capture.read_global_capture()
        if call.excinfo is not None:
            report = pytest.TestReport.from_item_and_call(last, call)
            said = (("stdout", out), ("stderr", err))
            report.sections = [(f"Captured {name} teardown", text) for name, text in said if text]
            self._late.append(pack_report(session.config, report))
            session.testsfailed += 1

    # ── what pytest tells ──────────────────────────────────────────────────────────────

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a report of the test that runs.

        Asking for its status, as the terminal does, is what fails a test with failed subtests.
        """
        if report.when == "call":
            self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        self._reports.append(pack_report(self._config, report))

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: Location,
    ) -> None:
        """Tell a warning, unless it is one of the start: the originator's pytest has it too."""
        if when != "config":
            packed = pack_warning(warning_message, when, nodeid, location)
            self._channel.tell(WarningSeen(warning=packed))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note why the session ends; pytest has stopped capturing."""
        self._interrupted = True
        text = getattr(excinfo.value, "msg", None) or str(excinfo.value) or excinfo.typename
        self.stopped = self.stopped or str(text)

    def pytest_internalerror(self, excrepr: object) -> None:
        """Note that pytest, or a plugin, failed; pytest has stopped capturing."""
        self._interrupted = True
        self.stopped = f"INTERNALERROR: {clipped(str(excrepr), TEXT - 100)}"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, None, None]:
        """Tell the end, with what plugins hand in; fixtures are torn down by now in any case."""
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        output["exitstatus"] = int(exitstatus)
        output["shouldfail"] = session.shouldfail
        output["shouldstop"] = session.shouldstop
        error = sys.exception()  # that of a command line that cannot be right passes through here
        if isinstance(error, pytest.UsageError):
            self.stopped = " ".join(map(str, error.args))
        self._tear_down(session, None)
        try:
            yield
        finally:
            self.end(int(exitstatus), output)

    def end(self, status: int, output: dict[str, Any]) -> None:
        """Tell the end, once."""
        if self.told:
            return
        self.told = True
        ended = WorkerEnded(
            status=max(0, min(status, 255)),
            stopped=speakable(clipped(self.stopped, TEXT))[:TEXT],
            reports=pack_together(self._late, TEXT * 50),
        )
        packed = bytes(pack_output(output)).decode()
        for begin in range(0, len(packed), PIECE):
            self._channel.tell(OutputTold(part=packed[begin : begin + PIECE]))
        self._channel.tell(ended)
        self._channel.flush()
