"""A process of the lab: it starts, takes steps, freezes, dies, comes back.

A step is one input given to the pump and all that comes of it. A process may die before any
effect of a step: what it had published before in that step may or may not have left, as with
bytes in a library's buffer, and what was recorded stays recorded.
"""

from collections.abc import Callable
from functools import lru_cache, partial

from pytest_gatherscatter.broker.port import Delivered as PortDelivered
from pytest_gatherscatter.broker.port import PortDown, PortEvent, Properties
from pytest_gatherscatter.broker.pump import Journal, Pump
from pytest_gatherscatter.broker.topology import Topology, reply_topology
from pytest_gatherscatter.broker.topology.sections import agent_topology, gatherer_topology
from pytest_gatherscatter.embedded.record import Message
from pytest_gatherscatter.machine import Machine, Run
from pytest_gatherscatter.simulation.connection import HEARTBEAT, MISSES, SimulatedLink
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.world import (
    HAIR,
    Died,
    Froze,
    Happened,
    Heard,
    Said,
    VirtualClock,
    World,
)
from pytest_gatherscatter.wire import names

LAB = "lab"
RECONNECT = 0.5
"""Seconds between two attempts to connect; the real ones grow, which changes no order."""

TAKEN = "locked"
"""What the broker says of a name that somebody has."""

PATIENCE = 20.0
"""Seconds for which a silent owner of a name is waited for at the first start: four heartbeats,
as the real ones do."""


class Crash(BaseException):
    """Unwinds a step whose process has just died. Nothing but :class:`Party` catches it."""


@lru_cache
def gatherer_way() -> Topology:
    """What a gatherer declares, made once: all labs here have one name."""
    return gatherer_topology(LAB)


@lru_cache
def agent_way(name: str, benches: tuple[str, ...]) -> Topology:
    """What an agent declares."""
    return agent_topology(LAB, name, benches)


def reply_way(reply: str, bench: str | None) -> Topology:
    """What an asker declares; with a bench it hears its Go."""
    events = () if bench is None else (names.section_event("go", bench),)
    return reply_topology(LAB, reply, events)


class Party:
    """The base of all processes. Subclasses say what :meth:`begin` does and how to connect."""

    def __init__(self, world: World, network: Network, name: str, clock: VirtualClock) -> None:
        self.world = world
        self.network = network
        self.name = name
        self.clock = clock
        self.now = 0.0
        """Its own clock's time in the step that is under way."""
        self.alive = False
        self.life = 0
        """Which process of this name it is, from 1 on."""
        self.effects = 0
        self.crash_at: int | None = None
        """The number of the effect before which it dies."""
        self.power_cut = False
        """Whether that death is its host's: no kernel speaks for it, nothing unsynced stays."""
        self.after_crash: Callable[[], None] = lambda: None
        self.frozen_for = 0.0
        """Seconds that it ever stood still."""
        self.link: SimulatedLink = self._new_link()
        self.pump: Pump | None = None
        self._thaws_at = 0.0
        self._backlog: list[Callable[[], None]] = []
        self._alarm: float | None = None
        self._topology: Topology | None = None

    # ── what subclasses bring ──────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Start a process: machine, pump, connection. Called in a step."""
        raise NotImplementedError

    def look(self) -> None:
        """See what has come of a step."""

    def ended(self) -> None:
        """Say what the world loses with a process that dies."""

    def speaks_on(self) -> str | None:
        """Name the clock on which times in outgoing reports are meant."""
        return None

    def refused(self, why: str) -> None:  # noqa: ARG002 - for those who want to know
        """Try again to connect."""
        self.later(RECONNECT, self.reconnect)

    # ── its life ───────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self.alive:
            return
        self.alive = True
        self.power_cut = False
        self.life += 1
        self.world.tell(self.name, "starts" if self.life == 1 else "starts again")
        self.step(self.begin)

    def die(self, why: str, *, at_once: bool = False) -> None:
        """End the process. ``at_once`` is a power cut: its kernel says no word for it."""
        if not self.alive:
            return
        self.alive = False
        self.power_cut = at_once
        self.crash_at = None
        self._backlog.clear()
        self._alarm = None
        self._thaws_at = 0.0
        self.world.see(Happened(self.world.now, self.name, why))
        self.link.flush(self.world.random.randint(0, self.link.waiting))
        connection = self.link.connection
        if connection is not None and at_once:
            seconds = HEARTBEAT * (MISSES - self.world.random.random())
            connection.lose(at_client=0.0, at_broker=seconds)
        self.link.close()
        self.pump = None
        self.world.see(Died(self.world.now, self.name))
        self.ended()
        self.after_crash()

    def freeze(self, seconds: float) -> None:
        """Let the process stand still, as under SIGSTOP or in a starved machine."""
        if not self.alive or self.world.now < self._thaws_at:
            return
        self._thaws_at = self.world.now + seconds
        self.frozen_for += seconds
        self.world.see(Froze(self.world.now, self.name, seconds))
        connection = self.link.connection
        patience = HEARTBEAT * MISSES
        if seconds > patience and connection is not None:
            lose = partial(connection.lose, at_client=seconds - patience, at_broker=0.0)
            self.world.after(patience, lose)
        self.world.after(seconds, self._thaw)

    def _thaw(self) -> None:
        backlog, self._backlog = self._backlog, []
        for action in backlog:
            action()

    @property
    def there(self) -> bool:
        """Whether it runs and is connected."""
        connection = self.link.connection
        connected = connection is not None and connection.whole
        return self.alive and connected and self.world.now >= self._thaws_at

    # ── its steps ──────────────────────────────────────────────────────────────────────

    def step(self, action: Callable[..., None], *args: object) -> None:
        """Do something in this process, and see it through."""
        if not self.alive:
            return
        if self.world.now < self._thaws_at:
            self._backlog.append(partial(self._act, self.life, action, args))
            return
        clock = self.clock
        self.now = clock.offset + clock.rate * self.world.now  # what it reads, without a call
        try:
            action(*args)
            if self.link.failed:
                self._settle()
            self.look()
            link = self.link
            if link.outbox:
                link.flush()
            if link.failed:
                self._settle()
        except Crash:
            self.die(f"dies before its effect {self.effects}", at_once=self.power_cut)
            return
        pump = self.pump
        if pump is not None:
            at = pump.next_wake
            if at is not None and (self._alarm is None or at < self._alarm):
                self._alarm = at
                self.at_local(at, self._ring, at)

    def later(self, delay: float, action: Callable[..., None], *args: object) -> None:
        """Do something in this process in ``delay`` true seconds, if it lives then."""
        world = self.world
        world.at(world.now + delay, self._act, self.life, action, args)

    def at_local(self, local: float, action: Callable[..., None], *args: object) -> None:
        """Do something when its clock shows ``local``, or a hair later."""
        self.world.at(self.clock.true(local) + HAIR, self._act, self.life, action, args)

    def _act(self, life: int, action: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.life == life:
            self.step(action, *args)

    def count_effect(self) -> None:
        """Count an effect, and die before it if that is planned."""
        self.effects += 1
        if self.effects == self.crash_at:
            raise Crash

    def _settle(self) -> None:
        """Let everything leave, and take what never can."""
        self.link.flush()
        while self.link.failed:
            event = self.link.failed.pop(0)
            if self.pump is not None:
                self.pump.take(event, now=self.now)
            self.link.flush()

    def _ring(self, at: float) -> None:
        if self._alarm == at:
            self._alarm = None
        if self.pump is not None:
            self.pump.wake_due(now=self.now)

    # ── its link ───────────────────────────────────────────────────────────────────────

    def _new_link(self) -> SimulatedLink:
        life = self.life

        def hear(events: list[PortEvent]) -> None:
            if self.life == life and self.link is link:
                self.step(self.heard, link, events)

        def refused(why: str) -> None:
            if self.life == life and self.link is link:
                self.step(self.refused, why)

        link = SimulatedLink(self.network, hear, refused, self.count_effect, self._say)
        return link

    def connect(self, topology: Topology) -> SimulatedLink:
        """Begin to connect with a fresh link."""
        self._topology = topology
        self._alarm = None
        self.link = self._new_link()
        self.link.connect(topology)
        return self.link

    def join(
        self,
        machine: Machine,
        sender: str,
        *,
        journal: Journal | None = None,
        run: Callable[[Run], None] | None = None,
    ) -> Pump:
        """Join a machine to the link, by a pump that reads each body once for all parties."""
        return Pump(
            machine,
            self.link,
            LAB,
            sender=sender,
            journal=journal,
            run=run,
            strict=True,
            decode=self.world.read,
        )

    def reconnect(self) -> None:
        """Begin to connect again with the same link."""
        if self._topology is not None and not self.link.up:
            self.link.connect(self._topology)

    def heard(self, link: SimulatedLink, events: list[PortEvent]) -> None:
        """Take what came in one packet."""
        for event in events:
            if isinstance(event, PortDelivered):
                world, kind = self.world, event.properties.type
                if world.looks_for(Heard, kind):
                    world.see(Heard(world.now, self.name, world.read(event.body, kind)))
            pump = self.pump
            if pump is not None and self.link is link:
                pump.take(event, now=self.now)
                if isinstance(event, PortDown):
                    self.lost()

    def lost(self) -> None:
        """Come back after a lost connection."""
        self.later(self.world.random.random() * RECONNECT, self.reconnect)

    def _say(self, said: Message) -> None:
        properties = said.properties
        kind = properties.type if isinstance(properties, Properties) else None
        world = self.world
        if world.looks_for(Said, kind):
            message = world.read(said.body, kind)
            world.see(Said(world.now, self.name, said.key, message, self.speaks_on()))
