"""The fork server of ``--gs-spawn``: where it forks, what it does not load, what its end means."""

import pytest
from suite import Suite

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
