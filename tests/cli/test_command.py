"""A program in the foreground: its status, its signals, its locks."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from shells import OURS, Shell, until

from pytest_gatherscatter.cli.command import Ending, missing, run
from pytest_gatherscatter.host.lockfile import LockFile, is_locked


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)]
)
def test_a_command_ends_as_a_shell_counts_it(script: str, status: int) -> None:
    """Exit statuses are kept, a signal is 128 and its number."""
    assert run(["sh", "-c", script]) == Ending(status)


ALONE = "import sys; from pytest_gatherscatter.cli.command import run; print(run(sys.argv[1:]))"
"""A process that has one thread, as it must: in another one a signal would end all."""


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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        signal.raise_signal(signal.SIGINT)
        assert run(["touch", str(tmp_path / "begun")]) == Ending(130, interrupted=True)
        assert signal.sigtimedwait({signal.SIGINT}, 0) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert not (tmp_path / "begun").exists()


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
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGHUP))
        assert run(["sleep", "0.5"], on_start=timer.start) == Ending(0)
        timer.join()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_command_starts_with_the_signals_that_we_had() -> None:
    """The command does not inherit the mask under which it is waited for."""
    check = "import signal, sys; sys.exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    assert run([sys.executable, "-c", check]).status == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_lock_is_held_by_what_the_command_left_behind(tmp_path: Path) -> None:
    """Should we be killed, a child of the command still proves that somebody is inside."""
    path = tmp_path / "lock"
    lock = LockFile.take(path)
    assert lock is not None
    done = tmp_path / "done"
    script = f"(while ! test -e {done}; do sleep 0.05; done) >/dev/null 2>&1 &"
    assert run(["sh", "-c", script], held=[lock.fileno()]).status == 0
    lock.abandon()  # what death does
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert is_locked(descriptor)
        done.touch()
        end = threading.Event()
        for _ in range(100):
            if not is_locked(descriptor):
                break
            end.wait(0.05)
        assert not is_locked(descriptor)
    finally:
        os.close(descriptor)


def test_what_cannot_run_is_known_beforehand(tmp_path: Path) -> None:
    """Nobody is gathered for a program that is not there."""
    plain = tmp_path / "plain"
    plain.touch()
    assert missing(["sh"]) is None
    assert missing(["no-such-program-here"]) == Ending(127)
    assert missing([str(plain)]) == Ending(126)
