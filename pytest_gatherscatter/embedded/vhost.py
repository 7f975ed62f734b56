"""The embedded broker's heart: what happens to messages, without bytes, sockets or a clock.

A :class:`VHost` is driven by calls, one after the other from one thread, and keeps what it
has to say until :meth:`VHost.drain`. Time is the argument ``now``, in seconds from any zero;
it must not run backwards. So the same code serves real sessions and a simulation that plays a
whole laboratory in virtual time, and both see the same order for the same calls.

Refusals are :class:`~pytest_gatherscatter.embedded.refusal.AmqpError`; a refused call has
changed nothing. Whether a refusal ends the channel or the connection is the caller's to do.
"""

from collections.abc import Callable, Mapping
from itertools import count

from pytest_gatherscatter.embedded.argument import check_consumer
from pytest_gatherscatter.embedded.budget import CHANNEL, Budget, consumer_size
from pytest_gatherscatter.embedded.declaration import NOTHING, Declaration
from pytest_gatherscatter.embedded.invariant import problems
from pytest_gatherscatter.embedded.queue import (
    Channel,
    Connection,
    Consumer,
)
from pytest_gatherscatter.embedded.record import (
    ChannelId,
    ConnectionId,
    Got,
    Message,
    Outcome,
    Output,
    Profile,
    QueueState,
    Return,
)
from pytest_gatherscatter.embedded.refusal import (
    AmqpError,
    Code,
    not_found,
    not_implemented,
    unsupported,
)


class VHost(Declaration):
    """Exchanges, queues, consumers and deliveries of one broker.

    Args:
        profile: which RabbitMQ's refusals are copied.
        name: gives the random part of server-made names; without it they are numbered, which
            a simulation wants and a server must not have (a client could guess them).
        declared: octets for all that is declared, see :class:`Budget`; None is no limit.
    """

    def __init__(
        self,
        *,
        profile: Profile = Profile.RABBITMQ_4_3,
        name: Callable[[], str] | None = None,
        declared: int | None = None,
    ) -> None:
        numbers = count(1)
        super().__init__(profile, Budget(declared), name or (lambda: str(next(numbers))))

    def drain(self) -> list[Output]:
        """All that was to be said since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    # Connections and channels

    def connect(self, connection: ConnectionId, user: str) -> None:
        """A client came and logged in as ``user``; ValueError when the id is in use."""
        if connection in self._connections:
            raise ValueError(f"connection {connection!r} is open already")
        self._connections[connection] = Connection(connection, user)

    def disconnect(self, connection: ConnectionId, *, now: float) -> None:
        """A client is gone: its deliveries come again elsewhere, its exclusive queues go."""
        gone = self._connections[connection]
        self._end_channels(list(gone.channels.values()), now)
        for name in list(gone.exclusive):
            self._delete(self._directory.queues[name])
        del self._connections[connection]
        self._work(now)

    def pause(self, connection: ConnectionId) -> None:
        """Deliver nothing more to a client that does not read."""
        self._connections[connection].paused = True

    def paused(self, connection: ConnectionId) -> bool:
        """Whether nothing is delivered to this client, because it was paused or had its room."""
        return self._connections[connection].paused

    def resume(self, connection: ConnectionId, *, room: int | None = None, now: float) -> None:
        """The client reads (again), and may be sent ``room`` bytes before it is paused.

        The last message may pass the room. None is no limit, which is also how one starts.
        """
        self._connections[connection].paused = False
        self._connections[connection].room = room
        for channel in self._connections[connection].channels.values():
            self._unblock(channel)
        self._work(now)

    def open_channel(self, connection: ConnectionId, channel: ChannelId) -> None:
        """Open a channel; ValueError when the id is in use. AmqpError 530: there are too many."""
        if channel in self._channels:
            raise ValueError(f"channel {channel!r} is open already")
        self._budget.take(CHANNEL, "open a channel", connection, Code.NOT_ALLOWED)
        owner = self._connections[connection]
        self._channels[channel] = owner.channels[channel] = Channel(channel, owner)

    def close_channel(self, channel: ChannelId, *, now: float) -> None:
        """Close a channel: what it did not settle goes back to its place."""
        self._end_channels([self._channels[channel]], now)
        self._work(now)

    # Consumers

    def qos(self, channel: ChannelId, prefetch: int, *, together: bool = False) -> None:
        """Limit what consumers of this channel hold unsettled, each that starts from now on.

        ``together`` (the protocol's "global") limits all of them in sum instead; RabbitMQ 4.3
        has given that up, and takes it for a limit of each. 0 is no limit.
        """
        asker = self._channels[channel]
        if together and self._directory.profile is Profile.RABBITMQ_3_10:
            asker.limit = prefetch
        else:
            asker.prefetch = prefetch

    def consume(  # noqa: PLR0913 - the protocol's own arguments
        self,
        channel: ChannelId,
        queue: str,
        tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, object] = NOTHING,
        now: float,
    ) -> str:
        """Start a consumer and answer its tag; an empty tag has one made.

        Raises:
            AmqpError: 403 (exclusive use), 404, 405, 530 (the tag is in use, or there are too
                many), 540.
        """
        asker = self._channels[channel]
        if queue == "amq.rabbitmq.reply-to":
            raise unsupported("direct reply-to")
        name = self._meant(channel, queue)
        if tag in asker.consumers:
            raise AmqpError(Code.NOT_ALLOWED, f"attempt to reuse consumer tag '{tag}'")
        source = self._queue(channel, name)
        check_consumer(name, arguments)
        tag = tag or f"amq.ctag-{self._name()}"
        source.assert_consumable(exclusive=exclusive)
        what, owner = f"consume from queue '{name}'", asker.connection.id
        self._budget.take(consumer_size(tag), what, owner, Code.NOT_ALLOWED)
        consumer = Consumer(tag, asker, source, no_ack, exclusive, asker.prefetch)
        asker.consumers[tag] = consumer
        source.add_consumer(consumer)
        self._look_at([source])
        self._work(now)
        return tag

    def cancel(self, channel: ChannelId, tag: str, *, now: float) -> None:
        """End a consumer; what it holds stays to be settled. An unknown tag is no error."""
        consumer = self._channels[channel].consumers.pop(tag, None)
        if consumer is not None:
            self._end_consumer(consumer)
            self._released([consumer.queue])
            self._work(now)

    def get(
        self, channel: ChannelId, queue: str, *, no_ack: bool = False, now: float
    ) -> Got | None:
        """Take one ready message, or None; AmqpError 404, 405."""
        source = self._queue(channel, queue)
        source.used_at = now
        self._drop_expired(source, now)
        got = None
        if source.ready:
            entry = source.pop()
            number = self._hand_out(self._channels[channel], source, entry, None, no_ack=no_ack)
            # What was behind it may be too old, and does not count any more.
            self._drop_expired(source, now)
            got = Got(number, entry.redelivered, entry.message, len(source.ready))
        self._look_at([source])
        self._work(now)
        return got

    # Publishing

    def publish(
        self, channel: ChannelId, message: Message, *, mandatory: bool = False, now: float
    ) -> Outcome:
        """Give a message to every queue that it is routed to.

        Raises:
            AmqpError: 403 (an internal exchange), 404, 406 (a ``user_id`` that is not the
                login's).
        """
        asker = self._channels[channel]
        if self._directory.exchange(message.exchange).internal:
            raise AmqpError(
                Code.ACCESS_REFUSED,
                f"cannot publish to internal exchange '{message.exchange}' in vhost '/'",
            )
        if message.user_id is not None and message.user_id != asker.connection.user:
            raise AmqpError(
                Code.PRECONDITION_FAILED,
                f"user_id property set to '{message.user_id}' but authenticated user was "
                f"'{asker.connection.user}'",
            )
        queues = self._directory.route(message.exchange, message.key)
        if not queues:
            if mandatory:
                self._outputs.append(Return(channel, Code.NO_ROUTE, "NO_ROUTE", message))
            return Outcome.UNROUTABLE
        refused = False
        for queue in queues:
            refused = not self._enqueue(queue, message, now) or refused
        self._work(now)
        return Outcome.REFUSED if refused else Outcome.QUEUED

    # Settling

    def ack(
        self, channel: ChannelId, delivery_tag: int, *, multiple: bool = False, now: float
    ) -> None:
        """Settle a delivery for good, or all up to it (0: all); AmqpError 406."""
        self._settle(channel, delivery_tag, multiple=multiple, now=now, end=self._accept)

    def nack(
        self,
        channel: ChannelId,
        delivery_tag: int,
        *,
        multiple: bool = False,
        requeue: bool = True,
        now: float,
    ) -> None:
        """Give a delivery back to its place, or to the dead letters; AmqpError 406."""
        end = self._requeue if requeue else self._reject
        self._settle(channel, delivery_tag, multiple=multiple, now=now, end=end)

    def reject(
        self, channel: ChannelId, delivery_tag: int, *, requeue: bool = True, now: float
    ) -> None:
        """As :meth:`nack`, and count the delivery as failed: basic.reject. AmqpError 406."""
        end = self._requeue if requeue else self._reject
        self._settle(
            channel,
            delivery_tag,
            multiple=False,
            now=now,
            end=lambda taken, at: end(self._failed(taken), at),
        )

    def recover(self, channel: ChannelId, *, requeue: bool = True, now: float) -> None:
        """Give every unsettled delivery of the channel back to its place; AmqpError 540."""
        if not requeue:
            raise not_implemented("requeue=false")
        self._settle(channel, 0, multiple=True, now=now, end=self._requeue)

    # Looking in

    def queue_state(self, name: str) -> QueueState:
        """Ready messages and consumers of any queue, for tests and status; AmqpError 404."""
        try:
            return self._directory.queues[name].state
        except KeyError:
            raise not_found("queue", name) from None

    def __contains__(self, queue: str) -> bool:
        """Whether there is such a queue."""
        return queue in self._directory.queues

    def waiting(self, queue: str) -> list[Message]:
        """Return what is ready in a queue, in its order; AmqpError 404."""
        try:
            return [entry.message for entry in self._directory.queues[queue].ready]
        except KeyError:
            raise not_found("queue", queue) from None

    def counts(self) -> dict[str, int]:
        """How many connections, channels, exchanges and queues there are."""
        return {
            "connections": len(self._connections),
            "channels": len(self._channels),
            "exchanges": len(self._directory.exchanges),
            "queues": len(self._directory.queues),
        }

    def problems(self, now: float) -> list[str]:
        """Every invariant that does not hold, between calls; for tests, and slow."""
        held = self.bytes_held - self._dead.size
        return problems(self._directory, self._connections, self._channels, held, now)
