"""What goes into the vhost and what comes out of it: plain records, no bytes of a protocol."""

from collections.abc import Hashable
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

ConnectionId: TypeAlias = Hashable
"""Whatever the caller names a connection by."""

ChannelId: TypeAlias = Hashable
"""Whatever the caller names a channel by; unique over all connections."""

# What one queued copy costs beside its body and properties: a queue entry, and its share of
# the message object (measured at 250 to 350 bytes on CPython 3.11).
ENTRY_BYTES = 320


class Profile(Enum):
    """Which RabbitMQ's refusals are copied."""

    RABBITMQ_4_3 = "4.3"
    """Refuses transient non-exclusive queues, global QoS and dropped queue arguments."""

    RABBITMQ_3_10 = "3.10"
    """The older and more permissive one, for comparisons."""


class DeathReason(Enum):
    """Why a message was dead-lettered; the values are RabbitMQ's words."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"


class Death(Struct, frozen=True):
    """One entry of x-death: how often a message died in ``queue`` for ``reason``.

    ``at`` is the vhost's ``now`` of the first such death. ``ttl`` is the message's own time
    to live in seconds, which dead-lettering takes away.
    """

    queue: str
    reason: DeathReason
    exchange: str
    key: str
    at: float
    count: int = 1
    ttl: float | None = None


class Message(Struct, frozen=True):
    """One published message.

    ``properties`` is carried untouched: raw content-header bytes for a session, any object for
    the simulation; ``properties_size`` is what it counts for in memory. The rest is what the
    vhost must know of it: ``ttl`` in seconds, and ``user_id`` which must equal the login.
    ``deaths`` is the latest first and never empty once the message was dead-lettered; the
    first and the last death of all, which RabbitMQ tells apart, are ``first_death`` and
    ``last_death``: a death that counts up an earlier one is told there as it was this time.
    ``failed`` is that it was delivered before it died, and the delivery failed.
    """

    exchange: str
    key: str
    body: bytes
    properties: object = None
    properties_size: int = 0
    ttl: float | None = None
    user_id: str | None = None
    deaths: tuple[Death, ...] = ()
    first_death: Death | None = None
    last_death: Death | None = None
    failed: bool = False

    @property
    def size(self) -> int:
        """Bytes of memory that one queued copy is counted for."""
        return len(self.body) + self.properties_size + ENTRY_BYTES


class Outcome(Enum):
    """What became of a publish; a confirming channel answers ACK, ACK and NACK."""

    QUEUED = "queued"
    UNROUTABLE = "unroutable"
    REFUSED = "refused"
    """A full queue with x-overflow=reject-publish took no more."""


class QueueState(Struct, frozen=True):
    """What a declaration answers: ready messages and consumers."""

    name: str
    messages: int
    consumers: int


class Got(Struct, frozen=True):
    """What a get answers; ``remaining`` is the number of ready messages left."""

    delivery_tag: int
    redelivered: bool
    message: Message
    remaining: int


class Deliver(Struct, frozen=True):
    """A message for a consumer."""

    channel: ChannelId
    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    queue: str
    message: Message


class Return(Struct, frozen=True):
    """A mandatory message that no queue wanted, back to its publisher."""

    channel: ChannelId
    code: int
    text: str
    message: Message


class CancelNotify(Struct, frozen=True):
    """A consumer has ended because its queue is gone."""

    channel: ChannelId
    consumer_tag: str


Output: TypeAlias = Deliver | Return | CancelNotify
