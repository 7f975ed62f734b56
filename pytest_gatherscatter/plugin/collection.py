"""Finds misuse before anything runs, as a collection error of the one item that it concerns.

A ``UsageError`` would end the whole run, and an xdist worker with an internal error; and a
check of each item when it is made would refuse tests that are deselected. So the items that
are left in the end are checked, and a wrong one is told through the hook that collection
errors go through: exit codes, summaries, junitxml and xdist treat it like any other.
"""

import pytest

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.plugin import marker

FACTORY = "critical_section"


def check(items: list[pytest.Item], used: list[pytest.Item]) -> None:
    """Take each misused item of ``used`` out of ``items``, and tell why."""
    for item in used:
        problem = misuse(item)
        if problem:
            items.remove(item)
            report = pytest.CollectReport(item.nodeid, "failed", f"{item.name}: {problem}", [])
            item.ihook.pytest_collectreport(report=report)


def misuse(item: pytest.Item) -> str:
    """Say in a line what is wrong with the way in which a test uses sections; empty if nothing."""
    try:
        arguments = marker.of_item(item)
    except SettingsInvalid as error:
        return str(error)
    if any(FACTORY in mark.args for mark in item.iter_markers("usefixtures")):
        return (
            f"usefixtures({FACTORY!r}) opens no section: mark the test with "
            f"@pytest.mark.{FACTORY}, or take the fixture and write 'with {FACTORY}(): …'"
        )
    if arguments is not None and FACTORY in getattr(item, "fixturenames", ()):
        return (
            f"the test is marked {FACTORY} and uses the fixture {FACTORY} too, but sections do "
            "not nest: use one of them (gs_section looks at the marker's section)"
        )
    return ""
