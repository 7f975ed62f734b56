"""Graders of a package judge in tests of their own, and what goes wrong is told in words."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import userrun

EXAMPLES = Path(__file__).parents[2] / "examples"

MISUSES = """
import pytest


def test_does_not_pass(gs_grade):
    gs_grade("signal", {"samples": [1.0, 9.5]}).check()


def test_the_grader_breaks(gs_grade):
    gs_grade("signal", {"sample": 1})


def test_no_queue(gs_grade):
    gs_grade("nowhere", 1)


def test_too_slow(gs_grade):
    gs_grade("slow", 1, timeout=60)


def test_no_json(gs_grade):
    gs_grade("signal", {1, 2})


def test_none_at_a_time(gs_grade):
    list(gs_grade.many("signal", [{"samples": [1.0]}], parallel=0))


def test_in_a_section(gs_grade, critical_section):
    with critical_section():
        gs_grade("signal", {"samples": [1.0]})


def test_files(gs_grade):
    assert gs_grade("size", files={"a.bin": b"four", "here": __file__}).score == 2


def test_many_are_quiet_too(gs_grade, critical_section):
    grades = gs_grade.many("signal", ({"samples": [1.0]} for _ in range(5)), parallel=1)
    assert next(grades).passed
    with critical_section():
        next(grades)
"""

MORE = """
[[grader]]
name = "slow"
kind = "sleep"
timeout = "0.3s"
options = { min = "10s" }

[[grader]]
name = "size"
kind = "subprocess"
options = { command = ["sh", "-c", 'echo "{\\"passed\\": true, \\"score\\": $(ls | wc -l)}"'] }
"""


def test_graders_of_a_package(tmp_path: Path) -> None:
    """The README's command passes; each misuse fails its test, and all is in junitxml."""
    ignored = shutil.ignore_patterns("gs-artifacts", "__pycache__", ".pytest_cache")
    folder = tmp_path / "grader_package"
    shutil.copytree(EXAMPLES / "grader_package", folder, ignore=ignored)
    (folder / "test_misuse.py").write_text(MISUSES)
    with (folder / "gatherscatter.toml").open("a") as settings:
        settings.write(MORE)
    installed = folder / "labgraders-1.0.dist-info"  # as pip would leave it
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: labgraders\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[gatherscatter]\nlabgraders = labgraders.kinds\n")
    report = tmp_path / "report.xml"
    done = userrun.run(
        folder,
        "--gs-local",
        f"--junitxml={report}",
        home=tmp_path,
        environ={"PYTHONPATH": str(folder)},
    )
    said = done.stdout
    assert "8 failed, 3 passed" in said, said
    for line in (
        "DUT: signal does not pass, score 0.5: 1 of 2 samples out of 0 to 5.5",
        "  out: [9.5]",
        "LAB: the grader of queue signal broke (",
        "KeyError: 'samples'",
        "LAB: refused by queue nowhere: there is no queue nowhere",
        "LAB: the grader of queue slow timed out (",
        "LAB: the payload is no plain JSON",
        "LAB: gs_grade.many(): parallel: 0 must be 1 or more",
        "is quiet, and a grade needs the lab",
    ):
        assert line in said, (line, said)
    assert said.count("is quiet, and a grade needs the lab") >= 2
    facts = {one.get("name"): one.get("value") for one in ET.parse(report).iter("property")}  # noqa: S314 - our own file
    assert facts["gs.grade.signal.outcome"] in {"graded", "failed"}
    assert "gs.grade.signal.score" in facts
