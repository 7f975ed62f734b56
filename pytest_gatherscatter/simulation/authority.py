"""The gatherer's process: its machine, and a journal that outlives it."""

from collections.abc import Callable, Mapping
from typing import Any

from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.journal import MemoryJournal
from pytest_gatherscatter.machine import Recovered
from pytest_gatherscatter.sections.gatherer import Gatherer, GathererFacts
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import LAB, Party, gatherer_way
from pytest_gatherscatter.simulation.world import EPOCH, Recorded, VirtualClock, World


class Authority(Party):
    """A gatherer that journals, dies and recovers.

    ``forget`` is what a lost state directory is, ``move`` a reboot: another clock.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a gatherer is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        required: frozenset[str],
        make: Callable[[GathererFacts], Gatherer] = Gatherer,
    ) -> None:
        super().__init__(world, network, name, clock)
        self.required = required
        self._make = make
        self._journal = MemoryJournal()

    def begin(self) -> None:
        """Recover, and take the gatherer's name."""
        facts = GathererFacts(
            clock=self.clock.name,
            host="authority",
            pid=self.life,
            version="simulated",
            required=self.required,
        )
        machine = self._make(facts)
        link = self.connect(gatherer_way())
        self.pump = Pump(machine, link, LAB, sender=self.world.id(), journal=self, strict=True)
        recovered = Recovered(self._journal.read(), wall=EPOCH + self.world.now)
        self.pump.feed(recovered, now=self.now)
        self._journal.snapshot(machine.snapshot())

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event down; the process may die right before."""
        self.count_effect()
        self._journal.append(event)
        self.world.see(Recorded(self.world.now, self.name, dict(event)))

    def forget(self) -> None:
        """Lose the state directory."""
        self.world.tell(self.name, "its state directory is lost")
        self._journal = MemoryJournal()

    def move(self, clock: VirtualClock) -> None:
        """Come up again on another clock."""
        self.clock = clock

    def speaks_on(self) -> str | None:
        """It speaks on its own clock."""
        return self.clock.name
