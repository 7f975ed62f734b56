"""The seed's shells, with no broker installed: the story that all this began with."""

import json
import os
import signal
import subprocess
import sys

from shells import GATHERS, Shell, until


def test_the_seeds_shells(shell: Shell) -> None:
    """Nothing goes on until agent2 is there; then again and again, with nothing restarted."""
    gatherer = shell.start("gatherer", "agent1", "agent2")
    gatherer.says("every section needs: agent1, agent2")
    gatherer.says("the embedded one, for this machine")
    one = shell.start("monitor", "agent1")
    one.says("joined")
    first = shell.start("workload")
    first.says("waiting for agent2")
    told = json.loads(shell.run("status", "--json").stdout)
    assert [agent["agent"] for agent in told["agents"]] == ["agent1"]
    assert told["sections"][0]["state"] == "gathering"
    assert first.process.poll() is None

    two = shell.start("monitor", "agent2")
    assert first.ends() == 0
    first.says("go: agent1, agent2")
    first.says("done: workload after 1.0")
    first.says("verdict: passed")
    first.says("agent1 started")
    first.says("skew ")

    for time in range(2, 4):
        done = shell.run("workload", "--", "sh", "-c", "echo inside")
        assert (done.returncode, done.stdout) == (0, "inside\n")
        assert "go: agent1, agent2" in done.stderr
        for monitor in (one, two):
            monitor.says("prepare for", time)
            monitor.says("go: ", time)
            monitor.says("stop: ", time)

    gatherer.says("asks for bench default", 3)
    gatherer.says("gathered: agent1, agent2", 3)
    gatherer.says("over: passed after ", 3)
    gatherer.says("reports of agent1, agent2", 3)
    told = [line for line in gatherer.lines if " on default: " in line]
    assert len([line for line in told if "waiting for" not in line]) == 3 * 3, gatherer.text

    two.signal(signal.SIGTERM)
    assert two.ends() == 0
    gatherer.says("agent2 is gone")
    gatherer.signal(signal.SIGINT)
    assert gatherer.ends() == 130
    assert shell.run("status").returncode == 69


def test_who_comes_before_the_gatherer_finds_it(shell: Shell) -> None:
    """A monitor waits for a local broker, and goes along to the next one."""
    monitor = shell.start("monitor", "agent1")
    monitor.says("waiting for one")
    for time in (1, 2):
        gatherer = shell.start("gatherer", "agent1")
        monitor.says("joined", time)
        assert shell.run("workload", "--", "true").returncode == 0
        gatherer.end()
    assert monitor.process.poll() is None


def test_a_second_gatherer_is_refused(shell: Shell) -> None:
    """One line says who is there already, and the first one goes on."""
    first = shell.gather()
    done = shell.run("gatherer")
    assert done.returncode == 1
    assert done.stderr.startswith("gatherscatter: lab 'default' has a gatherer already")
    assert done.stderr.count("\n") == 1
    assert shell.run("status").returncode == 0
    assert first.process.poll() is None


def test_labs_on_one_broker_do_not_meet(shell: Shell) -> None:
    """A second gatherer uses the broker of the first, in a lab of its own."""
    shell.gather("agent1")
    shell.gather("--lab", "other")
    done = shell.run("workload", "--lab", "other", "--", "true")
    assert done.returncode == 0
    assert "go: nobody" in done.stderr


def test_gatherers_that_start_at_once_share_a_broker(shell: Shell) -> None:
    """Neither finds a broker, each starts one: one of these wins, and both labs are there."""
    labs = ("one", "two", "three")
    for started in [shell.start("gatherer", "--lab", lab) for lab in labs]:
        started.says(GATHERS)
    brokers = {
        json.loads(shell.run("status", "--json", "--lab", lab).stdout)["broker"] for lab in labs
    }
    assert len(brokers) == 1


def test_services_end_with_their_parent(labshell: Shell) -> None:
    """--parent-pid: nothing is left behind by who started them and was killed."""
    parent = labshell.start("broker", "--port", "0")  # any process
    gatherer = labshell.start("gatherer", "--parent-pid", str(parent.process.pid))
    gatherer.says("every section needs")
    monitor = labshell.start("monitor", "m", "--parent-pid", str(parent.process.pid))
    monitor.says("joined")
    parent.signal(signal.SIGKILL)
    assert (gatherer.ends(), monitor.ends()) == (0, 0)
    gatherer.says("the process that started this one is gone")


def test_a_broker_alone_outlives_its_gatherer(shell: Shell) -> None:
    """It says what it is for, others find it, a second one is refused, SIGTERM ends it."""
    broker = shell.start("broker")
    broker.says("it forgets everything when it ends")
    until(lambda: "no gatherer in lab" in shell.run("status").stderr)
    done = shell.run("broker")
    assert done.returncode == 2
    assert done.stderr.startswith("gatherscatter: ")
    assert done.stderr.count("\n") == 1
    shell.gather().end()
    assert "no gatherer in lab" in shell.run("status").stderr
    broker.signal(signal.SIGTERM)
    assert broker.ends() == 0


def test_all_come_back_to_a_broker_that_was_killed_inside(shell: Shell) -> None:
    """Its successor is where it was: section, monitor, gatherer and report go on by themselves."""
    broker = shell.start("broker")
    until(lambda: "no gatherer in lab" in shell.run("status").stderr)
    gatherer = shell.gather("agent1")
    monitor = shell.start("monitor", "agent1")
    inside = "until test -e go-on; do sleep 0.05; done"
    workload = shell.start("workload", "--", "sh", "-c", inside)
    monitor.says("running")
    broker.signal(signal.SIGKILL)
    broker.ends()
    monitor.says("the broker is gone")
    shell.start("broker")
    monitor.says("joined", 2)
    (shell.folder / "go-on").touch()
    assert workload.ends() == 0, workload.text
    monitor.says("reported")
    assert "abort" not in monitor.text
    assert gatherer.process.poll() is None
    assert shell.run("workload", "--", "true").returncode == 0


def test_a_killed_gatherer_comes_back_with_its_broker(shell: Shell) -> None:
    """The broker ends with it; the next one is at the same place, and the monitor stays."""
    gatherer = shell.gather("agent1")
    where = json.loads(shell.run("status", "--json").stdout)["broker"]
    monitor = shell.start("monitor", "agent1")
    monitor.says("joined")
    gatherer.signal(signal.SIGKILL)
    gatherer.ends()
    monitor.says("the broker is gone")
    shell.gather("agent1")
    assert json.loads(shell.run("status", "--json").stdout)["broker"] == where
    monitor.says("joined", 2)
    assert "the local broker is another one now" not in monitor.text
    assert shell.run("workload", "--", "true").returncode == 0


def test_the_demo_plays_to_its_end(shell: Shell) -> None:
    """All actors in one terminal, each line under its name; it ends by itself, leaving nothing."""
    demo = shell.start("demo")
    assert demo.ends() == 0, demo.text
    demo.says("workload | ")
    demo.says("waiting for agent2")
    demo.says("the delicate moment")
    for name in ("gatherer", "agent1", "agent2"):
        demo.says(f"{name:8} | ")
    assert "\x1b[" not in demo.text  # no colours in a pipe
    assert not (shell.folder / "run" / "gatherscatter" / "broker.json").exists()
    assert _children(demo.process.pid) == []


def test_a_demo_that_is_ended_leaves_nobody_behind(shell: Shell) -> None:
    """SIGTERM in the middle ends every actor."""
    demo = shell.start("demo")
    demo.says("waiting for agent2")
    children = _children(demo.process.pid)
    assert len(children) >= 4  # broker, gatherer, agent1, workload
    demo.signal(signal.SIGTERM)
    assert demo.ends() == 143
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110


def test_a_demo_that_nobody_reads_ends_quietly(shell: Shell) -> None:
    """``demo | head -1``: no traceback, from no thread, and nobody is left behind."""
    with subprocess.Popen(
        [sys.executable, "-m", "pytest_gatherscatter", "demo"],
        env=shell.environ,
        cwd=shell.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert "a private broker runs" in demo.stdout.readline()
        demo.stdout.close()
        assert "Traceback" not in demo.stderr.read()
        assert demo.wait(30) == 1
    assert _children(demo.pid) == []


def _children(pid: int) -> list[int]:
    """List the living processes that ``pid`` started."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:  # noqa: PTH123
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry))
    return found
