"""What a rule is: it looks at what an onlooker saw, and at nothing else.

A rule is shown every sight in the moment and raises :class:`Violated` at the first one that
must not be; :meth:`Rule.end` is asked once more when everything has come to rest.
"""

from typing import ClassVar

from pytest_gatherscatter.simulation.world import Kind, Sight, Violated, World


def agent_of(party: str) -> str:
    """Name the agent that a process is; a second one of a name has a mark behind it."""
    return party.rstrip("'")


class Rule:
    """The base: a name, and the world for its clocks."""

    name: ClassVar[str] = ""
    kinds: frozenset[Kind] = frozenset()

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def restless(self) -> bool:
        """Whether something is still to come, so that it is too early to judge."""
        return False

    @property
    def until(self) -> float:
        """Until when nobody should interfere, so that what must come can come by itself."""
        return 0.0

    def see(self, sight: Sight) -> None:
        """Look at what just happened."""

    def end(self) -> None:
        """Look at everything, at the end."""

    def broken(self, text: str) -> Violated:
        """Make the error."""
        return Violated(self.name, text)


class Promise(Rule):
    """A rule that speaks at the end: what breaks one about harm before that says more."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._missed = ""

    def miss(self, text: str) -> None:
        """Note that it was not kept; the first time is told."""
        self._missed = self._missed or text

    def end(self) -> None:
        """Tell of it."""
        if self._missed:
            raise self.broken(self._missed)
