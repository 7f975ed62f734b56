"""What all plays have in common: everything is drawn from a seed, played to its end, and told.

The play of sections is in ``scenario``; those of companions are :class:`~companion.CompanionPlay`,
where it is told how a new one is written.
"""

from typing import Generic, TypeVar

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.world import Violated, World

Told = TypeVar("Told", bound=Outcome)


class Play(Generic[Told]):
    """One seed, ready to run; with ``story`` it can be told afterwards."""

    def __init__(self, seed: int, *, story: bool = False) -> None:
        self.seed = seed
        self.world = World(seed, story=story)
        self.faults: list[str] = []
        """What befell somebody, in words."""

    def run(self) -> Told:
        """Play it to its end, or to the first violation."""
        violated: Violated | None = None
        try:
            self.perform()
        except Violated as error:
            violated = error
        except (GatherScatterError, AssertionError, LookupError, TypeError, ValueError) as error:
            violated = Violated("no machine breaks", f"{type(error).__name__}: {error}")
            violated.__cause__ = error
        return self.outcome(violated)

    def perform(self) -> None:
        """Let everybody start, let it happen, and look at the end of it; may raise."""
        raise NotImplementedError

    def outcome(self, violated: Violated | None) -> Told:
        """Say what came of it."""
        raise NotImplementedError
