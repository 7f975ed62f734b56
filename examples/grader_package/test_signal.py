"""Signals that a grader of a package judges."""

from pytest_gatherscatter import GradeRunner


def test_a_good_one(gs_grade: GradeRunner) -> None:
    """One grade, which has to pass."""
    grade = gs_grade("signal", {"samples": [0.1, 3.3, 4.9]}, timeout=30).check()
    assert grade.score == 1


def test_many(gs_grade: GradeRunner) -> None:
    """Each as it comes; the third one is out of bounds."""
    payloads = [{"samples": [float(number)]} for number in range(4, 7)]
    passed = {grade.number: grade.passed for grade in gs_grade.many("signal", payloads)}
    assert passed == {0: True, 1: True, 2: False}
