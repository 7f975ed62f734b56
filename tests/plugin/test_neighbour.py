"""Side by side with the plugins that people have installed already."""

import xml.etree.ElementTree as ET

import pytest
from suite import Suite

pytest_plugins = ["pytester"]


def test_xdist(lab_suite: Suite) -> None:
    """Two workers take turns on the bench; the controller's summary counts all of them."""
    lab_suite.write("""
@pytest.mark.critical_section(require="scope")
@pytest.mark.parametrize("number", range(6))
def test_one(number, gs_section):
    assert gs_section.coordinated

@pytest.mark.critical_section("bad")
def test_bad(): pass
""")
    result = lab_suite.run("-n", "2")
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["7 coordinated, 0 alone, 0 LAB, 1 DUT, 0 overdue"])


def test_asyncio(lab_suite: Suite) -> None:
    """The loop goes on while a section gathers and closes; in the quiet no thread is ours."""
    lab_suite.write("""
import asyncio

def ours():
    return [one.name for one in threading.enumerate() if one.name.startswith("gatherscatter")]

async def tick(ticks):
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.01)

@pytest.mark.asyncio
async def test_async(critical_section):
    ticks = []
    ticker = asyncio.create_task(tick(ticks))
    async with critical_section("hold") as section:
        assert ours() == []
        before = len(ticks)
        await asyncio.sleep(0.1)
    assert section.waited > 2
    assert before > 50
    assert section.reports["scope"].findings["peak_v"] < 5.5
    assert not section.census.exit.ours()
    ticker.cancel()

@pytest.mark.asyncio
async def test_with_would_stop_the_loop(critical_section):
    with pytest.raises(Exception, match="async with"):
        with critical_section():
            pass

@pytest.mark.asyncio
async def test_cancelled(critical_section):
    async def enter():
        async with critical_section(require="nobody"):
            raise AssertionError("not reached")
    task = asyncio.create_task(enter())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ours() == []
    async with critical_section() as section:
        assert section.coordinated

@pytest.mark.asyncio
async def test_device(critical_section):
    async with critical_section("bad"):
        pass

@pytest.mark.asyncio
@pytest.mark.critical_section
async def test_marked(gs_section):
    await asyncio.sleep(0)
    assert gs_section.coordinated
""")
    result = lab_suite.run()
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*_ test_device _*", "DUT: scope: peak_v*"])


RERUN = """
@pytest.mark.critical_section("burst")
def test_third_time(gs_section):
    with open("tries", "a") as tries:
        tries.write(".")
    assert os.path.getsize("tries") > 2

@pytest.mark.critical_section("bad")
def test_never(): pass
"""


@pytest.mark.parametrize("xdist", [["-p", "no:xdist"], ["-n", "1"]], ids=["alone", "xdist"])
def test_rerunfailures(lab_suite: Suite, xdist: list[str]) -> None:
    """Each attempt is a section of its own, and only the last one's properties are kept."""
    lab_suite.write(RERUN)
    result = lab_suite.run("--reruns", "2", "--junitxml=junit.xml", *xdist)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"], outcomes["rerun"]) == (1, 1, 4)
    result.stdout.fnmatch_lines(["6 coordinated, 0 alone, 0 LAB, 3 DUT, 0 overdue"])
    root = ET.parse(lab_suite.path / "junit.xml")  # noqa: S314 - pytest has just written it
    case = root.findall(".//testcase[@name='test_third_time']")[-1]
    names = [one.attrib["name"] for one in case.iter("property")]
    assert names.count("gs.burst.token") == 1
    assert not [name for name in names if "#" in name]


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_timeout(lab_suite: Suite, method: str) -> None:
    """Gathering takes longer than the test may; the timer is armed again for the body."""
    lab_suite.write("""
@pytest.mark.critical_section("hold")
def test_waits_longer_than_it_may(): pass

@pytest.mark.timeout(2, func_only=True)
@pytest.mark.critical_section("hold")
def test_function_only(): pass
""")
    result = lab_suite.run("--timeout", "2", "--timeout-method", method)
    result.assert_outcomes(passed=2)
    lab_suite.write("""
@pytest.mark.critical_section
def test_body_too_long():
    time.sleep(30)
""")
    result = lab_suite.run("--timeout", "2", "--timeout-method", method)
    if method == "signal":
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*Timeout (>2*", "1 coordinated*"])
    else:  # it ends the process
        result.stdout.fnmatch_lines(["*Timeout*", "*Stack of MainThread*"])
        assert result.ret != 0


def test_faulthandler(lab_suite: Suite) -> None:
    """The dump of tracebacks does not count the waiting either, and is armed again."""
    lab_suite.write("""
@pytest.mark.critical_section("hold")
def test_waits(): pass
""")
    ini = ["-o", "faulthandler_timeout=2"]
    result = lab_suite.run(*ini)
    result.assert_outcomes(passed=1)
    result.stderr.no_fnmatch_line("*Timeout (*")
    lab_suite.write("""
@pytest.mark.critical_section
def test_body_too_long():
    time.sleep(3)
""")
    result = lab_suite.run(*ini)
    result.assert_outcomes(passed=1)
    result.stderr.fnmatch_lines(["*Timeout (0:00:02)!*"])


def test_unittest(lab_suite: Suite) -> None:
    """A failing TestCase raises nothing through hooks; its outcome is read from the item."""
    lab_suite.write("""
import unittest

@pytest.mark.critical_section("bad")
class TestDevice(unittest.TestCase):
    def test_found(self): pass
    def test_own(self): self.fail("mine")
""")
    lab_suite.write(
        """
def pytest_gatherscatter_section_closed(item, section):
    assert section.coordinated
""",
        "conftest.py",
    )
    result = lab_suite.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*_ TestDevice.test_found _*",
            "DUT: scope: peak_v*",
            "*_ TestDevice.test_own _*",
            "*AssertionError: mine",
            "*Captured gatherscatter call*",
            "DUT: scope: peak_v*",
        ]
    )


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="subtests are part of pytest from 9 on")
def test_subtests(lab_suite: Suite) -> None:
    """A failed subtest fails its section too, which the gatherer hears as ``failed``."""
    lab_suite.write("""
@pytest.mark.critical_section
def test_parts(subtests):
    with subtests.test("one"):
        assert 0
    with subtests.test("two"):
        pass
""")
    result = lab_suite.run("--junitxml=junit.xml")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["1 coordinated, 0 alone, 0 LAB, 0 DUT, 0 overdue"])
    assert "gs.test_parts.token" in (lab_suite.path / "junit.xml").read_text()
