"""The same random commands on the embedded broker and on RabbitMQ: every answer is compared."""

import logging
from typing import Any

import pika
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "short": {
        "x-max-length": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "grave",
    },
    "strict": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "grave": {},
}
ACTORS = (0, 1)
actors = st.sampled_from(ACTORS)
queues = st.sampled_from(sorted(QUEUES))
keys = st.sampled_from(["a", "a.b", "a.b.c", "b"])
patterns = st.sampled_from(["#", "*", "a.*", "a.#", "*.b", "#.c"])

commands = st.one_of(
    st.tuples(st.just("publish"), actors, queues),
    st.tuples(st.just("route"), actors, keys),
    st.tuples(st.just("bind"), actors, queues, patterns),
    st.tuples(st.just("unbind"), actors, queues, patterns),
    st.tuples(st.just("get"), actors, queues),
    st.tuples(st.just("settle"), actors, st.integers(0, 3), st.sampled_from(["ack", "re", "dead"])),
    st.tuples(st.just("settle all"), actors, st.sampled_from(["ack", "re", "dead"])),
    st.tuples(st.just("recover"), actors),
    st.tuples(st.just("purge"), actors, queues),
    st.tuples(st.just("delete"), actors, queues, st.booleans()),
    st.tuples(st.just("declare"), actors, queues, st.booleans()),
    st.tuples(st.just("take exclusively"), actors),
    st.tuples(st.just("die"), actors),
)


class Lab:
    """Two actors on one broker, each with a connection, a channel and unsettled deliveries."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.connections = [self.connect() for _ in ACTORS]
        self.channels = [self.open(connection) for connection in self.connections]
        self.held: list[list[int]] = [[] for _ in ACTORS]
        self.numbers = 0
        self.there: set[str] = set()
        self.channels[0].exchange_declare(self.full("topic"), "topic", durable=True)
        for queue in QUEUES:
            self.declare(0, queue)

    def full(self, name: str) -> str:
        """A name that no other lab has."""
        return f"{self.name}.{name}"

    def connect(self) -> pika.BlockingConnection:
        """One more connection."""
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def open(self, connection: pika.BlockingConnection) -> BlockingChannel:
        """A channel with confirms."""
        channel = connection.channel()
        channel.confirm_delivery()
        return channel

    def declare(self, actor: int, queue: str) -> int:
        """Declare a queue as it is meant; its number of ready messages."""
        arguments = dict(QUEUES[queue])
        if "x-dead-letter-routing-key" in arguments:
            arguments["x-dead-letter-routing-key"] = self.full("grave")
        state = self.channels[actor].queue_declare(
            self.full(queue), durable=True, arguments=arguments
        )
        self.there.add(queue)
        return int(state.method.message_count)

    def play(self, command: tuple[Any, ...]) -> object:
        """One command and what came of it; a refusal is its code."""
        kind, actor, *rest = command
        try:
            return getattr(self, "do_" + kind.replace(" ", "_"))(actor, *rest)
        except ChannelClosedByBroker as refused:
            self.held[actor].clear()
            self.channels[actor] = self.open(self.connections[actor])
            return refused.reply_code

    def counts(self) -> dict[str, int]:
        """What is ready in each queue, after everything that was said before on each channel.

        Both actors ask: an ack has no answer, but is handled before a later question.
        """
        found = {}
        for queue in sorted(self.there):
            for channel in self.channels:
                state = channel.queue_declare(self.full(queue), passive=True)
                found[queue] = int(state.method.message_count)
        return found

    def send(self, actor: int, exchange: str, key: str) -> str:
        """Publish a numbered body."""
        self.numbers += 1
        try:
            self.channels[actor].basic_publish(exchange, key, b"%d" % self.numbers, mandatory=True)
        except UnroutableError:
            return "returned"
        except NackError:
            return "refused"
        return "confirmed"

    def do_publish(self, actor: int, queue: str) -> object:
        """To a queue by its name."""
        return self.send(actor, "", self.full(queue))

    def do_route(self, actor: int, key: str) -> object:
        """Through the topic exchange."""
        return self.send(actor, self.full("topic"), key)

    def do_bind(self, actor: int, queue: str, pattern: str) -> object:
        """Bind a queue."""
        self.channels[actor].queue_bind(self.full(queue), self.full("topic"), pattern)
        return "bound"

    def do_unbind(self, actor: int, queue: str, pattern: str) -> object:
        """Unbind a queue, bound or not."""
        self.channels[actor].queue_unbind(self.full(queue), self.full("topic"), pattern)
        return "unbound"

    def do_get(self, actor: int, queue: str) -> object:
        """Take one message and keep it."""
        method, properties, body = self.channels[actor].basic_get(self.full(queue))
        if method is None or properties is None:
            return None
        self.held[actor].append(method.delivery_tag or 0)
        headers: Any = properties.headers or {}
        deaths = [(d["reason"], d["count"]) for d in headers.get("x-death", [])]
        return (
            method.delivery_tag,
            method.redelivered,
            method.message_count,
            body,
            (method.exchange or "").removeprefix(self.name),
            (method.routing_key or "").removeprefix(self.name),
            deaths,
        )

    def settle(self, actor: int, tag: int, how: str, *, multiple: bool) -> None:
        """Ack, requeue or dead-letter."""
        if how == "ack":
            self.channels[actor].basic_ack(tag, multiple=multiple)
        else:
            self.channels[actor].basic_nack(tag, multiple=multiple, requeue=how == "re")

    def do_settle(self, actor: int, place: int, how: str) -> object:
        """One of the deliveries that an actor holds."""
        if place >= len(self.held[actor]):
            return None
        self.settle(actor, self.held[actor].pop(place), how, multiple=False)
        return how

    def do_settle_all(self, actor: int, how: str) -> object:
        """All of them."""
        self.settle(actor, 0, how, multiple=True)
        self.held[actor].clear()
        return how

    def do_recover(self, actor: int) -> object:
        """Give all of them back."""
        self.channels[actor].basic_recover(requeue=True)
        self.held[actor].clear()
        return "recovered"

    def do_purge(self, actor: int, queue: str) -> object:
        """Empty a queue."""
        return self.channels[actor].queue_purge(self.full(queue)).method.message_count

    def do_delete(self, actor: int, queue: str, if_empty: bool) -> object:  # noqa: FBT001
        """Delete a queue, perhaps only if it is empty."""
        deleted = self.channels[actor].queue_delete(self.full(queue), if_empty=if_empty)
        self.there.discard(queue)
        return deleted.method.message_count

    def do_declare(self, actor: int, queue: str, unequal: bool) -> object:  # noqa: FBT001
        """Declare a queue again, perhaps otherwise."""
        if unequal:
            # Refused in either case: 406 when it is there, 404 when not.
            self.channels[actor].queue_declare(
                self.full(queue),
                durable=True,
                passive=queue not in self.there,
                arguments={"x-message-ttl": 60000},
            )
        return self.declare(actor, queue)

    def do_take_exclusively(self, actor: int) -> object:
        """Declare an exclusive queue of one name, as gatherers do."""
        self.channels[actor].queue_declare(self.full("mine"), exclusive=True)
        return "mine"

    def do_die(self, actor: int) -> object:
        """Lose a connection and come again."""
        self.connections[actor].close()
        self.connections[actor] = self.connect()
        self.channels[actor] = self.open(self.connections[actor])
        self.held[actor].clear()
        return "again"

    def end(self) -> None:
        """Leave nothing behind."""
        for queue in QUEUES:
            self.channels[0].queue_delete(self.full(queue))
        self.channels[0].exchange_delete(self.full("topic"))
        for connection in self.connections:
            connection.close()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep pika's lines about each refusal out of a failure's story."""
    caplog.set_level(logging.ERROR, "pika")


@pytest.fixture
def urls(embedded_url: str, rabbitmq_url: str) -> tuple[str, str]:
    """Both brokers."""
    return (embedded_url, rabbitmq_url)


@settings(
    max_examples=25,
    deadline=None,
    # Shrinking plays hundreds of laboratories on a real broker; a failure is short enough.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=st.lists(commands, min_size=5, max_size=30), number=st.uuids())
def test_both_brokers_give_the_same_answers(
    urls: tuple[str, str], story: list[tuple[Any, ...]], number: object
) -> None:
    """Any story of two actors: the same replies, returns, confirms, deliveries and counts."""
    labs = [Lab(url, f"d{number}") for url in urls]
    try:
        for command in story:
            embedded, rabbitmq = (lab.play(command) for lab in labs)
            assert (command, embedded) == (command, rabbitmq)
            embedded_counts, rabbitmq_counts = (lab.counts() for lab in labs)
            assert (command, embedded_counts) == (command, rabbitmq_counts)
    finally:
        for lab in labs:
            lab.end()
