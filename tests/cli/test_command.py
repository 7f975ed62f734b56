"""A program in the foreground: its status, its signals, its locks."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from shells import OURS, Shell, until

from pytest_gatherscatter.cli.command import Ending, missing
from pytest_gatherscatter.host.lockfile import is_locked


def alone(code: str, *words: str) -> list[str]:
    """Run Python code in a process that has one thread, as ``run`` must; the lines it prints.

    In another one a signal would end all, and the end of a child be told to nobody.
    """
    imports = "import os, signal, sys\nfrom pytest_gatherscatter.cli.command import run\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + code, *words],
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_command_ends_as_a_shell_counts_it() -> None:
    """Exit statuses are kept, a signal is 128 and its number."""
    code = "for script in sys.argv[1:]: print(run(['sh', '-c', script]))"
    scripts = {"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143}
    assert alone(code, *scripts) == [str(Ending(status)) for status in scripts.values()]


ALONE = "import sys; from pytest_gatherscatter.cli.command import run; print(run(sys.argv[1:]))"


def test_a_signal_is_passed_on(tmp_path: Path) -> None:
    """What another process sends to us reaches the command, and the section was interrupted."""
    script = f"trap 'exit 9' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    words = [sys.executable, "-c", ALONE, "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        until((tmp_path / "ready").exists)
        process.send_signal(signal.SIGTERM)
        shown, _ = process.communicate(timeout=30)
    assert shown == "Ending(status=9, interrupted=True)\n"


def test_what_came_before_the_start_keeps_it_from_starting(tmp_path: Path) -> None:
    """Ctrl-C that nobody but us has heard starts nothing."""
    code = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "print(run(['touch', sys.argv[1]]))\n"
        "print(signal.sigtimedwait({signal.SIGINT}, 0) is not None)\n"
    )
    begun = tmp_path / "begun"
    assert alone(code, str(begun)) == [str(Ending(130, interrupted=True)), "True"]
    assert not begun.exists()


TYPED_AT_THE_START = """
import os, sys, time
from pytest_gatherscatter.cli.command import run

start = os.posix_spawnp

def slowly(*words, **more):
    pid = start(*words, **more)
    while not os.path.exists("typed"):
        time.sleep(0.01)
    return pid

os.posix_spawnp = slowly
print(run(["sh", "-c", sys.argv[1]]))
"""
"""A start that takes until somebody has pressed Ctrl-C."""


def test_ctrl_c_at_the_very_start_reaches_the_command_once(tmp_path: Path) -> None:
    """Before we know that it runs: the terminal has told it, and we do not tell it again."""
    command = (
        "trap 'n=$((n+1))' INT; touch ready; until test -e typed; do sleep 0.02; done; "
        "sleep 0.2; echo told $n times"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-c", TYPED_AT_THE_START, command])  # noqa: S606
    until((tmp_path / "ready").exists)
    os.write(terminal, b"\x03")
    (tmp_path / "typed").touch()
    shown = b""
    with contextlib.suppress(OSError):  # EIO, when the last process has closed it
        while some := os.read(terminal, 65536):
            shown += some
    os.close(terminal)
    os.waitpid(pid, 0)
    assert b"told 1 times" in shown
    assert b"Ending(status=0, interrupted=True)" in shown


def test_a_status_is_seen_where_ends_of_children_are_ignored(tmp_path: Path) -> None:
    """Some services start what they start like that."""
    words = ["workload", "--no-gatherer", "run", "--", "sh", "-c", "sleep 0.1; exit 7"]
    ignored = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    shell = Shell(tmp_path, GATHERSCATTER_BROKER="none")
    started = shell.start(*words, how=[sys.executable, "-c", ignored, *OURS])
    try:
        assert started.ends() == 7
    finally:
        shell.end()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """Under nohup a hangup ends neither us nor the command, nor counts as an interruption."""
    code = (
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "print(run(['sh', '-c', 'kill -HUP $PPID; kill -HUP $$; sleep 0.2']))\n"
    )
    assert alone(code) == [str(Ending(0))]


def test_a_command_starts_with_the_signals_that_we_had() -> None:
    """The command does not inherit the mask under which it is waited for."""
    check = "import signal, sys; sys.exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    code = (
        "print(run([sys.executable, '-c', sys.argv[1]]).status)\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set())\n"
    )
    assert alone(code, check) == ["0", "True"]


def test_a_lock_is_held_by_what_the_command_left_behind(tmp_path: Path) -> None:
    """Should we be killed, a child of the command still proves that somebody is inside."""
    path, done = tmp_path / "lock", tmp_path / "done"
    script = f"(while ! test -e {done}; do sleep 0.05; done) >/dev/null 2>&1 &"
    code = (
        "from pathlib import Path\n"
        "from pytest_gatherscatter.host.lockfile import LockFile\n"
        "lock = LockFile.take(Path(sys.argv[1]))\n"
        "print(run(['sh', '-c', sys.argv[2]], held=[lock.fileno()]).status, flush=True)\n"
        "os._exit(0)\n"  # in good order it would open the lock for all of its holders
    )
    assert alone(code, str(path), script) == ["0"]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert is_locked(descriptor)
        done.touch()
        until(lambda: not is_locked(descriptor))
    finally:
        os.close(descriptor)


def test_what_cannot_run_is_known_beforehand(tmp_path: Path) -> None:
    """Nobody is gathered for a program that is not there."""
    plain = tmp_path / "plain"
    plain.touch()
    assert missing(["sh"]) is None
    assert missing(["no-such-program-here"]) == Ending(127)
    assert missing([str(plain)]) == Ending(126)
