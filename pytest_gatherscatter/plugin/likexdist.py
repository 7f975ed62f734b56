"""Makes a worker look like one of pytest-xdist: to plugins that is what a worker is.

``config.workerinput`` keeps pytest's own cache, junitxml and stepwise quiet, pytest-cov measures
for a worker, and a user's fixtures make one database for each. Options that the originator sees
to itself (when to stop, what to write at the end, whom to distribute to) mean nothing here.
"""

import os
from collections.abc import Generator
from typing import Any

import pytest

from pytest_gatherscatter.plugin.reports import unpack_output
from pytest_gatherscatter.testfiles.service.pipe import Start

OFF = (
    *("distload", "looponfail"),  # xdist's
    *("usepdb", "trace", "collectonly", "lf", "failedfirst", "newfirst", "cacheclear"),
    *("stepwise", "stepwise_skip", "stepwise_reset"),
    *("gs_dispatch", "gs_worker"),
)
NOTHING = (
    "numprocesses",
    "maxprocesses",
    "xmlpath",
    "durations",
    "pastebin",
    "gs_spawn",
    "gs_replay",
)
NEUTRAL: dict[str, object] = {
    **dict.fromkeys(OFF, False),
    **dict.fromkeys(NOTHING),
    "dist": "no",
    "tx": [],
    "maxfail": 0,
}
"""What options are in a worker, whatever the command line says."""


class Early:
    """A plugin for what has to be known while conftests and plugins are being loaded."""

    __name__ = "gatherscatter-early"  # by that it is registered

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(
        self, early_config: pytest.Config
    ) -> Generator[None, object, object]:
        """Let pytest-cov see that the run is distributed: it must not measure as if alone."""
        early_config.known_args_namespace.dist = "gatherscatter"
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Silence the terminal: reports are the originator's to show.

        It stays there, for plugins that ask it for its writer; no hook reaches it.
        """
        manager = config.pluginmanager
        terminal = manager.get_plugin("terminalreporter")
        if terminal is not None:
            manager.unregister(terminal)
            nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the process's life
            config.add_cleanup(nowhere.close)
            manager.register(Silent(config, nowhere), "terminalreporter")


Silent: type[pytest.TerminalReporter] = type(
    "Silent",
    (pytest.TerminalReporter,),
    {name: None for name in dir(pytest.TerminalReporter) if name.startswith("pytest_")},
)
"""A terminal reporter that no hook reaches."""


class Fixtures:
    """The fixtures of xdist that tests use, where xdist is not installed."""

    @pytest.fixture(scope="session")
    def worker_id(self, request: pytest.FixtureRequest) -> str:
        """Return this worker's name."""
        return str(request.config.workerinput["workerid"])  # type: ignore[attr-defined]

    @pytest.fixture(scope="session")
    def testrun_uid(self, request: pytest.FixtureRequest) -> str:
        """Return the run's unique id, the same in all workers."""
        return str(request.config.workerinput["testrunuid"])  # type: ignore[attr-defined]


def surround(worker: str, count: int, run: str) -> None:
    """Set the environment by which tests tell workers apart."""
    os.environ["PYTEST_XDIST_WORKER"] = worker
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(count)
    os.environ["PYTEST_XDIST_TESTRUNUID"] = run


def leave_behind(config: pytest.Config) -> None:
    """Let go of plugins that the originator's caller handed to ``pytest.main``: they are its own.

    Workers that are started by a command never had them.
    """
    manager = config.pluginmanager
    for one in config.invocation_params.plugins or ():
        plugin = manager.get_plugin(one) if isinstance(one, str) else one
        if plugin is not None and manager.is_registered(plugin):
            manager.unregister(plugin)


def adapt(config: pytest.Config, start: Start) -> None:
    """Give the configuration what xdist's workers have, before plugins are configured."""
    for name, value in NEUTRAL.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)
    config.option.basetemp = start.basetemp or None
    given: dict[str, Any] = {"mainargv": ["pytest", *start.arguments]}
    given |= unpack_output(start.input)
    worker = {"workerid": start.worker, "workercount": start.count, "testrunuid": start.run}
    config.workerinput = given | worker  # type: ignore[attr-defined]
    config.workeroutput = {}  # type: ignore[attr-defined]
    if not config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(Fixtures(), "gatherscatter-xdist-fixtures")
    _without_crash_server(config)


def _without_crash_server(config: pytest.Config) -> None:
    """Keep pytest-rerunfailures from asking a server of the originator's about crashes.

    It would need a socket, which may be on another host; and the ledger settles crashes.
    """
    plugin = config.pluginmanager.get_plugin("rerunfailures")
    if plugin is not None and hasattr(plugin, "ClientStatusDB"):
        plugin.ClientStatusDB = lambda *_: plugin.StatusDB()
        plugin.works_with_current_xdist = lambda: True  # we are newer than what it asks for
        given: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
        given |= {"sock_port": 0, "statusdb_token": ""}
