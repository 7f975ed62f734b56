"""Balancers, workers and clients, as processes of a simulated lab."""

from collections.abc import Callable

from pytest_gatherscatter.balanced import BalancedFacts, BalancedMachine, Leave, Pool
from pytest_gatherscatter.broker.port import PortEvent, PortUp
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.machine import Effect, Input, Machine, Received, Recovered, Run, Told
from pytest_gatherscatter.roundrobin.balancer import BalancerFacts, BalancerMachine
from pytest_gatherscatter.roundrobin.echo import EchoDone, EchoFacts, EchoMachine
from pytest_gatherscatter.roundrobin.order import Done, Drain, StoodStill
from pytest_gatherscatter.roundrobin.work import Work
from pytest_gatherscatter.simulation.companion import Server
from pytest_gatherscatter.simulation.connection import SimulatedLink
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.roundrobin.watch import TaskWatch
from pytest_gatherscatter.simulation.world import EPOCH, VirtualClock, World
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.names import service_key
from pytest_gatherscatter.wire.roundrobin import Assign, Execute, ExecuteOutcome

SERVICE = "echo"


class Balancer(Server):
    """A balancer that dies and comes back, or stands by for another one."""

    drain_word = Drain()

    def __init__(  # noqa: PLR0913, PLR0917 - what a balancer is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        topology: Topology,
        backlog: int,
        policy: str,
        make: Callable[..., BalancerMachine] = BalancerMachine,
    ) -> None:
        super().__init__(world, network, name, clock)
        self._way, self._most, self._policy, self._make = topology, backlog, policy, make
        self.machine: BalancerMachine | None = None
        self.up_since = 0.0

    def heard(self, link: SimulatedLink, events: list[PortEvent]) -> None:
        """Take what came, and note since when it is connected."""
        if any(isinstance(event, PortUp) for event in events):
            self.up_since = self.world.now
        super().heard(link, events)

    def begin(self) -> None:
        """Take tasks, as soon as the name is free."""
        facts = BalancerFacts(
            balancer=self.world.id(),
            host=self.name,
            pid=self.life,
            version="simulated",
            services=(service_key(SERVICE),),
            backlog=self._most,
            policy=self._policy,
            drain=5.0,
        )
        self.machine = self._make(facts, now=self.now)
        self.connect(self._way)
        self.pump = self.join(self.machine, self.world.id(), run=self._do)
        self.pump.feed(Recovered((), wall=EPOCH + self.world.now), now=self.now)

    def _thaw(self) -> None:
        self.up_since = self.world.now
        self.step(self._stood_still)
        super()._thaw()

    def _stood_still(self) -> None:
        if self.pump is not None:
            self.pump.feed(Told(StoodStill()), now=self.now)

    def _do(self, effect: Run) -> None:
        if isinstance(effect.command, Done):
            self.later(0.0, self.die, "has drained")


class _SeenEcho(EchoMachine):
    """An echo machine whose work is seen."""

    def __init__(self, facts: EchoFacts, watch: TaskWatch, began: Callable[[], None]) -> None:
        super().__init__(facts)
        self._watch, self._began = watch, began

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input, and see what it brings."""
        if isinstance(message, Received) and isinstance(message.message, Execute):
            self._watch.given(self.facts.worker, message.message.task, self.facts.slots)
        return super().handle(message, now=now)

    def _do(self, work: Work, now: float) -> None:
        self._watch.began(self.facts.worker, work.task)
        self._began()
        super()._do(work, now)

    def _end(self, work: Work, outcome: ExecuteOutcome, *args: object) -> None:
        self._watch.ended(self.facts.worker, work.task, outcome)
        super()._end(work, outcome, *args)  # type: ignore[arg-type]


class _SeenWorker:
    """A machine to which a balancer gives tasks, and that is seen."""

    def __init__(self, worker: str, machine: Machine, watch: TaskWatch) -> None:
        self._worker, self._machine, self._watch = worker, machine, watch

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input, and see what it brings."""
        if isinstance(message, Received) and isinstance(assign := message.message, Assign):
            task = codec.decode(bytes(assign.body), assign.type)
            assert isinstance(task, Execute)  # noqa: S101 - nothing else is asked for
            self._watch.assigned(self._worker, assign.task, task)
        return self._machine.handle(message, now=now)


class Worker(Server):
    """A worker with some slots; what it does dies with it."""

    drain_word = Drain()

    def __init__(  # noqa: PLR0913, PLR0917 - what a worker is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        topology: Topology,
        watch: TaskWatch,
        slots: int,
        make: Callable[..., BalancedMachine] = BalancedMachine,
    ) -> None:
        super().__init__(world, network, name, clock)
        self._way, self._watch, self.slots, self._make = topology, watch, slots, make
        self.machine: BalancedMachine | None = None

    def begin(self) -> None:
        """Register, and take what is given."""
        echo = EchoFacts(self.name, self.name, SERVICE, self.slots, drain=5.0)
        inner = _SeenEcho(echo, self._watch, self._began)
        facts = BalancedFacts(
            self.name, self.world.id(), (Pool(self.name, (service_key(SERVICE),), self.slots),)
        )
        self.machine = self._make(inner, facts)
        self.connect(self._way)
        seen = _SeenWorker(self.name, self.machine, self._watch)
        self.pump = self.join(seen, self.world.id(), run=self._do)
        self.pump.feed(Recovered((), wall=EPOCH + self.world.now), now=self.now)

    def drain(self) -> None:
        """Hear a SIGTERM: take leave first."""
        if self.pump is not None:
            self.pump.feed(Told(Leave()), now=self.now)
        super().drain()

    def ended(self) -> None:
        """All that it did is gone with it."""
        self._watch.died(self.name)

    def _began(self) -> None:
        self.count_effect()
        self.at_begin()

    def _do(self, effect: Run) -> None:
        if isinstance(effect.command, EchoDone):
            self.later(0.0, self.die, "has drained")
