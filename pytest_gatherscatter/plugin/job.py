"""A job from its offer to its end, and how this session shows it.

Apart from ``originator.py``, and imported by it only when the files are found: what a link and a
ledger need is most of what the originator has to import, and its workers get ready meanwhile.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pytest_gatherscatter import __version__
from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.errors import BrokerError
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.choice import Chooser
from pytest_gatherscatter.plugin.duration import Memory
from pytest_gatherscatter.plugin.node import Node
from pytest_gatherscatter.plugin.originator import Wishes
from pytest_gatherscatter.plugin.replay import Count, Replay
from pytest_gatherscatter.plugin.reports import unpack_report
from pytest_gatherscatter.plugin.source import job_source
from pytest_gatherscatter.plugin.spawned import Spawned
from pytest_gatherscatter.plugin.status import Status
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.ledger import Ledger
from pytest_gatherscatter.testfiles.service.originator import OriginatorService
from pytest_gatherscatter.testfiles.state import JobFacts
from pytest_gatherscatter.testfiles.tally import Forecast
from pytest_gatherscatter.wire.testfiles import JobTerms


class Wanted(NamedTuple):
    """What is to be run: these files, chosen so, and as the command line wishes."""

    terms: JobTerms
    wishes: Wishes
    names: list[str]
    chooser: Chooser
    memory: Memory


class JobRun:
    """One job.

    Args:
        session: that shows it.
        wanted: what is to be run.
        spawned: the run's own workers, if it has any.
    """

    def __init__(self, session: pytest.Session, wanted: Wanted, spawned: Spawned | None) -> None:
        self.interrupted = False
        self.ended: news.JobEnded | None = None
        known = wanted.memory.known
        self.status = Status(session.config, Forecast(wanted.names, known))
        self._began = time.monotonic()
        self._session = session
        self._config = session.config
        self._wanted = wanted
        self._spawned = spawned
        self._nodes: dict[str, Node] = {}
        tests = {file: len(known.get(file, ())) for file in wanted.names}
        self._replay = Replay(session, Count(tests))

    def run(self) -> None:
        """Run it, and show it.

        Raises:
            BrokerError: there is no broker, or it was lost.
        """
        with contextlib.ExitStack() as stack:
            lab, url = self._lab(stack)
            names, known = self._wanted.names, self._wanted.memory.known
            service = OriginatorService(lab, url, Ledger(self._facts(), names, known))
            stack.callback(service.close)
            service.open()
            stack.callback(self.status.clear)
            self._show_all(service)

    def _show_all(self, service: OriginatorService) -> None:
        session = self._session
        try:
            for one in self._until_over(service):
                self.status.hear(one)
                if isinstance(one, news.JobEnded):
                    self.ended = one
                else:
                    self._show(one, service)
        except BrokerError as error:
            self.ended = service.lost(str(error))
            raise
        self._replay.settle()
        if self._spawned is None:  # else nobody but our own workers can hear it
            service.sum_up(self._summary())
        if self.ended is not None and (self.ended.text or self.ended.unrun):
            text = self.ended.text or "not all that was found was run"
            if not session.shouldstop and self.ended.status <= pytest.ExitCode.TESTS_FAILED:
                session.shouldfail = session.shouldfail or text

    def _summary(self) -> news.Summary:
        """Count as the last line of pytest's terminal does."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        stats = {} if reporter is None else reporter.stats
        counts = {word: len(reports) for word, reports in stats.items() if word}
        return news.Summary(time.monotonic() - self._began, counts)

    def _facts(self) -> JobFacts:
        terms, wishes, names, chooser, _ = self._wanted
        return JobFacts(
            terms.run,
            f"pid {os.getpid()} in {self._config.invocation_params.dir}"[:500],
            terms,
            wait=wishes.wait,
            retries=wishes.retries,
            choices=chooser.choices(names),
            ordered=chooser.ordered,
            version=__version__,
            pytest=pytest.__version__,
            source=None if wishes.spawn else job_source(self._config, terms),
        )

    def _lab(self, stack: contextlib.ExitStack) -> tuple[str, str]:
        """Find the broker, or the one of this run; returns lab and URL.

        Our workers come up while we connect; they are waited for when our last words are said.
        """
        settings = options.settings(self._config)
        if self._spawned is not None:
            stack.callback(self._spawned.end)
            return settings.lab, self._spawned.url()
        found = provider.resolve(settings.broker, env=os.environ)
        if found.url is None:
            raise BrokerError(f"--gs-dispatch needs a broker, and {found.why}")
        return settings.lab, found.url

    def _until_over(self, service: OriginatorService) -> Iterator[news.News]:
        """Yield what is to be shown; Ctrl-C and ``-x`` let what runs come to its end."""
        session = self._session
        stopped = False

        def look() -> None:
            if self._spawned is not None:
                self._spawned.look()
            self.status.look(session.testscollected)

        coming = service.news(look)
        while True:
            try:
                one = next(coming, None)
            except KeyboardInterrupt:
                if stopped:  # whoever types it twice waits for nobody's teardown
                    self.ended = service.lost("interrupted")
                    if self._spawned is not None:
                        self._spawned.kill()
                    raise
                service.stop("interrupted")
                self.interrupted = stopped = True
                self._say_that_it_waits()
                coming = service.news(look)
                continue
            if one is None:
                return
            yield one
            reason = session.shouldfail or session.shouldstop
            if reason and not stopped:
                stopped = True
                service.stop(str(reason))

    def _say_that_it_waits(self) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            text = "interrupted: the tests that run come to their end (Ctrl-C again: at once)"
            reporter.write_line(text)
            reporter.flush()

    # ── showing it ─────────────────────────────────────────────────────────────────────

    def _show(self, one: news.News, service: OriginatorService) -> None:
        memory, chooser, replay = self._wanted.memory, self._wanted.chooser, self._replay
        match one:
            case news.WorkerCame():
                self._come(one, service)
            case news.WorkerGone():
                self._go(one)
            case news.FileOpened():
                chooser.open(one.file, one.tests)
                if not one.deselected:
                    memory.open(one.file, one.tests)
                replay.open(one)
            case news.FileLost():
                replay.lose_file(one)
            case news.TestReported():
                self._test(one)
            case news.TestLost(worker=worker):
                replay.lose_test(one, self._nodes[worker])
            case news.WarningTold():
                replay.warn(one)
            case news.LinesPrinted() | news.ListenerFailed():
                self._say(one)

    def _test(self, one: news.TestReported) -> None:
        reports = [unpack_report(self._config, raw) for raw in one.reports]
        seconds = sum(getattr(report, "duration", 0.0) for report in reports)
        self._wanted.memory.note(one.file, one.test, seconds)
        if any(report.failed for report in reports):
            self.status.failed()
        else:
            self._wanted.chooser.passed(one.file, one.test)
        self._replay.test(reports, self._nodes[one.worker])

    def _say(self, one: news.LinesPrinted | news.ListenerFailed) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
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

    def _come(self, came: news.WorkerCame, service: OriginatorService) -> None:
        ready = None if self._spawned is None else self._spawned.take(came)
        node = Node(self._config, came, self._wanted.terms) if ready is None else ready[0]
        self._nodes[came.worker] = node
        service.equip(node.outfit() if ready is None else ready[1])

    def _go(self, gone: news.WorkerGone) -> None:
        node = self._nodes[gone.worker]
        self._replay.test([unpack_report(self._config, raw) for raw in gone.reports], node)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if gone.died and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(gone.died.splitlines()[0], red=True)
        if gone.after:
            self._replay.lose_teardown(gone, node)
        node.down(gone)
