"""The line at the bottom of a terminal while a job runs: how far it is, and what takes so long.

It stands below the line that pytest writes at, which stays as it is in a plain run: the cursor
goes down, writes, and comes back. In a pipe there is a plain line now and then instead.
"""

import time
from typing import Any

import pytest

from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.tally import Forecast, Tally, View, line, whole_line

EVERY = 0.2
"""Seconds between two looks of a terminal's line: a person reads no faster."""

PLAIN = 60.0
"""Seconds between two lines in a pipe: a log of an hour has sixty of them."""


class Status:
    """Follows a job's news.

    Args:
        config: pytest's.
        forecast: of the job.
    """

    def __init__(self, config: pytest.Config, forecast: Forecast) -> None:
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._quiet = self._terminal is None or config.get_verbosity() < 0
        self._isatty = bool(getattr(self._terminal, "isatty", False))
        self._forecast = forecast
        self._began = time.monotonic()
        self._drawn_at = self._said_at = self._began
        self._drawn = False
        self._running: dict[str, tuple[float, str]] = {}
        self._gone: set[str] = set()
        self._done = self._failed = 0
        self._end = 0.0
        self.tallies: dict[str, Tally] = {}
        self.orders: dict[str, list[str]] = {}
        """Nodeids that each worker ran, in its order."""

    # ── what happens ───────────────────────────────────────────────────────────────────

    def hear(self, one: news.News) -> None:
        """Take the job's news, before it is shown."""
        self.clear()
        now = time.monotonic() - self._began
        match one:
            case news.WorkerCame(worker=worker, host=host, prepared=prepared):
                self.tallies[worker] = Tally(worker, host, now, prepared=prepared)
            case news.WorkerGone(worker=worker, died=died):
                self._gone.add(worker)
                self._running.pop(worker, None)
                self.tallies[worker].died = bool(died)
            case news.FileOpened(file=file, tests=tests, worker=worker, seconds=seconds):
                self._forecast.open(file, tests)
                self.tallies[worker].file(seconds, now)
                self._end = now
            case news.FileLost(file=file):
                self._forecast.lose(file)
                self._failed += 1
            case news.TestStarted(worker=worker):
                self._running[worker] = (now, f"{one.file}::{one.test}")
            case news.TestReported():
                self._ran(one, now)
            case news.TestLost(file=file, test=test):
                self._forecast.done(file, test)
                self._done += 1
                self._failed += 1
            case _:
                pass

    def _ran(self, one: news.TestReported, now: float) -> None:
        self._forecast.done(one.file, one.test, one.seconds)
        self._running.pop(one.worker, None)
        self.tallies[one.worker].test(one.seconds, now)
        self.orders.setdefault(one.worker, []).append(f"{one.file}::{one.test}")
        self._done += 1
        self._end = now

    def failed(self) -> None:
        """Count a test that failed: the line is red from now on."""
        self._failed += 1

    # ── showing it ─────────────────────────────────────────────────────────────────────

    def look(self, total: int) -> None:
        """Draw the line, if it is time for it; ``total`` is how many tests there are."""
        now = time.monotonic()
        if self._quiet:
            return
        if self._isatty and now - self._drawn_at >= EVERY:
            self._drawn_at = now
            self._draw(self._view(total, now - self._began).text(self._terminal._tw.fullwidth - 1))  # noqa: SLF001 - its width
        elif not self._isatty and now - self._said_at >= PLAIN:
            self._said_at = now
            self._terminal.write_line(self._view(total, now - self._began).text(200))

    def _view(self, total: int, now: float) -> View:
        since, longest = min(self._running.values(), default=(now, ""))
        return View(
            done=self._done,
            total=total,
            workers=len(self.tallies) - len(self._gone),
            left=self._forecast.left,
            failed=self._failed,
            longest=longest,
            since=now - since,
        )

    def _draw(self, text: str) -> None:
        if self._terminal._tw.hasmarkup:  # noqa: SLF001 - whether it has colours
            text = f"\x1b[{31 if self._failed else 32}m{text}\x1b[0m"
        self._below(f"\x1b[2K{text}")
        self._drawn = True

    def clear(self) -> None:
        """Take the line away, before anybody writes."""
        if self._drawn:
            self._below("\x1b[2K")
            self._drawn = False

    def _below(self, text: str) -> None:
        """Write on the next line, and come back to where the cursor was."""
        column = self._terminal._tw.width_of_current_line  # noqa: SLF001 - where it is
        back = f"\x1b[{column}C" if column else ""
        self._terminal.write_raw(f"\n{text}\x1b[1A\r{back}", flush=True)

    def lines(self, *, verbose: bool) -> list[str]:
        """Say what became of the workers' time: in one line, with ``verbose`` one each, too."""
        whole = [whole_line(self.tallies.values(), self._end)]
        return whole + [line(one, self._end) for one in self.tallies.values() if verbose]
