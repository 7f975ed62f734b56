"""A party's way to the broker: first in, first out, each way with a delay of its own.

A connection can be lost in the ways that matter: both ends see it at once (a reset), or each
sees it when its heartbeats run out, so that exclusive names linger at the broker and a party
believes in a connection that is none. What a dying process had handed to its kernel still
arrives; what it had not, does not.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from msgspec import Struct

from pytest_gatherscatter.broker.port import (
    NO_ROUTE,
    Delivered,
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishConfirmed,
    PublishReturned,
    Tag,
    Verdict,
)
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.embedded.record import Message, Outcome
from pytest_gatherscatter.embedded.refusal import AmqpError
from pytest_gatherscatter.embedded.vhost import VHost
from pytest_gatherscatter.simulation.network import USER, Network

HEARTBEAT = 5.0
MISSES = 3

# At hand: a member of an Enum is found in ten times the time of a name.
_QUEUED, _UNROUTABLE, _ACK = Outcome.QUEUED, Outcome.UNROUTABLE, Verdict.ACK


class Outgoing(Struct):
    """A publish on its way, with the number under which its outcome comes back."""

    number: int
    message: Message
    mandatory: bool


class Settling(Struct):
    """A settlement on its way."""

    tag: Tag
    verdict: Verdict


Action: TypeAlias = Outgoing | Settling | Callable[[], None]
"""What is to be done at the broker."""


EAGER = 0.03
"""How often something leaves before the rest of its step is done: what comes first counts."""


class Connection:
    """One connection, from its first byte to its end. Its id is also that of its channel.

    ``hear`` gets what comes to the client, ``refused`` why it was turned away.
    """

    def __init__(
        self,
        network: Network,
        topology: Topology,
        hear: Callable[[list[PortEvent]], None],
        refused: Callable[[str], None],
    ) -> None:
        self.id = network.number()
        self.up = False
        self._network = network
        self._world = network.world
        self._topology = topology
        self._hear = hear
        self._refused = refused
        self._there = self._back = 0.0
        self._outcomes: list[PortEvent] = []
        self._deaf = False  # nothing more reaches the client
        self._cut = False  # nothing more reaches anybody
        self.send([self._open])

    @property
    def whole(self) -> bool:
        """Whether it is open, and nobody is still to learn that it is cut."""
        return self.up and not self._cut

    # ── towards the broker ─────────────────────────────────────────────────────────────

    def send(self, actions: Iterable[Action]) -> None:
        """Do ``actions`` at the broker, after all that was sent before: one packet."""
        world = self._world
        arrives = world.now + self._network.delay()
        if arrives > self._there:  # noqa: PLR1730 - at each packet, and max() is a call
            self._there = arrives
        world.at(self._there, self._arrive, actions)

    def _arrive(self, actions: Iterable[Action]) -> None:
        if self._cut:
            return
        for action in actions:
            if isinstance(action, Outgoing):
                self._publish(action)
            elif isinstance(action, Settling):
                self._settle(action)
            else:
                action()
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            late = self._network.late_confirms
            if late and self.up:  # what was published may be delivered, and answered, before
                self._world.after(late * self._world.random.random(), self.tell, outcomes)
            else:
                self.tell(outcomes)
        self._network.drain()

    def _publish(self, one: Outgoing) -> None:
        """Publish at the broker, now; the client is told at the end of the packet."""
        number, mandatory, now = one.number, one.mandatory, self._world.now
        vhost = self._network.vhost
        outcome = vhost.publish(self.id, one.message, mandatory=mandatory, now=now)
        if outcome is _QUEUED or (outcome is _UNROUTABLE and not mandatory):
            self._outcomes.append(PublishConfirmed(number))
        else:
            returned = outcome is _UNROUTABLE
            reason = NO_ROUTE if returned else outcome.value
            self._outcomes.append(PublishReturned(number, reason))

    def _settle(self, one: Settling) -> None:
        """Settle at the broker, now."""
        vhost, number, now = self._network.vhost, one.tag.number, self._world.now
        if one.verdict is _ACK:
            vhost.ack(self.id, number, now=now)
        else:
            vhost.nack(self.id, number, requeue=one.verdict is Verdict.REQUEUE, now=now)

    def declare(self, topology: Topology) -> None:
        """Declare, bind and consume at the broker, now; AmqpError as it says."""
        vhost, now = self._network.vhost, self._world.now
        for exchange in topology.exchanges:
            vhost.declare_exchange(exchange.name, exchange.kind, durable=exchange.durable)
        for queue in topology.queues:
            vhost.declare_queue(
                self.id,
                queue.name,
                durable=queue.durable,
                exclusive=queue.exclusive,
                auto_delete=queue.auto_delete,
                arguments=queue.arguments,
                now=now,
            )
        for binding in topology.bindings:
            vhost.bind_queue(self.id, binding.queue, binding.exchange, binding.key)
        for consumer in topology.consumers:
            vhost.qos(self.id, consumer.prefetch)
            vhost.consume(
                self.id, consumer.queue, consumer.queue, exclusive=consumer.exclusive, now=now
            )

    def cancel(self) -> None:
        """Consume nothing more but the inbox, which is exclusive."""
        vhost = self._network.vhost
        queues = [one.name for one in self._topology.queues if not one.exclusive]
        self.send([partial(self._cancel, vhost, queue) for queue in queues])

    def _cancel(self, vhost: VHost, queue: str) -> None:
        if self.id in self._network.connections:
            vhost.cancel(self.id, queue, now=self._world.now)

    def _open(self) -> None:
        network = self._network
        if network.down:
            self._turn_away("connection refused")
            return
        network.connections[self.id] = self
        network.vhost.connect(self.id, USER)
        network.vhost.open_channel(self.id, self.id)
        try:
            self.declare(self._topology)
        except AmqpError as error:
            self._gone()
            self._turn_away(str(error))
            return
        self._outcomes.append(PortUp(self.id))

    def _turn_away(self, why: str) -> None:
        self._deaf = True  # it is told once, also if this connection is cut meanwhile
        self._back = max(self._back, self._world.now + self._network.delay())
        self._world.at(self._back, self._refused, why)

    def _gone(self) -> None:
        """The broker sees that the connection is no more."""
        if self._network.connections.pop(self.id, None) is not None:
            self._network.vhost.disconnect(self.id, now=self._world.now)
            self._network.drain()

    # ── towards the client ─────────────────────────────────────────────────────────────

    def tell(self, events: list[PortEvent]) -> None:
        """Tell the client, after all that it was told before: one packet."""
        world, network = self._world, self._network
        arrives = world.now + network.delay()
        if arrives > self._back:  # noqa: PLR1730 - as above
            self._back = arrives
        world.at(self._back, self._come, events)
        if network.twice and world.random.random() < network.twice:
            again: list[PortEvent] = [_again(e) for e in events if isinstance(e, Delivered)]
            late = world.random.random() * Network.LATE
            if again:
                world.at(self._back + late, self._come, again)

    def _come(self, events: list[PortEvent]) -> None:
        if self._deaf or self._cut:
            return
        if isinstance(events[0], PortUp):
            self.up = True
        self._hear(events)

    # ── ends ───────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """The client closes, or its kernel does after its death: what was sent arrives first."""
        self._deaf = True
        self.up = False
        self.send([self._gone])

    def lose(self, *, at_client: float, at_broker: float) -> None:
        """Cut it: nothing goes through any more; each end sees it after some seconds."""
        if self._cut:
            return
        self._cut = True
        self._world.after(at_broker, self._gone)
        self._world.after(at_client, self._down)

    def reset_by_peer(self) -> None:
        """The broker is gone: its kernel, or the next packet, tells the client."""
        if not self._cut:
            self._cut = True
            self._world.after(self._network.delay(), self._down)

    def _down(self) -> None:
        if not self._deaf:
            self._deaf = True
            if self.up:
                self.up = False
                self._hear([PortDown("connection lost")])
            else:
                self._refused("connection lost")


class SimulatedLink:
    """The port of one pump: the connection of the moment, or none.

    What is published leaves with :meth:`flush`, as with pika, and now and then at once, as a
    kernel may have it; ``effect`` is called before each publish, and may raise to end the
    process there.
    """

    def __init__(
        self,
        network: Network,
        hear: Callable[[list[PortEvent]], None],
        refused: Callable[[str], None],
        effect: Callable[[], None],
        said: Callable[[Message], None],
    ) -> None:
        self._network = network
        self._chance = network.world.random.random
        self._hear = hear
        self._refused = refused
        self._effect = effect
        self._said = said
        self._numbers = 0
        self.outbox: list[Action] = []
        """What has not left yet of the step that is under way."""
        self.connection: Connection | None = None
        self.failed: list[PublishReturned] = []

    @property
    def up(self) -> bool:
        """Whether it is of use."""
        return self.connection is not None and self.connection.up

    def connect(self, topology: Topology) -> None:
        """Begin to connect; ``PortUp`` or a refusal follows."""
        self.outbox.clear()
        self.connection = Connection(self._network, topology, self._hear, self._refused)

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> int:
        """Publish; see :class:`pytest_gatherscatter.broker.port.Port`."""
        self._effect()
        number = self._numbers = self._numbers + 1
        connection = self.connection
        if connection is None or not connection.up:
            self.failed.append(PublishReturned(number, "not connected"))
            return number
        message = Message(
            exchange, key, body, properties, ttl=properties.ttl, user_id=properties.user_id
        )
        self.outbox.append(Outgoing(number, message, mandatory))
        if self._chance() < EAGER:
            self.flush()
        return number

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Settle; see :class:`pytest_gatherscatter.broker.port.Port`."""
        connection = self.connection
        if connection is None or tag.generation != connection.id or tag.number < 0:
            return
        self.outbox.append(Settling(tag, verdict))

    def flush(self, most: int | None = None) -> None:
        """Hand what was published and settled to the kernel, at most ``most`` of it."""
        outbox = self.outbox
        if not outbox:
            return
        self.outbox = []
        if most is not None:
            outbox = outbox[:most]
        connection = self.connection
        if connection is not None and outbox:
            for action in outbox:
                if isinstance(action, Outgoing):
                    self._said(action.message)
            connection.send(outbox)

    @property
    def waiting(self) -> int:
        """How much of the step has not left yet."""
        return len(self.outbox)

    def close(self) -> None:
        """Close in good order: what was published leaves first."""
        self.flush()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def _again(event: Delivered) -> Delivered:
    """The same once more; its tag settles nothing, as settling once is enough."""
    return Delivered(
        Tag(event.tag.generation, -event.tag.number),
        event.queue,
        event.exchange,
        event.key,
        event.properties,
        event.body,
        redelivered=True,
    )
