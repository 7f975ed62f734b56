"""Commands as real processes: how they end, what they say, and that nothing is left of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from shells import until

from pytest_gatherscatter.machine import Exited, Input, Told
from pytest_gatherscatter.slips.finished import step_title
from pytest_gatherscatter.slips.order import BeginCommand, CommandMoved, CommandOver, EndCommand
from pytest_gatherscatter.slips.service import log as logs
from pytest_gatherscatter.slips.service import program as programs
from pytest_gatherscatter.slips.service.program import Programs
from pytest_gatherscatter.wire.slips import Slip, Step, Task

SLIP = Slip(id="ab" * 8, name="n", steps=(Step(number=1, process="flash", command="write"),))
PATIENCE = 30


class Runner:
    """Runs command lines, and hears of them."""

    def __init__(self, place: Path) -> None:
        self.heard: Queue[Input] = Queue()
        self.programs = Programs(place / "logs", self.heard.put)
        self.runs = 0

    def begin(self, line: str, timeout: float = PATIENCE) -> int:
        """Begin one."""
        self.runs += 1
        task = Task(number=1, attempt=self.runs)
        self.programs.begin(self.runs, BeginCommand(SLIP, task, line, timeout))
        return self.runs

    def over(self) -> tuple[CommandOver, list[CommandMoved]]:
        """Wait for the next end; what was told before it."""
        moved: list[CommandMoved] = []
        while True:
            told = self.heard.get(timeout=PATIENCE)
            if isinstance(told, Exited):
                assert isinstance(told.result, CommandOver)
                return told.result, moved
            assert isinstance(told, Told)
            assert isinstance(told.request, CommandMoved)
            moved.append(told.request)

    def run(self, line: str, timeout: float = PATIENCE) -> CommandOver:
        """Run one to its end."""
        self.begin(line, timeout)
        return self.over()[0]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """A runner that ends with the test."""
    made = Runner(tmp_path)
    yield made
    made.programs.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that only was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def pid_in(path: Path) -> int:
    """The pid that a command wrote down, once it has."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_how_commands_end(runner: Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Status, signal, output, environment and log; a silent one leaves no log."""
    caplog.set_level("INFO", "gatherscatter.processor")
    before = time.time()
    over = runner.run("printf '%s-%s-%s-%s' $GS_SLIP $GS_STEP $GS_ATTEMPT $GS_PROCESS; echo e >&2")
    assert (over.status, over.exit_status, over.signal, over.text) == ("done", 0, "", "")
    assert (over.stdout_tail, over.stderr_tail) == (f"{SLIP.id}-1-1-flash", "e\n")
    assert before <= over.started <= over.ended <= time.time()
    assert over.log == str(tmp_path / "logs" / SLIP.id / "1-1.log")
    assert sorted(Path(over.log).read_text()) == sorted(over.stdout_tail + over.stderr_tail)
    silent = runner.run("exit 3")
    assert (silent.status, silent.exit_status, silent.log) == ("failed", 3, "")
    killed = runner.run("kill -9 $$")
    assert (killed.status, killed.exit_status, killed.signal) == ("failed", None, "SIGKILL")
    head = f"{SLIP.name} ({SLIP.id}) {step_title(SLIP, 1)}, attempt "
    assert caplog.messages == [head + "2: failed, exit status 3", head + "3: failed, SIGKILL"]
    wrong = runner.run("no-such-program")
    assert (wrong.status, wrong.exit_status) == ("failed", 127)
    assert "no-such-program" in wrong.stderr_tail
    long = runner.run("true " + "x" * 200_000)
    assert long.status == "failed"
    assert long.text.startswith("it cannot be started: ")
    line = "read -r x; echo $?$x; ls /proc/self/fd; (yes; echo $? >&2) | true"
    usual = runner.run(line)
    plain = subprocess.run(
        ["sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        close_fds=False,
        text=True,
        check=True,
    )
    assert (usual.stdout_tail, usual.stderr_tail) == (plain.stdout, plain.stderr)


def test_what_a_command_leaves_behind_ends_with_it(runner: Runner, tmp_path: Path) -> None:
    """It is done when its shell is; what holds its outputs open in its group is ended."""
    over = runner.run(f"sleep 60 & echo $! > {tmp_path}/pid; echo done")
    assert (over.status, over.stdout_tail) == ("done", "done\n")
    until(lambda: not alive(pid_in(tmp_path / "pid")))


def test_one_that_takes_too_long_ends_with_all_of_its_group(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked, its children may clean up, and who does not listen is killed."""
    line = "(trap 'sleep 0.3; echo off; exit' TERM; echo up; sleep 60 & wait)"
    kind = runner.run(f"{line}; true", 0.5)
    assert (kind.status, kind.stdout_tail) == ("timed-out", "up\noff\n")
    assert kind.text == "it took longer than 0.5 s"
    monkeypatch.setattr(programs, "ASKED", 0.3)
    deaf = runner.run(
        f"trap '' TERM; (sleep 60; sleep 60) & echo $! > {tmp_path}/pid; wait",
        0.5,
    )
    assert (deaf.status, deaf.signal) == ("timed-out", "SIGKILL")
    until(lambda: not alive(pid_in(tmp_path / "pid")))


def test_one_that_is_ended(runner: Runner) -> None:
    """It says what it was told to say; others run on."""
    run = runner.begin("echo here; sleep 60")
    other = runner.begin("sleep 0.5; echo other")
    runner.programs.end(EndCommand(run, "cancelled", "cancelled by me"))
    over, _ = runner.over()
    assert (over.status, over.text, over.signal) == ("cancelled", "cancelled by me", "SIGTERM")
    runner.programs.end(EndCommand(run, "cancelled", "again"))
    assert runner.over()[0].stdout_tail == "other\n"
    assert other == 2


def test_what_it_says_moves_its_bar_and_adds_steps(runner: Runner) -> None:
    """Its last word on its way is heard; mistakes are plain output, and noted."""
    lines = [
        "echo '::progress 0.4 flashing'",
        "sleep 0.3",
        "echo ::progress 2",
        'echo \'::step {"process": "b", "command": "x"}\'',
        'echo \'::step {"process": "b"}\'',
        "echo ::other",
        "printf '::progress 1'",
    ]
    runner.begin("; ".join(lines))
    over, moved = runner.over()
    assert [(one.share, one.text) for one in moved] == [(0.4, "flashing"), (1.0, "")]
    assert over.added == (Step(number=1, process="b", command="x"),)
    assert "'::progress 2': a share from 0 to 1 is wanted" in over.text
    assert "::step: step 1: command or shell is wanted" in over.text
    assert over.stdout_tail.endswith("::other\n::progress 1")


def test_a_flood(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log ends at a bound, its tail is its last, and nobody else waits for it."""
    monkeypatch.setattr(logs, "MOST", 100_000)
    flood = runner.begin(
        "head -c 50000000 /dev/zero | tr '\\0' 'é'; echo; echo ::progress 1; echo end"
    )
    over, moved = runner.over()
    assert flood == 1
    assert over.stdout_tail.endswith("\n::progress 1\nend\n")
    assert len(over.stdout_tail) == 4096
    assert Path(over.log).stat().st_size == 100_000
    assert "its log was cut short" in over.text
    assert len(moved) == 1


KILLED = """
import sys, time
from pathlib import Path
from pytest_gatherscatter.slips.order import BeginCommand
from pytest_gatherscatter.slips.service.program import Programs
from pytest_gatherscatter.wire.slips import Slip, Step, Task
place = Path(sys.argv[1])
slip = Slip(id="ab" * 8, name="n", steps=(Step(number=1, process="flash", command="write"),))
programs = Programs(place, print)
for number in (1, 2):
    line = f"trap '' TERM HUP; (trap '' TERM; sleep 60) & echo $! > {place}/{number}; sleep 60"
    programs.begin(number, BeginCommand(slip, Task(number=1, attempt=number), line, 60.0))
time.sleep(60)
"""


def test_commands_end_with_a_processor_that_is_killed(tmp_path: Path) -> None:
    """Both, and what they started, though nothing of it can be told to do so."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    try:
        pids = [pid_in(tmp_path / name) for name in ("1", "2")]
        groups = [os.getpgid(pid) for pid in pids]
        assert all(map(alive, pids))
    finally:
        process.kill()
        process.wait()
    until(lambda: not any(map(alive, [*pids, *groups])))


def test_a_guard_that_is_killed_is_replaced(tmp_path: Path, runner: Runner) -> None:
    """The next word to it finds it gone; the next one knows of all groups."""
    guard = runner.programs._guard
    runner.begin(f"echo $$ > {tmp_path}/pid; sleep 60")
    pid = pid_in(tmp_path / "pid")
    os.kill(guard._pid, signal.SIGKILL)
    os.waitid(os.P_PID, guard._pid, os.WEXITED | os.WNOWAIT)  # a busy machine kills late
    assert runner.run("true").status == "done"
    assert alive(pid)
    guard.close()
    until(lambda: not alive(pid))
    assert runner.over()[0].signal == "SIGKILL"


def test_old_logs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By age, and the oldest first where all are too much; running slips and others keep theirs."""
    monkeypatch.setattr(logs, "KEPT_BYTES", 250)
    new, middle, old, spared = (f"{number:08}" for number in range(4))
    for age, name in enumerate([new, middle, old, spared, "nginx"]):
        path = tmp_path / name / "1-1.log"
        path.parent.mkdir()
        path.write_bytes(b"x" * 100)
        os.utime(path, (time.time() - age * 1000,) * 2)
    other = tmp_path / old / "access.log"
    other.touch()
    os.utime(other, (0, 0))

    def left() -> list[str]:
        return sorted(path.parent.name for path in tmp_path.glob("*/1-1.log"))

    logs.prune(tmp_path, spared=frozenset({spared}))
    assert left() == [new, middle, spared, "nginx"]
    os.utime(tmp_path / new / "1-1.log", (0, 0))
    logs.prune(tmp_path, spared=frozenset({spared}))
    assert left() == [middle, spared, "nginx"]
    assert not (tmp_path / new).exists()
    assert other.exists()
