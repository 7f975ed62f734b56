"""What a pump needs of a broker: raw events in, publishes and settlements out.

Pure data and one protocol. The production side of it is ``link.Link`` over pika; the
simulation has another over the embedded broker's pure vhost. Nothing here knows messages.
"""

from enum import Enum
from typing import Protocol, TypeAlias

from msgspec import Struct

NO_ROUTE = "NO_ROUTE"
"""The reason of a mandatory publish that found no queue: nobody is there."""


class Verdict(Enum):
    """What becomes of a delivery."""

    ACK = "ack"
    REQUEUE = "requeue"
    DEAD = "dead"


class Properties(Struct, frozen=True):
    """The AMQP properties that the product uses; ``None`` means absent.

    ``ttl`` is the message's time to live in seconds (AMQP's ``expiration`` in milliseconds).
    ``user_id`` is checked by the broker against the login; it is never taken on trust.
    ``timestamp`` is when it was published, in Unix seconds; a link writes it into each message.
    """

    type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    user_id: str | None = None
    ttl: float | None = None
    timestamp: int | None = None
    headers: dict[str, str | int] = {}


class Tag(Struct, frozen=True):
    """Which delivery of which channel generation: a tag of a lost channel settles nothing."""

    generation: int
    number: int


class Delivered(Struct, frozen=True):
    """One message from a queue that this port consumes."""

    tag: Tag
    queue: str
    exchange: str
    key: str
    properties: Properties
    body: bytes
    redelivered: bool


class PublishConfirmed(Struct, frozen=True):
    """The broker took responsibility for a publish: queued, not handled."""

    number: int


class PublishReturned(Struct, frozen=True):
    """Comes instead of a confirm.

    ``reason`` is ``NO_ROUTE`` if a mandatory publish found no queue; anything else (refused,
    not connected) says nothing of whether somebody is there.
    """

    number: int
    reason: str


class ConsumeCancelled(Struct, frozen=True):
    """The broker ended a consumer, because its queue is gone."""

    queue: str


class PortUp(Struct, frozen=True):
    """Connected, declared and consuming again, with a new channel generation."""

    generation: int


class PortDown(Struct, frozen=True):
    """The connection is lost: open publishes have failed, open deliveries come again."""

    reason: str


PortEvent: TypeAlias = (
    Delivered | PublishConfirmed | PublishReturned | ConsumeCancelled | PortUp | PortDown
)


class Port(Protocol):
    """What a pump publishes and settles through. Calls never block and never raise when down."""

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> int:
        """Publish with a confirm; the number comes back in exactly one outcome event.

        While the port is down the outcome is ``PublishReturned`` with the reason.
        """

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Settle a delivery; a tag of an older generation is ignored (it will come again)."""
