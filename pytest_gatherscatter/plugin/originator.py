"""``--gs-dispatch`` and ``--gs-spawn``: this pytest finds the files, others run them.

The session is pytest's own: what workers report is replayed through its hooks, so that terminal,
junitxml, ``-x``, ``--lf`` and other plugins see what they would see of a plain run. Test modules
are not imported here. What has to be true of the job is the ledger's business.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.errors import BrokerError, GatherScatterError
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.finder import FileFinder
from pytest_gatherscatter.plugin.reports import unpack_report, unpack_warning
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.ledger import Ledger
from pytest_gatherscatter.testfiles.schedule import smoothed
from pytest_gatherscatter.testfiles.service.originator import OriginatorService
from pytest_gatherscatter.testfiles.state import JobFacts
from pytest_gatherscatter.wire.testfiles import JobTerms

DURATIONS = "gatherscatter/durations"
"""Where pytest's cache keeps seconds by file and test id."""

UNRUN = 50
"""Names that are listed of what was not run: more than a person reads."""

END_SECONDS = 10.0
"""How long the processes of ``--gs-spawn`` may take to end once the job is over."""


class Node:
    """What pytest asks of a report's node: which worker it is, and where.

    The line above a traceback is kept by pytest under the name that is set here; so none is made
    of facts about an interpreter that nobody told.
    """

    def __init__(self, worker: str, host: str) -> None:
        self.id = worker
        self.gateway = self
        self._workerinfocache = f"[{worker}] {host}"


class Originator:
    """The plugin of one run.

    Args:
        config: pytest's.
        spawn: how many workers to start here, 0 for none.
        wait: seconds for which the job may be without any worker.
        retries: how often a test is run again whose worker died.
    """

    def __init__(self, config: pytest.Config, *, spawn: int, wait: float, retries: int) -> None:
        self.config = config
        self.spawn = spawn
        self.wait = wait
        self.retries = retries
        self._interrupted = False
        self.files = FileFinder()
        self._ended: news.JobEnded | None = None
        self._nodes: dict[str, Node] = {}
        self._seconds: dict[str, dict[str, float]] = {}
        self._item_index = 0

    # ── pytest's hooks ─────────────────────────────────────────────────────────────────

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the job, and replay it."""
        if not self.files.names:
            return True
        try:
            with contextlib.ExitStack() as stack:
                self._run(session, stack)
        except GatherScatterError as error:
            session.shouldfail = str(error)
        self._keep_durations()
        if self._interrupted:
            raise KeyboardInterrupt
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what was not run."""
        if self._ended is None:
            return
        missing = (*self._ended.unopened, *self._ended.unrun)
        if missing:
            terminalreporter.section("not run", red=True)
            for name in missing[:UNRUN]:
                terminalreporter.line(name)
            if len(missing) > UNRUN:
                terminalreporter.line(f"and {len(missing) - UNRUN} more")

    # ── the job ────────────────────────────────────────────────────────────────────────

    def _run(self, session: pytest.Session, stack: contextlib.ExitStack) -> None:
        config = self.config
        lab, url = self._broker(stack)
        job = secrets.token_hex(8)
        facts = JobFacts(
            job,
            f"pid {os.getpid()} in {config.invocation_params.dir}"[:500],
            JobTerms(
                arguments=tuple(str(one) for one in config.invocation_params.args),
                root=str(config.rootpath),
                place=os.path.relpath(config.invocation_params.dir, config.rootpath),
                run=job,
                workers=self.spawn,
            ),
            wait=self.wait,
            retries=self.retries,
        )
        known = _known(config)
        if self.spawn:
            # It comes up while we connect; and it is waited for when our last words are said.
            stack.enter_context(_supervisor(lab, url, job, self.spawn))
        service = OriginatorService(lab, url, Ledger(facts, self.files.names, known))
        stack.callback(service.close)
        service.open()
        for one in self._until_over(session, service):
            self._show(session, one)
        if self._ended is not None and (self._ended.text or self._ended.unrun):
            text = self._ended.text or "not all that was found was run"
            session.shouldfail = session.shouldfail or text

    def _until_over(
        self, session: pytest.Session, service: OriginatorService
    ) -> Iterator[news.News]:
        """Yield what is to be shown; Ctrl-C and ``-x`` let what runs come to its end."""
        stopped = False
        coming = service.news()
        while True:
            try:
                one = next(coming, None)
            except KeyboardInterrupt:
                if stopped:
                    raise
                service.stop("interrupted")
                self._interrupted = stopped = True
                coming = service.news()
                continue
            if one is None:
                return
            yield one
            reason = session.shouldfail or session.shouldstop
            if reason and not stopped:
                stopped = True
                service.stop(str(reason))

    def _broker(self, stack: contextlib.ExitStack) -> tuple[str, str]:
        """Find the broker, or start one for this run; returns lab and URL."""
        settings = options.settings(self.config)
        found = provider.resolve(settings.broker, env=os.environ)
        if found.url is not None:
            return settings.lab, found.url
        if not self.spawn:
            raise BrokerError(f"--gs-dispatch needs a broker, and {found.why}")
        broker = provider.start_local()
        stack.callback(broker.stop)
        return settings.lab, broker.url

    # ── showing it ─────────────────────────────────────────────────────────────────────

    def _show(self, session: pytest.Session, one: news.News) -> None:  # noqa: C901 - a case each
        match one:
            case news.FileOpened():
                session.testscollected += len(one.tests)
                if one.deselected:
                    gone = [SimpleNamespace(nodeid=one.file) for _ in range(one.deselected)]
                    self.config.hook.pytest_deselected(items=gone)
                for raw in one.reports:
                    self._collect(unpack_report(self.config, raw))
            case news.FileLost(file=file, why=why):
                self._collect(
                    pytest.CollectReport(nodeid=file, outcome="failed", longrepr=why, result=[])
                )
            case news.TestReported():
                self._test(one)
            case news.WorkerCame(worker=worker, host=host):
                self._nodes[worker] = Node(worker, host)
            case news.TestLost(file=file, test=test, worker=worker, why=why):
                self._replay(worker, [_lost(f"{file}::{test}", why)])
            case news.WarningTold(warning=raw):
                message, when, nodeid, location = unpack_warning(raw)
                self.config.hook.pytest_warning_recorded.call_historic(
                    kwargs={
                        "warning_message": message,
                        "when": when,
                        "nodeid": nodeid,
                        "location": location,
                    }
                )
            case news.WorkerGone(died=died) if died:
                reporter = self.config.pluginmanager.get_plugin("terminalreporter")
                if reporter is not None:
                    reporter.ensure_newline()
                    reporter.write_line(died.splitlines()[0], red=True)
            case news.WorkerGone(worker=worker):
                self._replay(worker, [unpack_report(self.config, raw) for raw in one.reports])
            case news.JobEnded():
                self._ended = one

    def _collect(self, report: Any) -> None:  # noqa: ANN401 - made by pytest
        self.config.hook.pytest_collectreport(report=report)

    def _test(self, one: news.TestReported) -> None:
        reports = [unpack_report(self.config, raw) for raw in one.reports]
        seconds = sum(getattr(report, "duration", 0.0) for report in reports)
        self._seconds.setdefault(one.file, {})[one.test] = seconds
        self._replay(one.worker, reports)

    def _replay(self, worker: str, reports: list[Any]) -> None:
        """Let pytest hear the reports of one test, as if it had run here."""
        if not reports:
            return
        node = self._nodes[worker]
        hook = self.config.hook
        nodeid, location = reports[0].nodeid, reports[0].location
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        self._item_index += 1
        for report in reports:
            report.node = node
            report.worker_id = worker
            report.item_index = self._item_index
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def _keep_durations(self) -> None:
        cache = getattr(self.config, "cache", None)
        if cache is None or not self._seconds:
            return
        known = _known(self.config)
        for file, tests in self._seconds.items():
            before = known.get(file, {})
            known[file] = {
                test: round(smoothed(before.get(test), seconds), 4)
                for test, seconds in tests.items()
            }
        cache.set(DURATIONS, known)


def _known(config: pytest.Config) -> dict[str, dict[str, float]]:
    cache = getattr(config, "cache", None)
    known = None if cache is None else cache.get(DURATIONS, None)
    return known if isinstance(known, dict) else {}


def _lost(nodeid: str, why: str) -> pytest.TestReport:
    """Make the report of a test whose worker died."""
    file, _, name = nodeid.partition("::")
    return pytest.TestReport(
        nodeid=nodeid,
        location=(file, None, name),
        keywords={},
        outcome="failed",
        longrepr=why,
        when="call",
        sections=[],
        duration=0.0,
        start=0.0,
        stop=0.0,
    )


@contextlib.contextmanager
def _supervisor(lab: str, url: str, job: str, slots: int) -> Iterator[None]:
    """Hold ``slots`` workers on this machine for as long as the job lasts."""
    process = subprocess.Popen(  # noqa: S603 - our own module
        [
            *(sys.executable, "-m", "pytest_gatherscatter.testfiles.service"),
            *(lab, job, str(slots)),
        ],
        env=os.environ | {"GATHERSCATTER_BROKER": url},
        stdin=subprocess.DEVNULL,
        # Ctrl-C is the originator's: it lets the tests that run come to their end.
        start_new_session=True,
        cwd=Path.cwd(),
    )
    try:
        yield
    finally:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
