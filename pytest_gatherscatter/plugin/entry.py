"""All that pytest loads by itself. Installed and unused, the plugin costs next to nothing.

So this module and what it imports know the standard library and pytest only (a test compares
``sys.modules``), and each hook returns at once until a test uses a section. Only then is the
rest of the plugin imported and registered.
"""

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gatherscatter.plugin import hookspecs, options

if TYPE_CHECKING:
    from pytest_gatherscatter.plugin.grade import GradeRunner
    from pytest_gatherscatter.plugin.phase import Phases
    from pytest_gatherscatter.plugin.section import CriticalSection, SectionView
    from pytest_gatherscatter.plugin.slip import SlipRunner
    from pytest_gatherscatter.plugin.step import Steps

MARKER = "critical_section"
FIXTURES = frozenset({"critical_section", "gs_section", "gs_step", "gs_run_slip", "gs_grade"})
PHASES = "gatherscatter-phases"
_REPORTS = pytest.StashKey["Reports"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register options and ini keys."""
    options.register(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Get ready to run the tests elsewhere, before anything of the user's is loaded.

    pytest-cov has to see it in time: it gathers what workers measure. Workers of this machine are
    forked from what is loaded now.
    """
    worker = early_config.pluginmanager.has_plugin("gatherscatter-early")
    if options.distribute(early_config) and not worker:
        from pytest_gatherscatter.host.garbage import here_to_stay  # noqa: PLC0415 - idle cost

        with here_to_stay():  # plugins, too, and what workers share stays shared
            from pytest_gatherscatter.plugin import forkserver  # noqa: PLC0415 - as above

        forkserver.warm_up(early_config)
    return (yield)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks that tests may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the settings if there are any."""
    config.addinivalue_line(
        "markers",
        "critical_section(name, require, bench, max_duration, max_skew, min_monitors, "
        "no_gatherer, not_gathered, quiet, span, check): run the test inside a critical "
        "section: monitors arm, start together with it and hand in what they saw.",
    )
    config.addinivalue_line("markers", "gs_whole_file: run the tests of this file together")
    config.stash[_REPORTS] = Reports()
    config.pluginmanager.register(config.stash[_REPORTS], "gatherscatter-reports")
    options.check(config)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Be a worker, or let workers run the test files, if that was asked for."""
    if hasattr(config, "workerinput"):
        return None
    if config.getoption("gs_replay"):
        from pytest_gatherscatter.plugin import rerun  # noqa: PLC0415 - idle cost

        return rerun.print_command(config)
    if not options.dispatches(config):
        return None
    from pytest_gatherscatter.plugin import dispatch  # noqa: PLC0415 - idle cost

    return dispatch.begin(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the private lab of ``--gs-local``, before xdist starts its workers."""
    config = session.config
    worker = hasattr(config, "workerinput")
    if options.starts_broker(config) and not worker and not config.option.collectonly:
        from pytest_gatherscatter.plugin import local  # noqa: PLC0415 - idle cost

        local.start(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's, which may be absent
    """Tell an xdist worker where the private broker is; the pipe to it is private, too."""
    url = options.local_broker(node.config)
    if url is not None:
        node.workerinput[options.LOCAL_BROKER] = url


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Print settings and what this host remembers; nothing is connected for it."""
    if not options.is_read(config):
        return []
    from pytest_gatherscatter.plugin import output  # noqa: PLC0415 - idle cost

    return output.header(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Check what is left after every deselection; wake up if it uses sections."""
    result = yield
    used = [item for item in items if _uses_sections(item)]
    if used:
        from pytest_gatherscatter.plugin import collection  # noqa: PLC0415 - idle cost

        collection.check(items, used)
        _phases(config)
    return result


def _uses_sections(item: pytest.Item) -> bool:
    if not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return True
    return any(mark.name == MARKER for mark in item.iter_markers())


def _phases(config: pytest.Config) -> "Phases":
    """Return what does the work; imported and registered by the first one who asks."""
    from pytest_gatherscatter.plugin.phase import Phases  # noqa: PLC0415 - idle cost

    phases = config.pluginmanager.get_plugin(PHASES)
    if phases is None:
        phases = Phases(config, config.stash[_REPORTS])
        config.pluginmanager.register(phases, PHASES)
    assert isinstance(phases, Phases)  # noqa: S101 - only we register under that name
    return phases


class Reports:
    """Collects what reports tell of sections and steps; with xdist they come from the workers."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._steps: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a report carries."""
        self.take(getattr(report, "gatherscatter", ()))
        self.take_steps(getattr(report, "gatherscatter_steps", ()))

    def take(self, records: Iterable[dict[str, Any]]) -> None:
        """Take records, each of one section in plain types."""
        self._records += records

    def take_steps(self, records: Iterable[dict[str, Any]]) -> None:
        """Take records, each of the steps of one test in plain types."""
        self._steps += records

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print one line of totals, then what was abnormal; nothing without sections or steps."""
        if self._steps:
            from pytest_gatherscatter.plugin import steptable  # noqa: PLC0415 - idle cost

            steptable.summary(terminalreporter, self._steps)
        if self._records:
            from pytest_gatherscatter.plugin import output  # noqa: PLC0415 - idle cost

            output.summary(terminalreporter, self._records)


@pytest.fixture
def critical_section(request: pytest.FixtureRequest) -> "CriticalSection":
    """Open sections inside a test: as many as it wants, one after the other.

    ::

        def test_two_bursts(critical_section):
            with critical_section("burst", require={"scope"}) as section:
                ...
            assert section.skew_ms < 5

    ``async with`` does the same without stopping the loop while it waits. Its keywords are the
    marker's, except ``span``.
    """
    return _phases(request.config).factory(request)


@pytest.fixture
def gs_section(request: pytest.FixtureRequest) -> "SectionView":
    """Look at the section of a marked test, lazily: it opens after all fixtures are made."""
    return _phases(request.config).view(request)


@pytest.fixture
def gs_step(request: pytest.FixtureRequest) -> "Steps":
    """Name the steps of a test.

    ::

        with gs_step("flash", total=256) as step:
            for block in image:
                write(block)
                step.advance(1, "erased")

    Each is timed, listed in the report, and told to the lab: at once, or after a quiet section.
    """
    return _phases(request.config).steps(request)


@pytest.fixture
def gs_run_slip(request: pytest.FixtureRequest) -> "SlipRunner":
    """Run a routing slip: steps that processors of the lab run, one after the other.

    ::

        def test_burn_in(gs_run_slip):
            slip = gs_run_slip("burn-in.toml", {"image": "fw.bin"}, timeout="10m")
            assert slip.step(2).exit_status == 0

    It returns the finished slip, and fails the test unless all was done (``check=False``: never).
    """
    return _phases(request.config).slips(request)


@pytest.fixture
def gs_grade(request: pytest.FixtureRequest) -> "GradeRunner":
    """Have something judged by the graders of the lab.

    ::

        def test_burst(gs_grade):
            gs_grade("waveform", {"samples": [0.1, 4.9]}, timeout=30).check()

    It returns the grade; ``check()`` fails the test unless it passed. ``gs_grade.many`` yields the
    grades of many payloads as they come.
    """
    return _phases(request.config).grades(request)
