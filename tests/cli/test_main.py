"""The way in: help, one line for whatever is wrong, exit statuses."""

import json
import shlex
import subprocess
import sys

import pytest
from shells import Shell

from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.cli import main
from pytest_gatherscatter.cli.main import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_a_promise(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command is there, and its help says what it is for, with examples."""
    assert main.status([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: gatherscatter {command}" in out
    assert f"  gatherscatter {command}" in out.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense"], "nonsense"),
        (["status", "--nonsense"], "--nonsense"),
        (["monitor"], "Missing argument"),
        (["status", "--broker", "foo"], "--broker: allowed are auto, local"),
        (["status", "--lab", "a.b"], "--lab: lab name 'a.b': allowed are 1 to 64 letters"),
        (["status", "--broker", "amqp://u:geheim@h:x"], "--broker"),
        (["gatherer", "a b"], "agent name 'a b'"),
        (["hold", "--for", "soon"], "--for: 'soon' is not a duration"),
        (["reset"], "say one of --bench NAME, --section ID and --all"),
        (["reset", "--all", "--bench", "b"], "say one of"),
        (["reset", "--section", "zz"], "'zz' is no id"),
        (["leave", "--section", "0123456789abcdef"], "no ticket of 0123456789abcdef"),
        (["workload", "--max-duration", "0"], "--max-duration: '0' is no time at all"),
        (["workload", "--require", "a,b.c"], "agent name 'b.c'"),
        (["workload", "-E", "300"], "300 is not in the range"),
        (["monitor", "x", "--hook-timeout", "never"], "--hook-timeout: 'never' is not a duration"),
        (["monitor", "no.such:Thing"], "no.such"),
        (["monitor", "a:b:c"], "must be package.module:Class"),
        (["gatherer", "--parent-pid", "999999999"], "--parent-pid"),
        (["status", "--broker", "docker"], "--broker: only 'gatherscatter gatherer' and pytest"),
        (["monitor", "x", "--on-prepare", "no-such"], "on_prepare: there is no program 'no-such'"),
        (["monitor", "x", "--on-stop", "/etc/passwd"], "on_stop: /etc/passwd is no program"),
    ],
)
def test_bad_input_is_one_line_with_status_2(shell: Shell, words: list[str], told: str) -> None:
    """What a person typed wrong is told in one line that names it, without a traceback."""
    done = shell.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatherscatter: ")
    assert told in line
    assert "geheim" not in line


def test_what_a_parent_has_closed_is_no_error(shell: Shell) -> None:
    """A service that is started without standard streams has nowhere to speak, and works."""
    words = [sys.executable, "-c", f"from {main.__name__} import run; run(['schema'])"]
    line = shlex.join(words) + " <&- >&- && echo well"
    done = subprocess.run(
        ["sh", "-c", line], env=shell.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")


@pytest.mark.parametrize("words", [["status"], ["reset", "--all"], ["hold"], ["watch"]])
def test_without_a_broker_there_is_nobody_to_ask(shell: Shell, words: list[str]) -> None:
    """With nothing configured the commands that ask say so, how to go on, and exit with 69."""
    done = shell.run(*words)
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "start 'gatherscatter gatherer', or give --broker" in done.stderr


def test_an_unreachable_broker_is_told_without_its_password(shell: Shell) -> None:
    """A URL with nobody behind it is one line with what to try and 69, without the password."""
    done = shell.run("status", "--broker", "amqp://me:geheim@127.0.0.1:1")
    assert done.returncode == 69
    assert done.stderr == (
        "gatherscatter: no broker at amqp://me@127.0.0.1:1: connection refused"
        " (is a broker started there, at this port?)\n"
    )


def test_a_refused_login_is_told(labshell: Shell, embedded_url: str) -> None:
    """A wrong password is one line, with where it is given, and 2."""
    host = embedded_url.rpartition("@")[2]
    done = labshell.run("status", "--broker", f"amqp://gatherscatter:geheim@{host}")
    assert done.returncode == 2
    assert "refuses the login" in done.stderr
    assert "GATHERSCATTER_PASSWORD" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "geheim" not in done.stderr


@pytest.mark.parametrize(
    ("scheme", "path", "told"),
    [
        ("amqp", "/nope", "has no vhost 'nope'"),
        ("amqps", "", "speaks no TLS at this port: use amqp://, or the port for TLS (5671)"),
    ],
)
def test_a_url_that_cannot_log_in_is_told(
    labshell: Shell, embedded_url: str, scheme: str, path: str, told: str
) -> None:
    """A wrong vhost is no wrong password, and a plain port is no TLS error of a library."""
    place = parse(embedded_url)
    login = f"{place.user}:{place.password}@{place.host}:{place.port}"
    done = labshell.run("status", "--broker", f"{scheme}://{login}{path}")
    assert done.returncode == 2
    assert told in done.stderr
    assert "refuses the login" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_settings_that_cannot_be_read_are_told(shell: Shell) -> None:
    """A broken gatherscatter.toml is one line that names the file."""
    (shell.folder / "gatherscatter.toml").write_text("lab = \n")
    done = shell.run("status")
    assert done.returncode == 2
    assert "gatherscatter.toml: is not TOML" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_schema_names_every_message(shell: Shell) -> None:
    """The schema is JSON, and a reader in another language finds the messages in it."""
    told = json.loads(shell.run("schema").stdout)
    assert {"EnterSection", "SectionGo", "AgentReport"} <= told["$defs"].keys()


def test_what_was_not_foreseen_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug of ours is no traceback either, unless somebody asks for it."""
    monkeypatch.setattr("pytest_gatherscatter.wire.codec.schema", {"y": 1}.__getitem__)
    monkeypatch.delenv("GATHERSCATTER_DEBUG", raising=False)
    assert main.status(["schema"]) == 70
    assert capsys.readouterr().err.startswith("gatherscatter: unforeseen TypeError")
    monkeypatch.setenv("GATHERSCATTER_DEBUG", "1")
    with pytest.raises(TypeError):
        main.status(["schema"])


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever types only the name is shown what there is."""
    assert main.status([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command} " in out for command in COMMANDS)


def test_a_reader_that_goes_away_is_no_trouble(shell: Shell) -> None:
    """``gatherscatter schema | head`` says nothing about it."""
    words = f"{sys.executable} -m pytest_gatherscatter schema | head -c 1"
    done = subprocess.run(
        ["sh", "-c", words], env=shell.environ, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_full_disk_is_told_once(shell: Shell) -> None:
    """``gatherscatter --version >/dev/full`` is one line, and not a second one by Python."""
    words = f"{sys.executable} -m pytest_gatherscatter --version > /dev/full"
    environ = {**shell.environ, "PYTHONUNBUFFERED": ""}  # without a buffer nothing is left at exit
    done = subprocess.run(
        ["sh", "-c", words], env=environ, capture_output=True, text=True, check=False
    )
    told = "gatherscatter: [Errno 28] No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)
