"""Any command as a section: its status, its signals, and what is left behind."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from peer import Peer
from shells import Shell, until


def sections(shell: Shell) -> list[dict[str, object]]:
    """Ask which sections are open."""
    found: list[dict[str, object]] = json.loads(shell.run("status", "--json").stdout)["sections"]
    return found


def tickets(shell: Shell) -> list[Path]:
    """List the tickets of the shell's host."""
    return list(Path(shell.environ["XDG_STATE_HOME"]).glob("gatherscatter/tickets/*.ticket"))


def test_a_command_keeps_its_stdout_and_its_status(gathered: Shell) -> None:
    """What the command prints is all of stdout, and its exit status is ours."""
    done = gathered.run("workload", "--", "sh", "-c", "echo inside; exit 3")
    assert (done.returncode, done.stdout) == (3, "inside\n")
    assert "go: nobody, token" in done.stderr
    assert not tickets(gathered)


def test_a_command_that_dies_of_a_signal_is_told_as_by_a_shell(gathered: Shell) -> None:
    """128 and the signal's number."""
    done = gathered.run("workload", "--", "sh", "-c", "kill -9 $$")
    assert done.returncode == 128 + 9


@pytest.mark.parametrize(
    ("words", "status", "stdout", "told"),
    [
        ([], 3, "inside\n", "go, alone: no gatherer"),
        (["--no-gatherer", "run", "--require", "scope"], 3, "inside\n", "go, alone: no gatherer"),
        (["--no-gatherer", "fail"], 69, "", "LAB: no gatherer"),
        (["--no-gatherer", "skip"], 0, "", "skipped: no gatherer"),
        (["--require", "scope"], 69, "", "nobody could measure it; lab {lab} on amqp://"),
        (["--min-monitors", "1"], 69, "", "nobody could measure it"),
    ],
)
def test_without_a_gatherer_the_demands_decide(
    labshell: Shell, words: list[str], status: int, stdout: str, told: str
) -> None:
    """On a live broker without a gatherer a command runs alone, unless something was demanded."""
    began = time.monotonic()
    done = labshell.run("workload", *words, "--", "sh", "-c", "echo inside; exit 3")
    assert (done.returncode, done.stdout) == (status, stdout)
    assert told.format(lab=labshell.environ["GATHERSCATTER_LAB"]) in done.stderr
    assert time.monotonic() - began < 10


def test_without_a_broker_a_command_runs_alone(shell: Shell) -> None:
    """With nothing configured at all it is as without a gatherer."""
    done = shell.run("workload", "--", "sh", "-c", "exit 4")
    assert done.returncode == 4
    assert "go, alone: no broker is configured" in done.stderr


@pytest.mark.parametrize(("words", "status"), [([], 75), (["-E", "5"], 5)])
def test_what_was_not_gathered_is_told_by_its_own_status(
    gathered: Shell, words: list[str], status: int
) -> None:
    """A missing agent is 75, or what -E says; the command did not run."""
    options = ("--require", "scope", "--gather-timeout", "300ms", *words)
    done = gathered.run("workload", *options, "--", "echo", "inside")
    assert (done.returncode, done.stdout) == (status, "")
    assert "gatherscatter: LAB: not gathered after" in done.stderr
    assert "scope" in done.stderr


@pytest.mark.parametrize(
    ("program", "status", "told"),
    [
        ("no-such-program-here", 127, "there is no such program"),
        ("/etc/passwd", 126, "it is no program that can be run"),
    ],
)
def test_a_program_that_cannot_run_gathers_nobody(
    gathered: Shell, program: str, status: int, told: str
) -> None:
    """127 or 126 at once, as in a shell, and the lab never heard of it."""
    done = gathered.run("workload", "--", program)
    assert done.returncode == status
    assert done.stderr == f"gatherscatter: {program}: {told}\n"


def test_a_section_of_a_dead_owner_is_closed_with_a_word(gathered: Shell) -> None:
    """The next workload of this host tells the gatherer, and says that it did."""
    dead = gathered.start("workload", "--name", "burst")
    dead.says("go: nobody")
    dead.signal(signal.SIGKILL)
    dead.process.wait(10)
    done = gathered.run("workload", "--", "true")
    assert done.returncode == 0
    assert "told the gatherer that a former section is over: gatherscatter workload" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_inside_ends_the_command_and_leaves_the_section(
    gathered: Shell, number: int, status: int
) -> None:
    """The signal reaches the command; the section is left as interrupted, the bench is free."""
    watch = gathered.start("watch", "--json")
    watch.says("LabStatus")
    workload = gathered.start("workload", "--", "sleep", "60")
    workload.says("go: nobody")
    workload.signal(number)
    assert workload.ends() == status
    workload.says("interrupted: sleep is left")
    watch.says('"state": "closed"')
    assert sections(gathered) == []
    assert not tickets(gathered)
    assert gathered.run("workload", "--", "true").returncode == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_waiting_withdraws(gathered: Shell, number: int, status: int) -> None:
    """Who is interrupted before the start leaves nothing open."""
    workload = gathered.start("workload", "--require", "scope", "--", "echo", "inside")
    workload.says("waiting for scope")
    workload.signal(number)
    assert workload.ends() == status
    workload.says("interrupted: echo is withdrawn, nothing ran inside")
    assert "Traceback" not in workload.text
    until(lambda: sections(gathered) == [])


def test_a_killed_workload_is_not_dead_while_its_command_lives(
    gathered: Shell, tmp_path: Path
) -> None:
    """The command holds the ticket's lock: only its end proves that nobody is inside."""
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; exec sleep 60"
    workload = gathered.start("workload", "--name", "burst", "--", "sh", "-c", script)
    workload.says("go: nobody")
    until(pid.exists)
    workload.signal(signal.SIGKILL)
    workload.process.wait(10)
    (ticket,) = tickets(gathered)
    done = gathered.run("leave", "--section", ticket.stem)
    assert done.returncode == 75
    child = pid.read_text().strip()
    told = f"process {workload.process.pid} is gone, and {child} (sleep) still holds it"
    assert told in done.stderr
    done = gathered.run("leave")
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.count("\n") == 1
    assert gathered.run("leave", "--lab", "other").stdout == "no section of a dead owner\n"
    assert [section["name"] for section in sections(gathered)] == ["burst"]
    doctor = gathered.run("doctor")
    assert "✗ ticket" not in doctor.stdout

    os.kill(int(pid.read_text()), signal.SIGTERM)
    until(lambda: "✗ ticket" in gathered.run("doctor").stdout)
    done = gathered.run("leave")
    assert done.returncode == 0
    assert f"{ticket.stem} on default is left" in done.stdout
    assert not tickets(gathered)
    until(lambda: sections(gathered) == [])


def test_an_overdue_command_is_told_and_the_monitor_makes_safe(gathered: Shell) -> None:
    """It ran well, but for too long: 1, the cause, and the monitor did not wait for its end."""
    monitor = gathered.start("monitor", "power")
    monitor.says("joined")
    command = ("sh", "-c", ": > began; sleep 1.5; : > ended")
    with Peer(lambda: subprocess.run(["sh", "-c", ":"], check=True)) as peer:
        done = gathered.run("workload", "--max-duration", "500ms", "--", *command)
    assert done.returncode == 1
    began, ended = ((gathered.folder / name).stat().st_mtime for name in ("began", "ended"))
    told = re.search(r"gatherscatter: DUT: section 'sh' took (.*) s, 0\.5 s were", done.stderr)
    took = re.search(r" done: sh after (.*) s, waited", done.stderr)
    assert told is not None, done.stderr
    assert took is not None, done.stderr
    assert abs(float(told[1]) - float(took[1])) < 0.06  # one is rounded to tenths
    # Before the first file the shell is started, after the last one it ends: as long as a peer's.
    late = min(0.6, 0.05 + 3 * peer.slowest)
    assert ended - began - 0.02 < float(took[1]) < ended - began + late
    monitor.says("a real monitor makes safe now")


def test_a_long_command_line_is_no_obstacle(gathered: Shell) -> None:
    """What others see of it is shortened; it runs coordinated, as it stands."""
    words = "x" * 2000 + "\udcff"
    done = gathered.run(
        "workload", "--name", words, "--", "sh", "-c", "printf %s $1 | wc -m", "sh", words
    )
    assert done.returncode == 0
    assert done.stdout.strip() in {"2000", "2001"}  # as the locale counts a broken character
    assert "go: nobody, token" in done.stderr


def test_two_workloads_on_one_bench_take_turns(gathered: Shell, tmp_path: Path) -> None:
    """The second one waits until the first one has left."""
    log = tmp_path / "log"
    script = f"echo in >> {log}; sleep 0.5; echo out >> {log}"
    both = [gathered.start("workload", "--", "sh", "-c", script) for _ in range(2)]
    assert [workload.ends() for workload in both] == [0, 0]
    assert log.read_text().split() == ["in", "out", "in", "out"]
