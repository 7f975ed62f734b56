"""A virtual day on clocks that part, by what is assumed of two good ones and by twice that."""

import pytest

from pytest_gatherscatter.sections.clock import DRIFT
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.simulation.authority import Authority
from pytest_gatherscatter.simulation.host import Host, Plan
from pytest_gatherscatter.simulation.instrument import Instrument, Temper
from pytest_gatherscatter.simulation.invariant import rules
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.outcome import Count
from pytest_gatherscatter.simulation.visitor import Visitor
from pytest_gatherscatter.simulation.world import VirtualClock, World

HOUR = 3600.0
BODY = 5.0
ASLEEP = 3500.0
"""Seconds of each hour in which gatherer and monitor stand still: what they knew of each other's
clocks is then off by 0.7 s, and claimed to 0.35 s."""


@pytest.mark.parametrize("drift", [DRIFT, -DRIFT, 2 * DRIFT, -2 * DRIFT])
def test_a_day_of_clocks_that_part(drift: float) -> None:
    """Each hour's section starts at t0 and tells true times: what was known is measured anew.

    Clocks that part by 200 ppm are off by what they part too fast within one section, no more.
    """
    world, count = World(1), Count()
    network = Network(world, mean=0.0003, spikes=0.0, twice=0.0)
    gatherer = Authority(
        world, network, "gatherer", VirtualClock(world, "aaaaaaaa", 5e4, drift / 2), frozenset()
    )
    clock = VirtualClock(world, "bbbbbbbb", 9e4, -drift / 2)
    scope = Instrument(world, network, "scope", clock, ("north",), Temper(), agent="scope")
    demand = Demand(
        name="n", bench="north", test="t", require=frozenset({"scope"}), max_duration=9.0
    )
    plans = [Plan(demand, body=BODY, pause=HOUR - 10.0) for _ in range(24)]
    visitor = Visitor(world, network, "test", Host("ant", clock), plans)
    watched = rules(world, frozenset(), BODY, slack=(abs(drift) - DRIFT) * 2 * BODY)
    for rule in watched:
        world.show(rule)
    world.show(count)
    for party in (gatherer, scope, visitor):
        party.start()
    while not visitor.finished and world.now < 25 * HOUR:
        for party in (gatherer, scope):
            party.freeze(ASLEEP)
        world.run(world.now + HOUR)
    for rule in watched:
        rule.end()
    assert count.visits == {"passed": 24}
    assert count.coordinated == 24
