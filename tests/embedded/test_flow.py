"""Where RabbitMQ's ways are finer than the specification: each was found by comparing the two."""

from typing import Any

from pytest_gatherscatter.embedded.record import CancelNotify, Deliver, Message, Outcome
from pytest_gatherscatter.embedded.vhost import VHost

NOW = 100.0


def broker(*channels: str) -> VHost:
    """A vhost with a queue ``q`` and some channels, each of a connection of its own."""
    vhost = VHost()
    for channel in ("p", *channels):
        vhost.connect(channel, "user")
        vhost.open_channel(channel, channel)
    return vhost


def queue(vhost: VHost, name: str = "q", **arguments: Any) -> None:  # noqa: ANN401
    """Declare a durable queue; ``x_max_length`` is ``x-max-length``."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    vhost.declare_queue("p", name, durable=True, arguments=named, now=NOW)


def put(vhost: VHost, *bodies: str, ttl: float | None = None) -> list[Outcome]:
    """Publish to ``q``."""
    return [
        vhost.publish("p", Message("", "q", body.encode(), ttl=ttl), now=NOW) for body in bodies
    ]


def heard(vhost: VHost) -> list[tuple[str, str]]:
    """Who got what since the last time: consumer tag and body."""
    return [
        (output.consumer_tag, output.message.body.decode())
        for output in vhost.drain()
        if isinstance(output, Deliver)
    ]


def test_no_key_has_no_word() -> None:
    """So a star, which is one word, does not meet it; a hash does."""
    vhost = broker()
    for name, pattern in (("star", "*"), ("hash", "#"), ("none", "")):
        queue(vhost, name)
        vhost.bind_queue("p", name, "amq.topic", pattern)
    vhost.publish("p", Message("amq.topic", "", b"x"), now=NOW)
    ready = {name: vhost.queue_state(name).messages for name in ("star", "hash", "none")}
    assert ready == {"star": 0, "hash": 1, "none": 1}


def test_who_had_no_room_is_last_once_there_is_room() -> None:
    """A consumer that was full at its turn loses its place in the row."""
    vhost = broker("a", "b", "c")
    queue(vhost)
    for channel, prefetch in (("a", 1), ("b", 2), ("c", 3)):
        vhost.qos(channel, prefetch)
        vhost.consume(channel, "q", channel, now=NOW)
    put(vhost, *"12345")
    assert heard(vhost) == [("a", "1"), ("b", "2"), ("c", "3"), ("b", "4"), ("c", "5")]
    vhost.ack("a", 1, now=NOW)
    put(vhost, "6", "7")
    assert heard(vhost) == [("c", "6"), ("a", "7")]


def test_a_queue_that_refuses_never_drops() -> None:
    """What comes back to it makes it longer than it may be, and it refuses more."""
    vhost = broker("a")
    queue(vhost, x_max_length=1, x_overflow="reject-publish")
    put(vhost, "1")
    vhost.get("a", "q", now=NOW)
    put(vhost, "2")
    vhost.nack("a", 1, now=NOW)
    assert vhost.queue_state("q").messages == 2
    assert put(vhost, "3") == [Outcome.REFUSED]


def test_what_comes_back_drops_the_head_before_anybody_is_served() -> None:
    """A new message is offered first; a requeued one has to fit in first."""
    vhost = broker("a", "b")
    queue(vhost, x_max_length=1)
    vhost.qos("a", 2)
    vhost.consume("a", "q", "a", now=NOW)
    put(vhost, "1", "2")
    assert heard(vhost) == [("a", "1"), ("a", "2")]
    vhost.nack("a", 2, multiple=True, now=NOW)
    assert heard(vhost) == [("a", "2")]


def test_settling_many_goes_consumer_by_consumer() -> None:
    """In the order of their tags, each with all that follows, whatever the order of delivery."""
    vhost = broker("a")
    queue(vhost, x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    queue(vhost, "dead")
    for tag in ("y", "x"):
        vhost.qos("a", 1)
        vhost.consume("a", "q", tag, now=NOW)
    put(vhost, *"1234")
    assert heard(vhost) == [("y", "1"), ("x", "2")]
    vhost.nack("a", 0, multiple=True, requeue=False, now=NOW)
    assert heard(vhost) == [("x", "3"), ("y", "4")]
    got = [vhost.get("p", "dead", now=NOW) for _ in range(2)]
    assert [one.message.body for one in got if one is not None] == [b"2", b"1"]


def test_a_dead_letter_comes_back_after_its_queue_was_served() -> None:
    """The one that waited has gone by then, so that there is room for it."""
    vhost = broker("a")
    queue(
        vhost,
        x_max_length=1,
        x_overflow="reject-publish",
        x_dead_letter_exchange="",
        x_dead_letter_routing_key="q",
    )
    vhost.qos("a", 1)
    vhost.consume("a", "q", "a", now=NOW)
    put(vhost, "1", "2")
    vhost.nack("a", 1, requeue=False, now=NOW)
    assert heard(vhost) == [("a", "1"), ("a", "2")]
    assert vhost.queue_state("q").messages == 1


def test_what_a_get_leaves_is_counted_without_the_expired() -> None:
    """The one behind it was too old already."""
    vhost = broker()
    queue(vhost)
    put(vhost, "1")
    put(vhost, "2", ttl=1.0)
    got = vhost.get("p", "q", now=NOW + 2)
    assert got is not None
    assert got.remaining == 0


def test_consumers_of_a_deleted_queue_are_told_in_the_order_of_their_tags() -> None:
    """Whoever came first."""
    vhost = broker("a")
    queue(vhost)
    for tag in ("c9", "c10"):
        vhost.consume("a", "q", tag, now=NOW)
    vhost.drain()
    vhost.delete_queue("p", "q", now=NOW)
    told = [output.consumer_tag for output in vhost.drain() if isinstance(output, CancelNotify)]
    assert told == ["c10", "c9"]


def test_a_rejected_dead_letter_is_marked_for_who_finds_it_waiting() -> None:
    """As on RabbitMQ since 4.3: not if it was nacked, nor for whom it did not have to wait."""
    vhost = broker("a", "b")
    queue(vhost, x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    queue(vhost, "dead")
    put(vhost, *"123")
    for _ in range(3):
        vhost.get("a", "q", now=NOW)
    vhost.reject("a", 1, requeue=False, now=NOW)
    vhost.nack("a", 2, requeue=False, now=NOW)
    got = [vhost.get("p", "dead", now=NOW) for _ in range(2)]
    assert [one.redelivered for one in got if one is not None] == [True, False]
    vhost.consume("b", "dead", now=NOW)
    vhost.drain()
    vhost.reject("a", 3, requeue=False, now=NOW)
    (delivery,) = vhost.drain()
    assert isinstance(delivery, Deliver)
    assert not delivery.redelivered
