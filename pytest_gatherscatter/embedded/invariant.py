"""What is true of a vhost between two calls, whatever was called before."""

from collections import Counter
from collections.abc import Mapping

from pytest_gatherscatter.embedded.budget import (
    CHANNEL,
    binding_size,
    consumer_size,
    exchange_size,
    queue_size,
)
from pytest_gatherscatter.embedded.directory import RESERVED, Directory
from pytest_gatherscatter.embedded.queue import Channel, Connection, Queue
from pytest_gatherscatter.embedded.record import ChannelId, ConnectionId


def problems(
    directory: Directory,
    connections: Mapping[ConnectionId, Connection],
    channels: Mapping[ChannelId, Channel],
    bytes_held: int,
    now: float,
) -> list[str]:
    """Every invariant that does not hold; reads everything, so it is for tests."""
    found = directory.problems()
    held = 0
    for queue in directory.queues.values():
        found += _of_queue(queue, connections, now)
        held += sum(entry.message.size for entry in queue.ready)
    for channel in channels.values():
        found += _of_channel(channel, connections)
        held += sum(unacked.entry.message.size for unacked in channel.unacked.values())
    if (weighed := _weighed(directory, channels)) != directory.budget.shares:
        found.append(f"{directory.budget.shares} is counted where {weighed} is declared")
    if sum(weighed.values()) != directory.budget.spent:
        found.append(f"what is declared is miscounted: {directory.budget.spent}")
    if held != bytes_held:
        found.append(f"{bytes_held} bytes are counted where {held} are held")
    return found


def _weighed(
    directory: Directory, channels: Mapping[ChannelId, Channel]
) -> dict[ConnectionId | None, int]:
    """What is declared, by the connections that it goes with."""
    weighed: Counter[ConnectionId | None] = Counter()
    for name, queue in directory.queues.items():
        weighed[queue.owner] += queue_size(name, queue.arguments.raw)
    for name, exchange in directory.exchanges.items():
        if name and not name.startswith(RESERVED):  # these were always there
            weighed[None] += exchange_size(name)
        for binding in exchange.bindings:
            weighed[directory.owner(binding)] += binding_size(binding)
    for channel in channels.values():
        weighed[channel.connection.id] += CHANNEL + sum(map(consumer_size, channel.consumers))
    return dict(weighed)


def _of_queue(
    queue: Queue, connections: Mapping[ConnectionId, Connection], now: float
) -> list[str]:
    found = []
    name = queue.name
    positions = [entry.position for entry in queue.ready]
    if positions != sorted(set(positions)):
        found.append(f"{name}: entries are out of order: {positions}")
    if queue.ready_bytes != sum(len(entry.message.body) for entry in queue.ready):
        found.append(f"{name}: its bytes are miscounted")
    if queue.ready and any(consumer.open for consumer in list(queue.consumers)[:1]):
        found.append(f"{name}: a message waits while its next consumer is free")
    if (
        queue.ready
        and not queue.arguments.single_active_consumer
        and any(c.open for c in queue.consumers)
    ):
        found.append(f"{name}: a message waits while a consumer is free")
    if queue.overflowing:
        found.append(f"{name}: it is longer than it may be")
    if queue.ready and queue.ready[0].expires_at is not None and queue.ready[0].expires_at < now:
        found.append(f"{name}: its head has expired")
    if queue.deadline is not None and (queue.scheduled is None or queue.scheduled > queue.deadline):
        found.append(f"{name}: nobody will look at it at its deadline")
    if queue.owner is not None and name not in getattr(
        connections.get(queue.owner), "exclusive", {}
    ):
        found.append(f"{name}: it outlived its owner")
    if len(queue.consumers) > 1 and any(c.exclusive for c in queue.consumers):
        found.append(f"{name}: an exclusive consumer is not alone")
    found.extend(
        f"{name}: consumer {consumer.tag} is unknown to its channel"
        for consumer in queue.consumers
        if consumer.channel.consumers.get(consumer.tag) is not consumer
    )
    return found


def _of_channel(channel: Channel, connections: Mapping[ConnectionId, Connection]) -> list[str]:
    found = []
    if connections.get(channel.connection.id) is not channel.connection:
        found.append(f"channel {channel.id!r} outlived its connection")
    held = sum(1 for unacked in channel.unacked.values() if unacked.consumer is not None)
    if held != channel.held:
        found.append(f"channel {channel.id!r} counts {channel.held} where {held} are held")
    if list(channel.unacked) != sorted(channel.unacked):
        found.append(f"channel {channel.id!r} has its delivery tags out of order")
    for tag, consumer in channel.consumers.items():
        if consumer not in consumer.queue.consumers or consumer.queue.deleted:
            found.append(f"consumer {tag} is unknown to its queue")
        mine = sum(1 for u in channel.unacked.values() if u.consumer is consumer)
        if mine != consumer.unacked:
            found.append(f"consumer {tag} counts {consumer.unacked} where {mine} are held")
        if consumer.prefetch and mine > consumer.prefetch:
            found.append(f"consumer {tag} holds {mine} of at most {consumer.prefetch}")
    return found
