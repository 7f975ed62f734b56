"""A gatherer that dies between the commit and t0, and is back before it: the same Go, once."""

import json
import os
import sys
from pathlib import Path

from faults.stage import Stage
from faults.step import STEPS, kill

WARM = """
from pathlib import Path
from pytest_gatherscatter.cli import gatherer, main
from pytest_gatherscatter.sections.service import gatherer as service
Path("warm").read_text()  # a pipe: everything is imported, and nothing begun, until somebody writes
main.run()
"""

TRIES = 3
"""The lead is half a second at the most; on a machine that is shared a restart may take longer.
Each try has to show the same, and one of them the Go."""


def test_the_same_go_is_said_by_the_gatherer_that_comes_back(
    embedded_url: str, lab: str, tmp_path: Path
) -> None:
    """Nobody had heard it when its gatherer died; all start at the t0 that is in the journal."""
    told = []
    for number in range(TRIES):
        place = tmp_path / str(number)
        place.mkdir()
        stage = Stage(embedded_url, f"{lab}{number}", place)
        try:
            told.append(play(stage))
        finally:
            stage.end()
        if "missed the Go" not in told[-1]:
            return
    raise AssertionError(told)


def play(stage: Stage) -> str:
    """Play it once; returns what the workload said."""
    os.mkfifo(stage.place / "warm")
    STEPS["going"].arrange(stage)
    stage.up()
    STEPS["going"].ready(stage)
    second = stage.start(
        "gatherer",
        "gatherer",
        *("--state-dir", str(stage.place / "state")),
        how=(sys.executable, "-c", WARM),
    )
    stage.start_workload()
    proxy = stage.proxies["gatherer"]
    assert proxy.reached.wait(30)
    kill(stage.gatherer)
    proxy.discard()
    (stage.place / "warm").write_text("go")
    stage.gatherer = second
    status, text = stage.visitor.ends(), stage.visitor.text
    events = [
        json.loads(line)["event"]
        for line in (stage.place / "state" / f"gatherer-{stage.lab}.journal")
        .read_text()
        .splitlines()
    ]
    burst = [event for event in events if event.get("section") not in {"5" * 16, None}]
    assert [event["what"] for event in burst].count("committed") == 1
    if "missed the Go" not in text:
        assert status == 0, text
        assert stage.count("body", "in") == 1
        assert stage.count("scope", "started") == 1
        (late,) = (float(line[3]) for line in stage.story if line[:2] == ["scope", "started"])
        assert 0 <= late < 0.25
    return text
