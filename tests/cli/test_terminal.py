"""What a person at a terminal sees, and what Ctrl-C does there."""

import os
import pty
import select
import sys
import time

import click
import pytest
from shells import PATIENCE, Shell

from pytest_gatherscatter.cli.output import say_table


def at_terminal(shell: Shell, *words: str, keys: str = "", after: str = "", **environ: str) -> str:
    """Run ``gatherscatter`` on a terminal of its own; type ``keys`` once ``after`` is shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shell.folder)
        given = {**shell.environ, "TERM": "xterm", "COLUMNS": "200", **environ}
        command = [sys.executable, "-m", "pytest_gatherscatter", *words]
        os.execve(sys.executable, command, given)  # noqa: S606 - no shell is wanted
    shown, typed, end = b"", False, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if keys and not typed and after.encode() in shown:
            os.write(terminal, keys.encode())
            typed = True
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            some = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the last process has closed it
            break
        if not some:
            break
        shown += some
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode()


def test_status_is_a_table_on_a_terminal(gathered: Shell) -> None:
    """Headings and columns for people, no tabs."""
    shown = at_terminal(gathered, "status")
    assert "requires" in shown
    assert "\t" not in shown


@pytest.mark.parametrize("columns", ["20", "60", "90"])
def test_a_narrow_terminal_cuts_nothing(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the table does not fit each record is a block, and an id can still be copied."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    test = "tests/test_power.py::test_power_cycle[12 V, cold start, long cable]"
    say_table("section", ("id", "state", "test"), [("3f2a9c1d5e7b8a60", "gathering", test)])
    lines = capsys.readouterr().out.splitlines()
    assert "  id     3f2a9c1d5e7b8a60" in lines
    assert f"  test   {test}" in lines
    say_table("bench", ("name", "token"), [("default", 7)])
    assert "  name" not in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["20", "60", "100"])
def test_what_is_brief_takes_a_line_each(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the table does not fit only a name is cut; id and verdict can still be read."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    heads = ("id", "name", "verdict", "ago", "test", "why")
    row = ("3f2a9c1d5e7b8a60", "burst " * 20, "died-in-section", "12.5 s", "t" * 90, "w" * 90)
    say_table("ended", heads, [row] * 3, brief=("id", "name", "verdict", "ago"))
    title, head, *lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert (title.strip(), head.split()) == ("ended", ["id", "name", "verdict", "ago"])
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("3f2a9c1d5e7b8a60  burst")
        assert line.rstrip().endswith("…  died-in-section  12.5 s")
        assert len(line) <= max(int(columns), 51)


def test_status_at_a_terminal_shows_the_last_that_ended(gathered: Shell) -> None:
    """Five, the latest first, and how many more there are; in a pipe all."""
    for number in range(7):
        gathered.run("workload", "--name", f"burst{number}", "--", "true")
    shown = at_terminal(gathered, "status", COLUMNS="80")
    names = [line.split()[1] for line in shown.splitlines() if " passed " in line]
    assert names == [f"burst{number}" for number in (6, 5, 4, 3, 2)]
    more = len([line for line in gathered.run("status").stdout.splitlines() if "ended\t" in line])
    assert f"{more - 5} more ended before" in shown


@pytest.mark.parametrize(("environ", "mark"), [({}, "\x1b[32m✓"), ({"NO_COLOR": "1"}, "✓")])
def test_colour_is_for_terminals_that_want_it(
    gathered: Shell, environ: dict[str, str], mark: str
) -> None:
    """The doctor's marks have colours, unless NO_COLOR is set."""
    assert at_terminal(gathered, "doctor", **environ).startswith(mark)


def test_ctrl_c_reaches_the_command_once(gathered: Shell) -> None:
    """The terminal tells both; it is not passed on a second time, and the section is left."""
    script = "trap 'n=$((n+1))' INT; echo ready; sleep 1; sleep 0.5; echo interrupted $n times"
    shown = at_terminal(
        gathered, "workload", "--", "sh", "-c", script, keys="\x03", after="ready\r\n"
    )
    assert "interrupted 1 times" in shown
    assert "done: sh after" in shown
