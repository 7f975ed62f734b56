"""Many marked tests in many workers, while their gatherer is killed again and again."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from faults.overlap import Body, bodies, contradictions, overlaps, verdicts
from faults.stage import Stage, until
from userrun import HEAVY, without

SUITE = """
import os
import time
from pathlib import Path

import pytest

INTERVALS = Path(__file__).parent / "intervals"


@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.critical_section
def test_burst(number, request):
    began = time.monotonic()
    time.sleep(0.005)
    line = f"{{request.node.name}} default {{began:.6f}} {{time.monotonic():.6f}}"
    line = f"{{line}} {{os.getpid()}}\\n".encode()
    descriptor = os.open(INTERVALS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line)  # one write: lines of several processes do not mix
    os.close(descriptor)
"""

KNOWN = (
    "missed the Go",
    "the gatherer went away and did not come back",
    "no go came in",
)
"""What a test may be told whose gatherer died at the wrong moment. All of it is true."""

EVERY = 1.0
"""Seconds between two kills of the gatherer."""

WORKERS, TESTS = 4, 200

LONGEST = 400.0
"""Seconds until so many tests hang: over ten times what they take on an idle machine."""


@pytest.mark.timeout(500)
def test_no_two_bodies_overlap(embedded_url: str, lab: str, tmp_path: Path) -> None:
    """Every test ends with a verdict that is true, none hangs, and the bench has one at a time."""
    stage = Stage(embedded_url, lab, tmp_path)
    (tmp_path / "gatherscatter.toml").write_text(
        (tmp_path / "gatherscatter.toml").read_text().replace('"4s"', '"60s"')
    )
    (tmp_path / "test_burst.py").write_text(SUITE.format(tests=TESTS))
    try:
        stage.up()
        words = ["-n", str(WORKERS), "-p", "no:cacheprovider", "--junitxml", "report.xml"]
        words += without(HEAVY)
        run = stage.start(
            "run", *words, "--gs-require", "scope", how=(sys.executable, "-m", "pytest")
        )
        # Who never met a gatherer may take it that there is none: each worker meets it first.
        until(lambda: len(processes(tmp_path / "intervals")) == WORKERS, run.text)
        began = time.monotonic()
        end = began + LONGEST
        kills = 0
        while run.process.poll() is None:
            assert time.monotonic() < end, f"it hangs, after {kills} kills: {run.text}"
            time.sleep(EVERY)
            os.killpg(stage.gathering.process.pid, signal.SIGKILL)
            stage.gathering.ends()
            stage.start_gatherer().says("gatherer of lab")
            kills += 1
        text = run.text
        told = verdicts(tmp_path / "report.xml")
        found = bodies(tmp_path / "intervals")
        sys.stderr.write(
            f"\n{kills} kills in {time.monotonic() - began:.0f} s, {len(found)} bodies,"
            f" {sum(not lines for lines in told.values())} of {len(told)} tests passed\n"
        )
        assert kills >= 3
        assert len(told) == TESTS, text
        assert overlaps(found) == []
        assert contradictions(found, told) == []
        strange = [
            line
            for lines in told.values()
            for line in lines
            if not any(known in line for known in KNOWN)
        ]
        assert strange == []
        assert len(found) >= TESTS * 0.8, text
        assert "Traceback" not in text
    finally:
        stage.end()


def processes(file: Path) -> set[str]:
    """Name the processes whose bodies wrote their intervals."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {line.split()[-1] for line in lines}


def test_the_checker_sees_an_overlap() -> None:
    """Also one within a longer one, and none between benches or one after the other."""
    long, short = Body("a", "x", 0.0, 10.0), Body("b", "x", 2.0, 3.0)
    late, other = Body("c", "x", 9.0, 11.0), Body("d", "y", 0.0, 20.0)
    after = Body("e", "x", 11.0, 12.0)
    assert overlaps([other, after, late, short, long]) == [(long, short), (long, late)]
    assert overlaps([late, after, other]) == []


def test_the_checker_sees_a_lie() -> None:
    """A test that passed and did not run, one that ran and was told not to, one that ran twice."""
    ran = [Body(name, "x", time, time + 1) for time, name in enumerate("abbcd")]
    told = {
        "a": [],
        "b": [],
        "c": ["failure LAB: all were ready, and no go came in 5 s"],
        "d": ['error failed on teardown with "LAB: unmeasured: scope"'],
        "e": [],
        "f": ['error failed on setup with "LAB: not gathered"'],
    }
    wrong = contradictions(ran, told)
    assert [line.partition(" ")[0] for line in wrong] == ["b", "c", "e"]
