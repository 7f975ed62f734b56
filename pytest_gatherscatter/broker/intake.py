"""What is consumed over one channel: its consumers, and the deliveries that await a verdict."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pika
from pika.channel import Channel

from pytest_gatherscatter.broker.loop import PIKA_BROKE
from pytest_gatherscatter.broker.port import ConsumeCancelled, Delivered, PortEvent, Tag, Verdict
from pytest_gatherscatter.broker.properties import from_pika, text
from pytest_gatherscatter.broker.topology import Consumer


class Intake:
    """The consumers of a channel, and what they brought.

    Args:
        channel: the channel, new.
        generation: goes into the tag of each delivery.
        tell: takes deliveries, and consumers that the broker ended.
    """

    def __init__(
        self, channel: Channel, generation: int, tell: Callable[[PortEvent], None]
    ) -> None:
        self._channel = channel
        self._generation = generation
        self._tell = tell
        self._queues: dict[str, str] = {}
        self._unsettled: set[int] = set()
        channel.add_on_cancel_callback(self._on_cancelled)

    def consumes(self, queue: str) -> bool:
        """Say whether ``queue`` has a consumer here."""
        return queue in self._queues.values()

    def consume(self, consumers: Sequence[Consumer], ready: Callable[[], None]) -> None:
        """Consume each queue under its own prefetch; call ``ready`` when the last one runs."""
        if not consumers:
            # Something that is answered, so that what was declared before it is known good.
            self._channel.basic_qos(prefetch_count=1, callback=lambda _: ready())
            return
        # pika sends one consume at a time, so the last answer is the last consumer's.
        ordered = sorted(consumers, key=lambda consumer: consumer.prefetch)
        prefetch = None
        for consumer in ordered:
            if consumer.prefetch != prefetch:
                prefetch = consumer.prefetch  # holds for all consumers that follow
                self._channel.basic_qos(prefetch_count=prefetch)
            last = consumer is ordered[-1]
            tag = self._channel.basic_consume(
                consumer.queue,
                partial(self._on_message, consumer.queue),
                exclusive=consumer.exclusive,
                callback=partial(_answered, ready if last else None),
            )
            self._queues[tag] = consumer.queue

    def cancel(self, queue: str) -> None:
        """Consume ``queue`` no more; deliveries that come all the same are put back."""
        for tag in [tag for tag, name in self._queues.items() if name == queue]:
            del self._queues[tag]
            with suppress(*PIKA_BROKE):
                self._channel.basic_cancel(tag)

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Settle a delivery; one of another channel, or settled already, is ignored."""
        if tag.generation != self._generation or tag.number not in self._unsettled:
            return  # settling twice would close the channel (406)
        self._unsettled.discard(tag.number)
        with suppress(*PIKA_BROKE):  # the loss itself comes as an event
            if verdict is Verdict.ACK:
                self._channel.basic_ack(tag.number)
            else:
                self._channel.basic_reject(tag.number, requeue=verdict is Verdict.REQUEUE)

    def _on_message(
        self,
        queue: str,
        _channel: Channel,
        method: Any,  # noqa: ANN401 - pika's own
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self._unsettled.add(method.delivery_tag)
        self._tell(
            Delivered(
                tag=Tag(self._generation, method.delivery_tag),
                queue=queue,
                exchange=text(method.exchange) or "",
                key=text(method.routing_key) or "",
                properties=from_pika(properties),
                body=body,
                redelivered=bool(method.redelivered),
            )
        )

    def _on_cancelled(self, frame: Any) -> None:  # noqa: ANN401 - pika's own
        queue = self._queues.pop(frame.method.consumer_tag, None)
        if queue is not None:
            self._tell(ConsumeCancelled(queue))


def _answered(ready: Callable[[], None] | None, _frame: object) -> None:
    """Take the answer to a consume, whatever it says."""
    if ready is not None:
        ready()
