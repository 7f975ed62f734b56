"""What the workloads of a machine share: tickets, which outlive them, and locks, which do not."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.simulation.party import Party
from pytest_gatherscatter.simulation.world import VirtualClock

if TYPE_CHECKING:
    from pytest_gatherscatter.simulation.visitor import Visitor


@dataclass(slots=True)
class Ticket:
    """What is on a host's disk of a section; an orphan once ``owner`` is not that life."""

    section: str
    token: int
    owner: Party
    life: int
    synced: bool = False
    outcome: str = "died"

    @property
    def orphan(self) -> bool:
        """Whether its owner is proved dead."""
        return not (self.owner.alive and self.owner.life == self.life)


@dataclass(slots=True)
class Host:
    """One machine, and the clock that all its processes read."""

    name: str
    clock: VirtualClock
    locks: "dict[str, Visitor]" = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)

    def lose_power(self, clock: VirtualClock) -> None:
        """Keep what was synced, and come up with another clock; its processes die by themselves."""
        self.clock = clock
        self.tickets = {one.section: one for one in self.tickets.values() if one.synced}


@dataclass(frozen=True, slots=True)
class Plan:
    """One test: what it demands, and how long its body takes. ``pause`` comes before it."""

    demand: Demand
    body: float
    pause: float = 0.0
