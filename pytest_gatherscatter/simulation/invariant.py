"""What must hold, whatever happens: all the rules of a play."""

from pytest_gatherscatter.simulation.admission import (
    GoOnlyWhenReady,
    NeverAloneOnceAccepted,
    NeverGoForTheLone,
    OneGo,
    OneLive,
    TokensGrow,
)
from pytest_gatherscatter.simulation.ending import (
    MakesSafe,
    NothingStale,
    PrepareEnds,
    Unblocked,
)
from pytest_gatherscatter.simulation.rule import Rule
from pytest_gatherscatter.simulation.timing import HonestTimes, NeverEarly
from pytest_gatherscatter.simulation.world import World


def rules(
    world: World, required: frozenset[str], longest_body: float, *, slack: float = 0.0
) -> list[Rule]:
    """Make every rule for one play.

    ``slack`` is by how many seconds clocks may be wrong that part faster than is assumed.
    """
    return [
        GoOnlyWhenReady(world, required),
        OneGo(world),
        OneLive(world),
        TokensGrow(world),
        PrepareEnds(world),
        MakesSafe(world),
        Unblocked(world, longest_body),
        NothingStale(world),
        NeverEarly(world, slack),
        HonestTimes(world, slack),
        NeverAloneOnceAccepted(world),
        NeverGoForTheLone(world),
    ]
