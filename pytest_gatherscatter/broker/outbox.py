"""What was published over one channel, until the broker says what became of it."""

from collections.abc import Callable
from typing import Any

import pika
from msgspec import Struct
from pika.channel import Channel

from pytest_gatherscatter.broker.dial import words
from pytest_gatherscatter.broker.loop import PIKA_BROKE
from pytest_gatherscatter.broker.port import (
    NO_ROUTE,
    PortEvent,
    Properties,
    PublishConfirmed,
    PublishReturned,
)
from pytest_gatherscatter.broker.properties import to_pika


class _Open(Struct):
    """A publish without an outcome; ``letter`` is how a return is known again."""

    number: int
    letter: tuple[str, str, str | None, bytes] | None


class Outbox:
    """Publishes with confirms: each has exactly one outcome, told as an event."""

    def __init__(self, channel: Channel, tell: Callable[[PortEvent], None]) -> None:
        self._channel = channel
        self._tell = tell
        self._published = 0
        self._open: dict[int, _Open] = {}
        channel.add_on_return_callback(self._on_returned)
        channel.confirm_delivery(self._on_outcome)

    @property
    def unconfirmed(self) -> int:
        """How many publishes have no outcome yet; the loss of the channel is theirs."""
        return len(self._open)

    @property
    def oldest(self) -> int | None:
        """Which of the open ones has waited longest, if there is any."""
        return next(iter(self._open), None)

    def publish(  # noqa: PLR0913, PLR0917 - the port's, with the number
        self,
        number: int,
        exchange: str,
        key: str,
        body: bytes,
        properties: Properties,
        mandatory: bool,  # noqa: FBT001 - as above
    ) -> None:
        """Publish; what becomes of it is told under ``number``."""
        try:
            self._channel.basic_publish(
                exchange, key, body, to_pika(properties), mandatory=mandatory
            )
        except PIKA_BROKE as error:
            self._tell(PublishReturned(number, words(error)))
            return
        self._published += 1
        letter = (exchange, key, properties.message_id, body) if mandatory else None
        self._open[self._published] = _Open(number, letter)

    def _on_outcome(self, frame: Any) -> None:  # noqa: ANN401 - pika's own
        """Take an Ack or Nack of publishes, one or all up to its tag."""
        method = frame.method
        refused = isinstance(method, pika.spec.Basic.Nack)
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._open if tag <= method.delivery_tag]
        for tag in tags:
            entry = self._open.pop(tag, None)
            if entry is None:
                continue  # returned before
            self._tell(
                PublishReturned(entry.number, "the broker refused it")
                if refused
                else PublishConfirmed(entry.number)
            )

    def _on_returned(
        self,
        _channel: Channel,
        method: Any,  # noqa: ANN401 - pika's own
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        """Take a return, which carries no tag: it is the oldest equal letter still open."""
        letter = (method.exchange, method.routing_key, properties.message_id, body)
        for tag, entry in self._open.items():
            if entry.letter == letter:
                del self._open[tag]
                self._tell(PublishReturned(entry.number, method.reply_text or NO_ROUTE))
                return
