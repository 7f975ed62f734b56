"""The line at the bottom of a terminal: it leaves what pytest writes where it is."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gatherscatter.plugin import status
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.tally import Forecast


class Terminal:
    """What is asked of pytest's terminal reporter. ``column`` is where its cursor is."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self.written: list[str] = []
        self._tw = SimpleNamespace(fullwidth=80, hasmarkup=True, width_of_current_line=3)

    def write_raw(self, text: str, *, flush: bool) -> None:
        """Write as it is."""
        assert flush
        self.written.append(text)

    def write_line(self, text: str) -> None:
        """Write a line."""
        self.written.append(f"{text}\n")


def started(
    monkeypatch: pytest.MonkeyPatch, *, isatty: bool
) -> tuple[status.Status, Terminal, list[float]]:
    """Return a job's line with one worker at a test, its terminal, and the clock."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    terminal = Terminal(isatty=isatty)
    config: Any = SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugin=lambda _: terminal), get_verbosity=lambda: 0
    )
    one = status.Status(config, Forecast(["test_a.py"], {"test_a.py": {"x": 30.0}}))
    one.hear(news.WorkerCame("gw0", "pc"))
    one.hear(news.FileOpened("test_a.py", ("x",), 0, (), "gw0", 0.0))
    one.hear(news.TestStarted("test_a.py", "x", "gw0"))
    return one, terminal, clock


def test_it_is_written_below_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor comes back to its column; the colour is red from the first failure on."""
    one, terminal, clock = started(monkeypatch, isatty=True)
    one.look(1)
    assert terminal.written == []
    clock[0] += 2
    one.look(1)
    text = "0/1, 1 worker, about 30.0 s left, 2.0 s in test_a.py::x"
    assert terminal.written == [f"\n\x1b[2K\x1b[32m{text}\x1b[0m\x1b[1A\r\x1b[3C"]
    one.hear(news.TestLost("test_a.py", "x", "gw0", "killed"))
    assert terminal.written[1:] == ["\n\x1b[2K\x1b[1A\r\x1b[3C"]
    clock[0] += 1
    one.look(1)
    assert "\x1b[31m1 failed, 1/1, 1 worker" in terminal.written[2]


def test_a_pipe_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a minute, without colours."""
    one, terminal, clock = started(monkeypatch, isatty=False)
    for _ in range(125):
        clock[0] += 1
        one.look(1)
    assert len(terminal.written) == 2
    assert terminal.written[0].startswith("0/1, 1 worker, about 30.0 s left")


def test_where_no_test_ran_files_are_what_took_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that only collected, since all was deselected, are told of by their last file."""
    one, _, clock = started(monkeypatch, isatty=False)
    clock[0] += 4
    one.hear(news.FileOpened("test_b.py", (), 9, (), "gw0", 3.0))
    assert one.lines(verbose=False) == [
        "1 worker, busy 0% of 4.0 s (start 0%, collect 75%, idle 25%, tail 0%)"
    ]
