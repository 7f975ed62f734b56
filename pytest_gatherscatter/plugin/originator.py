"""``--gs-dispatch`` and ``--gs-spawn``: this pytest finds the files, others run them.

The session is pytest's own: what workers report is replayed through its hooks, so that terminal,
junitxml, ``-x``, ``--lf`` and other plugins see what they would see of a plain run. Test modules
are not imported here. What has to be true of the job is the ledger's business.
"""

import gc
import os
import secrets
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.host.garbage import here_to_stay
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.plugin.choice import Chooser
from pytest_gatherscatter.plugin.duration import Memory
from pytest_gatherscatter.plugin.finder import FileFinder
from pytest_gatherscatter.plugin.forkserver import forkserver_of
from pytest_gatherscatter.plugin.rerun import keep_orders
from pytest_gatherscatter.plugin.spawned import Spawned
from pytest_gatherscatter.wire.testfiles import JobTerms

if TYPE_CHECKING:
    from pytest_gatherscatter.plugin.job import JobRun, Wanted

UNRUN = 50
"""Names that are listed of what was not run: more than a person reads."""


class Wishes(NamedTuple):
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
        self._terms: JobTerms
        self._spawned: Spawned | None = None
        self._run: JobRun | None = None

    # ── pytest's hooks ─────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None, None, None]:
        """Read what earlier runs left in the cache, before it is changed; then have workers."""
        self._chooser = Chooser(self.config)
        self._memory = Memory(self.config)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and self.wishes.spawn != 1:
            terminal.showfspath = False  # which file a dot is of: workers take turns
        yield
        if not self.wishes.spawn:
            self._terms = self._say_terms(secrets.token_hex(8))
            return
        forkserver = forkserver_of(self.config, self.wishes.spawn)
        self._terms = self._say_terms(forkserver.task.run)
        self._spawned = Spawned(self.config, self._terms, forkserver)
        self._spawned.tell()

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
        self.config.hook.pytest_gs_before_originate(config=self.config, files=tuple(self._names))
        with here_to_stay():
            from pytest_gatherscatter.plugin.job import JobRun  # noqa: PLC0415 - after the workers

        run = self._run = JobRun(session, self._wanted(), self._spawned)
        try:
            run.run()
        except GatherScatterError as error:
            session.shouldfail = str(error)
        why = run.ended.text if run.ended is not None else str(session.shouldfail or "")
        self.config.hook.pytest_gs_after_job_finishes(config=self.config, why=why)
        if run.interrupted:
            raise KeyboardInterrupt
        if run.ended is not None and run.ended.status > pytest.ExitCode.TESTS_FAILED:
            raise pytest.exit.Exception(why, run.ended.status)  # as that worker's pytest ended
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write down what the next run has to know, after pytest's own plugins did."""
        if self._spawned is not None:
            self._spawned.end()  # where there was no job, too
        if self._names:
            self._memory.keep()
            ended = None
            if self._run is not None:
                keep_orders(self.config, self._run.status.orders)
                ended = self._run.ended
            whole = ended is not None and not ended.text
            self._chooser.keep(passed=whole and not session.testsfailed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the workers' time, and list what was not run."""
        verbosity, run = self.config.get_verbosity(), self._run
        if run is None:
            return
        if verbosity >= 0:
            terminalreporter.section("workers")
            for line in run.status.lines(verbose=verbosity > 0):
                terminalreporter.line(line)
        if run.ended is None:
            return
        missing = (*run.ended.unopened, *run.ended.unrun)
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

    def _wanted(self) -> "Wanted":
        from pytest_gatherscatter.plugin.job import Wanted  # noqa: PLC0415 - as above

        return Wanted(self._terms, self.wishes, self._names, self._chooser, self._memory)

    def _say_terms(self, run: str) -> JobTerms:
        """Say what every worker is told; ``run`` is the run's unique id, and the job's."""
        config = self.config
        place = config.invocation_params.dir
        basetemp = ""
        if self.wishes.spawn:  # there is no public way to it outside of a test
            basetemp = str(config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]  # noqa: SLF001
        return JobTerms(
            arguments=tuple(str(one) for one in config.invocation_params.args),
            root=str(config.rootpath),
            place=os.path.relpath(place, config.rootpath),
            here=not {"", str(place)}.isdisjoint(sys.path),
            basetemp=basetemp,
            run=run,
            workers=self.wishes.spawn,
            test_timeout=self.wishes.limit,
            live=options.is_live(config),
        )


def _is_of_cache(said: object) -> bool:
    """Say whether a line of the header is of pytest's ``--lf`` or ``--sw``."""
    lines = said if isinstance(said, list) else [said]
    return any(str(line).startswith(("run-last-failure:", "stepwise:")) for line in lines)
