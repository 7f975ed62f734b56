"""Without a gatherer: what demands nothing runs, what demands something says who is missing."""

import json
import re
import time
from itertools import pairwise

from suite import Suite

pytest_plugins = ["pytester"]


def test_sections_without_demands_run_alone(suite: Suite) -> None:
    """The summary says it in one line with the reason, and the report is not coordinated."""
    suite.write("""
@pytest.mark.critical_section
def test_marked(gs_section):
    assert not gs_section.coordinated
    assert not gs_section.reports if gs_section.state.value == "closed" else True

def test_factory(critical_section):
    with critical_section("burst") as section:
        pass
    assert not section.coordinated
    assert not section.reports
""")
    result = suite.run_here("--junitxml=junit.xml")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*= critical sections =*",
            "0 coordinated, 2 alone, 0 LAB, 0 DUT, 0 overdue (alone: no broker is configured*)",
        ]
    )
    junit = (suite.path / "junit.xml").read_text()
    assert '<property name="gs.test_marked.coordinated" value="false" />' in junit
    assert '<property name="gs.burst.coordinated" value="false" />' in junit


def test_demands_fail_and_policies_decide(suite: Suite) -> None:
    """Nobody could measure it: an ERROR without traceback, or a skip, or a run, as told."""
    suite.write("""
@pytest.mark.critical_section(require="scope")
def test_error(): pass

@pytest.mark.critical_section(min_monitors=1, no_gatherer="skip")
def test_skip(): pass

@pytest.mark.critical_section(max_skew="5ms", no_gatherer="run")
def test_run(): pass

@pytest.mark.critical_section(no_gatherer="fail")
def test_fail(): pass

@pytest.mark.xfail(reason="the device is known to be broken")
@pytest.mark.critical_section(require="scope")
def test_lab_trouble_is_no_expected_failure(): pass

def test_factory(critical_section):
    with critical_section(require={"scope"}):
        raise AssertionError("not reached")

def test_factory_skip(critical_section):
    with critical_section(require={"scope"}, no_gatherer="skip"):
        raise AssertionError("not reached")
""")
    result = suite.run_here("-rsfE", "--junitxml=junit.xml")
    result.assert_outcomes(errors=3, skipped=2, passed=1, failed=1)
    line = "LAB: no broker is configured, and no local one runs"
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_error*",
            f"{line}: nobody could measure it; see gatherscatter doctor",
            "0 coordinated, 1 alone, 6 LAB, 0 DUT, 0 overdue*",
            f"SKIPPED * test_it.py:*: {line}: nobody could measure it; see gatherscatter doctor",
            "FAILED test_it.py::test_factory - LAB: *",
            "ERROR test_it.py::test_error - LAB: *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin/*.py:*")
    assert (
        'message="failed on setup with &quot;LAB: no broker'
        in (suite.path / "junit.xml").read_text()
    )
    everything = suite.run_here("--gs-no-gatherer=skip")
    everything.assert_outcomes(skipped=5, passed=1, errors=1)  # the marker that says fail


def test_absence_is_paid_for_once(suite: Suite) -> None:
    """400 marked tests at a broker's address where nobody answers do not wait 400 times."""
    suite.write("""
@pytest.mark.critical_section
@pytest.mark.parametrize("number", range(400))
def test_one(number): pass
""")
    suite.pytester.makeini("[pytest]\ngs_handshake_timeout = 1s\n")
    start = time.monotonic()
    result = suite.run_here("-q", "--gs-broker", "amqp://127.0.0.1:1")
    result.assert_outcomes(passed=400)
    result.stdout.fnmatch_lines(["0 coordinated, 400 alone,*127.0.0.1:1*"])
    assert time.monotonic() - start < 30


def test_two_workers_do_not_overlap_on_one_bench(suite: Suite) -> None:
    """Without a gatherer the bench's lock file keeps ``pytest -n 2`` from overlapping itself."""
    suite.write("""
@pytest.mark.critical_section
@pytest.mark.parametrize("number", range(6))
def test_one(number):
    start = time.monotonic()
    time.sleep(0.15)
    with open("spans", "a") as spans:
        spans.write(f"[{start}, {time.monotonic()}, {os.getpid()}]\\n")
""")
    suite.run("-n", "2").assert_outcomes(passed=6)
    spans = sorted(json.loads(line) for line in (suite.path / "spans").read_text().splitlines())
    assert len({pid for _, _, pid in spans}) == 2
    assert all(one[1] <= two[0] for one, two in pairwise(spans))


def test_past_max_duration_it_is_overdue(suite: Suite) -> None:
    """The test fails with the device's prefix: it did not return in time."""
    suite.write("""
@pytest.mark.critical_section(max_duration=0.1)
def test_late(): time.sleep(0.2)
""")
    result = suite.run_here()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 alone, 0 LAB, 1 DUT, 1 overdue*"])
    line = r"DUT: section 'test_late' took ([\d.]+) s, 0\.1 s were allowed"
    (took,) = (float(found[1]) for one in result.outlines if (found := re.fullmatch(line, one)))
    assert 0.2 <= took < 30


def test_a_check_and_the_hook_see_the_closed_section(suite: Suite) -> None:
    """``check`` may fail the test by an assertion; the hook gets the item and the section."""
    suite.write(
        """
def pytest_gatherscatter_section_closed(item, section):
    print("closed", item.name, section.name, section.state.value)
""",
        "conftest.py",
    )
    suite.write("""
def look(section):
    assert section.coordinated, "nobody looked"

@pytest.mark.critical_section("burst", check=look)
def test_checked(): pass

@pytest.mark.critical_section(check=look)
def test_own_failure_first(): raise ValueError("mine")
""")
    result = suite.run_here("-s")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*closed test_checked burst closed*",
            "*AssertionError: nobody looked",
            "*ValueError: mine",
        ]
    )
