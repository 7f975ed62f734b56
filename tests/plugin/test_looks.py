"""``--gs-spawn`` looks like pytest: one rich suite, run plainly and by two workers."""

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from suite import Suite
from userrun import HEAVY, without

MIXED = """
import warnings
import mod

@pytest.fixture
def breaks():
    yield
    raise RuntimeError("teardown")

def test_passes(): assert mod.kind(1) == "odd"
def test_fails():
    print("hello")
    assert 1 == 2
@pytest.mark.slow
def test_slow(): time.sleep(0.2)
def test_skips(): pytest.skip("no need")
@pytest.mark.xfail(reason="known")
def test_known(): assert 0
def test_warns(): warnings.warn("hm")
def test_errs(breaks): pass
"""

MOD = """
def kind(number):
    if number % 2:
        return "odd"
    return "even"

def other(number):
    if number:
        return 1
    return 2
"""

RAN = r"::.* (PASSED|FAILED|ERROR|SKIPPED|XFAIL)"
"""The lines of tests in ``-v``."""

FILES = {
    "test_a.py": MIXED,
    "test_b.py": "import mod\n@pytest.mark.parametrize('n', range(4))\n"
    "def test_n(n): assert mod.other(0) == 2\n"
    "class TestC:\n    def test_m(self): pass\n    def test_z(self): assert 0\n",
    "test_c.py": "def test_1(): pass\ndef test_2(): pass\n",
}


@pytest.fixture
def rich(suite: Suite) -> Suite:
    """Return the suite, with a cache."""
    suite.pytester.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = slow\n"
    )
    suite.given = without(HEAVY)
    (suite.path / "mod.py").write_text(MOD)
    for name, text in FILES.items():
        suite.write(text, name)
    return suite


def lines(result: pytest.RunResult, pattern: str) -> Counter[str]:
    """Return the lines of a run that match, without percentages and seconds."""
    found = (line for line in result.outlines if re.search(pattern, line))
    return Counter(re.sub(r" +\[ *\d+%\]|\d+\.\d+s", "", line) for line in found)


def cases(file: Path) -> Counter[tuple[str, ...]]:
    """Read a junitxml file: class, name and what is in the element, test by test."""
    return Counter(
        (str(case.get("classname")), str(case.get("name")), *(child.tag for child in case))
        for case in ET.parse(file).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
    )


def of(result: pytest.RunResult, begin: str, end: str) -> list[str]:
    """Return the lines of a section."""
    first = next(n for n, line in enumerate(result.outlines) if begin in line)
    last = next(n for n, line in enumerate(result.outlines) if end in line and n > first)
    return result.outlines[first + 1 : last]


def test_lines_reports_and_coverage_are_as_in_a_plain_run(rich: Suite) -> None:
    """``-v``, ``-rA``, durations, warnings, junitxml, pytest-cov and pytest-html: the same."""
    rich.given = []
    options = [
        "-v",
        "-rA",
        "--durations=1",
        "--cov=mod",
        "--cov-branch",
        "--cov-report=term-missing",
    ]
    plain = rich.run(*options, "--junitxml=plain.xml", "--html=plain.html")
    spread = rich.run(*options, "--junitxml=spread.xml", "--html=spread.html", "--gs-spawn", "2")
    assert spread.ret == plain.ret == pytest.ExitCode.TESTS_FAILED
    assert spread.parseoutcomes() == plain.parseoutcomes()
    assert lines(spread, r"::.* \[ *\d+%\]$") == lines(plain, r"::.* \[ *\d+%\]$")
    assert lines(spread, r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL) ") == lines(
        plain, r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL) "
    )
    assert any("[100%]" in line for line in spread.outlines)
    table = of(plain, "Stmts   Miss", "TOTAL")
    assert of(spread, "Stmts   Miss", "TOTAL") == table
    assert table[1].split() == ["mod.py", "8", "2", "4", "2", "67%", "5,", "9"]
    spread.stdout.fnmatch_lines(["2 workers, busy *% of * s (start *", "gw0 on *: * file*, *"])
    for line in ("*found 3 test files", "[[]gw?] *", "hello", "*UserWarning: hm", "*call *_slow"):
        spread.stdout.fnmatch_lines([line])
    assert cases(rich.path / "spread.xml") == cases(rich.path / "plain.xml")
    for kind in ("Failed", "Passed", "Skipped"):
        pattern = rf"(\d+) {kind}"
        pages = [(rich.path / f"{name}.html").read_text() for name in ("plain", "spread")]
        assert re.findall(pattern, pages[0]) == re.findall(pattern, pages[1]) != []


def test_what_is_remembered_chooses_as_in_a_plain_run(rich: Suite) -> None:
    """``--lf``, ``--ff``, ``--nf``, ``--sw`` and their words, from run to run."""
    rich.run("-q", "--tb=no", "--gs-spawn", "2")
    last = rich.run("--lf", "--tb=no", "--gs-spawn", "2")
    last.stdout.fnmatch_lines(
        ["found 3 test files / 2 selected", "run-last-failure: rerun previous 3 failures (sk*"]
    )
    assert last.parseoutcomes() == {"failed": 2, "passed": 1, "errors": 1, "deselected": 10}
    first = rich.run("--ff", "-v", "--tb=no", "--gs-spawn", "1")
    began = [line.partition(" ")[0] for line in lines(first, RAN)]
    assert began[0] in {"test_a.py::test_fails", "test_b.py::TestC::test_z"}
    assert began[-1].startswith("test_c.py")
    told = rich.run("--gs-replay", "gw0")
    told.stdout.fnmatch_lines(["pytest @.pytest_cache/d/gatherscatter/gw0.txt"])
    again = rich.run(told.outlines[0].removeprefix("pytest "))
    assert list(lines(again, RAN)) == list(lines(first, RAN))
    shown = rich.run("--cache-show", "cache/nodeids")
    assert all(f"test_c.py::test_{n}" in shown.stdout.str() for n in (1, 2))


def test_stepwise_goes_on_where_it_stopped(rich: Suite) -> None:
    """What passed is not run again, until all has passed once."""
    (rich.path / "test_a.py").unlink()
    options = ("--sw", "-v", "--tb=no", "--gs-spawn", "1", "test_b.py", "test_c.py")
    stopped = rich.run(*options)
    stopped.stdout.fnmatch_lines(
        ["stepwise: 0 tests have passed already*", "*TestC::test_z FAILED*"]
    )
    assert stopped.ret == pytest.ExitCode.INTERRUPTED
    rich.write(FILES["test_b.py"].replace("assert 0", "pass"), "test_b.py")
    rest = rich.run(*options)
    passed = stopped.parseoutcomes()["passed"]
    rest.stdout.fnmatch_lines([f"stepwise: {passed} tests have passed already*"])
    assert rest.parseoutcomes() == {"passed": 8 - passed, "deselected": passed}


def test_what_selects_and_what_is_found(rich: Suite) -> None:
    """``-k``, ``-m``, ids, ``--deselect``, ``--ignore``, ``--maxfail``; exit codes."""
    for options in (
        ["-k", "nothing_of_this"],
        ["-m", "slow", "--deselect", "test_b.py::TestC"],
        ["test_a.py::test_fails", "test_b.py::TestC::test_m", "--ignore", "test_c.py"],
        ["nowhere.py"],
    ):
        plain = rich.run("-q", "--tb=no", *options)
        spread = rich.run("-q", "--tb=no", "--gs-spawn", "2", *options)
        assert spread.ret == plain.ret
        assert spread.parseoutcomes() == plain.parseoutcomes()
    shown = rich.run("--gs-spawn", "2", "--co", "-q")
    assert shown.outlines[0] == "test_a.py::test_passes"
    shown.stdout.fnmatch_lines(["15 tests collected*"])
