"""What tests and plugins find in a worker: xdist's ways, their own options, and quiet."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workerplay import PATIENCE, RUN, Starts, Worker, logged, write

from pytest_gatherscatter.plugin.reports import unpack_report, unpack_warning
from pytest_gatherscatter.wire import event as ev


def run(worker: Worker, *files: str) -> ev.WorkerEnded:
    """Run files, and end."""
    for file in files or ("test_it.py",):
        worker.grant(file)
        worker.wait(ev.FileFinished, lease=worker.leases)
    return worker.finish()


@pytest.mark.parametrize("xdist", ["xdist", "no:xdist"])
def test_users_of_xdist_find_what_they_know(suite: Path, start: Starts, xdist: str) -> None:
    """With xdist and without: environment, fixtures, ``workerinput`` and ``workeroutput``."""
    conftest = """
        def pytest_sessionfinish(session):
            session.config.workeroutput["mine"] = {"raw": b"bytes" * 100_000, "list": (1, "two")}
    """
    body = f"""
        def test_it(worker_id, testrun_uid, request):
            given = request.config.workerinput
            assert (worker_id, testrun_uid) == ("gw0", {RUN!r})
            assert os.environ["PYTEST_XDIST_WORKER"] == given["workerid"] == "gw0"
            assert os.environ["PYTEST_XDIST_WORKER_COUNT"] == str(given["workercount"]) == "1"
            assert os.environ["PYTEST_XDIST_TESTRUNUID"] == given["testrunuid"]
            assert given["mainargv"][0] == "pytest"
            assert given["extra"] == 3
    """
    write(suite, {"conftest.py": conftest, "test_it.py": body})
    arguments = () if xdist == "xdist" else ("-p", xdist)
    worker = start(*arguments, given={"extra": 3})
    run(worker)
    assert worker.outcomes() == {"test_it.py::test_it": "passed"}
    output = worker.output()
    assert output["mine"] == {"raw": b"bytes" * 100_000, "list": [1, "two"]}
    assert output["exitstatus"] == 0


def test_the_originator_decides_when_to_stop_and_what_to_write(suite: Path, start: Starts) -> None:
    """Options of that kind mean nothing in a worker."""
    write(suite, {"test_it.py": "def test_a(): assert 0\ndef test_b(): assert 0"})
    options = ("-x", "-n2", "--maxfail=1", "--junitxml=out.xml", "--durations=3", "-v", "--pdb")
    worker = start(*options)
    ended = run(worker)
    assert worker.names() == ["test_a", "test_b"]
    assert not ended.stopped
    assert not (suite / "out.xml").exists()


def test_a_worker_starts_where_pytest_was_called(suite: Path, start: Starts) -> None:
    """Below the root: nodeids stay those of the root."""
    write(suite, {"sub/beside.py": "", "sub/test_it.py": "import beside\ndef test_it(): pass"})
    worker = start("test_it.py", place="sub")
    run(worker, "sub/test_it.py")
    assert worker.outcomes() == {"sub/test_it.py::test_it": "passed"}


def test_a_worker_is_quiet(suite: Path, start: Starts) -> None:
    """No socket, no thread and no descriptor of ours reaches a test or what it starts."""
    body = """
        import subprocess, threading
        def test_it():
            assert threading.active_count() == 1
            assert len(os.listdir("/proc/self/task")) == 1
            held = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")
                    if os.path.exists(f"/proc/self/fd/{one}")]
            assert not [one for one in held if one.startswith("socket:")]
            assert "pika" not in sys.modules
            child = subprocess.run(
                ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True
            )
            assert child.stdout.count("pipe:") == 2  # its own output
    """
    write(suite, {"test_it.py": body})
    worker = start("-p", "no:rerunfailures")
    run(worker)
    assert worker.outcomes() == {"test_it.py::test_it": "passed"}


def test_reruns_are_told(suite: Path, start: Starts, pytestconfig: pytest.Config) -> None:
    """pytest-rerunfailures finds no server of the originator's, and needs none."""
    body = "def test_it(tries=[]):\n    tries.append(1)\n    assert len(tries) == 3"
    write(suite, {"test_it.py": body})
    worker = start("--reruns", "3")
    run(worker)
    (ran,) = worker.of(ev.TestRan)
    reports = [unpack_report(pytestconfig, raw) for raw in ran.reports]
    calls = [report.outcome for report in reports if report.when == "call"]
    assert calls == ["rerun", "rerun", "passed"]


def test_no_value_can_cost_a_test(suite: Path, start: Starts, pytestconfig: pytest.Config) -> None:
    """Whatever a test records, prints, warns of or raises: at most one field suffers."""
    body = r"""
        import enum, pathlib
        class Colour(enum.Enum): RED = 1
        class Text(str):
            def __str__(self): raise RuntimeError("no text")
        class Odd(Exception):
            def __str__(self): return "odd \ud800"
        class Mine(UserWarning): pass
        VALUES = [Colour.RED, pathlib.Path("/x"), Text("t"), b"\xff", "half \ud800", 2**70,
                  float("nan"), {1: {2}}, object, "long " * 100_000]
        @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
        def test_value(value, record_property):
            record_property("value", value)
        @pytest.mark.parametrize("x", [1], ids=["\ud800" * 3])
        def test_id(x): pass
        def test_raises(): raise Odd
        def test_warns(): warnings.warn(Mine("mine \ud800"))
        def test_prints(): print("p" * 3_000_000); assert 0
        def test_many(subtests):
            for number in range(3000):
                with subtests.test(number=number, text="t" * 500): assert number != 1500
    """
    write(suite, {"test_it.py": body})
    worker = start()
    run(worker)
    ran = worker.of(ev.TestRan)
    assert len(ran) == len(worker.of(ev.FileCollected)[0].tests) == 15
    assert max(len(bytes(raw)) for one in ran for raw in one.reports) <= 200 * 1024
    assert max(sum(len(bytes(raw)) for raw in one.reports) for one in ran) <= 620 * 1024
    ends = worker.outcomes()
    failed = [nodeid.partition("::")[2] for nodeid, end in ends.items() if "failed" in end]
    assert failed == ["test_raises", "test_prints", "test_many"]
    kept = unpack_report(pytestconfig, ran[0].reports[1])
    assert isinstance(kept, pytest.TestReport)
    assert kept.user_properties == [("value", "Colour.RED")]
    (warned,) = [unpack_warning(one.warning) for one in worker.of(ev.WarningSeen)]
    assert (warned[0].category.__name__, str(warned[0].message)) == ("Mine", r"mine \ud800")
    assert warned[2] == "test_it.py::test_warns"


def test_warnings_follow_the_filters_of_the_project(suite: Path, start: Starts) -> None:
    """Those of importing a file, too; those of the start are the originator's own."""
    with (suite / "pytest.ini").open("a") as ini:
        ini.write("filterwarnings =\n  error::FutureWarning\n  ignore::ImportWarning\n")
    conftest = "def pytest_configure(config): warnings.warn('starts')"
    bad = "warnings.warn('f', FutureWarning)"
    good = "warnings.warn('i', ImportWarning)\nwarnings.warn('u')\ndef test_a(): pass"
    write(suite, {"conftest.py": conftest, "test_bad.py": bad, "test_it.py": good})
    worker = start()
    run(worker, "test_bad.py", "test_it.py")
    assert worker.outcomes() == {"test_bad.py": "collect failed", "test_it.py::test_a": "passed"}
    (warned,) = [unpack_warning(one.warning) for one in worker.of(ev.WarningSeen)]
    assert (str(warned[0].message), warned[1]) == ("u", "collect")


PARENT = """
import os, subprocess, sys, time
from pytest_gatherscatter.testfiles.service.pipe import Start, line
from pytest_gatherscatter.wire.testfiles import RunFile
ours, theirs = os.pipe()
back, forth = os.pipe()
child = subprocess.Popen(
    [sys.executable, "-m", "pytest_gatherscatter.plugin.worker", str(ours), str(forth)],
    pass_fds=(ours, forth),
)
os.write(theirs, line(Start(worker="gw0", count=1, run="1d" * 8, arguments=(), root=sys.argv[1])))
os.write(theirs, line(RunFile(job="0b" * 8, worker="gw0", lease=1, file="test_it.py")))
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_worker_dies_with_its_supervisor(suite: Path) -> None:
    """Also in the middle of a test, and though the supervisor was killed."""
    write(suite, {"test_it.py": "def test_it():\n    log('runs')\n    time.sleep(60)"})
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(suite)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    end = time.monotonic() + PATIENCE
    while not (runs := logged(suite)) and time.monotonic() < end:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    while time.monotonic() < end and _runs(child):
        time.sleep(0.02)
    assert runs
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process is more than a zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()[:100]
    except FileNotFoundError:
        return False


def test_the_events_are_json_for_anybody(suite: Path, start: Starts) -> None:
    """A report is what pytest makes of it, so that a person can read the pipe."""
    write(suite, {"test_it.py": "def test_it(): pass"})
    worker = start()
    run(worker)
    setup, call, teardown = (json.loads(bytes(raw)) for raw in worker.of(ev.TestRan)[0].reports)
    assert [one["when"] for one in (setup, call, teardown)] == ["setup", "call", "teardown"]
    assert call["nodeid"] == "test_it.py::test_it"
    assert os.fspath(call["location"][0]) == "test_it.py"
