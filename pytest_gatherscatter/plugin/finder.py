"""Finds test files as pytest would, by its ini, arguments and plugins, and opens none."""

import pytest

from pytest_gatherscatter.plugin.selection import Selection


class FileFinder:
    """A plugin for one collection: directories are walked, files stay shut.

    ``names`` are the files' nodeids, each once, in pytest's order.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.names: dict[str, None] = {}
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Cut what stands after ``::`` off the arguments: the workers look at that."""
        session.config.args = list(Selection(session.config.args, session.config).arguments)
        terminal = self._terminal()
        if terminal is not None:
            # It would count tests, of which there are none here, whenever a worker collects some.
            terminal.report_collect = _nothing  # type: ignore[method-assign]

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> pytest.CollectReport | None:
        """Find nothing in a file, and remember its name."""
        if not isinstance(collector, pytest.File):
            return None
        self.names[collector.nodeid] = None
        return pytest.CollectReport(collector.nodeid, "passed", None, [])

    def announce(self, chosen: int) -> None:
        """Say what was found, where pytest says how many tests it collected."""
        terminal = self._terminal()
        if terminal is None or self._config.get_verbosity() < 0:
            return
        files = "1 test file" if len(self.names) == 1 else f"{len(self.names)} test files"
        line = f"found {files}" + (f" / {chosen} selected" if chosen != len(self.names) else "")
        errors = len(terminal.stats.get("error", []))
        line += f" / {errors} errors" if errors else ""
        if terminal.isatty:
            terminal.rewrite(line, bold=True, erase=True)
            terminal.write("\n")
        elif self._config.get_verbosity() > 0:
            terminal.write(f"{line}\n")  # after "collecting ..."
        else:
            terminal.write_line(line)
        if not terminal.showfspath and self._config.get_verbosity() == 0:
            terminal.write("\n")  # as before the first file's name

    def _terminal(self) -> pytest.TerminalReporter | None:
        found = self._config.pluginmanager.get_plugin("terminalreporter")
        return found if isinstance(found, pytest.TerminalReporter) else None


def _nothing(final: bool = False) -> None:  # noqa: FBT001, FBT002 - pytest's own signature
    """Stand for the terminal's count of collected tests."""
