"""``--gs-dispatch`` and ``--gs-spawn``: this pytest finds the files, others run them.

The session is pytest's own: what workers report is replayed through its hooks, so that terminal,
junitxml, ``-x``, ``--lf`` and other plugins see what they would see of a plain run. Test modules
are not imported here. What has to be true of the job is the ledger's business.
"""

import contextlib
import gc
import os
import secrets
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import pytest

from pytest_gatherscatter import __version__
from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.errors import BrokerError, GatherScatterError
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.choice import Chooser
from pytest_gatherscatter.plugin.duration import Memory
from pytest_gatherscatter.plugin.finder import FileFinder
from pytest_gatherscatter.plugin.forkserver import FORKSERVER, Forkserver, Order
from pytest_gatherscatter.plugin.node import Node
from pytest_gatherscatter.plugin.replay import Count, Replay
from pytest_gatherscatter.plugin.reports import unpack_report
from pytest_gatherscatter.plugin.rerun import keep_orders
from pytest_gatherscatter.plugin.source import job_source
from pytest_gatherscatter.plugin.status import Status
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.ledger import Ledger
from pytest_gatherscatter.testfiles.service.originator import OriginatorService
from pytest_gatherscatter.testfiles.state import JobFacts
from pytest_gatherscatter.testfiles.tally import Forecast
from pytest_gatherscatter.wire.testfiles import JobTerms

UNRUN = 50
"""Names that are listed of what was not run: more than a person reads."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line wants of a job.

    ``spawn`` is how many workers to start here, 0 for none. ``wait`` is for how many seconds it may
    be without any worker. ``retries`` says how often a test is run again whose worker died.
    ``limit`` is how many seconds a test may take, 0 for any.
    """

    spawn: int
    wait: float
    retries: int
    limit: float


class Originator:
    """The plugin of one run.

    Args:
        config: pytest's.
        wishes: what the command line wants.
    """

    def __init__(self, config: pytest.Config, wishes: Wishes) -> None:
        self.config = config
        self.wishes = wishes
        self.files = FileFinder(config)
        self._chooser: Chooser
        self._memory: Memory
        self._names: list[str] = []
        self._nodes: dict[str, Node] = {}
        self._forkserver: Forkserver | None = None
        self._broker_is_ours = False
        self._interrupted = False
        self._ended: news.JobEnded | None = None
        self._status: Status | None = None

    # ── pytest's hooks ─────────────────────────────────────────────────────────────────

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Read what earlier runs left in the cache, before this one changes it."""
        self._chooser = Chooser(self.config)
        self._memory = Memory(self.config)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and self.wishes.spawn != 1:
            terminal.showfspath = False  # which file a dot is of: workers take turns

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_collection_finish(self) -> Generator[None, None, None]:
        """Choose among the files before anybody is told of them."""
        self._names = self._chooser.files(self.files.names)
        self.files.announce(len(self._names))
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_collectionfinish(self) -> Generator[None, list[object], list[object]]:
        """Say what was chosen; pytest's own plugins speak of tests, and saw none."""
        said = yield
        ours = self._chooser.lines if self.config.get_verbosity() >= 0 else []
        return [*(one for one in said if not _is_of_cache(one)), *ours]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the job, and replay it."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            errors = "error" if session.testsfailed == 1 else "errors"
            raise session.Interrupted(f"{session.testsfailed} {errors} during collection")
        if not self._names:
            return True
        try:
            with contextlib.ExitStack() as stack:
                self._run(session, stack)
        except GatherScatterError as error:
            session.shouldfail = str(error)
        why = self._ended.text if self._ended is not None else str(session.shouldfail or "")
        self.config.hook.pytest_gs_after_job_finishes(config=self.config, why=why)
        if self._interrupted:
            raise KeyboardInterrupt
        if self._ended is not None and self._ended.status > pytest.ExitCode.TESTS_FAILED:
            raise pytest.exit.Exception(why, self._ended.status)  # as that worker's pytest ended
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write down what the next run has to know, after pytest's own plugins did."""
        if self._names:
            self._memory.keep()
            if self._status is not None:
                keep_orders(self.config, self._status.orders)
            whole = self._ended is not None and not self._ended.text
            self._chooser.keep(passed=whole and not session.testsfailed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the workers' time, and list what was not run."""
        verbosity = self.config.get_verbosity()
        if self._status is not None and verbosity >= 0:
            terminalreporter.section("workers")
            for line in self._status.lines(verbose=verbosity > 0):
                terminalreporter.line(line)
        if self._ended is None:
            return
        missing = (*self._ended.unopened, *self._ended.unrun)
        if missing:
            terminalreporter.section("not run", red=True)
            for name in missing[:UNRUN]:
                terminalreporter.line(name)
            if len(missing) > UNRUN:
                terminalreporter.line(f"and {len(missing) - UNRUN} more")

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """Look for garbage once; pytest does so five times, for what tests leave, and none ran."""
        gc.collect()
        gc.freeze()

    # ── the job ────────────────────────────────────────────────────────────────────────

    def _run(self, session: pytest.Session, stack: contextlib.ExitStack) -> None:
        self.config.hook.pytest_gs_before_originate(config=self.config, files=tuple(self._names))
        facts = self._facts(secrets.token_hex(8))
        lab, url = self._lab(facts.job, stack)
        known = self._memory.known
        service = OriginatorService(lab, url, Ledger(facts, self._names, known))
        stack.callback(service.close)
        service.open()
        status = self._status = Status(self.config, Forecast(self._names, known))
        replay = Replay(session, Count({file: len(known.get(file, ())) for file in self._names}))
        stack.callback(status.clear)
        try:
            for one in self._until_over(session, service):
                status.hear(one)
                self._show(one, replay, service)
        except BrokerError as error:
            self._ended = service.lost(str(error))
            raise
        replay.settle()
        if self._ended is not None and (self._ended.text or self._ended.unrun):
            text = self._ended.text or "not all that was found was run"
            if not session.shouldstop:
                session.shouldfail = session.shouldfail or text

    def _facts(self, job: str) -> JobFacts:
        config = self.config
        place = config.invocation_params.dir
        basetemp = ""
        if self.wishes.spawn:  # there is no public way to it outside of a test
            basetemp = str(config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]  # noqa: SLF001
        terms = JobTerms(
            arguments=tuple(str(one) for one in config.invocation_params.args),
            root=str(config.rootpath),
            place=os.path.relpath(place, config.rootpath),
            here=not {"", str(place)}.isdisjoint(sys.path),
            basetemp=basetemp,
            run=job,
            workers=self.wishes.spawn,
            test_timeout=self.wishes.limit,
            live=options.is_live(config),
        )
        return JobFacts(
            job,
            f"pid {os.getpid()} in {place}"[:500],
            terms,
            wait=self.wishes.wait,
            retries=self.wishes.retries,
            choices=self._chooser.choices(self._names),
            ordered=self._chooser.ordered,
            version=__version__,
            pytest=pytest.__version__,
            source=None if self.wishes.spawn else job_source(config, terms),
        )

    def _until_over(
        self, session: pytest.Session, service: OriginatorService
    ) -> Iterator[news.News]:
        """Yield what is to be shown; Ctrl-C and ``-x`` let what runs come to its end."""
        stopped = False

        def look() -> None:
            self._look_at_forkserver()
            if self._status is not None:
                self._status.look(session.testscollected)

        coming = service.news(look)
        while True:
            try:
                one = next(coming, None)
            except KeyboardInterrupt:
                if stopped:
                    raise
                service.stop("interrupted")
                self._interrupted = stopped = True
                coming = service.news(look)
                continue
            if one is None:
                return
            yield one
            reason = session.shouldfail or session.shouldstop
            if reason and not stopped:
                stopped = True
                service.stop(str(reason))

    def _look_at_forkserver(self) -> None:
        """See whether the broker can still be there. A supervisor's end is the ledger's to see."""
        if self._forkserver is not None and self._broker_is_ours and self._forkserver.ended:
            raise BrokerError("the process that held workers and broker ended before the job")

    def _lab(self, job: str, stack: contextlib.ExitStack) -> tuple[str, str]:
        """Find the broker, or start one for this run, and workers; returns lab and URL.

        The workers come up while we connect; they are waited for when our last words are said.
        """
        settings = options.settings(self.config)
        found = provider.resolve(settings.broker, env=os.environ)
        if self.wishes.spawn:
            forkserver = self._forkserver = self.config.stash.get(FORKSERVER, None)
            if forkserver is None:  # an option that came too late for it, out of a conftest
                forkserver = self._forkserver = Forkserver.start(self.wishes.spawn)
            stack.callback(forkserver.end)
            self._broker_is_ours = found.url is None
            return settings.lab, forkserver.ask(Order(settings.lab, job, found.url or ""))
        if found.url is None:
            raise BrokerError(f"--gs-dispatch needs a broker, and {found.why}")
        return settings.lab, found.url

    # ── showing it ─────────────────────────────────────────────────────────────────────

    def _show(self, one: news.News, replay: Replay, service: OriginatorService) -> None:
        match one:
            case news.WorkerCame() | news.WorkerGone():
                self._come_or_go(one, replay, service)
            case news.FileOpened():
                self._chooser.open(one.file, one.tests)
                if not one.deselected:
                    self._memory.open(one.file, one.tests)
                replay.open(one)
            case news.FileLost():
                replay.lose_file(one)
            case news.TestReported():
                self._test(one, replay)
            case news.TestLost(worker=worker):
                replay.lose_test(one, self._nodes[worker])
            case news.WarningTold():
                replay.warn(one)
            case news.LinesPrinted() | news.ListenerFailed():
                self._say(one)
            case news.JobEnded():
                self._ended = one

    def _test(self, one: news.TestReported, replay: Replay) -> None:
        reports = [unpack_report(self.config, raw) for raw in one.reports]
        seconds = sum(getattr(report, "duration", 0.0) for report in reports)
        self._memory.note(one.file, one.test, seconds)
        if any(report.failed for report in reports):
            if self._status is not None:
                self._status.failed()
        else:
            self._chooser.passed(one.file, one.test)
        replay.test(reports, self._nodes[one.worker])

    def _say(self, one: news.LinesPrinted | news.ListenerFailed) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return
        reporter.ensure_newline()
        if isinstance(one, news.LinesPrinted):
            lines = one.text.removesuffix("\n").split("\n")
            reporter.write("\n".join(f"[{one.worker}] {line}" for line in lines))
            if reporter.showlongtestinfo:
                reporter.currentfspath = -2  # as after a test's line: the next one ends it
            else:
                reporter.write("\n")
        else:
            self._cannot(reporter, one)

    def _cannot(self, reporter: pytest.TerminalReporter, failed: news.ListenerFailed) -> None:
        """Tell at once of a host that cannot help, with what its programs printed."""
        reporter.write_line(f"{failed.who} {failed.host} cannot help: {failed.why}", red=True)
        for name, text in (("output", failed.stdout), ("errors", failed.stderr)):
            if text.strip():
                reporter.write_line(f"--- its {name} ---\n{text.rstrip()}")

    def _come_or_go(
        self, gone: news.WorkerCame | news.WorkerGone, replay: Replay, service: OriginatorService
    ) -> None:
        if isinstance(gone, news.WorkerCame):
            node = self._nodes[gone.worker] = Node(self.config, gone, service.facts.terms)
            service.equip(node.outfit())
            return
        node = self._nodes[gone.worker]
        replay.test([unpack_report(self.config, raw) for raw in gone.reports], node)
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if gone.died and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(gone.died.splitlines()[0], red=True)
        if gone.after:
            replay.lose_teardown(gone, node)
        node.down(gone)


def _is_of_cache(said: object) -> bool:
    """Say whether a line of the header is of pytest's ``--lf`` or ``--sw``."""
    lines = said if isinstance(said, list) else [said]
    return any(str(line).startswith(("run-last-failure:", "stepwise:")) for line in lines)
