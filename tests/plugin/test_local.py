"""``--gs-local``: a private lab that comes and goes with the run."""

import gc
import os
import signal
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from suite import MONITORS, Suite

from pytest_gatherscatter.broker.provider import StartedBroker
from pytest_gatherscatter.plugin import local

pytest_plugins = ["pytester"]

MONITOR = """
[[monitor]]
name = "scope"
target = "monitors:Scope"
drain = "1s"
"""


@pytest.fixture
def private(suite: Suite) -> Suite:
    """A suite with a monitor of its own, and no lab yet."""
    suite.write(MONITORS, "monitors.py")
    suite.write(MONITOR, "gatherscatter.toml")
    suite.given.append("--gs-local")
    return suite


def lab_processes(folder: Path) -> set[int]:
    """Return the pids of lab processes that were started for the suite in ``folder``."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"pytest_gatherscatter" in command and f"={folder}/state".encode() in environ:
                found.add(int(entry.name))
    return found


def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_one_lab_for_all_workers(private: Suite) -> None:
    """It is started once, in the controller, and nothing of it is left after the run."""
    private.write("""
@pytest.mark.critical_section(require="scope")
@pytest.mark.parametrize("number", range(4))
def test_one(number, gs_section):
    assert gs_section.coordinated
""")
    result = private.run("-n", "2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["4 coordinated, 0 alone*"])
    assert not lab_processes(private.path)
    logs = private.path / "gs-artifacts" / "local"
    assert {log.name for log in logs.glob("*.log")} == {"gatherer.log", "scope.log"}


def test_a_monitor_that_does_not_start_is_one_line(private: Suite) -> None:
    """The run ends before its first test, with the monitor's own last words."""
    private.write("def test_plain(): pass\n")
    private.write(
        '[[monitor]]\nname = "scope"\ntarget = "monitors:Nothing"\n', "gatherscatter.toml"
    )
    result = private.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --gs-local: scope ended at once: *Nothing*"])
    assert "Traceback" not in result.stderr.str()
    assert not lab_processes(private.path)


LONG = """
@pytest.mark.critical_section(require="scope")
def test_long():
    open("inside", "w").close()
    time.sleep(60)
"""


def test_ctrl_c_leaves_the_section_and_ends_the_lab(private: Suite) -> None:
    """The interrupted test still tells its gatherer; then everything ends."""
    private.write(LONG)
    run = private.start("-v")
    wait((private.path / "inside").exists)
    assert len(lab_processes(private.path)) >= 3
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(20) == pytest.ExitCode.INTERRUPTED
    assert not lab_processes(private.path)
    log = (private.path / "gs-artifacts" / "local" / "gatherer.log").read_text()
    assert "; reports of scope" in log
    assert "1 coordinated" in (private.path / "output").read_text()


def test_a_killed_run_takes_its_lab_with_it(private: Suite) -> None:
    """Whoever is killed cannot clean up: the lab's processes see the end of their parent."""
    private.write(LONG)
    run = private.start()
    wait((private.path / "inside").exists)
    run.kill()
    run.wait()
    # A monitor that runs waits for the section's end, as long as its table says, and makes safe.
    wait(lambda: not lab_processes(private.path), 30)
    told = (private.path / "gs-artifacts" / "local" / "scope.log").read_text()
    assert "test_long on default: aborted" in told


def test_nothing_is_started_for_a_collection(private: Suite) -> None:
    """``--collect-only`` runs nothing, so nobody is to be gathered."""
    private.write(LONG)
    assert private.run("--collect-only").ret == 0
    assert not (private.path / "gs-artifacts").exists()


def test_who_takes_longer_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that makes its instrument safe is not killed, and Python calls it no leak."""
    monkeypatch.setattr(local, "STOP_SECONDS", 0.1)
    held, stdin = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo; cat"], stdin=held, stdout=subprocess.PIPE
    )
    os.close(held)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == b"\n"
        lab = local.Lab(StartedBroker("", None, lambda: None))
        lab.members.append(local.Member("scope", tmp_path, process))
        lab.stop()
        pid = process.pid
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del process, lab
            gc.collect()
        assert told == []
    os.close(stdin)
    assert os.waitpid(pid, 0) == (pid, 0)
