"""What a client asks for costs others little: no time and no memory without end, whatever it is.

Counted, not measured: how fast the machine is shall not matter.
"""

import tracemalloc
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from typing import Any

import pytest
from fuzzplay import frames, logged_in
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from pytest_gatherscatter.embedded.argument import QueueArguments
from pytest_gatherscatter.embedded.budget import queue_size
from pytest_gatherscatter.embedded.exchange import Destination, Known, TopicIndex
from pytest_gatherscatter.embedded.flow import MOST_AT_ONCE
from pytest_gatherscatter.embedded.hub import Hub, Limits, Login
from pytest_gatherscatter.embedded.record import Deliver, Message, Profile
from pytest_gatherscatter.embedded.refusal import AmqpError, Code
from pytest_gatherscatter.embedded.vhost import VHost

NOW = 100.0
TEN_YEARS = 315_360_000_000


def broker() -> VHost:
    """A vhost with a client, its channel ``a`` and a queue ``q``."""
    vhost = VHost()
    vhost.connect("a", "user")
    vhost.open_channel("a", "a")
    queue(vhost)
    return vhost


def queue(vhost: VHost, name: str = "q", **arguments: Any) -> None:  # noqa: ANN401
    """Declare a durable queue; ``x_max_length`` is ``x-max-length``."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    vhost.declare_queue("a", name, durable=True, arguments=named, now=NOW)


def put(vhost: VHost, body: bytes = b"x", *, ttl: float | None = None) -> None:
    """Publish to ``q``."""
    vhost.publish("a", Message("", "q", body, ttl=ttl), now=NOW)


def work(vhost: VHost, now: float = NOW) -> int:
    """Do what is left for later; how many calls it took, each of which does little."""
    calls = 0
    while (at := vhost.next_deadline()) is not None and at <= now:
        before = vhost.effort
        vhost.expire(now)
        calls += 1
        assert calls < 1000, "it has no end"
        assert vhost.effort - before < 2 * MOST_AT_ONCE
        assert vhost.problems(now) == []
    return calls


class Unwalked(dict[Any, Any]):
    """A dictionary that is asked for what is in it, and never walked through."""

    def __iter__(self) -> Iterator[Any]:
        """Refuse to be walked through."""
        raise AssertionError("walked through")


def test_letters_that_die_again_and_again_have_an_end() -> None:
    """A dozen queues that take none and lead to each other: 12! ways for one message."""
    vhost = broker()
    vhost.declare_exchange("all", "fanout")
    for number in range(12):
        queue(vhost, f"q{number}", x_max_length=0, x_dead_letter_exchange="all")
        vhost.bind_queue("a", f"q{number}", "all", "")
    before = vhost.effort
    vhost.publish("a", Message("all", "", b"x"), now=NOW)
    assert vhost.effort - before < 2 * MOST_AT_ONCE
    assert vhost.bytes_held < 1_000_000
    # While they are at it, others are served.
    put(vhost, b"mine")
    got = vhost.get("a", "q", no_ack=True, now=NOW)
    assert got is not None
    assert got.message.body == b"mine"
    assert work(vhost) > 0
    assert vhost.bytes_held == 0


def test_no_letter_of_many_that_die_at_once_is_lost() -> None:
    """Each drives another one out of a full queue, which passes it on: that is no circle."""
    vhost = broker()
    for name, more in (("timed", {"x_message_ttl": 1000}), ("full", {"x_max_length": 100})):
        following = {"timed": "full", "full": "last"}[name]
        dead = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": following}
        queue(vhost, name, **dead, **more)
    queue(vhost, "last")
    for _ in range(5000):
        vhost.publish("a", Message("", "timed", b"x"), now=NOW)
    assert work(vhost, NOW + 2) > 5
    assert vhost.queue_state("full").messages == 100
    assert vhost.queue_state("last").messages == 4900


def test_a_dead_letter_has_a_key_that_can_be_said() -> None:
    """RabbitMQ takes a longer one, and ends the connection of whoever shall have the letter."""
    vhost = broker()
    for octets, key in ((256, "k" * 256), (256, "ü" * 128)):
        with pytest.raises(AmqpError, match=rf"\{{value_too_long,{octets}\}}") as refused:
            queue(vhost, "w", x_dead_letter_exchange="", x_dead_letter_routing_key=key)
        assert refused.value.code is Code.PRECONDITION_FAILED
    queue(vhost, "w", x_dead_letter_exchange="", x_dead_letter_routing_key="ü" * 127 + "k")


def test_a_deadline_that_counts_no_more_is_not_kept() -> None:
    """A queue that was to expire in ten years and is gone, a message that was to and is taken."""
    vhost = broker()
    for number in range(1000):
        queue(vhost, "e", x_expires=TEN_YEARS - number)
        vhost.delete_queue("a", "e", now=NOW)
        put(vhost, ttl=(TEN_YEARS - number) / 1000)
        vhost.get("a", "q", no_ack=True, now=NOW)
    assert len(vhost._timers) < 100


def test_deadlines_that_count_are_kept_among_those_that_do_not() -> None:
    """The earliest one still tells when to look, however many were thrown away."""
    vhost = broker()
    for number in range(300):
        queue(vhost, f"e{number}", x_expires=1000 + number)
        queue(vhost, "gone", x_expires=500)
        vhost.delete_queue("a", "gone", now=NOW)
    assert vhost.next_deadline() == NOW + 1
    vhost.expire(NOW + 1.2)
    assert vhost.counts()["queues"] == 1 + 99


def test_arguments_that_mean_nothing_weigh_what_they_are() -> None:
    """RabbitMQ 4.3 takes any value for x-queue-mode; a large one is no way past the limit."""
    large: dict[str, object] = {"x-queue-mode": [None] * 1000}
    arguments = QueueArguments.parse("q", large, Profile.RABBITMQ_4_3)
    assert queue_size("q", arguments.raw) > 6000
    arguments.assert_equal("q", {"x-queue-mode": [None] * 1000})
    with pytest.raises(AmqpError, match="inequivalent arg 'x-queue-mode'"):
        arguments.assert_equal("q", {"x-queue-mode": [None] * 999})


def test_settling_step_by_step_does_not_look_at_all_that_is_held() -> None:
    """Each of many small steps through all of it would cost the square."""
    vhost = broker()
    for _ in range(10):
        put(vhost)
        vhost.get("a", "q", now=NOW)
    channel = vhost._channels["a"]
    channel.unacked = Unwalked(channel.unacked)
    vhost.ack("a", 2, now=NOW)
    for number in (3, 6, 10):
        vhost.ack("a", number, multiple=True, now=NOW)
        assert min(channel.unacked.keys(), default=11) == number + 1
    with pytest.raises(AmqpError, match="unknown delivery tag 6"):
        vhost.ack("a", 6, multiple=True, now=NOW)


def test_one_more_consumer_does_not_look_at_all_the_others() -> None:
    """Nor does one that ends, or has room again."""
    vhost = broker()
    vhost.qos("a", 1)
    for number in range(5):
        vhost.consume("a", "q", f"c{number}", now=NOW)
        put(vhost)
    found = vhost._directory.queues["q"]
    found.consumers = Unwalked(found.consumers)
    vhost.consume("a", "q", "more", now=NOW)
    vhost.cancel("a", "c3", now=NOW)
    vhost.connect("b", "user")
    vhost.open_channel("b", "b")
    vhost.qos("b", 1)
    vhost.consume("b", "q", "theirs", now=NOW)
    vhost.drain()
    for _ in range(3):
        put(vhost)
    assert [out.consumer_tag for out in vhost.drain() if isinstance(out, Deliver)] == [
        "more",
        "theirs",
    ]
    theirs = vhost._channels["b"]
    found._blocked[theirs] = Unwalked(found._blocked[theirs])
    vhost.ack("a", 1, now=NOW)
    assert [out.consumer_tag for out in vhost.drain() if isinstance(out, Deliver)] == ["c0"]


def test_topic_exchanges_know_so_many_keys_and_no_more() -> None:
    """All of them together, and never one that leads elsewhere by now."""
    known = Known(20)
    one, two = TopicIndex(known), TopicIndex(known)
    ends = [Destination("queue", name) for name in ("a", "b", "c")]
    one.add("k.#", ends[0])
    two.add("k.5", ends[1])
    for _ in range(2):
        for number in range(100):
            assert [*one.match(f"k.{number}")] == ends[:1]
            assert [*two.match(f"k.{number}")] == (ends[1:2] if number == 5 else [])
            assert len(known) <= 20
    one.add("*.5", ends[2])
    two.discard("k.5", ends[1])
    assert {*one.match("k.5")} == {ends[0], ends[2]}
    assert [*two.match("k.5")] == []
    one.discard("k.#", ends[0])
    assert [*one.match("k.5")] == ends[2:]


@pytest.mark.parametrize("order", [*permutations(range(1, 5))])
def test_what_comes_back_finds_its_place_in_any_order(order: tuple[int, ...]) -> None:
    """Whatever waits there already, and whatever came back before."""
    vhost = broker()
    for number in range(1, 7):
        put(vhost, b"%d" % number)
    for _ in range(5):
        vhost.get("a", "q", now=NOW)
    for number in order:
        vhost.nack("a", number, now=NOW)
    bodies = [entry.message.body for entry in vhost._directory.queues["q"].ready]
    assert bodies == [b"1", b"2", b"3", b"4", b"6"]
    vhost.nack("a", 5, now=NOW)
    assert [entry.position for entry in vhost._directory.queues["q"].ready] == [1, 2, 3, 4, 5, 6]


def test_a_large_message_to_many_who_are_slow_is_there_once() -> None:
    """Nobody has a copy of its own until it is sent; and while it waits it counts."""
    hub = Hub(Login("guest", "guest"), limits=Limits(memory=1 << 24))
    sessions = [logged_in(hub, number) for number in range(20)]
    for number, session in enumerate(sessions):
        name = f"q{number}"
        asked = (
            commands.Queue.Declare(queue=name, exclusive=True),
            commands.Queue.Bind(queue=name, exchange="amq.fanout"),
            commands.Basic.Consume(queue=name, no_ack=True),
        )
        session.receive(b"".join(marshal(frame, 1) for frame in asked), NOW)
        session.take()
    content = bytes(1 << 20)
    tracemalloc.start()
    try:
        sessions[0].receive(marshal(commands.Basic.Publish(exchange="amq.fanout"), 1), NOW)
        sessions[0].receive(marshal(ContentHeader(0, len(content)), 1), NOW)
        for _ in range(16):
            sessions[0].receive(marshal(ContentBody(content[: 1 << 16]), 1), NOW)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * len(content)
    assert hub.vhost.bytes_held == 0
    assert hub.unsent > 20 * len(content)
    assert hub.full
    assert not hub.relieved
    sessions[1].lost(NOW)
    for session in sessions[2:]:
        said = b"".join(iter(partial(session.take, 1 << 16), b""))
        assert [part[0] for part in frames(said)] == [1, 2, *[3] * 9]
        assert content in b"".join(part[7:-1] for part in frames(said))
    assert hub.unsent == sessions[0].unsent
    assert hub.relieved
