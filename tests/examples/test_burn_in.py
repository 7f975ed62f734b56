"""The burn-in of the examples runs over two processors, and its failing variant cuts the power."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import userrun

EXAMPLES = Path(__file__).parents[2] / "examples"

MISUSES = """
import contextlib
import threading


def test_unknown_command(gs_run_slip):
    gs_run_slip([{"process": "board", "command": "selftst"}])


def test_in_a_section(gs_run_slip, critical_section):
    with critical_section():
        gs_run_slip("burn-in.toml")


def test_leaves_one_to_a_thread(gs_run_slip):
    def wait():
        with contextlib.suppress(BaseException):
            gs_run_slip({"step": [{"process": "nobody", "command": "x"}], "route_wait": "1h"})

    threading.Thread(target=wait).start()


def test_fails(gs_run_slip):
    gs_run_slip("burn-in.toml", {"image": "firmware-1.5.txt"})
"""


def test_burn_in_over_two_processors(tmp_path: Path) -> None:
    """The README's command passes; what is wrong fails a test in words, and all is in junitxml."""
    ignored = shutil.ignore_patterns("gs-artifacts", "__pycache__", ".pytest_cache")
    shutil.copytree(EXAMPLES, tmp_path / "clone" / "examples", ignore=ignored)
    folder = tmp_path / "clone" / "examples" / "burn_in"
    (folder / "test_misuse.py").write_text(MISUSES)
    report = tmp_path / "report.xml"
    done = userrun.run(
        tmp_path / "clone",
        "examples/burn_in",
        "--gs-local",
        f"--junitxml={report}",
        home=tmp_path,
    )
    said = done.stdout
    assert "3 failed, 3 passed" in said, said
    assert "slip burn-in failed: step 3, board selftest: failed, exit status 3 after" in said
    assert "  0.91 A is above 0.5 A" in said
    assert "  undoing step 1, power off: done after" in said
    assert "LAB: step 1: " in said
    assert "selftest" in said.partition("LAB: step 1: ")[2].splitlines()[0]
    assert "is quiet, and a slip needs the lab" in said
    facts = {one.get("name"): one.get("value") for one in ET.parse(report).iter("property")}  # noqa: S314 - our own file
    assert facts["gs.slip.burn-in.1.undone.status"] == "done"
    assert facts["gs.slip.burn-in.3.exit_status"] == "3"
    assert {"gs.step.1.burn in", "gs.slip.burn-in.2.host"} <= facts.keys()
    assert list((tmp_path / "state" / "gatherscatter" / "processor").iterdir()) == []
