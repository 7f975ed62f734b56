"""Takes marked tests through their sections, phase by phase.

| phase | what happens | what goes wrong |
|---|---|---|
| setup, after the fixtures | gather | ERROR, ``LAB: …`` |
| call, right around the body | commit, go, body, leave, findings | FAILURE, ``DUT: …`` |
| teardown | what was not measured or not reported | ERROR, ``LAB: …`` |

With ``span="test"`` gathering and go come before the fixtures, and leaving after them. An
error of ours never takes the place of one of the test's own: it goes beside it.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gatherscatter.errors import SectionFailed, SettingsInvalid
from pytest_gatherscatter.plugin import marker, verdict
from pytest_gatherscatter.plugin.entry import Reports
from pytest_gatherscatter.plugin.passage import LAB_ERRORS, Passage
from pytest_gatherscatter.plugin.progress import PROGRESS, Progress
from pytest_gatherscatter.plugin.run import Run
from pytest_gatherscatter.plugin.section import CriticalSection, SectionView
from pytest_gatherscatter.plugin.step import Steps
from pytest_gatherscatter.plugin.verdict import SectionTrouble

if TYPE_CHECKING:
    from pytest_gatherscatter.plugin.grade import GradeRunner
    from pytest_gatherscatter.plugin.slip import SlipRunner

# With a specname a method may be called what it does; pytest looks at those that begin with
# pytest_ only.
Phase = Generator[None, Any, Any]


class Phases:
    """Registered as a plugin by the first run that uses sections."""

    def __init__(self, config: pytest.Config, reports: Reports) -> None:
        self.run = Run(config)
        self._reports = reports
        config.pluginmanager.register(self.run.timers, "gatherscatter-timers")
        # With --setup-only and --setup-plan no test is called: nobody is to be gathered.
        self._plans_only = bool(config.option.setuponly or config.option.setupplan)

    # ── what the fixtures are ──────────────────────────────────────────────────────────

    def factory(self, request: pytest.FixtureRequest) -> CriticalSection:
        """Make the factory for one test."""
        return CriticalSection(self._progress(request.node))

    def view(self, request: pytest.FixtureRequest) -> SectionView:
        """Make the lazy view for one test."""
        return SectionView(self._progress(request.node))

    def steps(self, request: pytest.FixtureRequest) -> Steps:
        """Return the steps of one test."""
        return self._progress(request.node).steps

    def slips(self, request: pytest.FixtureRequest) -> "SlipRunner":
        """Return what gives out the slips of one test."""
        from pytest_gatherscatter.plugin.slip import SlipRunner  # noqa: PLC0415 - few need it

        self._progress(request.node)
        runner = SlipRunner(self.run, request.node)
        request.addfinalizer(runner.close)
        return runner

    def grades(self, request: pytest.FixtureRequest) -> "GradeRunner":
        """Return what asks for the grades of one test."""
        from pytest_gatherscatter.plugin.grade import GradeRunner  # noqa: PLC0415 - few need it

        self._progress(request.node)
        return GradeRunner(self.run, request.node)

    def _progress(self, item: pytest.Item) -> Progress:
        """Return how far a test is; one that asked for a fixture by name alone begins here."""
        if PROGRESS not in item.stash:
            item.stash[PROGRESS] = Progress(self.run, item, None)
        return item.stash[PROGRESS]

    # ── setup ──────────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_runtest_setup")
    def pytest_setup_begins(self, item: pytest.Item) -> Phase:
        """Begin an attempt; tell errors of sections that fixtures open without a traceback."""
        if PROGRESS in item.stash:
            del item.stash[PROGRESS]
        try:
            arguments = marker.of_item(item)
        except SettingsInvalid as error:  # added after the collection was checked
            raise SectionTrouble(error) from None
        progress = item.stash[PROGRESS] = Progress(self.run, item, arguments)
        try:
            return (yield)
        except BaseException as error:
            progress.failed = True
            self._tell_plainly(progress, error)
            raise

    @pytest.hookimpl(specname="pytest_runtest_setup")
    def pytest_setup_before_fixtures(self, item: pytest.Item) -> None:
        """Open a section that takes in the fixtures; after skip marks have been looked at."""
        progress = item.stash[PROGRESS]
        if progress.passage is not None and progress.spans_fixtures and not self._plans_only:
            self._guarded(progress, progress.passage.gather)
            self._guarded(progress, progress.passage.enter)

    @pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_setup")
    def pytest_setup_after_fixtures(self, item: pytest.Item) -> Phase:
        """Gather once the fixtures are made: none of their time is taken from the monitors."""
        result = yield
        progress = item.stash[PROGRESS]
        if progress.passage is not None and not progress.spans_fixtures and not self._plans_only:
            self._guarded(progress, progress.passage.gather)
        return result

    def _guarded(self, progress: Progress, act: Callable[[], object]) -> None:
        """Act for a marked test; what the lab does wrong becomes a skip or a line."""
        assert progress.passage is not None  # noqa: S101 - the callers have looked
        try:
            act()
        except LAB_ERRORS as error:
            if progress.passage.skips(error):
                verdict.skip(error)
            raise SectionTrouble(error) from None

    # ── call ───────────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_runtest_call")
    def pytest_call_watched(self, item: pytest.Item) -> Phase:
        """Tell errors of the factory's sections without a traceback."""
        progress = item.stash[PROGRESS]
        progress.when = "call"
        try:
            return (yield)
        except BaseException as error:
            progress.failed = True
            self._tell_plainly(progress, error)
            raise

    @pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_call")
    def pytest_call_in_section(self, item: pytest.Item) -> Phase:
        """Go, let the body run as the innermost thing there is, leave, and judge."""
        progress = item.stash[PROGRESS]
        passage = progress.passage
        if passage is None or progress.spans_fixtures:
            return (yield)
        self._guarded(progress, passage.enter)
        try:
            result = yield
        except BaseException as error:
            progress.add_lines(self._leave(progress, passage, error))
            raise
        errors = self._leave(progress, passage, None)
        if progress.body_error() is not None:
            progress.add_lines(errors)
            return result
        self._judge(progress, passage, errors)
        return result

    def _leave(
        self, progress: Progress, passage: Passage, error: BaseException | None
    ) -> list[SectionFailed]:
        """Leave; keep for teardown what belongs there, and return the rest."""
        errors = passage.leave(progress.outcome(error))
        progress.owed = [one for one in errors if verdict.is_for_teardown(one)]
        return [one for one in errors if not verdict.is_for_teardown(one)]

    def _judge(self, progress: Progress, passage: Passage, errors: list[SectionFailed]) -> None:
        """Fail with the first error, the others beside it; without any, run the check."""
        if errors:
            progress.add_lines(errors[1:])
            raise SectionTrouble(errors[0])
        check = passage.arguments.check
        if check is not None and not progress.owed:
            check(passage.section)

    # ── teardown ───────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Phase:
        """Leave what is still open, and raise what is still owed."""
        progress = item.stash[PROGRESS]
        progress.when = "teardown"
        try:
            result = yield
        except BaseException as error:
            progress.failed = True
            progress.add_lines([*self._end(progress, error), *progress.owed])
            self._tell_plainly(progress, error)
            raise
        errors = [*self._end(progress, None), *progress.owed]
        progress.add_lines(errors[1:])
        if errors:
            raise SectionTrouble(errors[0])
        if progress.spans_fixtures and progress.passage is not None and not progress.failed:
            self._judge(progress, progress.passage, [])
        return result

    def _end(self, progress: Progress, error: BaseException | None) -> list[SectionFailed]:
        """End the attempt's section, whatever state it is in, and hand in the steps."""
        errors: list[SectionFailed] = []
        passage = progress.passage
        if passage is not None and passage.is_open:
            errors = self._leave(progress, passage, error)
        elif passage is not None:
            passage.give_up("its test did not get as far as its body")
        if progress.steps.done:
            progress.item.user_properties += progress.steps.properties()
            self.run.steps.append(progress.steps.record())
            self.run.teller.finish()
        return errors

    # ── reports ────────────────────────────────────────────────────────────────────────

    def _tell_plainly(self, progress: Progress, error: BaseException) -> None:
        """Put the line of an error of ours in the place of its traceback."""
        if isinstance(error, LAB_ERRORS) and progress.is_ours(error):
            raise SectionTrouble(error) from None
        if isinstance(error, KeyboardInterrupt):
            # An event loop turns Ctrl-C into a cancellation, and that into a new interrupt.
            waited = getattr(error.__context__, "__notes__", ())
            if waited:
                raise KeyboardInterrupt(waited[0]) from None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Phase:
        """Send what is known of sections along with the report, across xdist too.

        A test that is expected to fail is expected to fail by its device: trouble of the lab
        stays trouble.
        """
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, SectionTrouble):
            if error.lab and hasattr(report, "wasxfail"):
                del report.wasxfail
                report.outcome = "failed"
            _show_plainly(report, item, str(error))
        records = self.run.take_records()
        if records:
            report.gatherscatter = records
        steps = self.run.take_steps()
        if steps:
            report.gatherscatter_steps = steps
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See a subtest fail in an open section: its test itself raises nothing."""
        opened = self.run.open
        if opened is not None and report.failed and report.nodeid == opened.item.nodeid:
            progress = opened.item.stash.get(PROGRESS, None)
            if progress is not None:
                progress.failed = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Leave what an interrupt left open; hand over the records that no report took along.

        After Ctrl-C pytest makes no report of the test and calls no hook for its teardown.
        """
        if self.run.open is not None:
            passage = self.run.open
            if passage.is_open:
                passage.leave("interrupted")
            else:
                passage.give_up("the run was interrupted")
        self._reports.take(self.run.take_records())
        self._reports.take_steps(self.run.take_steps())


def _show_plainly(report: pytest.TestReport, item: pytest.Item, line: str) -> None:
    """Let the short summary and junitxml say the line too, and name the test's place, not ours."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = line
        crash.path = str(item.path)
        crash.lineno = (item.location[1] or 0) + 1
