"""Who watches a small lab: every rule, and the one clock of all that they read.

Rules remember what they saw, so their memories are part of a state. They are parts of the shelf
like the machines, and see each sight as these take each input.
"""

from collections.abc import Iterator
from typing import Any

from pytest_gatherscatter.simulation.invariant import rules
from pytest_gatherscatter.simulation.promise import (
    PromptlySafe,
    RefusesLowerOnly,
    SaysAgain,
    StaysStarted,
    StopsAreTold,
    TicketsLast,
)
from pytest_gatherscatter.simulation.proof import proofs
from pytest_gatherscatter.simulation.rule import Rule
from pytest_gatherscatter.simulation.shelf import Shelf
from pytest_gatherscatter.simulation.world import Heard, Said, Sight

BEGIN = 1_000_000.0
"""The clock's first time: so large that a time is never taken for a duration."""

CLOCK = "c10cc10c"
LONGEST_BODY = 0.5

PROMISES = (PromptlySafe, RefusesLowerOnly, StaysStarted, TicketsLast, SaysAgain, StopsAreTold)
"""Of the small promises those that can be broken where nobody holds, and messages take no time."""


class Clock:
    """The one clock of all, as rules want it; it is set before they are asked."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.clocks = {CLOCK: self}

    def __reduce__(self) -> str:
        """Freeze it as what it is: the only one."""
        return "THE_CLOCK"

    def read(self) -> float:
        """What it shows now."""
        return self.now

    def true(self, local: float) -> float:
        """It is true."""
        return local

    def shows(self, true: float) -> float:
        """As it is true."""
        return true


THE_CLOCK = Clock()


class Watch:
    """All rules that make sense in a lab without ways, holds and clocks that part."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._places: dict[type, list[str]] = {}
        world: Any = THE_CLOCK
        every: list[Rule] = rules(world, frozenset(), LONGEST_BODY)
        every += [*(kind(world) for kind in PROMISES), *proofs(world)]
        self.names = [rule.name for rule in every]
        for rule in every:
            shelf.put(rule.name, rule)
            for asked in rule.kinds:
                kind = asked[1] if isinstance(asked, tuple) else asked
                self._places.setdefault(kind, []).append(rule.name)

    def see(self, sight: Sight) -> None:
        """Show something to the rules that look for it.

        Raises:
            Violated: one of them says that it must not be.
        """
        THE_CLOCK.now = sight.at
        kind = type(sight.message) if isinstance(sight, Said | Heard) else type(sight)
        for name in self._places.get(kind, ()):
            self._shelf.ask(name, lambda rule: rule.see(sight), sight)

    def rules(self, now: float) -> Iterator[Rule]:
        """Look at all of them, at ``now``."""
        THE_CLOCK.now = now
        return (self._shelf.look(name) for name in self.names)
