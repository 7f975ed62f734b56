"""Test files that others run: it looks as a plain run, whatever happens to the workers."""

import signal

import pytest
from spreadrun import GATED, SLOW, alive, outcomes, pids, until
from suite import Suite

MIXED = """
import unittest
import warnings

@pytest.fixture(scope="session")
def once():
    with open("once", "a") as file:
        file.write(f"{os.getpid()} ")
    yield
    raise RuntimeError("the last teardown")

@pytest.fixture
def broken():
    yield
    raise RuntimeError("teardown")

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_prints():
    print("hello")
    assert 0
def test_skips(): pytest.skip("no need")
@pytest.mark.xfail
def test_is_expected_to_fail(): assert 0
@pytest.mark.xfail(strict=True)
def test_passes_unexpectedly(): pass
def test_warns(): warnings.warn("hm")
def test_breaks_at_its_end(broken): pass
def test_fails_and_breaks(broken): assert 0
@pytest.mark.parametrize("one", ["ä", "a/b", b"c", None, 1.5])
def test_parameters(one): pass
class TestClass(unittest.TestCase):
    def setUp(self): self.one = 1
    def test_method(self): self.assertEqual(self.one, 2)
def test_records(record_property):
    import pathlib
    record_property("path", pathlib.Path("x"))
    record_property("broken", "\\udcff")
"""


def errors(run: pytest.RunResult) -> list[str]:
    """Return the lines of errors in a run's summary."""
    return [line for line in run.outlines if line.startswith("ERROR ")]


def test_every_outcome_is_as_in_a_plain_run(suite: Suite) -> None:
    """Two workers, a module that cannot be imported, one that is skipped: outcome for outcome."""
    suite.write(MIXED, "test_a.py")
    suite.write("def test_b(): pass\ndef test_c(): assert 0\n", "test_b.py")
    suite.write("import nothing_of_this_name\n", "test_c.py")
    suite.write('pytest.skip("not here", allow_module_level=True)\n', "test_d.py")
    # Without it a plain run would end before its first test, for all is imported before.
    plain = suite.run("--continue-on-collection-errors", "--junitxml=plain.xml")
    spread = suite.run("--gs-spawn", "2", "--junitxml=spread.xml")
    assert outcomes(suite.path / "spread.xml") == outcomes(suite.path / "plain.xml")
    assert spread.ret == plain.ret == pytest.ExitCode.TESTS_FAILED
    assert {**spread.parseoutcomes(), "warnings": 1} == {**plain.parseoutcomes(), "warnings": 1}
    spread.stdout.fnmatch_lines(["*hello*", "*UserWarning: hm*", "FAILED test_a.py::test_fails*"])
    assert sorted(errors(spread)) == sorted(errors(plain)) != []


def test_a_killed_worker_costs_one_test(suite: Suite) -> None:
    """The test that it was at fails once, with the signal and its last words; the rest runs.

    One that dies in its last teardown costs an error. With ``-s`` its lines were seen as they came.
    """
    suite.write(
        """
import signal, sys
def test_before(): print("so far")
def test_dies():
    os.write(2, b"my last words")
    os.kill(os.getpid(), signal.SIGKILL)
@pytest.mark.parametrize("n", range(5))
def test_after(n): pass
@pytest.fixture(scope="session")
def dies_at_its_end():
    yield
    os._exit(9)
def test_last(dies_at_its_end): pass
"""
    )
    suite.write("os._exit(3)\n", "test_import.py")
    result = suite.run("--gs-spawn", "2", "-v", "-s")  # else its words are in pytest's capture
    result.assert_outcomes(passed=7, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        ["ERROR test_it.py::test_* - worker gw* died: exit status 9, after*"]
    )
    result.stdout.fnmatch_lines(
        [
            "[[]gw?[]] so far",
            "worker gw* on * died: SIGKILL",
            "my last words",
            "FAILED test_it.py::test_dies - worker gw* on * died: SIGKILL",
            "ERROR test_import.py - worker gw* on * died: exit status 3, importing it",
        ],
        consecutive=False,
    )


def test_the_first_failure_stops_the_job(suite: Suite) -> None:
    """``-x``: what was not run is listed, and the run is red."""
    suite.write("def test_fails(): assert 0\ndef test_next(): time.sleep(0.2)\n", "test_a.py")
    for number in range(8):
        suite.write(
            "@pytest.mark.parametrize('n', range(5))\ndef test_slow(n): time.sleep(0.2)\n",
            f"test_b{number}.py",
        )
    result = suite.run("--gs-spawn", "1", "-x", "test_a.py", "test_b0.py", "test_b1.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*= not run =*", "test_b*", "*stopping after 1 failures*"])
    assert result.parseoutcomes()["failed"] == 1


def test_an_early_end_has_the_status_of_a_plain_run(suite: Suite) -> None:
    """``pytest.exit`` in a worker is that of the run."""
    suite.write("def test_a(): pytest.exit('enough', 7)\ndef test_b(): pass\n")
    result = suite.run("--gs-spawn", "1")
    assert result.ret == 7
    (line,) = [line for line in result.outlines if "enough" in line]
    assert "Exit: gw0: enough" in line


def test_options_that_do_not_go_together(suite: Suite) -> None:
    """One line each, and pytest's exit status for wrong usage."""
    suite.write("def test_a(): pass\n")
    for words, line in [
        (["--gs-spawn", "2", "--pdb"], "*--gs-spawn: tests run in other processes, where --pdb*"),
        (["--gs-spawn", "2", "-n", "2"], "*--gs-spawn and -n: either distributes the tests*"),
        (["--gs-spawn", "2", "--gs-dispatch"], "*--gs-spawn and --gs-dispatch: one of them*"),
        (["--gs-spawn", "none"], "*--gs-spawn none: allowed are numbers from 1 to 256*"),
        (["--gs-spawn", "2", "--setup-show"], "*--gs-spawn and --setup-show: *"),
        (["--gs-worker", "--gs-broker", "none"], "*--gs-worker needs a broker, and *"),
    ]:
        result = suite.run(*words)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([line])


def test_workers_end_with_their_originator(suite: Suite) -> None:
    """Killed as it can be, it leaves nobody behind."""
    suite.write(SLOW)
    run = suite.start("--gs-spawn", "2")
    until(lambda: len(set(pids(suite.path / "pids"))) == 2)
    run.kill()
    run.wait()
    until(lambda: not any(alive(pid) for pid in pids(suite.path / "pids")))


def test_ctrl_c_ends_the_job_in_good_order(suite: Suite) -> None:
    """The tests that run come to their end, what did not run is listed, the status is pytest's."""
    suite.write(SLOW)
    run = suite.start("--gs-spawn", "2")
    until(lambda: len(set(pids(suite.path / "pids"))) == 2)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == pytest.ExitCode.INTERRUPTED
    text = (suite.path / "output").read_text()
    assert "not run" in text
    assert "KeyboardInterrupt" in text
    assert " passed" in text
    assert not any(alive(pid) for pid in pids(suite.path / "pids"))


def test_ctrl_c_twice_waits_for_nobody(suite: Suite) -> None:
    """The test that runs is ended with its worker; what did not run is listed."""
    suite.write(SLOW.replace("0.1", "60"))
    run = suite.start("--gs-spawn", "1")
    until(lambda: bool(pids(suite.path / "pids")))
    output = suite.path / "output"
    run.send_signal(signal.SIGINT)
    until(lambda: "(Ctrl-C again: at once)" in output.read_text())
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == pytest.ExitCode.INTERRUPTED
    assert "= not run =" in output.read_text()
    until(lambda: not any(alive(pid) for pid in pids(suite.path / "pids")))


def test_in_two_shells(suite: Suite, embedded_url: str, lab: str) -> None:
    """One offers the files, the other holds workers, whoever comes first."""
    suite.write("def test_a(): print(os.environ['PYTEST_XDIST_WORKER'])\ndef test_b(): assert 0\n")
    given = ["--gs-broker", embedded_url, "--gs-lab", lab]
    worker = suite.start("--gs-worker", "2", *given)
    result = suite.run("--gs-dispatch", *given)
    result.assert_outcomes(passed=1, failed=1)
    assert worker.wait(30) == pytest.ExitCode.OK
    alone = suite.run("--gs-worker", "--gs-wait", "1", *given)
    assert alone.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    alone.stderr.fnmatch_lines(["gatherscatter: no job came in 1 s"])
    nobody = suite.run("--gs-dispatch", "--gs-wait", "1", *given)
    assert nobody.ret == pytest.ExitCode.TESTS_FAILED
    nobody.stdout.fnmatch_lines(["*= not run =*", "test_it.py", "*no worker came in 1 s*"])


def test_a_worker_that_is_stopped_gives_its_files_back(
    suite: Suite, embedded_url: str, lab: str
) -> None:
    """SIGTERM to who holds workers: what it was at is lost, the rest is for who comes next."""
    suite.write(GATED)
    given = ["--gs-broker", embedded_url, "--gs-lab", lab]
    first = suite.start("--gs-worker", *given)
    job = suite.start("--gs-dispatch", "--junitxml=report.xml", *given)
    until(lambda: len(pids(suite.path / "pids")) == 3)
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == pytest.ExitCode.TESTS_FAILED
    (suite.path / "gate is open").touch()
    second = suite.start("--gs-worker", *given)
    assert job.wait(60) == pytest.ExitCode.TESTS_FAILED
    assert second.wait(20) == pytest.ExitCode.OK
    told = outcomes(suite.path / "report.xml")
    assert len(told) == 12
    assert [name for name, how in told.items() if how] == ["test_it::test_slow[2]"]


def test_a_test_that_hangs_is_ended_and_says_where(suite: Suite) -> None:
    """It has failed, with its stack; the rest of its file, and a file that hangs, too."""
    suite.write(
        """
def test_before(): pass
def where_it_hangs(): time.sleep(60)
def test_hangs(): where_it_hangs()
def test_after(): pass
"""
    )
    suite.write("time.sleep(60)\n", "test_import.py")
    result = suite.run("--gs-spawn", "2", "--gs-test-timeout", "1")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    for line in (
        "*test_it.py* in where_it_hangs",
        "FAILED test_it.py::test_hangs - worker gw* on * died: SIGABRT, for it hung*",
        "ERROR test_import.py - worker gw* on * died: SIGABRT, for it hung*",
    ):
        result.stdout.fnmatch_lines([line])


NODES = """
import pytest

@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["database"] = {"name": f"db_{node.gateway.id}", "key": b"k"}

@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    print(f"\\n{node.workerinput['workerid']} handed in {node.workeroutput['count']}, {error}")

def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["count"] = session.testscollected
"""


@pytest.mark.parametrize("xdist", ["xdist", "no:xdist"])
def test_plugins_written_for_xdist_reach_their_other_half(suite: Suite, xdist: str) -> None:
    """With it and without: what they have for a worker, and what that hands in."""
    suite.write(NODES, "conftest.py")
    suite.write(
        """
def test_it(request, worker_id, tmp_path, tmp_path_factory):
    given = request.config.workerinput
    assert given["database"] == {"name": f"db_{worker_id}", "key": b"k"}
    assert tmp_path_factory.getbasetemp().name == f"popen-{worker_id}"
"""
    )
    result = suite.run("-s", "--gs-spawn", "1", *(("-p", xdist) if xdist != "xdist" else ()))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gw0 handed in 1, None"])
