"""The fork server of ``--gs-spawn``: where it forks, what it does not load, what its end means."""

import os
import subprocess
import sys

import msgspec
import pytest
from suite import Suite

from pytest_gatherscatter.errors import BrokerError
from pytest_gatherscatter.plugin.forkserver import Answer, Forkserver, Task

WHO = """
with open("who", "a") as file:
    file.write(f"{os.getpid()} ")
"""


def test_it_loads_nothing_of_the_users(suite: Suite) -> None:
    """A conftest is imported by the originator and by each worker, not by what forks them."""
    suite.write("import os\n" + WHO, "conftest.py")
    for number in range(2):
        suite.write("def test_a(): time.sleep(0.3)\n", f"test_{number}.py")
    suite.start("--gs-spawn", "2").wait(60)
    text = (suite.path / "output").read_text()
    assert "2 passed" in text
    importers = (suite.path / "who").read_text().split()
    assert len(set(importers)) == 3, text


def test_who_has_threads_does_not_fork(suite: Suite) -> None:
    """A plugin that starts a thread when it is imported costs time, and nothing else."""
    suite.write(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
        "threaded.py",
    )
    suite.write("def test_a(): pass\n")
    run = suite.start("-p", "threaded", "--gs-spawn", "2")
    assert run.wait(60) == pytest.ExitCode.OK, (suite.path / "output").read_text()


def test_its_end_is_the_end_of_the_run(suite: Suite) -> None:
    """Killed, it takes workers and broker along; the run is red, and says so soon."""
    suite.write(
        "import signal\n"
        "def test_a(): pass\n"
        "def test_b():\n"
        "    time.sleep(1)\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    time.sleep(60)\n"
    )
    run = suite.start("--gs-spawn", "1")
    assert run.wait(30) == pytest.ExitCode.TESTS_FAILED
    text = (suite.path / "output").read_text()
    assert "the process that held workers and broker ended before the job" in text


def test_an_order_that_is_never_given_leaves_nobody(suite: Suite) -> None:
    """A usage error after the fork ends the run at once, and what was forked."""
    suite.write("def test_a(): pass\n")
    run = suite.start("--gs-spawn", "2", "--gs-dispatch")
    assert run.wait(30) == pytest.ExitCode.USAGE_ERROR
    assert "one of them at a time" in (suite.path / "output").read_text()


CALLER = """
import os
import pytest

class Mine:
    def pytest_sessionfinish(self):
        note("mine")

def note(what):
    with open("notes", "a") as file:
        file.write(f"{os.getpid()} {what}\\n")

given = ["-q", "-p", "no:cacheprovider", "--gs-spawn=2"]
for more in [], ["--no-such-option"]:
    note(int(pytest.main([*given, *more], plugins=[Mine()])))
"""

SCHEDULE = """
def note(what):
    with open("notes", "a") as file:
        file.write(f"{what}\\n")

def pytest_sessionstart(session):
    note("worker" if hasattr(session.config, "workerinput") else "session")

def pytest_collection_finish(session):
    if not hasattr(session.config, "workerinput"):
        for _ in range(200):
            if open("notes").read().count("worker") == 1:
                break
            time.sleep(0.05)
        note("found")
"""

ASKED = "def pytest_gs_before_originate(files): note('asked')\n"


def test_a_worker_never_comes_back_to_who_called_pytest(suite: Suite) -> None:
    """It is forked in the midst of ``pytest.main``; what follows that, and plugins, are another's.

    It ends in it, also when the command line turns out to be wrong.
    """
    suite.write("def test_a(): pass\n")
    (suite.path / "caller.py").write_text(CALLER)
    done = subprocess.run([sys.executable, "caller.py"], cwd=suite.path, timeout=60, check=False)
    assert done.returncode == 0
    noted = [line.split() for line in (suite.path / "notes").read_text().splitlines()]
    assert [what for _, what in noted] == ["mine", "0", "4"]
    assert len({pid for pid, _ in noted}) == 1


def test_workers_get_ready_while_the_files_are_found(suite: Suite) -> None:
    """Their sessions start meanwhile; not before a project has been asked that wants to be."""
    suite.write("def test_a(): pass\n")
    suite.write("import time\n" + SCHEDULE, "conftest.py")
    suite.run("--gs-spawn", "1").assert_outcomes(passed=1)
    notes = suite.path / "notes"
    assert notes.read_text().split() == ["session", "worker", "found"]
    notes.unlink()
    suite.write("import time\n" + SCHEDULE.replace("range(200)", "range(0)") + ASKED, "conftest.py")
    suite.run("--gs-spawn", "1").assert_outcomes(passed=1)
    assert notes.read_text().split() == ["session", "found", "asked", "worker"]


def test_a_worker_that_no_job_came_to_ends_in_good_order(suite: Suite) -> None:
    """Without any test file the session that it has begun comes to its end, before the run's."""
    suite.write(
        "import os\n"
        "def pytest_unconfigure(config):\n"
        "    with open('ended', 'a') as file:\n"
        '        file.write(f\'{os.getenv("PYTEST_XDIST_WORKER", "run")} \')\n',
        "conftest.py",
    )
    assert suite.run("--gs-spawn", "1").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert (suite.path / "ended").read_text().split() == ["gw0", "run"]


@pytest.mark.parametrize("failed", [False, True])
def test_who_holds_the_workers_may_have_failed_already(*, failed: bool) -> None:
    """Where the broker is, and that it lets nobody in, may be heard at once: one line is told."""
    answers = [Answer(url="amqp://u:s3cret@h"), Answer(wrong="amqp://u@h refuses the login")]
    reads, writes = os.pipe()
    for answer in answers[: 1 + failed]:
        os.write(writes, msgspec.json.encode(answer) + b"\n")
    server = Forkserver(0, Task(1, "run", 0, 0, 0), writes, reads)
    try:
        if failed:
            with pytest.raises(BrokerError, match=r"^amqp://u@h refuses the login$"):
                server.url()
        else:
            assert server.url() == "amqp://u:s3cret@h"
    finally:
        os.close(reads)
        os.close(writes)
