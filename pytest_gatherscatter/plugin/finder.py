"""Finds test files as pytest would, by its ini, arguments and plugins, and opens none."""

import pytest

from pytest_gatherscatter.plugin.selection import Selection


class FileFinder:
    """A plugin for one collection: directories are walked, files stay shut.

    ``names`` are the files' nodeids, each once, in pytest's order.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Cut what stands after ``::`` off the arguments: the workers look at that."""
        session.config.args = list(Selection(session.config.args, session.config).arguments)

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> pytest.CollectReport | None:
        """Find nothing in a file, and remember its name."""
        if not isinstance(collector, pytest.File):
            return None
        self.names[collector.nodeid] = None
        return pytest.CollectReport(collector.nodeid, "passed", None, [])
