"""Monitors from a shell: a class, commands, a table of the settings file."""

import signal

import pytest
from shells import Shell, until

SCOPE = """
from pytest_gatherscatter.sections.hook import Findings, Hold, Monitor, Veto

class Scope(Monitor):
    asked = 0

    def __init__(self, peak=5.1):
        self.peak = peak

    def prepare(self, section):
        self.asked += 1
        if self.asked == 1:
            return Hold(0.2, "settling")
        if section.name == "forbidden":
            return Veto("door open")

    def stopped(self, section):
        findings = Findings()
        findings.add("peak_v", self.peak, unit="V", high=5.5)
        findings.attach("trace.csv", b"0,1\\n")
        return findings
"""


@pytest.fixture
def gathered(gathered: Shell) -> Shell:
    """A shell in a lab with a gatherer, and a module with a monitor in its folder."""
    (gathered.folder / "labmonitors.py").write_text(SCOPE)
    return gathered


def test_a_class_holds_measures_and_vetoes(gathered: Shell, house: Shell) -> None:
    """A hold is told with its reason and its limit; findings and captures come; a veto is 75."""
    scope = gathered.start("monitor", "labmonitors:Scope", "--name", "scope")
    scope.says("joined")
    done = gathered.run("workload", "--require", "scope", "--", "true")
    assert done.returncode == 0, done.stderr
    assert "scope holds 0 s: settling" in done.stderr
    house.started[0].says("true on default: scope holds: settling, 900 s at the most")
    assert "peak_v = 5.1 V" in done.stderr
    (trace,) = gathered.folder.glob("gs-artifacts/*/scope/trace.csv")
    assert trace.read_text() == "0,1\n"
    assert f"trace.csv, 4 bytes: {trace}" in done.stderr
    done = gathered.run("workload", "--name", "forbidden", "--", "true")
    assert done.returncode == 75
    assert "LAB: scope vetoes: door open" in done.stderr


def test_a_table_of_the_settings_file_is_found_by_its_name(gathered: Shell) -> None:
    """[[monitor]] says what a name is; a finding out of bounds is the device's fault, and 1."""
    (gathered.folder / "gatherscatter.toml").write_text(
        '[[monitor]]\nname = "scope"\ntarget = "labmonitors:Scope"\noptions = {peak = 6.5}\n'
    )
    gathered.start("monitor", "scope").says("joined")
    done = gathered.run("workload", "--require", "scope", "--", "true")
    assert done.returncode == 1
    assert "gatherscatter: DUT: scope: peak_v = 6.5 V" in done.stderr
    done = gathered.run("workload", "--require", "scope", "--", "sh", "-c", "exit 7")
    assert done.returncode == 7  # the command's own word comes first


def test_commands_are_hooks(gathered: Shell) -> None:
    """Programs arm, report and disarm; what they need to know is in their environment."""
    log = gathered.folder / "log"
    commands = [
        *("--on-prepare", f"sh -c 'echo prepare $GS_NAME $GS_BENCH >> {log}'"),
        *("--on-go", f"sh -c 'echo go >> {log}'"),
        *("--on-stop", "sh -c 'echo temperature=41.5; echo hot > $GS_ARTIFACTS/note.txt'"),
        *("--on-abort", f"sh -c 'echo abort $GS_CAUSE >> {log}'"),
    ]
    gathered.start("monitor", "thermal", *commands).says("joined")
    done = gathered.run("workload", "--name", "burst", "--", "true")
    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == ["prepare burst default", "go"]
    assert "temperature = 41.5" in done.stderr
    assert "note.txt, 4 bytes" in done.stderr
    options = ("--require", "scope", "--gather-timeout", "500ms")
    assert gathered.run("workload", "--name", "cold", *options, "--", "true").returncode == 75
    until(lambda: "abort not-gathered" in log.read_text())


def test_a_broken_hook_is_told_with_its_status(gathered: Shell) -> None:
    """A program that goes away later is 127, as in a shell, and the section is not gathered."""
    program = gathered.folder / "arm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    gathered.start("monitor", "scope", "--on-prepare", str(program)).says("joined")
    program.unlink()
    done = gathered.run("workload", "--", "true")
    assert done.returncode == 75
    assert "LAB: scope is broken: exit 127" in done.stderr


def test_a_monitor_serves_several_benches(gathered: Shell) -> None:
    """--bench may be repeated; a section on another bench does not see it."""
    gathered.start("monitor", "scope", "--bench", "a", "--bench", "b,c").says("joined")
    for bench in "abc":
        assert "go: scope" in gathered.run("workload", "--bench", bench, "--", "true").stderr
    assert "go: nobody" in gathered.run("workload", "--bench", "d", "--", "true").stderr


def test_a_second_monitor_of_a_name_is_refused(gathered: Shell) -> None:
    """One line says who has the name, and the first one goes on."""
    first = gathered.start("monitor", "scope")
    first.says("joined")
    done = gathered.run("monitor", "scope")
    assert done.returncode != 0
    assert "has an agent 'scope' already (pid" in done.stderr
    assert "end that one" in done.stderr
    assert done.stderr.count("\n") == 1
    assert first.process.poll() is None


def test_a_monitor_without_a_gatherer_waits(labshell: Shell) -> None:
    """A live broker without a gatherer is no error for a monitor: it joins when one comes."""
    monitor = labshell.start("monitor", "scope")
    monitor.says("monitor scope of lab")
    labshell.start("gatherer")
    monitor.says("joined")
    monitor.signal(signal.SIGTERM)
    assert monitor.ends() == 0
    monitor.says("left the lab")
