"""Who is in a simulated lab, drawn from the seed: benches, hosts, monitors, workloads."""

from collections.abc import Callable
from dataclasses import dataclass

from pytest_gatherscatter.sections.gatherer import Gatherer
from pytest_gatherscatter.sections.monitor.machine import MonitorMachine
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.simulation.authority import Authority
from pytest_gatherscatter.simulation.host import Host, Plan
from pytest_gatherscatter.simulation.instrument import Instrument, Temper
from pytest_gatherscatter.simulation.network import DELAYS, Network
from pytest_gatherscatter.simulation.person import Person
from pytest_gatherscatter.simulation.stranger import Stranger
from pytest_gatherscatter.simulation.visitor import Visitor
from pytest_gatherscatter.simulation.world import VirtualClock, World


@dataclass(frozen=True, slots=True)
class Cast:
    """Which machines play: the production's, or one with a planted bug."""

    gatherer: Callable[..., Gatherer] = Gatherer
    monitor: Callable[..., MonitorMachine] = MonitorMachine
    workload: Callable[..., Workload] = Workload


class Laboratory:
    """Everybody of one play, not started yet. ``done`` is called when a workload has gone on."""

    def __init__(self, world: World, cast: Cast, done: Callable[[], None]) -> None:
        self.world = world
        self.cast = cast
        self._done = done
        chance = world.random
        rough = chance.random() < 0.5  # noqa: PLR2004 - every second day
        self.network = Network(
            world,
            mean=chance.choice(DELAYS),
            spikes=0.03 if rough else 0.0,
            twice=0.05 if rough else 0.0,
        )
        self.benches = ("north", "south")[: chance.choice((1, 1, 2))]
        self.hosts = [Host(name, world.clock()) for name in ("ant", "bee")]
        names = ("scope", "thermal", "psu")[: chance.choice((1, 1, 2, 2, 3))]
        self.required = frozenset(n for n in names[:1] if chance.random() < 0.3)  # noqa: PLR2004
        self.monitors = [self._monitor(name) for name in names]
        clocks = (world.clock(), world.clock(), self.hosts[0].clock)
        self.gatherer = self._authority("gatherer", chance.choice(clocks))
        self.authorities = [self.gatherer]
        self.twins: list[Instrument] = []
        self.workloads = [
            self._workload(f"test{number}") for number in range(chance.choice((1, 2, 2, 3)))
        ]
        self.person = Person(world, self.network, "person", self.hosts[0].clock)

    @property
    def longest_body(self) -> float:
        """Seconds of the longest body that anybody plans."""
        return max(plan.body for one in self.workloads for plan in one.plans)

    def rival(self) -> Authority:
        """Make one more gatherer; it knows nothing, as on another machine."""
        rival = self._authority(f"gatherer{len(self.authorities)}", self.world.clock())
        self.authorities.append(rival)
        for one in self.authorities:
            one.others = [other for other in self.authorities if other is not one]
        return rival

    def twin(self, first: Instrument) -> Instrument:
        """Make a monitor of a name that another one has."""
        twin = self._instrument(first.agent, f"{first.name}'", first.benches, Temper())
        self.twins.append(twin)
        first.namesakes.append(twin)
        twin.namesakes.append(first)
        return twin

    def stranger(self) -> Stranger:
        """Make somebody who means no good."""
        agents = tuple(one.agent for one in self.monitors)
        return Stranger(self.world, self.network, self.world.clock(), self.benches, agents)

    def _authority(self, name: str, clock: VirtualClock) -> Authority:
        make = self.cast.gatherer
        return Authority(self.world, self.network, name, clock, self.required, make)

    def proof(self, bench: str) -> Visitor:
        """Make a section that nothing stands against."""
        there = frozenset(one.name for one in self.monitors if bench in one.benches)
        demand = Demand(
            name="proof",
            bench=bench,
            test="proof",
            require=there,
            queue_timeout=10.0,
            gather_timeout=10.0,
            report_timeout=4.0,
        )
        return self._visitor(f"proof of {bench}", self.hosts[0], [Plan(demand, body=0.1)])

    def _monitor(self, name: str) -> Instrument:
        chance = self.world.random
        count = chance.randint(1, len(self.benches))
        temper = Temper(
            hold=chance.choice((*(0.0,) * 6, *(0.4,) * 3, 1.0)),
            veto=chance.choice((0.0, 0.0, 0.05)),
            broken=chance.choice((0.0, 0.0, 0.05)),
            slow=chance.choice((0.0, 0.2)),
            stuck=chance.choice((0.0, 0.0, 0.05)),
            capture=chance.choice((0.0, 0.5)),
        )
        benches = tuple(sorted(chance.sample(self.benches, count)))
        advisory = name not in self.required and chance.random() < 0.2  # noqa: PLR2004
        return self._instrument(name, name, benches, temper, advisory=advisory)

    def _instrument(
        self,
        agent: str,
        name: str,
        benches: tuple[str, ...],
        temper: Temper,
        *,
        advisory: bool = False,
    ) -> Instrument:
        return Instrument(
            self.world,
            self.network,
            name,
            self.world.clock(),
            benches,
            temper,
            agent=agent,
            advisory=advisory,
            make=self.cast.monitor,
        )

    def _workload(self, name: str) -> Visitor:
        chance = self.world.random
        plans = [self._plan(name) for _ in range(chance.choice((1, 1, 1, 2)))]
        return self._visitor(name, chance.choice(self.hosts), plans)

    def _visitor(self, name: str, host: Host, plans: list[Plan]) -> Visitor:
        make = self.cast.workload
        return Visitor(self.world, self.network, name, host, plans, make, self._done)

    def _plan(self, test: str) -> Plan:
        chance = self.world.random
        bench = chance.choice(self.benches)
        there = [one.name for one in self.monitors if bench in one.benches]
        required = frozenset(name for name in there if chance.random() < 0.4)  # noqa: PLR2004
        longest = chance.choice((1.0, 3.0))
        demand = Demand(
            name="burst",
            bench=bench,
            test=test,
            require=required,
            min_monitors=chance.choice((0, 0, 0, min(1, len(there)))),
            max_duration=longest,
            queue_timeout=chance.choice((5.0, 40.0)),
            gather_timeout=chance.choice((4.0, 6.0)),
            hold_limit=3.0,
            report_timeout=4.0,
            no_gatherer=chance.choice((None, None, None, "run")),
        )
        long = chance.random() < 0.3  # noqa: PLR2004
        body = longest + chance.random() * 3.0 if long else chance.random() * longest
        return Plan(demand, body, pause=chance.random())
