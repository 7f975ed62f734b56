"""All that can happen in a small lab, breadth first, with every rule looked at in every state.

A state that was met before, whatever the way, is not looked at again. So what is found at a
depth is found on the shortest way to it, and what is not found does not happen within it.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.simulation.fingerprint import fingerprint
from pytest_gatherscatter.simulation.smalllab import SmallLab, Step
from pytest_gatherscatter.simulation.world import Violated

SETTLING = 500
"""Steps in which a lab whose workloads have gone on must come to rest, in some order."""


@dataclass(slots=True)
class Exploration:
    """What was found. ``way`` leads to the rule that broke; ``whole`` if nothing is left."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    ends: int = 0
    whole: bool = False
    violated: Violated | None = None
    way: list[Step] = field(default_factory=list)

    @property
    def line(self) -> str:
        """What there is to say of it, in a line."""
        extent = "all of them" if self.whole else "not all of them"
        verdict = f"BROKEN {self.violated}" if self.violated else "every rule holds"
        return (
            f"{self.states} states ({extent}), {self.steps} steps, depth {self.depth}, "
            f"{self.ends} ends: {verdict}"
        )


def explore(
    make: Callable[[], SmallLab],
    *,
    most: int,
    told: Callable[[Exploration], None] = lambda _: None,
) -> Exploration:
    """Look at ``most`` states of the lab that ``make`` makes; ``told`` of each depth."""
    found = Exploration()
    lab = make()
    seen = {fingerprint(lab, lab.now)}
    # Of each state: how it was reached, and itself, to go on from.
    ways: list[tuple[int, Step]] = [(-1, Step("begin"))]
    frontier = [(0, pickle.dumps(lab))]
    found.states = 1
    while frontier:
        told(found)
        after: list[tuple[int, bytes]] = []
        for place, frozen in frontier:
            steps = pickle.loads(frozen).steps()  # noqa: S301 - frozen here, a moment ago
            for step in steps:
                lab = pickle.loads(frozen)  # noqa: S301 - as above
                found.steps += 1
                found.violated = _try(lab, step)
                if found.violated is not None:
                    found.way = [*_way(ways, place), step]
                    return found
                print_of = fingerprint(lab, lab.now)
                if print_of in seen:
                    continue
                seen.add(print_of)
                ways.append((place, step))
                after.append((len(ways) - 1, pickle.dumps(lab)))
                found.states += 1
                found.ends += not lab.steps()
            if found.states >= most:
                return found
        frontier = after
        found.depth += bool(after)
    found.whole = True
    return found


def _try(lab: SmallLab, step: Step) -> Violated | None:
    """Take a step; at the end of all, see that everything comes to rest."""
    try:
        lab.take(step)
        if not lab.steps():
            _settle(lab)
    except Violated as error:
        return error
    except (GatherScatterError, AssertionError, LookupError, TypeError, ValueError) as error:
        return Violated("no machine breaks", f"{type(error).__name__}: {error}")
    return None


def _settle(lab: SmallLab) -> None:
    """Let a copy go on until nothing is to come; one order will do.

    Where a workload could not tell that it was over, its bench stays closed until a person says so.
    """
    if lab.restless:
        lab = pickle.loads(pickle.dumps(lab))  # noqa: S301 - frozen in this very line
        lab.reset()
        for _ in range(SETTLING):
            lab.take((lab.steps() or [Step("time")])[0])
            if not lab.restless:
                break
    lab.end()


def _way(ways: list[tuple[int, Step]], place: int) -> list[Step]:
    steps = []
    while place > 0:
        place, step = ways[place]
        steps.append(step)
    return steps[::-1]
