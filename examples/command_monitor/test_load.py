"""Work while a monitor out of shell scripts records this host's load."""

import time

import pytest

from pytest_gatherscatter import Section


def recorded(section: Section) -> None:
    """Judge the section once it has closed and the report is in."""
    report = section.reports["load"]
    assert report.findings["samples"] >= 3
    assert [file.name for file in report.artifacts] == ["load.txt"]


@pytest.mark.critical_section(require={"load"}, check=recorded)
def test_busy() -> None:
    """Keep one processor busy for a second."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        sum(range(10_000))
