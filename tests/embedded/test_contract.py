"""One contract for both brokers: what the product builds on is the same here and on RabbitMQ.

Two clients that share no code ask for it, pika and py-amqp.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pyamqp
import pytest
from brokerprocess import PATIENCE, until
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)


def connect(url: str) -> pika.BlockingConnection:
    """One more connection of pika's."""
    return pika.BlockingConnection(pika.URLParameters(url))


CLIENTS: dict[str, Callable[[str], Any]] = {"pika": connect, "py-amqp": pyamqp.connect}


class Two:
    """Two connections of one client to one broker, and names that no other test has."""

    def __init__(self, url: str, lab: str, client: str) -> None:
        self.url = url
        self.lab = lab
        self._connect = CLIENTS[client]
        self.mine = self._connect(url)
        self.other = self._connect(url)
        self.queues: list[str] = []

    def name(self, short: str) -> str:
        """A name of this test's own."""
        return f"{self.lab}.{short}"

    def queue(self, short: str = "q", **arguments: Any) -> str:  # noqa: ANN401
        """Declare a durable queue; ``x_max_length`` is ``x-max-length``."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        with self.mine.channel() as channel:
            channel.queue_declare(self.name(short), durable=True, arguments=named)
        self.queues.append(self.name(short))
        return self.name(short)

    def ready(self, queue: str, count: int) -> None:
        """Wait until so many messages are ready: acks and requeues are asynchronous."""

        def so_many() -> bool | None:
            with self.other.channel() as channel:
                state = channel.queue_declare(queue, passive=True)
                return state.method.message_count == count or None

        until(so_many, f"{count} messages in {queue}")

    def close(self) -> None:
        """Leave nothing behind on a broker that others use."""
        if self.mine.is_open:
            self.mine.close()
        if self.other.is_closed:
            self.other = self._connect(self.url)
        for queue in self.queues:
            with self.other.channel() as channel:
                channel.queue_delete(queue)
        self.other.close()


@pytest.fixture(params=sorted(CLIENTS))
def two(broker_url: str, lab: str, request: pytest.FixtureRequest) -> Iterator[Two]:
    """Two connections of each client to each broker in turn."""
    made = Two(broker_url, lab, request.param)
    yield made
    made.close()


def refusal(
    connection: pika.BlockingConnection, call: Callable[[BlockingChannel], object]
) -> tuple[int, str]:
    """Code and text of the refusal that a call ends in, on a channel of its own."""
    channel = connection.channel()
    try:
        call(channel)
        # What is refused without an answer to wait for is heard at the next one.
        channel.basic_qos(prefetch_count=1)
    except (ChannelClosedByBroker, ConnectionClosedByBroker) as closed:
        return closed.reply_code, closed.reply_text
    pytest.fail("it was not refused")


def take(channel: BlockingChannel, queue: str) -> tuple[bytes, bool] | None:
    """Get one message without settling it: body, and whether it was delivered before."""
    method, _, body = channel.basic_get(queue)
    return None if method is None or body is None else (body, bool(method.redelivered))


def hear(connection: pika.BlockingConnection, done: Callable[[], bool], what: str) -> None:
    """Let a client hear what comes until it has heard enough."""

    def enough() -> bool | None:
        connection.process_data_events(0.05)
        return done() or None

    until(enough, what)


def test_refusals_are_the_same(two: Two) -> None:
    """Codes, and the texts that people search for."""
    queue = two.queue(x_message_ttl=60000)
    name = two.name
    with two.mine.channel() as channel:
        channel.queue_declare(name("locked"), exclusive=True)
        channel.exchange_declare(name("e"), "topic", auto_delete=True)
        channel.queue_bind(name("locked"), name("e"), "k")
    cases: list[tuple[Callable[[BlockingChannel], object], int, str]] = [
        (lambda c: c.queue_declare(name("no"), passive=True), 404, f"no queue '{name('no')}'"),
        (lambda c: c.exchange_declare(name("no"), passive=True), 404, "no exchange"),
        (lambda c: c.queue_declare(name("locked"), exclusive=True), 405, "cannot obtain exclusive"),
        (lambda c: c.queue_declare(name("locked"), passive=True), 405, "cannot obtain exclusive"),
        (lambda c: c.basic_get(name("locked")), 405, "cannot obtain exclusive"),
        (lambda c: c.basic_consume(name("locked"), print), 405, "cannot obtain exclusive"),
        (lambda c: c.queue_delete(name("locked")), 405, "cannot obtain exclusive"),
        (lambda c: c.queue_purge(name("locked")), 405, "cannot obtain exclusive"),
        (lambda c: c.queue_bind(name("locked"), "amq.topic", "k"), 405, "cannot obtain exclusive"),
        (
            lambda c: c.queue_declare(queue, durable=True),
            406,
            f"inequivalent arg 'x-message-ttl' for queue '{queue}' in vhost '/': received none but",
        ),
        (
            lambda c: c.queue_declare(
                queue, durable=True, auto_delete=True, arguments={"x-message-ttl": 60000}
            ),
            406,
            (
                f"inequivalent arg 'auto_delete' for queue '{queue}' in vhost '/': "
                "received 'true' but current is 'false'"
            ),
        ),
        (
            lambda c: c.exchange_declare(name("e"), "fanout", auto_delete=True),
            406,
            (
                f"inequivalent arg 'type' for exchange '{name('e')}' in vhost '/': "
                "received 'fanout' but current is 'topic'"
            ),
        ),
        (
            lambda c: c.exchange_declare("amq.mine", "topic"),
            403,
            "contains reserved prefix 'amq.*'",
        ),
        (
            lambda c: c.queue_declare("amq.mine", durable=True),
            403,
            "queue name 'amq.mine' contains reserved prefix 'amq.*'",
        ),
        (lambda c: c.exchange_declare("", "direct"), 403, "not permitted on the default exchange"),
        (lambda c: c.queue_bind(queue, "", "k"), 403, "not permitted on the default exchange"),
        (lambda c: c.exchange_delete("amq.topic"), 403, ""),
        (lambda c: c.exchange_delete(name("e"), if_unused=True), 406, "in use"),
        (lambda c: c.queue_bind(queue, name("no"), "k"), 404, "no exchange"),
        (lambda c: c.exchange_bind(name("no"), "amq.topic", "k"), 404, "no exchange"),
        (lambda c: c.basic_publish(name("no"), "k", b""), 404, "no exchange"),
        (lambda c: c.basic_ack(7), 406, "unknown delivery tag 7"),
        (lambda c: c.basic_get(name("no")), 404, "no queue"),
        (lambda c: c.basic_consume(name("no"), print), 404, "no queue"),
        (
            lambda c: c.queue_declare(name("z"), durable=True, arguments={"x-expires": 0}),
            406,
            "invalid arg 'x-expires' for queue",
        ),
        (
            lambda c: c.queue_declare(name("z"), durable=True, arguments={"x-max-length": -1}),
            406,
            "invalid arg 'x-max-length' for queue",
        ),
        (
            lambda c: c.queue_declare(
                name("z"), durable=True, arguments={"x-dead-letter-routing-key": "k"}
            ),
            406,
            "invalid arg 'x-dead-letter-routing-key' for queue",
        ),
        (
            lambda c: c.basic_publish("", queue, b"", pika.BasicProperties(expiration="soon")),
            406,
            "invalid expiration 'soon'",
        ),
        (
            lambda c: c.basic_publish("", queue, b"", pika.BasicProperties(user_id="you")),
            406,
            "user_id property set to 'you' but authenticated user was",
        ),
    ]
    found = [refusal(two.other, call) for call, _, _ in cases]
    assert [code for code, _ in found] == [code for _, code, _ in cases]
    for (_, text), (_, _, part) in zip(found, cases, strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.basic_recover(requeue=False), 540),
        (lambda c: c.basic_qos(prefetch_size=1), 540),
        (lambda c: c.flow(active=False), 540),
    ],
)
def test_hard_refusals_are_the_same(
    two: Two, call: Callable[[BlockingChannel], object], code: int
) -> None:
    """Those that end the whole connection."""
    assert refusal(two.other, call)[0] == code
    assert two.other.is_closed


def test_exclusive_consumer_and_tag_reuse(two: Two) -> None:
    """403 for who comes second; 530 for a tag twice on a channel."""
    queue = two.queue()
    channel = two.mine.channel()
    channel.basic_consume(queue, print, exclusive=True)
    code, text = refusal(two.other, lambda c: c.basic_consume(queue, print))
    assert code == 403
    assert f"queue '{queue}' in vhost '/' in exclusive use" in text


def test_requeue_goes_to_its_place(two: Two) -> None:
    """Whatever was given back first."""
    queue = two.queue()
    channel = two.mine.channel()
    for body in (b"1", b"2", b"3", b"4"):
        channel.basic_publish("", queue, body)
    for _ in range(3):
        take(channel, queue)
    channel.basic_nack(2)
    channel.basic_nack(1)
    two.ready(queue, 3)
    with two.other.channel() as other:
        assert [take(other, queue) for _ in range(4)] == [
            (b"1", True),
            (b"2", True),
            (b"4", False),
            None,
        ]
    two.mine.close()
    two.ready(queue, 4)
    with two.other.channel() as other:
        assert [take(other, queue) for _ in range(4)] == [
            (b"1", True),
            (b"2", True),
            (b"3", True),
            (b"4", True),
        ]


def test_confirms_returns_and_nacks(two: Two) -> None:
    """A confirm means queued, a return no queue, a nack a full one."""
    queue = two.queue(x_max_length=1, x_overflow="reject-publish")
    channel = two.mine.channel()
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"1", mandatory=True)
    with pytest.raises(NackError):
        channel.basic_publish("", queue, b"2", mandatory=True)
    with pytest.raises(UnroutableError) as back:
        channel.basic_publish("amq.topic", two.name("nobody"), b"3", mandatory=True)
    (message,) = back.value.messages
    assert (message.method.reply_code, message.method.reply_text) == (312, "NO_ROUTE")
    assert message.body == b"3"
    channel.basic_publish("amq.topic", two.name("nobody"), b"4")


def test_prefetch_is_per_consumer(two: Two) -> None:
    """Each gets as many as it may hold, and one more for an ack."""
    queue = two.queue()
    channel = two.mine.channel()
    for number in range(6):
        channel.basic_publish("", queue, b"%d" % number)
    got: list[tuple[int, bytes]] = []
    channel.basic_qos(prefetch_count=2)
    for _ in range(2):
        channel.basic_consume(queue, lambda _c, m, _p, b: got.append((m.delivery_tag or 0, b)))
    hear(two.mine, lambda: len(got) == 4, "four deliveries")
    two.mine.process_data_events(0.1)
    assert sorted(body for _, body in got) == [b"0", b"1", b"2", b"3"]
    channel.basic_ack(got[0][0])
    hear(two.mine, lambda: len(got) == 5, "the fifth")
    assert got[-1][1] == b"4"


def test_single_active_consumer_hands_over(two: Two) -> None:
    """All for the first one, and then all for the second."""
    queue = two.queue(x_single_active_consumer=True)
    seen: list[str] = []
    for name, connection in (("one", two.mine), ("two", two.other)):
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, lambda *_, name=name: seen.append(name))
    with two.other.channel() as channel:
        for _ in range(3):
            channel.basic_publish("", queue, b"")
    two.other.process_data_events(0.1)
    hear(two.mine, lambda: bool(seen), "a delivery")
    assert seen == ["one"]
    two.mine.close()
    hear(two.other, lambda: len(seen) == 2, "the other")
    assert seen == ["one", "two"]


@pytest.mark.parametrize("why", ["rejected", "expired", "maxlen"])
def test_dead_letters_tell_the_same_story(two: Two, why: str) -> None:
    """x-death with queue, reason, count, exchange and keys; the expiration is gone."""
    dead = two.queue("dead")
    limits: dict[str, Any] = {"x_max_length": 1} if why == "maxlen" else {}
    queue = two.queue(
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=dead,
        **limits,
    )
    channel = two.mine.channel()
    sent = pika.BasicProperties(
        message_id="m", headers={"mine": 1}, expiration="200" if why == "expired" else None
    )
    channel.basic_publish("", queue, b"x", sent)
    if why == "rejected":
        until(lambda: take(channel, queue), "the message")
        channel.basic_reject(1, requeue=False)
    elif why == "maxlen":
        channel.basic_publish("", queue, b"y")
    two.ready(dead, 1)
    method, properties, body = channel.basic_get(dead)
    assert method is not None
    assert properties is not None
    assert (body, properties.message_id, properties.expiration) == (b"x", "m", None)
    # Since 4.3 RabbitMQ carries on that a delivery was rejected.
    assert method.redelivered is False or why == "rejected"
    assert method.routing_key == dead
    headers: Any = properties.headers
    (death,) = headers["x-death"]
    assert headers["mine"] == 1
    assert (death["queue"], death["reason"], death["count"]) == (queue, why, 1)
    assert (death["exchange"], death["routing-keys"]) == ("", [queue])
    assert death.get("original-expiration") == ("200" if why == "expired" else None)
    assert headers["x-first-death-reason"] == why
    assert headers["x-first-death-queue"] == queue
    assert headers["x-first-death-exchange"] == ""


def test_time_to_live_is_looked_at_the_head_only(two: Two) -> None:
    """A short-lived message behind a long-lived one waits for it."""
    queue = two.queue()
    channel = two.mine.channel()
    channel.basic_publish("", queue, b"long")
    channel.basic_publish("", queue, b"short", pika.BasicProperties(expiration="50"))
    time.sleep(0.3)
    assert channel.queue_declare(queue, passive=True).method.message_count == 2
    assert take(channel, queue) == (b"long", False)
    two.ready(queue, 0)


def test_unused_queues_expire(two: Two) -> None:
    """Then they are not found any more."""
    queue = two.queue(x_expires=300)
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        time.sleep(0.5)
        try:
            with two.other.channel() as channel:
                channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as gone:
            assert gone.reply_code == 404  # noqa: PT017 - the end of the loop
            return
    pytest.fail("it is still there")


def test_what_keeps_a_queue_from_expiring(two: Two) -> None:
    """A get or a declaration begins anew; while somebody consumes, no time passes."""
    # Side by side: the test is nothing but waiting, on each broker with each client.
    names = ("got", "declared", "consumed")
    got, declared, consumed = queues = [two.queue(name, x_expires=1200) for name in names]
    channel = two.mine.channel()
    tag = channel.basic_consume(consumed, print)
    for _ in range(3):
        time.sleep(0.5)
        assert take(channel, got) is None
        channel.queue_declare(declared, passive=True)
    channel.basic_cancel(tag)
    time.sleep(0.5)
    for queue in queues:
        assert channel.queue_declare(queue, passive=True).method.message_count == 0


def test_a_deleted_queue_cancels_its_consumer(two: Two) -> None:
    """The client hears it."""
    queue = two.queue()
    channel = two.mine.channel()
    told: list[str] = []
    channel.add_on_cancel_callback(lambda frame: told.append(str(frame.method.consumer_tag)))
    tag = channel.basic_consume(queue, print)
    with two.other.channel() as other:
        other.queue_delete(queue)
    hear(two.mine, lambda: bool(told), "the cancellation")
    assert told == [tag]


def test_exchanges_route_alike(two: Two) -> None:
    """Patterns, an exchange behind an exchange, and a message once for each queue."""
    queues = {short: two.queue(short) for short in ("star", "hash", "both", "behind")}
    one, inner = two.name("one"), two.name("inner")
    channel = two.mine.channel()
    channel.exchange_declare(one, "topic", auto_delete=True)
    channel.exchange_declare(inner, "direct", auto_delete=True)
    channel.exchange_bind(inner, one, "#")
    channel.queue_bind(queues["behind"], inner, "a.b")
    for short, patterns in {"star": ["a.*"], "hash": ["a.#"], "both": ["#", "*.b"]}.items():
        for pattern in patterns:
            channel.queue_bind(queues[short], one, pattern)
    for key in ("a", "a.b", "a.b.c", "b.b", ""):
        channel.basic_publish(one, key, key.encode())
    wanted = {
        "star": ["a.b"],
        "hash": ["a", "a.b", "a.b.c"],
        "both": ["a", "a.b", "a.b.c", "b.b", ""],
        "behind": ["a.b"],
    }
    for short, keys in wanted.items():
        two.ready(queues[short], len(keys))
        got = [take(channel, queues[short]) for _ in keys]
        assert [body.decode() for body, _ in filter(None, got)] == keys
        two.mine.process_data_events(0)


def test_any_name_of_utf_8(two: Two) -> None:
    """Brackets and umlauts, as test ids have them, in consumer tags too."""
    queue = two.queue("test_x[p1-ü]")
    channel = two.mine.channel()
    tag = "wer[1] öfter"
    assert channel.basic_consume(queue, print, consumer_tag=tag) == tag
    channel.basic_cancel(tag)
    channel.exchange_declare(two.name("é[1]"), "fanout", auto_delete=True)
    channel.queue_bind(queue, two.name("é[1]"))
    channel.basic_publish(two.name("é[1]"), "schlüssel[1]", b"x")
    method, _, body = next(channel.consume(queue, inactivity_timeout=PATIENCE, auto_ack=True))
    assert method is not None
    assert (method.exchange, method.routing_key, body) == (
        two.name("é[1]"),
        "schlüssel[1]",
        b"x",
    )
