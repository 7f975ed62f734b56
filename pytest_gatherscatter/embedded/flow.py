"""What moves: entries through queues to consumers, back to their place, or to the dead.

The machinery under :class:`~pytest_gatherscatter.embedded.vhost.VHost`. A call there changes
something, marks the queues to look at, and ends with :meth:`Flow._work`, which does all that
follows from it. Nothing here recurses: a dead letter that kills another one takes its turn. Where
they are very many, the rest is for the next call, which :meth:`Flow.next_deadline` asks for.
"""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from pytest_gatherscatter.embedded.budget import CHANNEL, Budget, consumer_size
from pytest_gatherscatter.embedded.directory import Directory
from pytest_gatherscatter.embedded.grave import Row, in_circle, one_more
from pytest_gatherscatter.embedded.queue import (
    Channel,
    Connection,
    Consumer,
    Entry,
    Queue,
    Unacked,
)
from pytest_gatherscatter.embedded.record import (
    CancelNotify,
    ChannelId,
    ConnectionId,
    Death,
    DeathReason,
    Deliver,
    Message,
    Output,
    Profile,
)
from pytest_gatherscatter.embedded.refusal import AmqpError, Code
from pytest_gatherscatter.embedded.timer import Timers

MOST_AT_ONCE = 1000
"""Copies of dead letters that one call makes before others have their turn: some milliseconds."""


class Flow:
    """Queues being served; subclassed by the vhost, and by nobody else."""

    def __init__(self, profile: Profile, budget: Budget) -> None:
        self._directory = Directory(profile, budget)
        self._budget = budget
        self._connections: dict[ConnectionId, Connection] = {}
        self._channels: dict[ChannelId, Channel] = {}
        self._outputs: list[Output] = []
        # Work that a call leaves for its end: queues to look at, and messages that died.
        self._dirty: dict[Queue, None] = {}
        self._dead = Row()
        self._timers = Timers()
        self.bytes_held = 0
        self.effort = 0
        """Copies that were queued or handed out so far, for who shares time among clients."""

    def _look_at(self, queues: Iterable[Queue]) -> None:
        for queue in queues:
            if not queue.deleted:
                self._dirty[queue] = None

    def _forget(self, entry: Entry) -> None:
        self.bytes_held -= entry.message.size

    def _die(self, queue: Queue, entry: Entry, reason: DeathReason, now: float) -> None:
        if not self._dead.add(queue, entry, reason, now):
            self._forget(entry)

    def _work(self, now: float) -> None:
        enough = self.effort + MOST_AT_ONCE
        while True:
            while self._dirty:
                dirty, self._dirty = self._dirty, {}
                for queue in dirty:
                    if not queue.deleted:
                        self._serve(queue, now)
            if not self._dead or self.effort >= enough:
                return
            # One by one, and after the queues that they leave were served: a dead letter is a
            # publish of its own to whom it reaches, be it the queue that it comes from.
            self._bury(*self._dead.next(), now)

    def _serve(self, queue: Queue, now: float) -> None:
        if queue.idle:
            queue.idle = False
            queue.used_at = now
        if queue.ready:
            self._serve_ready(queue, now)
        self._timers.schedule(queue)

    def _serve_ready(self, queue: Queue, now: float) -> None:
        while queue.ready:
            expires_at = queue.ready[0].expires_at
            # Strictly earlier: a time to live of 0 means "if somebody takes it at once".
            if expires_at is not None and expires_at < now:
                self._die(queue, queue.pop(), DeathReason.EXPIRED, now)
                continue
            consumer = queue.next_consumer()
            if consumer is None:
                break
            entry = queue.pop()
            number = self._hand_out(
                consumer.channel, queue, entry, consumer, no_ack=consumer.no_ack
            )
            channel = consumer.channel
            if channel.connection.room is not None:
                channel.connection.sent(entry.message.size)
            self._outputs.append(
                Deliver(
                    channel.id,
                    consumer.tag,
                    number,
                    entry.redelivered,
                    queue.name,
                    entry.message,
                )
            )
        if queue.ready:
            self._drop_expired(queue, now)
            self._drop_overflow(queue, now)

    def _drop_overflow(self, queue: Queue, now: float) -> None:
        while queue.overflowing:
            self._die(queue, queue.pop(), DeathReason.MAXLEN, now)

    def _drop_expired(self, queue: Queue, now: float) -> None:
        while queue.ready:
            expires_at = queue.ready[0].expires_at
            if expires_at is None or expires_at > now:
                return
            self._die(queue, queue.pop(), DeathReason.EXPIRED, now)

    def _hand_out(
        self,
        channel: Channel,
        queue: Queue,
        entry: Entry,
        consumer: Consumer | None,
        *,
        no_ack: bool,
    ) -> int:
        self.effort += 1
        channel.tags += 1
        if no_ack:
            self._forget(entry)
        else:
            channel.unacked[channel.tags] = Unacked(entry, queue, consumer)
            if consumer is not None:
                consumer.unacked += 1
                channel.held += 1
        return channel.tags

    def _bury(self, queue: Queue, entry: Entry, reason: DeathReason, now: float) -> None:
        self.effort += 1
        self._forget(entry)
        exchange = queue.arguments.dead_letter_exchange
        if exchange is None or queue.deleted:
            return
        message = entry.message
        key = queue.arguments.dead_letter_key
        key = message.key if key is None else key
        death = Death(queue.name, reason, message.exchange, message.key, now, 1, message.ttl)
        deaths = one_more(message.deaths, death)
        dead = replace(
            message,
            exchange=exchange,
            key=key,
            ttl=None,
            deaths=deaths,
            first_death=message.first_death or death,
            last_death=death,
            failed=entry.failed,
        )
        for target in self._directory.route(exchange, key):
            if reason is DeathReason.REJECTED or not in_circle(target.name, deaths):
                self._enqueue(target, dead, now)

    # Ends

    def _end_channels(self, channels: list[Channel], now: float) -> None:
        # All consumers go before anything is requeued: a dying channel's delivery must not
        # be handed to its dying sister.
        left: dict[Queue, None] = {}
        for channel in channels:
            for consumer in channel.consumers.values():
                self._end_consumer(consumer)
                left[consumer.queue] = None
        for channel in channels:
            self._requeue(self._failed(list(channel.unacked.values())), now)
            del self._channels[channel.id]
            self._budget.give(CHANNEL, channel.connection.id)
            channel.connection.channels.pop(channel.id, None)
        self._released(left)

    def _end_consumer(self, consumer: Consumer) -> None:
        consumer.queue.remove_consumer(consumer)
        self._budget.give(consumer_size(consumer.tag), consumer.channel.connection.id)

    def _released(self, queues: Iterable[Queue]) -> None:
        for queue in queues:
            if queue.deleted or queue.consumers:
                self._look_at([queue])
            elif queue.auto_delete:
                self._delete(queue)
            else:
                self._dirty[queue] = None
                queue.idle = True

    def _delete(self, queue: Queue) -> int:
        self._directory.remove_queue(queue)
        queue.deleted = True
        if queue.owner in self._connections:
            del self._connections[queue.owner].exclusive[queue.name]
        # RabbitMQ's channels tell of their consumers in the order of the tags.
        for consumer in sorted(queue.consumers, key=lambda c: c.tag):
            self._end_consumer(consumer)
            del consumer.channel.consumers[consumer.tag]
            self._outputs.append(CancelNotify(consumer.channel.id, consumer.tag))
        return self._empty(queue)

    def _empty(self, queue: Queue) -> int:
        dropped = len(queue.ready)
        while queue.ready:
            self._forget(queue.pop())
        return dropped

    # In and back

    def _enqueue(self, queue: Queue, message: Message, now: float) -> bool:
        self.effort += 1
        if queue.ready:
            self._drop_expired(queue, now)
        if queue.full_for(message):
            if queue.arguments.overflow == "reject-publish-dlx":
                self.bytes_held += message.size
                self._die(queue, Entry(0, message, None), DeathReason.MAXLEN, now)
            return False
        queue.append(message, now)
        self.bytes_held += message.size
        self._dirty[queue] = None
        return True

    def _settle(
        self,
        channel: ChannelId,
        number: int,
        *,
        multiple: bool,
        now: float,
        end: Callable[[list[Unacked], float], None],
    ) -> None:
        """Take deliveries from a channel and give them to ``end``.

        As on RabbitMQ, those of one consumer go together, and what follows from them is done
        before the next consumer's are looked at.
        """
        asker = self._channels[channel]
        if multiple and number == 0:
            taken = list(asker.unacked.values())
            asker.unacked.clear()
        elif number not in asker.unacked:
            raise AmqpError(Code.PRECONDITION_FAILED, f"unknown delivery tag {number}")
        elif multiple:
            # Looked for by their numbers: to walk through all that is held, for each of many small
            # steps, would cost the square of it.
            numbers = range(asker.floor + 1, number + 1)
            taken = [asker.unacked.pop(n) for n in numbers if n in asker.unacked]
            asker.floor = number
        else:
            taken = [asker.unacked.pop(number)]
        for group in _by_consumer(taken):
            consumer, queue = group[0].consumer, group[0].queue
            if consumer is not None:
                consumer.unacked -= len(group)
                asker.held -= len(group)
                queue.unblock(asker)
                if queue.ready:  # else room for more changes nothing
                    self._look_at([queue])
            end(group, now)
            self._work(now)
        if asker.limit:
            self._unblock(asker)
            self._work(now)

    def _accept(self, taken: list[Unacked], _: float) -> None:
        for unacked in taken:
            self._forget(unacked.entry)

    def _failed(self, taken: list[Unacked]) -> list[Unacked]:
        """Count a delivery as failed, as RabbitMQ does since 4.3: dead letters show it."""
        if self._directory.profile is not Profile.RABBITMQ_3_10:
            for unacked in taken:
                unacked.entry.failed = True
        return taken

    def _reject(self, taken: list[Unacked], now: float) -> None:
        for unacked in taken:
            self._die(unacked.queue, unacked.entry, DeathReason.REJECTED, now)

    def _unblock(self, channel: Channel) -> None:
        """A channel may have room again: its consumers have turns."""
        for queue in dict.fromkeys(c.queue for c in channel.consumers.values()):
            queue.unblock(channel)
            self._look_at([queue])

    def _requeue(self, taken: list[Unacked], now: float) -> None:
        places: dict[Queue, list[Entry]] = {}
        for unacked in taken:
            if unacked.queue.deleted:
                self._forget(unacked.entry)
            else:
                places.setdefault(unacked.queue, []).append(unacked.entry)
        for queue, entries in places.items():
            queue.restore(entries)
            # Before anybody is served, unlike a new message.
            self._drop_overflow(queue, now)
            self._dirty[queue] = None

    # Time

    def next_deadline(self) -> float | None:
        """When :meth:`expire` should be called next; it may be early, it is never late.

        In the past, while there is more to be done than one call does.
        """
        return self._dead.since if self._dead else self._timers.next()

    def expire(self, now: float) -> None:
        """Do all that is due at ``now``: messages and unused queues that run out."""
        self._work(now)
        while (at := self._timers.next()) is not None and at <= now:
            queue = self._timers.pop()
            expires = queue.arguments.expires
            if expires is not None and not queue.consumers and queue.used_at + expires <= now:
                self._delete(queue)
            else:
                self._dirty[queue] = None
            self._work(now)


def _by_consumer(taken: list[Unacked]) -> list[list[Unacked]]:
    """Deliveries in the order in which RabbitMQ settles them: by queue, then by consumer."""
    if len(taken) == 1:
        return [taken]
    groups: dict[tuple[str, str], list[Unacked]] = {}
    for unacked in taken:
        tag = "" if unacked.consumer is None else unacked.consumer.tag
        groups.setdefault((unacked.queue.name, tag), []).append(unacked)
    return [groups[key] for key in sorted(groups)]
