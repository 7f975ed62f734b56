"""A worker of test files runs what it is handed as one plain run of pytest would."""

import json
import os
import signal
import textwrap
from pathlib import Path

import pytest
from outcomelog import plain_run
from workerplay import JOB, Starts, Worker, logged, write

from pytest_gatherscatter.wire import event as ev
from pytest_gatherscatter.wire import testfiles as m

# ── as a plain run ─────────────────────────────────────────────────────────────────────

KINDS = {
    "conftest.py": """
        @pytest.fixture(scope="session")
        def session_thing():
            log("session up")
            yield 1
            log("session down")
        def pytest_generate_tests(metafunc):
            if "generated" in metafunc.fixturenames:
                metafunc.parametrize("generated", [3, 4])
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: "last" in item.name)
    """,
    "test_functions.py": """
        def test_last(): log("last")
        @pytest.mark.slow
        def test_passes(session_thing): log("passes")
        def test_fails(): assert {"a": 1} == {"a": 2}
        def test_generated(generated): log(generated)
        @pytest.mark.skip(reason="no")
        def test_skipped(): pass
        def test_skips(): pytest.skip("now")
        @pytest.mark.xfail
        def test_xfails(): assert 0
        @pytest.mark.xfail
        def test_xpasses(): pass
        @pytest.fixture
        def broken(): raise RuntimeError
        def test_set_up_fails(broken): pass
        @pytest.fixture
        def breaks():
            yield
            raise RuntimeError
        def test_tear_down_fails(breaks): pass
        @pytest.fixture(scope="module", params="xy")
        def letter(request):
            log(f"letter {request.param}")
            return request.param
        def test_one(letter): log("one")
        def test_two(letter): log("two")
        def test_subtests(subtests):
            for number in range(3):
                with subtests.test(number=number):
                    assert number != 1
        def test_files(tmp_path): (tmp_path / "x").write_text("")
    """,
    "test_classes.py": """
        def setup_module(): log("setup_module")
        def teardown_module(): log("teardown_module")
        class TestXunit:
            def setup_class(cls): log("setup_class")
            def setup_method(self): log("setup_method")
            def teardown_method(self): log("teardown_method")
            def test_it(self, session_thing): pass
        class TestUnit(unittest.TestCase):
            @classmethod
            def setUpClass(cls): log("setUpClass")
            def setUp(self): log("setUp")
            def tearDown(self): log("tearDown")
            def test_fails(self): self.assertEqual(1, 2)
            def test_passes(self): pass
            @unittest.skip("no")
            def test_skipped(self): pass
            @unittest.expectedFailure
            def test_expected(self): self.fail()
    """,
    "test_doctests.txt": """
        >>> 1 + 1
        2
    """,
    "test_broken.py": "import nowhere",
    "test_unwanted.py": "pytest.skip('not here', allow_module_level=True)",
    "deep/conftest.py": """
        @pytest.fixture(autouse=True)
        def around():
            log("deep up")
            yield
            log("deep down")
    """,
    "deep/er/conftest.py": """
        @pytest.fixture(autouse=True, scope="package")
        def whole():
            log("deeper up")
            yield
            log("deeper down")
    """,
    "deep/er/__init__.py": "",
    "deep/er/test_d1.py": "def test_d(session_thing): log('d1')",
    "deep/er/test_d2.py": "def test_d(): log('d2')",
    "deep/test_e.py": "def test_e(): log('e')",
    "other/test_f.py": """
        def add(a, b):
            '''Add.

            >>> add(1, 2)
            4
            '''
        def test_f(): log('f')
    """,
    "wrong/conftest.py": "import nowhere",
    "wrong/test_g.py": "def test_g(): pass",
}
FILES = [
    *("deep/er/test_d1.py", "deep/er/test_d2.py", "deep/test_e.py", "other/test_f.py"),
    *("test_broken.py", "test_classes.py", "test_doctests.txt", "test_functions.py"),
    *("test_unwanted.py", "wrong/test_g.py"),
]


@pytest.mark.parametrize(
    "arguments",
    [(), ("-k", "one or d or classes"), ("-m", "slow", "--doctest-modules"), ("deep", "other")],
    ids=["all", "k", "m", "paths"],
)
def test_all_ends_as_in_a_plain_run(suite: Path, start: Starts, arguments: tuple[str, ...]) -> None:
    """Outcome for outcome, fixture for fixture, in the order of a plain run."""
    write(suite, KINDS)
    expected, order = plain_run(suite, *arguments), logged(suite)
    worker = start(*arguments)
    for file in FILES:
        if "deep" not in arguments or file.startswith(("deep", "other")):
            worker.grant(file)
    worker.wait(ev.FileFinished, lease=worker.leases)
    ended = worker.finish()
    assert worker.outcomes() == expected
    assert logged(suite) == order
    assert ended.status == (1 if any("failed" in end for end in expected.values()) else 0)
    assert not ended.stopped
    assert sum(one.deselected for one in worker.of(ev.FileCollected)) or "-k" not in arguments


def test_only_what_was_granted_is_imported(suite: Path, start: Starts) -> None:
    """No other test file is ever run, and no conftest off the way."""
    files = {
        f"{d}/test_{d}{n}.py": f"log('{d}{n}')\ndef test_it(): pass" for d in "ab" for n in "12"
    }
    write(suite, files | {f"{d}/conftest.py": f"log('conftest {d}')" for d in "ab"})
    worker = start()
    worker.grant("b/test_b2.py")
    worker.wait(ev.FileFinished)
    worker.grant("b/test_b1.py")
    worker.wait(ev.FileFinished, lease=2)
    worker.finish()
    assert logged(suite) == ["conftest b", "b2", "b1"]


def test_package_fixtures_outlive_a_pause(suite: Path, start: Starts) -> None:
    """With no next file in sight nothing above the last one is torn down until it has to be."""
    up = "@pytest.fixture(scope='package', autouse=True)\ndef f():\n"
    fixture = up + "    log('up')\n    yield\n    log('down')\n    raise RuntimeError('too late')"
    tests = {"p/test_1.py": "def test_1(): log(1)", "p/test_2.py": "def test_2(): log(2)"}
    tests |= {"p/__init__.py": "", "p/conftest.py": fixture}
    write(suite, tests | {"q/test_3.py": "def test_3(): log(3)"})
    worker = start()
    for lease, file in enumerate(["p/test_1.py", "p/test_2.py", "q/test_3.py"], 1):
        worker.grant(file)
        worker.wait(ev.FileFinished, lease=lease)
    ended = worker.finish()
    assert logged(suite) == ["up", "1", "2", "down", "3"]
    (report,) = map(Worker.data, ended.reports)
    assert (report["nodeid"], report["when"]) == ("p/test_2.py::test_2", "teardown")
    assert "too late" in json.dumps(report["longrepr"])
    assert ended.status == 1


def test_arguments_with_colons_pick_tests(suite: Path, start: Starts) -> None:
    """Tests are run in the order that was asked for; what is not there is an error of its own."""
    body = """
        @pytest.mark.parametrize("x", "pq")
        def test_a(x): pass
        def test_b(): pass
        class TestC:
            def test_c(self): pass
            def test_d(self): pass
    """
    write(suite, {"test_it.py": body, "sub/test_sub.py": "def test_s(): pass"})
    it = "test_it.py::"
    wanted = (f"{it}TestC::test_d", f"{it}test_a[q]", f"{it}nothing", f"{it}TestC", "sub")
    worker = start(*wanted)
    worker.grant("test_it.py")
    worker.grant("sub/test_sub.py")
    worker.wait(ev.FileFinished, lease=2)
    worker.finish()
    assert worker.names() == ["TestC::test_d", "test_a[q]", "TestC::test_c", "test_s"]
    assert worker.outcomes()["test_it.py::nothing"] == "collect failed"


def test_a_file_that_is_not_there_is_told(suite: Path, start: Starts) -> None:
    """It may have been removed after the originator found it."""
    write(suite, {"test_it.py": ""})
    worker = start()
    worker.grant("test_gone.py")
    worker.wait(ev.FileFinished)
    worker.finish()
    assert worker.outcomes() == {"test_gone.py": "collect failed"}


# ── parts of files ─────────────────────────────────────────────────────────────────────

WAITS = """
    @pytest.mark.parametrize("n", range(6))
    def test_it(n):
        log(n)
        while n == 0 and not os.path.exists("go"):
            time.sleep(0.01)
"""


def test_tests_are_given_back_from_the_end(suite: Path, start: Starts) -> None:
    """Neither the one that runs nor the next one; what was given back may come home."""
    write(suite, {"test_it.py": WAITS, "test_next.py": "def test_n(): pass"})
    worker = start()
    lease, ahead = worker.grant("test_it.py"), worker.grant("test_next.py")
    worker.wait(ev.TestBegun, test=0)
    worker.give_back(ahead, 1)
    worker.give_back(lease, 2)
    worker.give_back(lease, 100)
    (suite / "go").touch()
    worker.wait(ev.FileFinished, lease=lease)
    given = [(one.lease, one.tests) for one in worker.of(ev.TestsGivenBack)]
    assert given == [(ahead, None), (lease, (4, 5)), (lease, (2, 3))]
    digest = worker.of(ev.FileCollected)[0].digest
    home = worker.grant("test_it.py", (5, 2), digest)
    worker.wait(ev.FileFinished, lease=home)
    worker.finish()
    assert [one.test for one in worker.of(ev.TestRan)] == [0, 1, 5, 2]
    assert logged(suite) == ["0", "1", "5", "2"]


def test_a_group_goes_or_stays_as_a_whole(suite: Path, start: Starts) -> None:
    """Marks of tests, classes and modules; what others have is left out, and none is cut."""
    write(
        suite,
        {
            "test_it.py": """
                class TestG:
                    pytestmark = pytest.mark.xdist_group(name="g")
                    def test_0(self):
                        while not os.path.exists("go"): time.sleep(0.01)
                def test_1(): pass
                @pytest.mark.xdist_group("h")
                class TestH:
                    def test_2(self): pass
                @pytest.mark.xdist_group("g")
                def test_3(): pass
                def test_4(): pass
                @pytest.mark.xdist_group("i" * 300)
                def test_5(): pass
                @pytest.mark.xdist_group("h")
                def test_6(): pass
            """
        },
    )
    worker = start()
    lease = worker.grant("test_it.py")
    collected = worker.wait(ev.FileCollected)
    long = collected.groups[5]
    assert collected.groups == ("g", "", "h", "g", "", long, "h")
    assert long.startswith("iii")
    assert len(long) == 40
    worker.say(m.BeginFile(job=JOB, worker="gw0", lease=lease, without=(5,)))
    worker.wait(ev.TestBegun)
    worker.give_back(lease, 4)
    (suite / "go").touch()
    worker.wait(ev.FileFinished)
    worker.finish()
    assert worker.of(ev.TestsGivenBack)[0].tests == (2, 4, 6)
    assert [one.test for one in worker.of(ev.TestRan)] == [0, 1, 3]


def test_a_whole_file_stays_whole(suite: Path, start: Starts) -> None:
    """``gs_whole_file`` is known, even under strict markers, and nothing is given back."""
    write(
        suite,
        {"test_it.py": "pytestmark = pytest.mark.gs_whole_file\n" + WAITS.replace("\n    ", "\n")},
    )
    worker = start("--strict-markers")
    lease = worker.grant("test_it.py")
    worker.wait(ev.TestBegun)
    worker.give_back(lease, 3)
    (suite / "go").touch()
    worker.wait(ev.FileFinished)
    worker.finish()
    assert worker.of(ev.FileCollected)[0].whole
    assert worker.of(ev.TestsGivenBack)[0].tests == ()
    assert len(worker.names()) == 6


def test_other_tests_than_granted_are_strange(suite: Path, start: Starts) -> None:
    """Numbers mean nothing where the ids are not those that they were made from."""
    write(suite, {"test_it.py": "def test_a(): pass\ndef test_b(): pass"})
    worker = start()
    worker.grant("test_it.py", (1,), "0" * 16)
    assert worker.wait(ev.FileFinished).strange
    whole = worker.grant("test_it.py")
    worker.wait(ev.FileFinished, lease=whole)
    part = worker.grant("test_it.py", (1,), worker.of(ev.FileCollected)[0].digest)
    worker.wait(ev.FileFinished, lease=part)
    worker.finish()
    assert worker.names() == ["test_a", "test_b", "test_b"]


# ── ends ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    ],
    ids=["exit", "kill", "segfault"],
)
def test_a_death_shows_what_was_begun(suite: Path, start: Starts, how: str, status: int) -> None:
    """The last event is the test that killed, though it died in its fixture."""
    body = f"@pytest.fixture\ndef f():\n    {how}\ndef test_a(): pass\ndef test_b(f): pass"
    write(suite, {"test_it.py": body})
    worker = start()
    worker.grant("test_it.py")
    worker.drain()
    assert worker.events[-1] == ev.TestBegun(lease=1, test=1)
    assert isinstance(worker.events[-2], ev.TestRan)
    assert worker.process.returncode == status


def test_a_death_in_import_shows_the_file(suite: Path, start: Starts) -> None:
    """Before a file is imported its beginning is told."""
    write(suite, {"test_it.py": "os._exit(1)"})
    worker = start()
    worker.grant("test_it.py")
    worker.drain()
    assert worker.events == [ev.FileBegun(lease=1)]


def test_the_last_teardown_is_reported(suite: Path, start: Starts) -> None:
    """An error of a session fixture comes with the worker's end, with what it printed."""
    fixture = (
        "@pytest.fixture(scope='session')\ndef f():\n    yield\n    print('said')\n    1 / 0\n"
    )
    write(suite, {"test_it.py": fixture + "def test_a(f): pass"})
    worker = start()
    worker.grant("test_it.py")
    worker.wait(ev.FileFinished)
    ended = worker.finish()
    (report,) = map(Worker.data, ended.reports)
    assert report["nodeid"] == "test_it.py::test_a"
    assert (report["when"], report["outcome"]) == ("teardown", "failed")
    assert report["sections"] == [["Captured stdout teardown", "said\n"]]
    assert ended.status == 1


def test_the_end_waits_for_the_test_that_runs(suite: Path, start: Starts) -> None:
    """It is finished and torn down with all fixtures; the rest is not run."""
    body = "@pytest.fixture(scope='session', autouse=True)\ndef f():\n    yield\n    log('down')\n"
    write(suite, {"test_it.py": body + textwrap.dedent(WAITS), "test_next.py": "log('imported')"})
    worker = start()
    worker.grant("test_it.py")
    worker.grant("test_next.py")
    worker.wait(ev.TestBegun)
    worker.over()
    (suite / "go").touch()
    ended = worker.ended()
    assert not ended.stopped
    assert logged(suite) == ["0", "down"]
    assert worker.names() == ["test_it[0]"]
    assert worker.of(ev.FileFinished)


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("pytest.exit('enough', 9)", 9, "enough"),
        ("raise KeyboardInterrupt", 2, "KeyboardInterrupt"),
        ("request.session.shouldstop = 'stop here'", 2, "stop here"),
        ("request.session.shouldfail = 'fail here'", 1, "fail here"),
    ],
)
def test_a_session_that_ends_itself_says_why(
    suite: Path, start: Starts, how: str, status: int, text: str
) -> None:
    """What ends a plain run ends the worker, with its reason; fixtures are torn down."""
    body = "@pytest.fixture(scope='session', autouse=True)\ndef f():\n    yield\n    log('down')\n"
    body += f"def test_a(request):\n    {how}\ndef test_b(): log('b')"
    write(suite, {"test_it.py": body})
    worker = start()
    worker.grant("test_it.py")
    ended = worker.ended()
    assert (ended.status, ended.stopped) == (status, text)
    assert worker.process.returncode == status
    assert logged(suite) == ["down"]


def test_a_worker_ends_with_its_pipe(suite: Path, start: Starts) -> None:
    """Without a supervisor it finishes its test and tears down."""
    body = "@pytest.fixture(scope='session', autouse=True)\ndef f():\n    yield\n    log('down')\n"
    write(suite, {"test_it.py": body + textwrap.dedent(WAITS)})
    worker = start()
    worker.grant("test_it.py")
    worker.wait(ev.TestBegun)
    os.close(worker.write)
    (suite / "go").touch()
    worker.ended()
    assert logged(suite) == ["0", "down"]


def test_a_fork_of_a_test_is_no_worker(suite: Path, start: Starts) -> None:
    """A child that comes back into pytest ends there, and tells nothing."""
    body = "def test_a():\n    pid = os.fork()\n    if pid:\n        os.waitpid(pid, 0)\n"
    write(suite, {"test_it.py": body + "def test_b(): pass"})
    worker = start()
    worker.grant("test_it.py")
    worker.wait(ev.FileFinished)
    worker.finish()
    assert worker.names() == ["test_a", "test_b"]


@pytest.mark.parametrize(
    ("conftest", "argument", "end"),
    [
        ("", "--no-such-option", (4, "--no-such-option")),
        ("import nowhere", "-v", (4, "No module named 'nowhere'")),
        ("def pytest_configure(): 1 / 0", "-v", (3, "division by zero")),
        ("", "nowhere.py", (4, "nowhere.py")),
    ],
)
def test_a_worker_that_cannot_start_says_why(
    start: Starts, suite: Path, conftest: str, argument: str, end: tuple[int, str]
) -> None:
    """Its surroundings may not be the originator's."""
    write(suite, {"conftest.py": conftest})
    ended = start(argument).ended()
    assert ended.status == end[0]
    assert end[1] in ended.stopped
