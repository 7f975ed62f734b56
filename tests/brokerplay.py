"""A small laboratory on one broker, played by commands, with all that its clients hear on record.

For the differential test: the same commands are played on two brokers, and what is heard must
be the same. Three connections have two channels each, one with publisher confirms and one
without. What RabbitMQ itself leaves to chance is kept out of a story by whoever writes it: see
``Lab.certain_death`` and ``Seat.queue``.
"""

# ruff: noqa: FBT001 - a command's flags are played by their place

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)

CONNECTIONS = 3
SEATS = 2 * CONNECTIONS
"""Two channels a connection; those with an even number confirm."""

# A dead letter's way leads back for two of them: x-death counts, and the circle that ends.
QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "short": {"x-max-length": 2, "x-dead-letter-exchange": "", "dead": "short.dead"},
    "short.dead": {"x-dead-letter-exchange": "", "dead": "short"},
    "strict": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "stricter": {
        "x-max-length": 1,
        "x-overflow": "reject-publish-dlx",
        "x-dead-letter-exchange": "{topic}",
    },
    "heavy": {"x-max-length-bytes": 4, "x-dead-letter-exchange": "nowhere"},
    "timed": {"x-message-ttl": 20, "x-dead-letter-exchange": "", "dead": "timed.dead"},
    "timed.dead": {"x-dead-letter-exchange": "", "dead": "timed"},
    "single": {"x-single-active-consumer": True},
    "passing": {"auto": True},
}
EXCHANGES = {"topic": "topic", "fanout": "fanout", "direct": "direct"}
# A message's own time to live, and how long to wait after anything that might expire: then it
# has expired on both brokers, or is not at its queue's head on either.
TTL = "20"
PAUSE = 0.06


@dataclass
class Held:
    """A delivery that waits for its settlement."""

    tag: int
    queue: str


@dataclass
class Seat:
    """One channel: what it heard, what it holds, and what it consumes."""

    connection: int
    confirms: bool
    channel: BlockingChannel
    heard: list[object] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    consumers: dict[str, str] = field(default_factory=dict)

    @property
    def queue(self) -> str | None:
        """The one queue that it consumes: RabbitMQ's queues race each other to a channel."""
        return next(iter(self.consumers.values()), None)


class Lab:
    """The laboratory on the broker at ``url``; nobody else uses names that begin with ``name``."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connections: list[Any] = [self._connect() for _ in range(CONNECTIONS + 1)]
        self._observer: BlockingChannel = self._connections[-1].channel()
        self._numbers = 0
        self._tags = 0
        self.seats = [self._sit(number) for number in range(SEATS)]
        for exchange, kind in EXCHANGES.items():
            self._observer.exchange_declare(self.full(exchange), kind, durable=True)
        for queue in QUEUES:
            self._declare(self._observer, queue)

    def full(self, name: str) -> str:
        """A name that no other lab has."""
        return f"{self._name}.{name}"

    def _connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self._url))

    def _sit(self, number: int) -> Seat:
        seat = Seat(number // 2, number % 2 == 0, self._connections[number // 2].channel())
        self._listen(seat)
        return seat

    def _listen(self, seat: Seat) -> None:
        seat.held.clear()
        seat.consumers.clear()
        if seat.confirms:
            seat.channel.confirm_delivery()
        else:
            seat.channel.add_on_return_callback(
                lambda _c, method, properties, body: seat.heard.append(
                    (
                        "returned",
                        method.reply_code,
                        method.reply_text,
                        *self._told(properties, body),
                    )
                )
            )

        def cancelled(frame: Any) -> None:  # noqa: ANN401
            tag = frame.method.consumer_tag
            seat.consumers.pop(tag, None)
            seat.heard.append(("cancelled", tag))

        seat.channel.add_on_cancel_callback(cancelled)

    def _told(self, properties: Any, body: bytes) -> tuple[object, ...]:  # noqa: ANN401
        """Body and story of a message, with names that do not depend on the lab."""
        headers = properties.headers or {}

        def bare(value: object) -> object:
            return value.removeprefix(self._name) if isinstance(value, str) else value

        deaths = [
            {
                key: [bare(k) for k in value] if isinstance(value, list) else bare(value)
                for key, value in death.items()
                if key != "time"
            }
            for death in headers.get("x-death", [])
        ]
        first = sorted((k, bare(v)) for k, v in headers.items() if k.startswith("x-first"))
        return body, properties.expiration, properties.message_id, deaths, first

    # What is heard

    def play(self, what: str, number: int, *arguments: Any) -> object:  # noqa: ANN401
        """Play a command of one seat; the answer, which is the refusal if there was one."""
        return self._guarded(number, lambda: getattr(self, f"do_{what}")(number, *arguments))

    def _guarded(self, number: int, call: Callable[[], object]) -> object:
        seat = self.seats[number]
        try:
            return call()
        except ChannelClosedByBroker as refused:
            seat.channel = self._connections[seat.connection].channel()
            self._listen(seat)
            return refused.reply_code, refused.reply_text.replace(self._name, "")
        except ConnectionClosedByBroker as refused:
            self._come_again(seat.connection)
            return refused.reply_code, refused.reply_text.replace(self._name, "")

    def settle(self, number: int) -> tuple[object, object, list[list[object]]]:
        """What everybody has heard once the brokers had time for it, and what waits where.

        A round trip on the acting channel, a question to every queue, and a round trip on each
        channel: what a command has led to in one step is heard by then.
        """
        late = [self._hear(number)]
        counts = {queue: self._count(queue) for queue in QUEUES}
        late += [self._hear(seat) for seat in range(SEATS)]
        return late, counts, [list(seat.heard) for seat in self.seats]

    def _hear(self, number: int) -> object:
        """A round trip; a refusal that came late is an answer too."""

        def ask() -> None:
            seat = self.seats[number]
            seat.channel.flow(active=True)
            self._connections[seat.connection].process_data_events(0)

        refused = self._guarded(number, ask)
        if refused is not None:
            self.seats[number].heard.append(refused)
        return refused

    def _count(self, queue: str) -> tuple[int, int] | None:
        try:
            state = self._observer.queue_declare(self.full(queue), passive=True).method
        except ChannelClosedByBroker:
            self._observer = self._connections[-1].channel()
            return None
        return state.message_count, state.consumer_count

    def certain_death(self, connection: int) -> bool:
        """Whether it is certain what a connection's end leads to.

        Its channels end one after the other. If both hold of one queue, and others consume
        that, who gets what depends on which of them was first.
        """
        mine = [seat for seat in self.seats if seat.connection == connection]
        both = set.intersection(*({held.queue for held in seat.held} for seat in mine))
        others = {seat.queue for seat in self.seats if seat.connection != connection}
        return not both & others

    # Commands

    def _declare(self, channel: BlockingChannel, queue: str, **changed: object) -> tuple[int, int]:
        arguments = {
            key: value.format(topic=self.full("topic")) if isinstance(value, str) else value
            for key, value in QUEUES[queue].items()
            if key.startswith("x-")
        }
        if "dead" in QUEUES[queue]:
            arguments["x-dead-letter-routing-key"] = self.full(QUEUES[queue]["dead"])
        state = channel.queue_declare(
            self.full(queue),
            durable=True,
            auto_delete=QUEUES[queue].get("auto", False),
            arguments=arguments | changed,
        )
        return state.method.message_count, state.method.consumer_count

    def _send(
        self,
        number: int,
        exchange: str,
        key: str,
        mandatory: bool,
        ttl: str | None,
    ) -> str:
        self._numbers += 1
        properties = pika.BasicProperties(message_id=f"m{self._numbers}", expiration=ttl)
        try:
            self.seats[number].channel.basic_publish(
                exchange, key, b"%02d" % self._numbers, properties, mandatory=mandatory
            )
        except UnroutableError:
            return "returned"
        except NackError:
            return "refused"
        finally:
            time.sleep(PAUSE if ttl or "timed" in key else 0)
        return "sent"

    def do_publish(
        self,
        number: int,
        queue: str,
        mandatory: bool,
        ttl: str | None,
    ) -> object:
        """To a queue by its name."""
        return self._send(number, "", self.full(queue), mandatory, ttl)

    def do_route(self, number: int, exchange: str, key: str, mandatory: bool) -> object:
        """Through an exchange; wait, for it may lead to a queue whose messages expire."""
        sent = self._send(number, self.full(exchange), key, mandatory, None)
        time.sleep(PAUSE)
        return sent

    def do_bind(self, number: int, queue: str, exchange: str, key: str) -> object:
        """Bind a queue."""
        self.seats[number].channel.queue_bind(self.full(queue), self.full(exchange), key)
        return "bound"

    def do_unbind(self, number: int, queue: str, exchange: str, key: str) -> object:
        """Unbind a queue, bound or not."""
        self.seats[number].channel.queue_unbind(self.full(queue), self.full(exchange), key)
        return "unbound"

    def do_chain(self, number: int, destination: str, source: str, key: str) -> object:
        """Bind an exchange to another, or to itself."""
        self.seats[number].channel.exchange_bind(self.full(destination), self.full(source), key)
        return "chained"

    def do_unchain(self, number: int, destination: str, source: str, key: str) -> object:
        """Undo it, bound or not."""
        self.seats[number].channel.exchange_unbind(self.full(destination), self.full(source), key)
        return "unchained"

    def do_get(self, number: int, queue: str, no_ack: bool) -> object:
        """Take one message."""
        seat = self.seats[number]
        method, properties, body = seat.channel.basic_get(self.full(queue), auto_ack=no_ack)
        if method is None or body is None:
            return None
        if not no_ack:
            seat.held.append(Held(method.delivery_tag or 0, queue))
        return (
            method.delivery_tag,
            method.redelivered,
            method.message_count,
            (method.exchange or "").removeprefix(self._name),
            (method.routing_key or "").removeprefix(self._name),
            *self._told(properties, body),
        )

    def do_consume(
        self,
        number: int,
        queue: str,
        no_ack: bool,
        exclusive: bool,
        prefetch: int,
    ) -> object:
        """Start a consumer."""
        seat = self.seats[number]
        seat.channel.basic_qos(prefetch_count=prefetch)
        self._tags += 1
        tag = f"c{self._tags}"

        def delivered(_: object, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401
            if not no_ack:
                seat.held.append(Held(method.delivery_tag, queue))
            seat.heard.append(
                (
                    method.consumer_tag,
                    method.delivery_tag,
                    method.redelivered,
                    method.exchange.removeprefix(self._name),
                    method.routing_key.removeprefix(self._name),
                    *self._told(properties, body),
                )
            )

        seat.channel.basic_consume(
            self.full(queue), delivered, auto_ack=no_ack, exclusive=exclusive, consumer_tag=tag
        )
        seat.consumers[tag] = queue
        return tag

    def do_cancel(self, number: int, place: int) -> object:
        """End a consumer."""
        seat = self.seats[number]
        tag = sorted(seat.consumers)[place % len(seat.consumers)]
        seat.channel.basic_cancel(tag)
        del seat.consumers[tag]
        return tag

    def do_settle(self, number: int, place: int, how: str, multiple: bool) -> object:
        """Settle a delivery, or all up to it."""
        seat = self.seats[number]
        tag = seat.held[place % len(seat.held)].tag
        self._settle(seat, tag, how, multiple=multiple)
        seat.held = [h for h in seat.held if (h.tag > tag if multiple else h.tag != tag)]
        return tag

    def do_settle_all(self, number: int, how: str) -> object:
        """Settle all deliveries of a channel."""
        seat = self.seats[number]
        self._settle(seat, 0, how, multiple=True)
        seat.held.clear()
        return how

    def do_settle_unknown(self, number: int, how: str) -> object:
        """Settle what was never delivered."""
        self._settle(self.seats[number], 4711, how, multiple=False)
        return how

    def _settle(self, seat: Seat, tag: int, how: str, *, multiple: bool) -> None:
        if how == "ack":
            seat.channel.basic_ack(tag, multiple=multiple)
        elif how == "reject" and not multiple:
            seat.channel.basic_reject(tag, requeue=False)
        else:
            seat.channel.basic_nack(tag, multiple=multiple, requeue=how == "requeue")

    def do_recover(self, number: int, requeue: bool) -> object:
        """Give all back."""
        seat = self.seats[number]
        seat.held.clear()
        seat.channel.basic_recover(requeue=requeue)
        return "recovered"

    def do_purge(self, number: int, queue: str) -> object:
        """Empty a queue."""
        return self.seats[number].channel.queue_purge(self.full(queue)).method.message_count

    def do_delete(self, number: int, queue: str, if_unused: bool, if_empty: bool) -> object:
        """Delete a queue, perhaps only if it is unused or empty."""
        deleted = self.seats[number].channel.queue_delete(
            self.full(queue), if_unused=if_unused, if_empty=if_empty
        )
        return deleted.method.message_count

    def do_declare(self, number: int, queue: str) -> object:
        """Declare a queue as it is meant."""
        return self._declare(self.seats[number].channel, queue)

    def do_declare_otherwise(self, number: int, queue: str) -> object:
        """Declare a queue otherwise; one that is not there is declared as it is meant."""
        changed = {} if self._count(queue) is None else {"x-message-ttl": 60000}
        return self._declare(self.seats[number].channel, queue, **changed)

    def do_own(self, number: int) -> object:
        """Declare an exclusive queue of one name, as gatherers do."""
        state = self.seats[number].channel.queue_declare(self.full("own"), exclusive=True)
        return state.method.message_count

    def do_leave(self, number: int) -> object:
        """Close a channel and open another."""
        seat = self.seats[number]
        seat.channel.close()
        seat.channel = self._connections[seat.connection].channel()
        self._listen(seat)
        return "again"

    def do_die(self, number: int) -> object:
        """Lose a connection and come again."""
        connection = self.seats[number].connection
        self._connections[connection].close()
        self._come_again(connection)
        return "again"

    def _come_again(self, connection: int) -> None:
        self._connections[connection] = self._connect()
        for seat in self.seats:
            if seat.connection == connection:
                seat.channel = self._connections[connection].channel()
                self._listen(seat)

    def end(self) -> None:
        """Leave nothing behind."""
        for connection in self._connections:
            if connection.is_open:
                connection.close()
        with self._connect() as last:
            channel = last.channel()
            for queue in QUEUES:
                channel.queue_delete(self.full(queue))
            for exchange in EXCHANGES:
                channel.exchange_delete(self.full(exchange))
