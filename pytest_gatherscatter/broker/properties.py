"""The product's properties of a message as pika's, and back."""

import time

import pika

from pytest_gatherscatter.broker.port import Properties


def to_pika(properties: Properties) -> pika.BasicProperties:
    """Make them persistent: an exclusive queue ignores it, a durable one needs it to keep them.

    They are of a message that is published now, and its time goes along, for who reads it later.
    """
    return pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        type=properties.type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        user_id=properties.user_id,
        timestamp=int(time.time()),
        expiration=None if properties.ttl is None else str(max(0, round(properties.ttl * 1000))),
        headers=dict(properties.headers) or None,
    )


def from_pika(properties: pika.BasicProperties) -> Properties:
    """Take over what the product uses; a stranger's headers may hold anything."""
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    expiration = text(properties.expiration)
    return Properties(
        type=text(properties.type),
        message_id=text(properties.message_id),
        correlation_id=text(properties.correlation_id),
        reply_to=text(properties.reply_to),
        user_id=text(properties.user_id),
        ttl=int(expiration) / 1000 if expiration and expiration.isdecimal() else None,
        timestamp=properties.timestamp if isinstance(properties.timestamp, int) else None,
        headers={
            key: value
            for key, value in headers.items()
            if isinstance(key, str) and isinstance(value, str | int)
        },
    )


def text(value: object) -> str | None:
    """Return a short string as text; pika gives bytes where it is not UTF-8."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
