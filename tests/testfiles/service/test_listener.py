"""Listeners as people use them: real processes, each in a directory of its own, as if two hosts."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shells import Actor, Shell, until
from userrun import OTHERS, without

PYTEST = ("-m", "pytest", *without(OTHERS))

CONFTEST = """
import os
from pathlib import Path

KEPT = []
LOG = Path({log!r})


def note(text):
    with LOG.open("a") as log:
        log.write(text + "\\n")


def pytest_gs_before_originate(config, files):
    note(f"before_originate {{len(files)}}")


def pytest_gs_after_sync(config, workspace):
    KEPT.append(workspace)
    note(f"after_sync {{Path.cwd() == workspace}} {{config.rootpath == workspace}}")


def pytest_gs_before_creating_workers(config, workspace, workers):
    note(f"before_creating_workers {{workers}} {{KEPT == [workspace]}}")


def pytest_gs_before_start(config, worker):
    note(f"before_start {{worker}}")


def pytest_gs_after_complete(config, worker):
    note(f"after_complete {{worker}}")


def pytest_gs_after_creating_workers(config, workspace):
    note("after_creating_workers")


def pytest_gs_after_job_finishes(config, why):
    note(f"after_job_finishes {{why!r}}")
"""


class Lab:
    """A suite, a broker, and listeners."""

    def __init__(self, folder: Path, url: str, lab: str) -> None:
        self.folder = folder
        self.suite = folder / "suite"
        self.suite.mkdir()
        self.shell = Shell(folder, GATHERSCATTER_BROKER=url, GATHERSCATTER_LAB=lab)
        for name in [name for name in self.shell.environ if name.startswith("PYTEST_")]:
            del self.shell.environ[name]
        self.write("[pytest]\n", "pytest.ini")

    def write(self, text: str, name: str) -> None:
        """Write a file of the suite."""
        (self.suite / name).write_text(text)

    def listen(self, name: str, *words: str, **environ: str) -> Actor:
        """Start a listener, and wait until it listens."""
        workspaces = str(self.folder / name)
        given = ("testfiles", "listen", "--name", name, "--workspaces", workspaces, *words)
        actor = self.shell.start(*given, **environ)
        actor.says("listens with")
        return actor

    def dispatch(self, *words: str) -> Actor:
        """Start a job."""
        given = ("--gs-dispatch", "-v", *words)
        shell = Shell(self.suite)
        shell.environ = self.shell.environ
        actor = shell.start(*given, how=(sys.executable, *PYTEST))
        self.shell.started.append(actor)
        return actor

    def seen(self) -> list[dict[str, object]]:
        """Who answers a ping."""
        done = self.shell.run("testfiles", "ping", "--json", "--wait", "0.7s")
        found: list[dict[str, object]] = json.loads(done.stdout)["listeners"]
        return found

    def pids(self) -> list[int]:
        """Which processes have run tests."""
        try:
            return [int(word) for word in (self.folder / "pids").read_text().split()]
        except FileNotFoundError:
            return []


@pytest.fixture
def lab(tmp_path: Path, embedded_url: str, lab: str) -> Iterator[Lab]:
    """A lab that ends with the test."""
    made = Lab(tmp_path, embedded_url, lab)
    yield made
    made.shell.end()


def alive(pid: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{pid}").exists()


def test_a_job_from_its_files_to_its_cleaning_up(lab: Lab) -> None:
    """Files, callbacks in their order, paths of another host; a second job finds its workspace."""
    lab.write(CONFTEST.format(log=str(lab.folder / "log")), "conftest.py")
    lab.write("def test_a(): assert '/one/' in __file__\ndef test_b(): assert 0\n", "test_it.py")
    host = lab.listen("one", "--slots", "2", "--label", "gpu")
    job = lab.dispatch("--gs-label", "gpu", f"--rootdir={lab.suite}", str(lab.suite / "test_it.py"))
    assert job.ends() == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in job.text
    assert "; files came in " in job.text
    host.says("done")
    lines = (lab.folder / "log").read_text().splitlines()
    assert lines[:3] == [
        "before_originate 1",
        "after_sync True True",
        "before_creating_workers 2 True",
    ]
    assert sorted(lines[3:]) == [
        *("after_complete gw0", "after_complete gw1"),
        *("after_creating_workers", "after_job_finishes ''"),
        *("before_start gw0", "before_start gw1"),
    ]
    (workspace,) = [path for path in (lab.folder / "one").iterdir() if path.is_dir()]
    (workspace / "__pycache__").mkdir(exist_ok=True)
    (workspace / "stray.py").touch()
    lab.write("def test_c(): pass\n", "test_it.py")
    (seen,) = lab.seen()
    assert (seen["host"], seen["slots"], seen["free"], seen["labels"]) == ("one", 2, 2, ["gpu"])
    again = lab.dispatch()
    assert again.ends() == pytest.ExitCode.OK
    assert not (workspace / "stray.py").exists()
    assert (workspace / "__pycache__").exists()


SLOW = """
import os, time
import pytest

@pytest.mark.parametrize("n", range(3))
def test_slow(n):
    with open({pids!r}, "a") as file:
        file.write(f"{{os.getpid()}} ")
    end = time.monotonic() + 60
    while not os.path.exists({go!r}) and time.monotonic() < end:
        time.sleep(0.02)
"""


def write_slow(lab: Lab) -> Path:
    """Write a suite of 18 tests, each of which waits for the file that is returned."""
    go = lab.folder / "go"
    for number in range(6):
        text = SLOW.format(pids=str(lab.folder / "pids"), go=str(go))
        lab.write(text, f"test_slow{number}.py")
    return go


def test_two_hosts_one_comes_late_and_one_is_killed(lab: Lab) -> None:
    """Each test is reported once; nobody's workers outlive their listener; another job waits."""
    go = write_slow(lab)
    first = lab.listen("one")
    job = lab.dispatch("--gs-retries", "1")
    until(lambda: len(lab.pids()) == 1)
    other = lab.dispatch("-k", "nothing")
    first.says("6 files of pid", times=2)
    (seen,) = lab.seen()
    assert (seen["free"], seen["waiting"]) == (0, 1)
    second = lab.listen("two", "--slots", "2", "--job-slots", "1")
    until(lambda: len(set(lab.pids())) == 2)
    killed = lab.pids()[0]
    first.process.kill()
    first.ends()
    until(lambda: not alive(killed))
    go.touch()
    assert job.ends() == pytest.ExitCode.OK, job.text
    assert "18 passed" in job.text
    assert len(lab.pids()) == 19
    assert other.ends() == pytest.ExitCode.NO_TESTS_COLLECTED
    second.says("done", times=2)


def test_a_listener_that_ends_gives_the_rest_back(lab: Lab) -> None:
    """SIGTERM: the test that runs comes to its end, nothing is lost, others do what is left."""
    go = write_slow(lab)
    first = lab.listen("one")
    job = lab.dispatch()
    until(lambda: len(lab.pids()) == 1)
    first.signal(signal.SIGTERM)
    first.says("ends when the tests that run are over")
    go.touch()
    assert first.ends() == 0
    second = lab.listen("two")
    assert job.ends() == pytest.ExitCode.OK, job.text
    assert "18 passed" in job.text
    assert len(lab.pids()) == 18
    second.says("done")


def test_who_cannot_prepare_a_job_says_so(lab: Lab) -> None:
    """One line with the host and why; it is not counted on, and the job ends in bounded time."""
    lab.write("def test_a(): pass\n", "test_it.py")
    lab.listen("one")
    lab.listen("two", "--source", "*", PATH="/nowhere")
    refused = lab.dispatch("--gs-wait", "1", "--gs-source", "me@pc:/suite")
    assert refused.ends() == pytest.ExitCode.TESTS_FAILED
    assert "listener one cannot help: source 'me@pc:/suite' is not allowed here" in refused.text
    assert "listener two cannot help: rsync is not installed here" in refused.text
    assert "no worker came in 1 s (2 listeners failed)" in refused.text
    lab.write("def pytest_gs_after_sync():\n    print('so far')\n    1 / 0\n", "conftest.py")
    broken = lab.dispatch("--gs-wait", "1")
    assert broken.ends() == pytest.ExitCode.TESTS_FAILED
    assert "callback pytest_gs_after_sync: ZeroDivisionError: division by zero" in broken.text
    assert "so far" in broken.text


def test_a_job_that_ends_while_its_files_come(lab: Lab) -> None:
    """Its originator was killed in the middle of the sync: rsync is ended, the slot is free."""
    fake = lab.folder / "bin"
    fake.mkdir()
    (fake / "rsync").write_text(f"#!/bin/sh\necho $$ > {lab.folder}/pids\nexec sleep 100\n")
    (fake / "rsync").chmod(0o755)
    lab.write("def test_a(): pass\n", "test_it.py")
    host = lab.listen("one", PATH=f"{fake}:/usr/bin:/bin")
    job = lab.dispatch()
    until(lambda: bool(lab.pids()))
    job.process.kill()
    job.ends()
    host.says("its originator is gone")
    until(lambda: not alive(lab.pids()[0]))
    until(lambda: lab.seen()[0]["free"] == 1)


def test_files_by_other_means(lab: Lab) -> None:
    """A plugin of the host fetches them, whatever the source means; here to a new workspace."""
    (lab.folder / "fetching.py").write_text(
        "import shutil\n\n\n"
        "def pytest_gs_sync(source, workspace, excludes):\n"
        "    assert source == 'git:suite'\n"
        "    assert '.git' in excludes\n"
        f"    shutil.copytree({str(lab.suite)!r}, workspace, dirs_exist_ok=True)\n"
        "    return True\n"
    )
    (lab.folder / "gatherscatter.toml").write_text(
        '[listener]\nsources = ["git:*"]\nsync_plugins = ["fetching"]\nfresh = true\n'
    )
    lab.write("def test_a(): pass\n", "test_it.py")
    host = lab.listen("one", PYTHONPATH=str(lab.folder))
    job = lab.dispatch("--gs-source", "git:suite")
    assert job.ends() == pytest.ExitCode.OK, job.text
    host.says("done")
    until(lambda: list((lab.folder / "one").iterdir()) == [])
