"""The gatherer's process: its machine, and a journal that outlives it."""

from collections.abc import Callable, Mapping
from typing import Any

from pytest_gatherscatter.journal import MemoryJournal
from pytest_gatherscatter.machine import Recovered
from pytest_gatherscatter.sections.gatherer import Gatherer, GathererFacts
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import PATIENCE, TAKEN, Party, gatherer_way
from pytest_gatherscatter.simulation.world import EPOCH, Recorded, VirtualClock, World


class Authority(Party):
    """A gatherer that journals, dies and recovers.

    ``forget`` is what a lost state directory is, ``move`` a reboot: another clock. Of the lab's
    ``others`` only one can have the name: who finds one that answers gives way and ends.
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
        self.others: list[Authority] = []
        self._make = make
        self._journal = MemoryJournal()
        self._machine: Gatherer | None = None
        self._unsynced: dict[str, Any] | None = None
        self._taken_at: float | None = None

    def begin(self) -> None:
        """Recover, and take the gatherer's name."""
        facts = GathererFacts(
            clock=self.clock.name,
            host="authority",
            pid=self.life,
            version="simulated",
            required=self.required,
        )
        machine = self._machine = self._make(facts)
        self._unsynced = self._taken_at = None
        self.connect(gatherer_way())
        self.pump = self.join(machine, self.world.id(), journal=self)
        recovered = Recovered(self._journal.read(), wall=EPOCH + self.world.now)
        self.pump.feed(recovered, now=self.now)
        self._journal.snapshot(machine.snapshot())

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event down and sync it; the process may die before either."""
        self.count_effect()
        self._journal.append(event)
        self._unsynced = dict(event)
        self.count_effect()
        self._unsynced = None
        self.world.see(Recorded(self.world.now, self.name, dict(event)))

    def ended(self) -> None:
        """Keep what the kernel has; without power, only what was synced."""
        event, self._unsynced = self._unsynced, None
        if event is None:
            return
        if self.power_cut:
            self._journal.snapshot(self._journal.read()[:-1])
        else:
            self.world.see(Recorded(self.world.now, self.name, event))

    def fold(self) -> None:
        """Fold the journal into a snapshot, as a long one is now and then."""
        if self._machine is not None:
            self._journal.snapshot(self._machine.snapshot())
            self.world.tell(self.name, "folds its journal")

    def refused(self, why: str) -> None:
        """Wait for a silent owner of the name; give way to one that answers."""
        if TAKEN not in why:
            super().refused(why)
            return
        if self._taken_at is None:
            self._taken_at = self.now
        if any(one.there for one in self.others):
            self.die("gives way to the gatherer that is there")
        elif self.now - self._taken_at > PATIENCE:
            self.die("gives up: something has its name")
        else:
            super().refused(why)

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
