"""Cut the power of a board, while an oscilloscope and the supply's own logger watch."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from pyvisa.resources import MessageBasedResource

from pytest_gatherscatter import CriticalSection, Section

DARK = 0.03
"""Seconds without power: long enough for the rail to fall to zero."""


def rail_came_back(section: Section) -> None:
    """Judge the section once it has closed and all reports are in."""
    assert section.coordinated
    assert section.reports["scope"].findings["recovery_ms"] < 20
    assert section.reports["supply"].findings["inrush_a"] < 2.0


@pytest.mark.critical_section(
    require={"scope", "supply"},
    max_duration="30s",  # past it the supply makes safe, and the test fails
    max_skew="250ms",  # loose: a machine that plays a whole lab is busy
    check=rail_came_back,
)
def test_power_cycle(
    psu: MessageBasedResource, gs_step: Callable[[str], AbstractContextManager[None]]
) -> None:
    """The marker: the whole test is one section."""
    with gs_step("cut"):
        psu.write(":OUTP 0")
        time.sleep(DARK)
    with gs_step("restore"):
        psu.write(":OUTP 1")
        assert psu.query("*OPC?") == "1"


def test_cold_and_warm(psu: MessageBasedResource, critical_section: CriticalSection) -> None:
    """The fixture: several sections in one test, each with what it needs."""
    with critical_section("cold", require={"scope"}) as cold:
        power_cycle(psu)
    with critical_section("warm", require={"scope"}, min_monitors=2) as warm:
        power_cycle(psu)

    assert set(warm.members) == {"scope", "supply"}
    assert warm.token > cold.token  # later sections have higher tokens: no mix-up is possible
    assert warm.skew_ms < 250
    peaks = [section.reports["scope"].findings["peak_v"] for section in (cold, warm)]
    assert max(peaks) - min(peaks) < 0.1
    (rail,) = warm.reports["scope"].artifacts
    assert rail.path is not None
    assert rail.path.read_text().startswith("seconds,volts\n")


def power_cycle(psu: MessageBasedResource) -> None:
    """Switch off, wait, switch on."""
    psu.write(":OUTP 0")
    time.sleep(DARK)
    psu.write(":OUTP 1")
