"""What people see of a job: shares of the workers' time, what is left, the line at the bottom."""

import pytest

from pytest_gatherscatter.testfiles.tally import Forecast, Tally, View, line, shares, whole_line


def test_a_workers_time_is_divided_without_a_rest() -> None:
    """Its start until the first file, its files, its tests, what lies between, and the tail."""
    one = Tally("gw0", "pc", came=1.0)
    one.file(0.5, now=3.0)
    one.test(1.0, now=4.0)
    one.file(0.5, now=6.0)
    one.test(2.0, now=8.0)
    part = shares(one, end=10.0)
    assert (part.start, part.collect, part.busy, part.idle, part.tail) == (1.5, 1, 3, 1.5, 2)
    assert part.whole == pytest.approx(9.0)
    said = "busy 3.0 s of 9.0 s (start 1.5, collect 1.0, idle 1.5, tail 2.0)"
    assert line(one, 10.0) == f"gw0 on pc: 2 files, 2 tests, {said}"


def test_one_that_never_worked_only_started() -> None:
    """It may have died; nothing is divided by nothing where nobody came."""
    idle = Tally("gw1", "pc", came=2.0, died=True)
    assert shares(idle, 5.0).start == 3.0
    assert line(idle, 5.0).startswith("gw1 on pc, died: 0 files, 0 tests")
    busy = Tally("gw0", "pc", came=2.0)
    busy.test(3.0, now=5.0)
    assert line(busy, 5.0).startswith("gw0 on pc: 0 files, 1 test, busy")
    said = whole_line([busy, idle], 5.0)
    assert said == "2 workers, busy 50% of 5.0 s (start 50%, collect 0%, idle 0%, tail 0%)"
    assert whole_line([], 5.0) == "no worker came"
    busy.prepared = 61.0
    assert whole_line([busy, idle], 5.0) == f"{said}; files came in 1:01 min"
    assert line(busy, 5.0).endswith("(sync 61.0, start 0.0, collect 0.0, idle 0.0, tail 0.0)")


def test_what_is_left_follows_what_is_done() -> None:
    """From durations of earlier runs to nothing, whatever the tests really took."""
    forecast = Forecast(["a", "b", "c"], {"a": {"x": 2.0, "y": 4.0}, "b": {"z": 1.0}})
    before = forecast.left
    forecast.lose("c")
    assert before > forecast.left == pytest.approx(7.0)
    forecast.open("a", ["x", "new"])
    forecast.open("b", ["z"])
    assert forecast.left == pytest.approx(2.0 + 2.0 + 1.0)  # of what is new, what is usual
    for file, test in (("a", "x"), ("a", "new"), ("b", "z")):
        forecast.done(file, test, 9.0)
    assert forecast.left == pytest.approx(0.0)


def test_the_line_says_what_there_is_to_say() -> None:
    """And no more than fits."""
    assert View(0, 40, 0, 9.0).text(80) == "0/40, waiting for workers"
    assert View(10, 40, 1, 95.0).text(80) == "10/40, 1 worker, about 1:35 min left"
    late = View(39, 40, 2, 1.0, failed=2, longest="test_a.py::test_x", since=12.34)
    assert late.text(80) == "2 failed, 39/40, 2 workers, 12.3 s in test_a.py::test_x"
    assert late.text(20) == "2 failed, 39/40, 2 …"
