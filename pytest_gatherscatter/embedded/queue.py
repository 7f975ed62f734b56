"""One queue, its consumers, and the channels that they and the unsettled deliveries belong to.

A queue's entries carry a position that only grows. A requeued entry goes back to its own
position, so what a consumer hands back comes again before anything younger.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from heapq import merge

from msgspec import Struct, field

from pytest_gatherscatter.embedded.argument import QueueArguments
from pytest_gatherscatter.embedded.record import (
    ChannelId,
    ConnectionId,
    Message,
    QueueState,
)
from pytest_gatherscatter.embedded.refusal import AmqpError, Code, flag, unequal


class Entry(Struct):
    """One copy of a message in one queue; ``expires_at`` is in the vhost's time.

    ``failed`` is that a delivery of it has failed, here or where it was before it died.
    """

    position: int
    message: Message
    expires_at: float | None
    redelivered: bool = False
    failed: bool = False


class Consumer(Struct, eq=False):
    """One consumer; ``prefetch`` 0 means no limit."""

    tag: str
    channel: "Channel"
    queue: "Queue"
    no_ack: bool
    exclusive: bool
    prefetch: int
    unacked: int = 0

    @property
    def open(self) -> bool:
        """Whether it may have one more delivery now."""
        if self.channel.connection.paused:
            return False
        if self.no_ack:
            return True
        if self.prefetch and self.unacked >= self.prefetch:
            return False
        limit = self.channel.limit
        return not limit or self.channel.held < limit


class Unacked(Struct):
    """A delivery that waits for its settlement; ``consumer`` is None after a get."""

    entry: Entry
    queue: "Queue"
    consumer: Consumer | None


class Connection(Struct, eq=False):
    """One client; ``paused`` while it does not read, so that nothing more is sent to it.

    ``room`` is how many bytes it may be sent before it is paused by itself; None has no end.
    """

    id: ConnectionId
    user: str
    channels: dict[ChannelId, "Channel"] = field(default_factory=dict)
    exclusive: dict[str, None] = field(default_factory=dict)
    paused: bool = False
    room: int | None = None

    def sent(self, size: int) -> None:
        """Count a delivery against the room."""
        if self.room is not None:
            self.room -= size
            self.paused = self.paused or self.room <= 0


class Channel(Struct, eq=False):
    """One channel: its consumers by tag and its unsettled deliveries by delivery tag.

    ``prefetch`` is for the consumers to come, ``limit`` for all of them together (global QoS),
    ``held`` counts what counts against it. No delivery up to ``floor`` is unsettled.
    """

    id: ChannelId
    connection: Connection
    prefetch: int = 0
    limit: int = 0
    held: int = 0
    tags: int = 0
    floor: int = 0
    last_queue: str = ""
    consumers: dict[str, Consumer] = field(default_factory=dict)
    unacked: dict[int, Unacked] = field(default_factory=dict)


class Queue:
    """Entries in order, and who consumes them in turn.

    ``owner`` is the connection of an exclusive queue. ``used_at`` is when x-expires started to
    count, ``idle`` that it starts now. ``scheduled`` is the earliest time at which the vhost
    will look at it again.
    """

    def __init__(  # noqa: PLR0913 - the protocol's own arguments
        self,
        name: str,
        arguments: QueueArguments,
        *,
        durable: bool,
        auto_delete: bool,
        owner: ConnectionId | None,
        now: float,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.used_at = now
        self.scheduled: float | None = None
        self.deleted = False
        self.idle = False
        self.consumers: dict[Consumer, None] = {}
        # Whose turn it is next, and who had no room when it was theirs, in the order of finding.
        # Any of these may be one of thousands, and must be found at once.
        self._turns: OrderedDict[Consumer, None] = OrderedDict()
        self._blocked: dict[Channel, dict[Consumer, None]] = {}
        self.ready: deque[Entry] = deque()
        self.ready_bytes = 0
        self._positions = 0

    @property
    def state(self) -> QueueState:
        """Ready messages and consumers, as a declaration answers them."""
        return QueueState(self.name, len(self.ready), len(self.consumers))

    @property
    def deadline(self) -> float | None:
        """When something of it runs out: the head entry, or the unused queue itself."""
        head = self.ready[0].expires_at if self.ready else None
        expires = self.arguments.expires
        if expires is None or self.consumers:
            return head
        unused = self.used_at + expires
        return unused if head is None else min(head, unused)

    def assert_equal(
        self, *, durable: bool, auto_delete: bool, arguments: Mapping[str, object]
    ) -> None:
        """AmqpError 406 when a declaration differs from this queue."""
        for name, received, current in (
            ("durable", durable, self.durable),
            ("auto_delete", auto_delete, self.auto_delete),
        ):
            if received != current:
                raise unequal("queue", self.name, name, flag(received), flag(current))
        self.arguments.assert_equal(self.name, arguments)

    def full_for(self, message: Message) -> bool:
        """Whether x-overflow=reject-publish refuses this message."""
        arguments = self.arguments
        if arguments.overflow == "drop-head":
            return False
        return self._over(len(self.ready) + 1, self.ready_bytes + len(message.body))

    @property
    def overflowing(self) -> bool:
        """Whether the head has to go; a queue that refuses when it is full never drops."""
        return (
            bool(self.ready)
            and self.arguments.overflow == "drop-head"
            and self._over(len(self.ready), self.ready_bytes)
        )

    def _over(self, count: int, size: int) -> bool:
        arguments = self.arguments
        return (arguments.max_length is not None and count > arguments.max_length) or (
            arguments.max_length_bytes is not None and size > arguments.max_length_bytes
        )

    def append(self, message: Message, now: float) -> None:
        """Put a new message at the end."""
        ttl, longest = message.ttl, self.arguments.message_ttl
        if ttl is None or (longest is not None and longest < ttl):
            ttl = longest
        self._positions += 1
        entry = Entry(self._positions, message, None if ttl is None else now + ttl)
        if message.failed:
            entry.failed = True
            # As RabbitMQ marks it: not for whom it does not have to wait.
            entry.redelivered = not self._eager
        self.ready.append(entry)
        self.ready_bytes += len(message.body)

    @property
    def _eager(self) -> bool:
        """Whether somebody would take a message at once."""
        if self.arguments.single_active_consumer:
            return any(consumer.open for consumer in [*self.consumers][:1])
        return any(consumer.open for consumer in self._turns)

    def pop(self) -> Entry:
        """Take the head; IndexError when nothing is ready."""
        entry = self.ready.popleft()
        self.ready_bytes -= len(entry.message.body)
        return entry

    def restore(self, entries: list[Entry]) -> None:
        """Put entries back where they were, marked as redelivered."""
        entries = sorted(entries, key=_position)
        for entry in entries:
            entry.redelivered = True
            self.ready_bytes += len(entry.message.body)
        if not self.ready or entries[-1].position < self.ready[0].position:
            self.ready.extendleft(reversed(entries))
        elif entries[0].position > self.ready[-1].position:
            self.ready.extend(entries)
        else:
            # Only what is older than the youngest of them moves.
            older = []
            while self.ready and self.ready[0].position < entries[-1].position:
                older.append(self.ready.popleft())
            self.ready.extendleft(reversed(list(merge(older, entries, key=_position))))

    def add_consumer(self, consumer: Consumer) -> None:
        """Take one more consumer, who is the last to have a turn."""
        self.consumers[consumer] = None
        self._turns[consumer] = None

    def remove_consumer(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        del self.consumers[consumer]
        if consumer in self._turns:
            del self._turns[consumer]
        else:
            self._forget_blocked(consumer)

    def _forget_blocked(self, consumer: Consumer) -> None:
        blocked = self._blocked[consumer.channel]
        del blocked[consumer]
        if not blocked:
            del self._blocked[consumer.channel]

    def next_consumer(self) -> Consumer | None:
        """Whose turn it is, or None when nobody may have more; it then goes to the back.

        RabbitMQ's order: who has no room at its turn loses it, and is the last in the row once
        there is room again.
        """
        if self.arguments.single_active_consumer:
            # The oldest one is active; the others wait for its end, and so have no turns.
            active = next(iter(self.consumers), None)
            return active if active is not None and active.open else None
        while self._turns:
            consumer = next(iter(self._turns))
            if consumer.open:
                self._turns.move_to_end(consumer)
                return consumer
            del self._turns[consumer]
            self._blocked.setdefault(consumer.channel, {})[consumer] = None
        return None

    def unblock(self, channel: Channel) -> None:
        """Let those of a channel's consumers have turns again who have room by now."""
        for consumer in [c for c in self._blocked.get(channel, ()) if c.open]:
            self._forget_blocked(consumer)
            self._turns[consumer] = None

    def assert_consumable(self, *, exclusive: bool) -> None:
        """AmqpError 403 when exclusive consumption stands in the way."""
        # Who is exclusive is alone.
        taken = len(self.consumers) == 1 and next(iter(self.consumers)).exclusive
        single = self.arguments.single_active_consumer
        if taken or (exclusive and (self.consumers or single)):
            raise AmqpError(
                Code.ACCESS_REFUSED, f"queue '{self.name}' in vhost '/' in exclusive use"
            )


def _position(entry: Entry) -> int:
    return entry.position
