"""In a lab of real processes: which phase tells what, and in which words."""

import signal
import time
import xml.etree.ElementTree as ET

import pytest
from suite import Lab, Suite

from pytest_gatherscatter.plugin.output import fitting
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import StepFinished

pytest_plugins = ["pytester"]


def properties(suite: Suite, test: str) -> dict[str, str]:
    """Return the properties of a test in ``junit.xml``."""
    root = ET.parse(suite.path / "junit.xml")  # noqa: S314 - pytest has just written it
    (case,) = root.findall(f".//testcase[@name='{test}']")
    found = [(one.attrib["name"], one.attrib["value"]) for one in case.iter("property")]
    assert len(found) == len(dict(found)), "each property stands there once"
    return dict(found)


def test_who_is_told_to_be_at_fault(lab_suite: Suite) -> None:
    """Lab trouble is an ERROR of setup, a finding a FAILURE of the call, both in one line."""
    lab_suite.write("""
@pytest.mark.critical_section(require="scope", min_monitors=2, max_skew="2s",
    check=lambda section: section.reports["scope"].artifacts[0].path.read_bytes())
def test_good(gs_section, gs_step):
    assert gs_section.coordinated
    assert set(gs_section.members) == {"scope", "thermal"}
    assert not [one for one in threading.enumerate() if one.name.startswith("gatherscatter")]
    with gs_step("warm up"):
        time.sleep(0.01)

def test_two_bursts(critical_section):
    for _ in range(2):
        with critical_section("burst", require={"scope"}) as section:
            pass
        assert section.reports["scope"].findings["peak_v"] < 5.5
        assert section.skew_ms < 1000

@pytest.mark.critical_section("bad")
def test_device(): pass

@pytest.mark.critical_section("bad")
def test_device_and_own(): assert 1 == 2

def test_device_in_block(critical_section):
    with critical_section("bad"):
        pass

@pytest.mark.critical_section("veto")
def test_veto(): pass

@pytest.mark.critical_section("broken")
def test_broken(): pass

@pytest.mark.critical_section(require="nobody")
def test_missing(): pass

@pytest.mark.critical_section(require="nobody", not_gathered="skip")
def test_missing_skip(): pass

@pytest.mark.critical_section(min_monitors=3)
def test_too_few(): pass

@pytest.mark.critical_section(max_skew=0)
def test_skewed(): pass
""")
    result = lab_suite.run("--junitxml=junit.xml", "-rs")
    result.assert_outcomes(passed=2, failed=4, errors=4, skipped=1)
    finding = "DUT: scope: peak_v = 7 V (*5.5 V)"
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_veto*",
            "LAB: thermal vetoes: door open",
            "*ERROR at setup of test_broken*",
            "LAB: thermal is broken: RuntimeError: no instrument*",
            "*ERROR at setup of test_missing*",
            "LAB: *nobody*",
            "*ERROR at setup of test_too_few*",
            "LAB: measured by nobody: 2 of min_monitors=3*",
            "*_ test_device _*",
            finding,
            "*_ test_device_and_own _*",
            "*assert 1 == 2",
            "*Captured gatherscatter call*",
            finding,
            "*_ test_device_in_block _*",
            finding,
            "*_ test_skewed _*",
            "LAB: skew * passes 0 ms",
            "7 coordinated, 0 alone, 6 LAB, 3 DUT, 0 overdue",
        ]
    )
    facts = properties(lab_suite, "test_good")
    assert facts["gs.test_good.coordinated"] == "true"
    assert facts["gs.test_good.members"] == "scope,thermal"
    assert facts["gs.test_good.scope.peak_v"] == "5.1"
    assert "gs.test_good.skew_ms" in facts
    assert "gs.step.1.warm up" in facts
    twice = properties(lab_suite, "test_two_bursts")
    assert {"gs.burst.token", "gs.burst#2.token"} <= set(twice)
    verdicts = {
        "test_device": ("bad", "finding"),
        "test_device_and_own": ("bad", "device"),
        "test_veto": ("veto", "not-gathered"),
        "test_missing_skip": ("test_missing_skip", "not-gathered"),
        "test_skewed": ("test_skewed", "skew"),
        "test_good": ("test_good", "passed"),
    }
    for test, (section, verdict) in verdicts.items():
        assert properties(lab_suite, test)[f"gs.{section}.verdict"] == verdict
        how = "skipped, " if "skip" in test else "not entered, " if "not-" in verdict else ""
        if verdict != "passed":
            result.stdout.fnmatch_lines(
                [f"*::{test} [[]{section}] {how or 'coordinated, '}{verdict}*"]
            )


def test_a_section_may_span_the_fixtures(lab_suite: Suite) -> None:
    """With ``span="test"`` set-up and teardown run inside; a finding then errs in teardown."""
    lab_suite.write("""
@pytest.fixture
def early(gs_section):
    assert gs_section.coordinated
    yield
    assert gs_section.state.value == "running"

@pytest.mark.critical_section(span="test")
def test_inside(early): pass

@pytest.mark.critical_section("bad", span="test")
def test_found(early): pass

@pytest.mark.critical_section(span="test")
@pytest.mark.skip(reason="not today")
def test_skipped(early): pass

@pytest.mark.critical_section(span="test")
def test_fixture_fails(early, missing): pass
""")
    result = lab_suite.run()
    result.assert_outcomes(passed=2, errors=2, skipped=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_found*", "DUT: scope: peak_v*", "3 coordinated, 0 alone*"]
    )


def test_what_was_not_measured_errs_in_teardown(lab_suite: Suite, running_lab: Lab) -> None:
    """A required monitor that dies inside the section leaves a passed test with an ERROR."""
    lab_suite.write("""
@pytest.mark.critical_section("dies", require="scope")
def test_dies(): pass
""")
    result = lab_suite.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_dies*", "LAB: unmeasured: scope (*", "1 coordinated*, 1 LAB*"]
    )
    assert running_lab.processes["scope"].wait(10) == 1


def test_a_reset_in_the_section_is_told_at_once(
    lab_suite: Suite, running_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person opened the bench: an ERROR for a test with demands, a line for one without."""
    lab_suite.write("""
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import ResetDone, ResetLab

def reset():
    with Asker(Settings(lab=os.environ["LAB"]), os.environ["URL"]) as asker:
        asker.ask(ResetLab(bench="default", who="eve"), ResetDone)

@pytest.mark.critical_section(require="scope")
def test_demanding(): reset()

@pytest.mark.critical_section
def test_plain(): reset()
""")
    monkeypatch.setenv("LAB", running_lab.name)
    monkeypatch.setenv("URL", running_lab.url)
    result = lab_suite.run()
    result.assert_outcomes(passed=2, errors=1)
    line = "LAB: the lab gave it up: reset by eve"
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_demanding*",
            line,
            "2 coordinated, 0 alone, 2 LAB*",
            "*test_plain*",
            f"  {line}",
        ]
    )
    result.stdout.no_fnmatch_line("*unreported: *")  # the same once more
    assert result.duration < 30  # the report timeout alone


def test_waiting_is_visible(lab_suite: Suite) -> None:
    """From two seconds on lines say for whom, past capturing; in workers of xdist as well."""
    lab_suite.write("""
def test_dot(): pass

@pytest.mark.critical_section("hold")
def test_held():
    print("not shown")
""")
    result = lab_suite.run("-q")  # the line does not stick to the dot
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_it.py::test_held: thermal holds * s: settling"])
    result.stdout.no_fnmatch_line("*not shown*")
    spread = lab_suite.run("-n", "1")
    spread.assert_outcomes(passed=2)
    spread.stderr.fnmatch_lines(["[[]gw0[]] test_it.py::test_held: thermal holds * s: settling"])


MARKED = """
@pytest.mark.critical_section(require="nobody")
def test_long(): pass
"""
ASYNC = """
@pytest.mark.asyncio
async def test_long(critical_section):
    async with critical_section(require="nobody"):
        pass
"""


@pytest.mark.parametrize("text", [MARKED, ASYNC], ids=["marked", "async"])
def test_ctrl_c_names_the_wait(lab_suite: Suite, running_lab: Lab, text: str) -> None:
    """What pytest shows of an interrupt is for whom the test waited, not the inside of a loop."""
    lab_suite.write('gather_timeout = "60s"\n', "gatherscatter.toml")
    lab_suite.write(text)
    run, output, end = lab_suite.start(), lab_suite.path / "output", time.monotonic() + 30
    while "waiting for nobody" not in output.read_text():
        if time.monotonic() > end:
            run.send_signal(signal.SIGABRT)  # faulthandler then tells where it stands
            run.wait(20)
            pytest.fail(f"{output.read_text()}\n{running_lab.status()}")
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == pytest.ExitCode.INTERRUPTED
    said = output.read_text()
    assert "KeyboardInterrupt: while waiting for nobody (not in the lab) (" in said
    assert "select_connection" not in said
    assert "runners.py" not in said


WAITS = "waiting for scope (3 s of 60 s)"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, f"test_it.py::test_held[long]: {WAITS}"),
        (59, f"…st_it.py::test_held[long]: {WAITS}"),
        (46, f"…t_held[long]: {WAITS}"),
        (40, WAITS),
        (20, "waiting for scope (…"),
    ],
)
def test_a_line_that_is_rewritten_fits(width: int, line: str) -> None:
    """A line that wraps piles up: the test's name gives way, then the rest is cut."""
    shown = fitting("test_it.py::test_held[long]", WAITS, width)
    assert (shown, len(shown) <= width) == (line, True)


def test_the_options_requirement_is_for_every_section(lab_suite: Suite) -> None:
    """``--gs-require`` is added to what the markers require."""
    lab_suite.write("""
@pytest.mark.critical_section(require="scope")
def test_one(): pass
""")
    lab_suite.run("--gs-require", "thermal").assert_outcomes(passed=1)
    result = lab_suite.run("--gs-require", "thermal,nobody")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["LAB: *nobody*"])


def test_the_lab_hears_of_steps_after_the_quiet(lab_suite: Suite, running_lab: Lab) -> None:
    """Steps are kept while the section is quiet, and are events of the lab afterwards."""
    lab_suite.write("""
@pytest.mark.critical_section("burst")
def test_steps(gs_step):
    with gs_step("warm up"), gs_step("inner"):
        pass
    with pytest.raises(ValueError), gs_step("break"):
        raise ValueError
""")
    settings = Settings(lab=running_lab.name)
    with Asker(settings, running_lab.url, events=["step.finished.*"]) as watching:
        lab_suite.run().assert_outcomes(passed=1)
        heard = [one for one in watching.listen(5) if isinstance(one, StepFinished)]
        heard += [one for one in watching.listen(1) if isinstance(one, StepFinished)]
    assert [(one.number, one.step, one.outcome) for one in heard] == [
        (2, "inner", "passed"),
        (1, "warm up", "passed"),
        (3, "break", "failed"),
    ]
    assert {one.test for one in heard} == {"test_it.py::test_steps"}
