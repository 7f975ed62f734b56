"""The example runs as the README opens with it, and tells what happened."""

import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import userrun

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's folder with the examples in it, so that captures do not land in this one."""
    ignored = shutil.ignore_patterns("gs-artifacts", "__pycache__", ".pytest_cache")
    shutil.copytree(EXAMPLES, tmp_path / "clone" / "examples", ignore=ignored)
    return tmp_path / "clone"


def test_first_minute(clone: Path, tmp_path: Path) -> None:
    """The command of the README shows who held and why, skew, findings and artifacts."""
    report = tmp_path / "report.xml"
    done = userrun.run(
        clone, "examples/critical_section", "--gs-local", f"--junitxml={report}", home=tmp_path
    )
    said = done.stdout
    assert done.returncode == 0, said
    assert "2 passed" in said
    assert re.search(
        r"^gatherscatter: lab local-\w+, bench default, broker private, at amqp://",
        said,
        re.MULTILINE,
    ), said
    assert re.search(r"test_power_cycle: scope holds \d s: probe calibration", said), said
    assert "3 coordinated, 0 alone, 0 LAB, 0 DUT, 0 overdue" in said
    assert re.search(
        r"\[test_power_cycle\] coordinated, passed: waited 3\.\d s, "
        r"skew \d+\.\d+ ms ± \d+\.\d+ ms, "
        r"with scope, supply, held: scope: probe calibration",
        said,
    ), said
    assert "  scope: peak_v = 5.437 V" in said
    assert "  supply: inrush_a = 1.394 A" in said
    folders = re.findall(r"^  artifacts: (.+)$", said, re.MULTILINE)
    assert len(folders) == 3
    for folder in folders:
        rail = (Path(folder) / "scope" / "rail.csv").read_text().splitlines()
        assert rail[0] == "seconds,volts"
        assert len(rail) == 81
        assert (Path(folder) / "supply" / "current.csv").stat().st_size > 500
    facts = {one.get("name"): one.get("value") for one in ET.parse(report).iter("property")}  # noqa: S314 - our own file
    assert facts["gs.test_power_cycle.coordinated"] == "true"
    assert facts["gs.test_power_cycle.scope.peak_v"] == "5.437"
    assert float(facts["gs.step.1.cut"] or 0) >= 0.03


def test_nothing_is_left_in_a_clone(clone: Path, tmp_path: Path) -> None:
    """A run leaves its captures, and no process that works there."""
    before = {path for path in clone.rglob("*") if path.is_file()}
    done = userrun.run(clone, "examples/command_monitor", "--gs-local", home=tmp_path)
    assert done.returncode == 0, done.stdout
    left = {path for path in clone.rglob("*") if path.is_file()} - before
    assert left
    assert all("gs-artifacts" in path.parts for path in left)
    here = [link for link in Path("/proc").glob("[0-9]*/cwd") if points_into(link, clone)]
    assert here == []


def points_into(link: Path, folder: Path) -> bool:
    """Whether a process, which may end at any moment, works in ``folder``."""
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False


def test_veto_is_the_labs_fault(clone: Path, tmp_path: Path) -> None:
    """A supply that is switched off vetoes: an error at setup that begins with LAB."""
    lab = clone / "examples" / "critical_section" / "lab.yaml"
    text = lab.read_text()
    assert text.count("default: 1") == 1
    lab.write_text(text.replace("default: 1", "default: 0"))
    done = userrun.run(clone, "examples/critical_section", "--gs-local", home=tmp_path)
    assert done.returncode == 1
    assert "ERROR at setup of test_power_cycle" in done.stdout
    assert "\nLAB: supply vetoes: the output is off\n" in done.stdout
    assert "Traceback" not in done.stdout


def test_bad_rail_is_the_devices_fault(clone: Path, tmp_path: Path) -> None:
    """An overshoot past the scope's limit fails the test with DUT, beside the captured rail."""
    settings = clone / "examples" / "critical_section" / "gatherscatter.toml"
    text = settings.read_text().replace(
        'resource = "TCPIP::scope', 'most_volts = 5.2\nresource = "TCPIP::scope'
    )
    settings.write_text(text)
    test = "examples/critical_section/test_power_cycle.py::test_power_cycle"
    done = userrun.run(clone, test, "--gs-local", home=tmp_path)
    assert done.returncode == 1
    assert "\nDUT: scope: peak_v = 5.437 V (5.437 V is above 5.2 V)\n" in done.stdout
    assert "1 coordinated, 0 alone, 0 LAB, 1 DUT, 0 overdue" in done.stdout


def test_without_a_lab_nothing_is_measured(clone: Path, tmp_path: Path) -> None:
    """Left alone, tests with demands fail at once and say why."""
    done = userrun.run(clone, "examples/critical_section", home=tmp_path)
    assert done.returncode == 1
    assert "LAB: no broker is configured, and no local one runs: nobody could measure it" in (
        done.stdout
    )


def test_monitor_out_of_scripts(clone: Path, tmp_path: Path) -> None:
    """Shell scripts record the load during the section, and hand the record in."""
    done = userrun.run(clone, "examples/command_monitor", "--gs-local", home=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "  load: samples = " in done.stdout
    (record,) = (clone / "examples" / "command_monitor").glob("gs-artifacts/*/load/load.txt")
    assert len(record.read_text().splitlines()) >= 3
