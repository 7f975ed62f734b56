"""Clocks that disagree by an hour on one boot: measured, told right, and never a start too early.

A time namespace shifts the monotonic clock and keeps the boot id, so that nothing but a
measurement can tell. The world's clock is not shifted: by it the test knows who started when.
"""

import json
import re
from pathlib import Path

import pytest
from faults.namespace import HOUR_AHEAD, inside
from faults.stage import Stage

WORST = 0.25
"""Seconds between two starts on a machine that is shared: an hour is far beyond."""


@pytest.mark.parametrize("shifted", ["gatherer", "scope", "burst"])
def test_an_hour_ahead(shifted: str, embedded_url: str, lab: str, tmp_path: Path) -> None:
    """Whoever lives an hour ahead: the skew is right, its bound small, all start at one t0."""
    how = inside(HOUR_AHEAD)
    stage = Stage(embedded_url, lab, tmp_path)
    hows = {shifted: (how,)}
    try:
        stage.start_gatherer(*hows.get("gatherer", ()))
        stage.start_scope(*hows.get("scope", ())).says("joined: a gatherer is here")
        stage.gathering.says("scope joined")
        stage.start_workload(*hows.get("burst", ()))
        assert stage.visitor.ends() == 0, stage.visitor.text
        skew, bound = figures(stage)
        assert skew + bound < WORST * 1000
        started = stage.world("scope", "started")
        body = stage.world("body", "in")
        assert abs(started - body) < WORST
        (late,) = (float(line[3]) for line in stage.story if line[:2] == ["scope", "started"])
        assert 0 <= late < WORST
        # The skew is what the world's clock saw, but for what a shell needs to write its line.
        assert abs(abs(started - body) * 1000 - skew) < bound + WORST * 1000
    finally:
        stage.end()


def test_a_gatherer_that_comes_back_on_another_clock(
    embedded_url: str, lab: str, tmp_path: Path
) -> None:
    """It died in the section and is an hour ahead now: figures are right, or are none."""
    how = inside(HOUR_AHEAD)
    stage = Stage(embedded_url, lab, tmp_path)
    stage.gate("body")
    try:
        stage.up()
        stage.start_workload()
        stage.tells("body", "in")
        stage.gathering.process.kill()
        stage.gathering.ends()
        stage.start_gatherer(how).says("gatherer of lab")
        stage.gathering.says("scope joined")
        told = json.loads(stage.shell.run("status", "--json").stdout)
        assert [section["state"] for section in told["sections"]] == ["live"]
        stage.gate("body", closed=False)
        assert stage.visitor.ends() == 0, stage.visitor.text
        found = re.search(r"skew ([\d.]+) ms ± ([\d.]+) ms", stage.visitor.text)
        if found is not None:
            assert float(found[1]) <= float(found[2]) + WORST * 1000
        starts = re.findall(r"scope started ([+-][\d.]+) ms", stage.visitor.text)
        assert all(abs(float(start)) < WORST * 1000 for start in starts)
    finally:
        stage.end()


def figures(stage: Stage) -> tuple[float, float]:
    """Return skew and bound that the workload was told, in milliseconds."""
    found = re.search(r"skew ([\d.]+) ms ± ([\d.]+) ms", stage.visitor.text)
    assert found is not None, stage.visitor.text
    return float(found[1]), float(found[2])
