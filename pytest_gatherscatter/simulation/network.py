"""The broker of a simulated lab, and how long the ways to it take."""

from typing import TYPE_CHECKING

from pytest_gatherscatter.broker.port import (
    ConsumeCancelled,
    Delivered,
    PortEvent,
    Properties,
    Tag,
)
from pytest_gatherscatter.embedded.record import CancelNotify, Deliver, Output
from pytest_gatherscatter.embedded.vhost import VHost
from pytest_gatherscatter.simulation.world import World

if TYPE_CHECKING:
    from pytest_gatherscatter.simulation.connection import Connection

USER = "lab"
SHORTEST = 0.0001
"""Seconds of the fastest way to the broker: loopback and two schedulers."""

DELAYS = (*(0.00003,) * 6, 0.0003, 0.003)
"""Seconds of a usual way on top of the shortest. Most labs are quick ones, as most are: where a
clock is read well at once, no second probe costs the play its time."""


class Network:
    """One broker. ``mean`` is the usual delay of one way in seconds, beside ``SHORTEST``.

    ``spikes`` is the chance that a message takes up to ``SPIKE`` seconds, ``twice`` the chance
    that it is delivered a second time, up to ``LATE`` seconds later.
    """

    SPIKE = 0.4
    LATE = 3.0

    def __init__(self, world: World, *, mean: float, spikes: float, twice: float) -> None:
        self.world = world
        self.vhost = VHost()
        self.connections: dict[int, Connection] = {}
        self.down_until = 0.0
        self.slow_until = 0.0
        self.twice = twice
        self.late_confirms = 0.0
        """Seconds by which a broker may confirm late: one that writes to a disk first."""
        self._random = world.random.random
        self._spread = 3.0 * mean
        self._spikes = spikes
        self._ids = 0

    def number(self) -> int:
        """Number a connection."""
        self._ids += 1
        return self._ids

    @property
    def down(self) -> bool:
        """Whether the broker is away."""
        return self.world.now < self.down_until

    @property
    def calm(self) -> bool:
        """Whether nothing is slow, late or said twice."""
        return not (self._spikes or self.twice) and self.world.now >= self.slow_until

    def delay(self) -> float:
        """Draw how long one way takes."""
        draw = self._random()
        seconds = SHORTEST + self._spread * draw * draw
        if self._spikes or self.slow_until:
            seconds += self._spike()
        return seconds

    def _spike(self) -> float:
        if self.world.now < self.slow_until or (self._spikes and self._random() < self._spikes):
            return self._random() * self.SPIKE
        return 0.0

    def restart(self, away: float) -> None:
        """Kill the broker: it comes back in ``away`` seconds and remembers nothing."""
        self.world.tell("broker", f"is killed, comes back in {away:.1f} s")
        self.down_until = self.world.now + away
        self.vhost = VHost()
        connections, self.connections = list(self.connections.values()), {}
        for connection in connections:
            connection.reset_by_peer()

    def drain(self) -> None:
        """Send out what the broker has to say."""
        vhost = self.vhost
        deadline = vhost.next_deadline()
        if deadline is not None and deadline <= self.world.now:
            vhost.expire(self.world.now)
        outputs = vhost.drain()
        if not outputs:
            return
        packets: dict[Connection, list[PortEvent]] = {}
        for output in outputs:
            event = _event(output)
            connection = self.connections.get(output.channel)  # type: ignore[call-overload]
            if event is None or connection is None:
                continue
            if len(outputs) == 1:
                connection.tell([event])
                return
            packets.setdefault(connection, []).append(event)
        for connection, events in packets.items():
            connection.tell(events)


def _event(output: Output) -> PortEvent | None:
    """Say what a client hears; a return is the outcome of the publish that is under way."""
    if isinstance(output, Deliver):
        message = output.message
        properties = message.properties
        return Delivered(
            Tag(output.channel, output.delivery_tag),  # type: ignore[arg-type] # numbers here
            output.queue,
            message.exchange,
            message.key,
            properties if isinstance(properties, Properties) else Properties(),
            message.body,
            output.redelivered,
        )
    return ConsumeCancelled(output.consumer_tag) if isinstance(output, CancelNotify) else None
