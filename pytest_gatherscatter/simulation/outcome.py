"""What came of a seed, and of many."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from pytest_gatherscatter.simulation.world import BodyBegan, Kind, Sight, Violated, VisitEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a seed, whatever was played."""

    seed: int
    violated: Violated | None
    history: list[Sight] = field(repr=False)
    """All that was seen, if the story was to be kept."""
    faults: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """What is worth a number over many seeds, each by its name in the plural."""
        return {}

    @property
    def line(self) -> str:
        """What there is to say of it, in a line."""
        faults = ", ".join(self.faults) or "no fault"
        verdict = f"BROKEN {self.violated}" if self.violated else "holds"
        return f"seed {self.seed} ({faults}): {verdict}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionsOutcome(Outcome):
    """What came of a lab of sections. ``bodies`` counts coordinated ones, ``alone`` the others."""

    steps: int
    virtual: float
    bodies: int
    alone: int
    visits: Counter[str]


class Count:
    """An onlooker that counts bodies and how visits end."""

    kinds: frozenset[Kind] = frozenset({BodyBegan, VisitEnded})

    def __init__(self) -> None:
        self.coordinated = self.alone = 0
        self.visits: Counter[str] = Counter()
        self.ends: dict[str, str] = {}
        """How the last visit of each party ended."""

    def see(self, sight: Sight) -> None:
        """Count it."""
        if isinstance(sight, BodyBegan):
            self.coordinated += sight.coordinated
            self.alone += not sight.coordinated
        elif isinstance(sight, VisitEnded):
            self.visits[sight.outcome.partition(":")[0]] += 1
            self.ends[sight.party] = sight.outcome


@dataclass(slots=True)
class Total:
    """What came of many seeds; ``bad`` has a line for each that broke a rule."""

    seeds: int = 0
    steps: int = 0
    virtual: float = 0.0
    visits: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    bad: dict[int, str] = field(default_factory=dict)

    def add(self, outcome: SectionsOutcome) -> None:
        """Count a seed in."""
        self.seeds += 1
        self.steps += outcome.steps
        self.virtual += outcome.virtual
        self.visits += outcome.visits
        self.faults.update(fault.partition(" of ")[0] for fault in outcome.faults)
        if outcome.violated:
            self.bad[outcome.seed] = outcome.line

    def __iadd__(self, other: Self) -> Self:
        """Count another total in."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.virtual += other.virtual
        self.visits += other.visits
        self.faults += other.faults
        self.bad |= other.bad
        return self
