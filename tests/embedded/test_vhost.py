"""The pure broker: every rule of declaring, routing, delivering, settling and ending."""

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gatherscatter.embedded.record import (
    CancelNotify,
    DeathReason,
    Deliver,
    Message,
    Outcome,
    Profile,
    Return,
)
from pytest_gatherscatter.embedded.refusal import UNSUPPORTED, AmqpError, Code, unsupported
from pytest_gatherscatter.embedded.vhost import VHost

NOW = 100.0


def broker(profile: Profile = Profile.RABBITMQ_4_3) -> VHost:
    """A vhost with two clients of two channels each: a1, a2 of ``a`` and b1, b2 of ``b``."""
    vhost = VHost(profile=profile)
    for connection in ("a", "b"):
        vhost.connect(connection, f"user-{connection}")
        for number in ("1", "2"):
            vhost.open_channel(connection, connection + number)
    return vhost


def queue(vhost: VHost, name: str = "q", **arguments: object) -> None:
    """A durable queue with these x-arguments (``max_length`` for ``x-max-length``)."""
    named = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    vhost.declare_queue("a1", name, durable=True, arguments=named, now=NOW)


def put(vhost: VHost, *bodies: str, key: str = "q", exchange: str = "", now: float = NOW) -> None:
    """Publish bodies from a1."""
    for body in bodies:
        vhost.publish("a1", Message(exchange, key, body.encode()), now=now)


def delivered(vhost: VHost) -> list[str]:
    """The bodies of all deliveries since the last look."""
    return [o.message.body.decode() for o in vhost.drain() if isinstance(o, Deliver)]


def all_of(vhost: VHost, name: str = "q", now: float = NOW) -> list[str]:
    """Take everything that is ready."""
    bodies = []
    while (got := vhost.get("a1", name, no_ack=True, now=now)) is not None:
        bodies.append(got.message.body.decode())
    return bodies


def refusal(call: Callable[..., object], *args: Any, **kwargs: Any) -> AmqpError:  # noqa: ANN401
    """The refusal that a call ends in."""
    with pytest.raises(AmqpError) as caught:
        call(*args, **kwargs)
    return caught.value


# Exchanges and routing


@pytest.mark.parametrize(
    ("pattern", "key", "hit"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*", "", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "b.a", False),
        ("#.c", "a.b.c", True),
        ("#.c", "c", True),
        ("#.b.#", "a.b.c", True),
        ("#.b.#", "a.c", False),
        ("*.#.*", "a", False),
        ("*.#.*", "a.b", True),
        ("a.b", "a.*", False),
        ("", "", True),
        ("a.", "a.", True),
        ("a.#", "a.", True),
    ],
)
def test_topic_patterns(pattern: str, key: str, hit: bool) -> None:  # noqa: FBT001
    """A star is one word, a hash any number of them."""
    vhost = broker()
    queue(vhost)
    vhost.declare_exchange("t", "topic")
    vhost.bind_queue("a1", "q", "t", pattern)
    put(vhost, "x", exchange="t", key=key)
    assert all_of(vhost) == (["x"] if hit else [])


def test_many_hashes_take_no_exponential_time() -> None:
    """A pattern of sixty hashes against a key of sixty words is answered at once."""
    vhost = broker()
    queue(vhost)
    vhost.declare_exchange("t", "topic")
    vhost.bind_queue("a1", "q", "t", ".".join(["#", "a"] * 60) + ".z")
    put(vhost, "x", exchange="t", key=".".join(["a"] * 120))
    assert all_of(vhost) == []


def test_direct_and_fanout() -> None:
    """A direct exchange compares keys, a fanout one does not look at them."""
    vhost = broker()
    for name in ("q", "r"):
        queue(vhost, name)
        vhost.bind_queue("a1", name, "amq.direct", f"to-{name}")
        vhost.bind_queue("a1", name, "amq.fanout", "whatever")
    put(vhost, "d", exchange="amq.direct", key="to-r")
    put(vhost, "f", exchange="amq.fanout", key="")
    assert all_of(vhost, "q") == ["f"]
    assert all_of(vhost, "r") == ["d", "f"]


def test_a_queue_gets_a_message_once_whatever_leads_to_it() -> None:
    """Two bindings that match bring one copy, and one of them may go."""
    vhost = broker()
    queue(vhost)
    for pattern in ("a.*", "#"):
        vhost.bind_queue("a1", "q", "amq.topic", pattern)
    put(vhost, "x", exchange="amq.topic", key="a.b")
    assert all_of(vhost) == ["x"]
    vhost.unbind_queue("a1", "q", "amq.topic", "a.*")
    put(vhost, "y", exchange="amq.topic", key="a.b")
    assert all_of(vhost) == ["y"]
    vhost.unbind_queue("a1", "q", "amq.topic", "#")
    vhost.unbind_queue("a1", "q", "amq.topic", "never there")
    put(vhost, "z", exchange="amq.topic", key="a.b")
    assert all_of(vhost) == []


def test_bindings_that_differ_in_arguments_are_two() -> None:
    """Unbinding one of two twins leaves the other."""
    vhost = broker()
    queue(vhost)
    vhost.bind_queue("a1", "q", "amq.direct", "k")
    vhost.bind_queue("a1", "q", "amq.direct", "k", {"x": 1})
    vhost.unbind_queue("a1", "q", "amq.direct", "k")
    put(vhost, "x", exchange="amq.direct", key="k")
    assert all_of(vhost) == ["x"]


def test_exchange_to_exchange_bindings_stand_a_circle() -> None:
    """Messages go from exchange to exchange, each visited once."""
    vhost = broker()
    queue(vhost)
    vhost.declare_exchange("one", "fanout")
    vhost.declare_exchange("two", "topic")
    vhost.bind_exchange("two", "one", "")
    vhost.bind_exchange("one", "two", "#")
    vhost.bind_queue("a1", "q", "two", "k.*")
    put(vhost, "x", exchange="one", key="k.1")
    assert all_of(vhost) == ["x"]
    vhost.unbind_exchange("two", "one", "")
    put(vhost, "y", exchange="one", key="k.1")
    assert all_of(vhost) == []


def test_exchange_redeclared_unequally_is_406() -> None:
    """Equal again is nothing, another type or flag is refused, nothing has changed."""
    vhost = broker()
    vhost.declare_exchange("e", "topic", durable=True)
    vhost.declare_exchange("e", "topic", durable=True)
    vhost.declare_exchange("e", "fanout", passive=True)
    error = refusal(vhost.declare_exchange, "e", "fanout", durable=True)
    assert error.code == 406
    assert "inequivalent arg 'type' for exchange 'e' in vhost '/'" in error.text
    assert "received 'fanout' but current is 'topic'" in error.text
    assert refusal(vhost.declare_exchange, "e", "topic").code == 406


def test_exchange_refusals() -> None:
    """Reserved, missing, unknown and unsupported exchanges have RabbitMQ's codes."""
    vhost = broker()
    queue(vhost)
    assert refusal(vhost.declare_exchange, "amq.mine", "topic").code == 403
    assert refusal(vhost.declare_exchange, "", "direct").code == 403
    assert refusal(vhost.declare_exchange, "e", passive=True).code == 404
    assert refusal(vhost.declare_exchange, "e", "odd").code == 406
    older = broker(Profile.RABBITMQ_3_10)
    assert refusal(older.declare_exchange, "e", "odd").code == 503
    assert refusal(vhost.declare_exchange, "e", "headers").code == 540
    assert refusal(vhost.declare_exchange, "e", "x-delayed-message").code == 540
    assert refusal(vhost.bind_queue, "a1", "q", "", "k").code == 403
    assert refusal(vhost.bind_queue, "a1", "q", "e", "k").code == 404
    assert refusal(vhost.bind_queue, "a1", "nobody", "amq.topic", "k").code == 404
    assert refusal(vhost.bind_exchange, "e", "amq.topic", "k").code == 404
    assert refusal(vhost.delete_exchange, "amq.topic").code == 403
    assert refusal(vhost.delete_exchange, "").code == 403
    assert refusal(vhost.publish, "a1", Message("e", "k", b""), now=NOW).code == 404


def test_internal_exchange_takes_no_publish() -> None:
    """Only other exchanges may feed an internal one."""
    vhost = broker()
    queue(vhost)
    vhost.declare_exchange("inner", "fanout", internal=True)
    vhost.bind_exchange("inner", "amq.fanout", "")
    vhost.bind_queue("a1", "q", "inner", "")
    put(vhost, "x", exchange="amq.fanout")
    assert all_of(vhost) == ["x"]
    assert refusal(vhost.publish, "a1", Message("inner", "", b""), now=NOW).code == 403


def test_deleting_an_exchange_takes_its_bindings_along() -> None:
    """In both directions; in use it is refused when asked so; a missing one is no error."""
    vhost = broker()
    queue(vhost)
    vhost.declare_exchange("e", "fanout")
    vhost.bind_queue("a1", "q", "e", "")
    vhost.bind_exchange("e", "amq.fanout", "")
    assert refusal(vhost.delete_exchange, "e", if_unused=True).code == 406
    vhost.delete_exchange("e")
    vhost.delete_exchange("e")
    put(vhost, "x", exchange="amq.fanout")
    assert all_of(vhost) == []
    assert vhost.problems(NOW) == []


def test_auto_delete_exchange_goes_with_its_last_binding() -> None:
    """Also when that binding goes because its queue does, and then the one before it."""
    vhost = broker()
    queue(vhost)
    vhost.declare_exchange("first", "fanout", auto_delete=True)
    vhost.declare_exchange("second", "fanout", auto_delete=True)
    vhost.bind_exchange("second", "first", "")
    vhost.bind_queue("a1", "q", "second", "")
    vhost.delete_queue("a1", "q", now=NOW)
    assert refusal(vhost.declare_exchange, "first", passive=True).code == 404
    assert refusal(vhost.declare_exchange, "second", passive=True).code == 404
    assert vhost.problems(NOW) == []


# Queues


def test_queue_redeclared_equally_answers_its_state() -> None:
    """A declaration that is equal counts messages and consumers."""
    vhost = broker()
    queue(vhost, message_ttl=5000)
    put(vhost, "x", "y")
    state = vhost.declare_queue(
        "b1", "q", durable=True, arguments={"x-message-ttl": 5000, "x-unknown": 1}, now=NOW
    )
    assert (state.name, state.messages, state.consumers) == ("q", 2, 0)
    assert vhost.declare_queue("b1", "q", passive=True, now=NOW) == state


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"durable": False}, "durable"),
        ({"auto_delete": True}, "auto_delete"),
        ({"arguments": {"x-message-ttl": 1}}, "x-message-ttl"),
        ({"arguments": {"x-max-length": 1}}, "x-max-length"),
        ({"arguments": {"x-dead-letter-exchange": "d"}}, "x-dead-letter-exchange"),
        ({"arguments": {"x-single-active-consumer": True}}, "x-single-active-consumer"),
    ],
)
def test_queue_redeclared_unequally_is_406(changed: dict[str, Any], named: str) -> None:
    """The refusal names the argument; the queue stays as it was."""
    vhost = broker()
    queue(vhost)
    error = refusal(vhost.declare_queue, "a1", "q", **{"durable": True, **changed}, now=NOW)
    assert error.code == 406
    assert not error.hard
    assert f"inequivalent arg '{named}' for queue 'q' in vhost '/'" in error.text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"x-message-ttl": -1}, 406),
        ({"x-message-ttl": "5"}, 406),
        ({"x-message-ttl": True}, 406),
        ({"x-message-ttl": 2**40}, 406),
        ({"x-expires": 0}, 406),
        ({"x-max-length": -1}, 406),
        ({"x-max-length-bytes": 1.5}, 406),
        ({"x-overflow": "explode"}, 406),
        ({"x-dead-letter-exchange": 3}, 406),
        ({"x-dead-letter-routing-key": "k"}, 406),
        ({"x-single-active-consumer": "yes"}, 406),
        ({"x-queue-version": 1}, 406),
        ({"x-queue-master-locator": "min-masters"}, 541),
        ({"x-queue-type": "quorum"}, 540),
        ({"x-queue-type": "stream"}, 540),
        ({"x-max-priority": 5}, 540),
        ({"x-delivery-limit": 5}, 406),
    ],
)
def test_queue_arguments_refused(arguments: dict[str, object], code: int) -> None:
    """Wrong arguments are 406, the listed ones 540, and no queue is made."""
    vhost = broker()
    error = refusal(vhost.declare_queue, "a1", "q", durable=True, arguments=arguments, now=NOW)
    assert error.code == code
    assert vhost.counts()["queues"] == 0


def test_what_rabbitmq_4_3_does_not_permit() -> None:
    """Transient queues that are shared; the 3.10 profile still takes them."""
    vhost = broker()
    assert refusal(vhost.declare_queue, "a1", "q", now=NOW).code == 541
    older = broker(Profile.RABBITMQ_3_10)
    older.declare_queue("a1", "q", arguments={"x-queue-version": 1}, now=NOW)
    older.declare_queue("a1", "r", arguments={"x-queue-master-locator": "random"}, now=NOW)


def test_names_made_by_the_server() -> None:
    """An empty name has one made, and then means the queue that the channel declared last."""
    vhost = broker()
    assert refusal(vhost.purge_queue, "a1", "").code == 404
    one = vhost.declare_queue("a1", "", exclusive=True, now=NOW).name
    two = vhost.declare_queue("a1", "", exclusive=True, now=NOW).name
    assert one != two
    assert one.startswith("amq.gen-")
    vhost.bind_queue("a1", "", "amq.fanout", "")
    put(vhost, "x", exchange="amq.fanout")
    assert all_of(vhost, two) == ["x"]
    error = refusal(vhost.declare_queue, "a1", "amq.mine", exclusive=True, now=NOW)
    assert (error.code, error.hard) == (403, False)


def test_exclusive_queue_is_its_owners() -> None:
    """Others may publish to it, and nothing else; that is the lab's singleton check."""
    vhost = broker()
    vhost.declare_queue("a1", "mine", exclusive=True, now=NOW)
    vhost.declare_queue("a2", "mine", exclusive=True, now=NOW)
    for refused in (
        refusal(vhost.declare_queue, "b1", "mine", exclusive=True, now=NOW),
        refusal(vhost.declare_queue, "b1", "mine", durable=True, now=NOW),
        refusal(vhost.declare_queue, "b1", "mine", passive=True, now=NOW),
        refusal(vhost.declare_queue, "a1", "mine", durable=True, now=NOW),
        refusal(vhost.bind_queue, "b1", "mine", "amq.topic", "k"),
        refusal(vhost.consume, "b1", "mine", now=NOW),
        refusal(vhost.get, "b1", "mine", now=NOW),
        refusal(vhost.purge_queue, "b1", "mine"),
        refusal(vhost.delete_queue, "b1", "mine", now=NOW),
    ):
        assert refused.code == 405
        assert not refused.hard
        assert "cannot obtain exclusive access to locked queue 'mine'" in refused.text
    assert vhost.publish("b1", Message("", "mine", b"x"), now=NOW) is Outcome.QUEUED
    assert all_of(vhost, "mine") == ["x"]


def test_exclusive_queue_ends_with_its_connection_not_with_its_channel() -> None:
    """Then its name is free, and a mandatory publish comes back."""
    vhost = broker()
    vhost.declare_queue("a1", "mine", exclusive=True, now=NOW)
    vhost.close_channel("a1", now=NOW)
    assert vhost.publish("b1", Message("", "mine", b"x"), now=NOW) is Outcome.QUEUED
    vhost.disconnect("a", now=NOW)
    message = Message("", "mine", b"y")
    assert vhost.publish("b1", message, mandatory=True, now=NOW) is Outcome.UNROUTABLE
    assert vhost.drain() == [Return("b1", 312, "NO_ROUTE", message)]
    vhost.declare_queue("b1", "mine", exclusive=True, now=NOW)
    assert vhost.problems(NOW) == []


def test_exclusive_auto_delete_queue_ends_once() -> None:
    """It goes with its last consumer, also when the whole connection goes."""
    vhost = broker()
    vhost.declare_queue("a1", "mine", exclusive=True, auto_delete=True, now=NOW)
    vhost.consume("a1", "mine", now=NOW)
    vhost.disconnect("a", now=NOW)
    assert vhost.counts()["queues"] == 0
    assert vhost.problems(NOW) == []


def test_auto_delete_queue_needs_a_first_consumer_to_go() -> None:
    """Unused it stays; after its last consumer it is gone with what it held."""
    vhost = broker()
    vhost.declare_queue("a1", "q", durable=True, auto_delete=True, now=NOW)
    put(vhost, "x")
    vhost.consume("a1", "q", "one", now=NOW)
    vhost.consume("b1", "q", "two", now=NOW)
    vhost.cancel("a1", "one", now=NOW)
    assert vhost.counts()["queues"] == 1
    vhost.close_channel("b1", now=NOW)
    assert vhost.counts()["queues"] == 0
    vhost.ack("a1", 1, now=NOW)
    assert vhost.bytes_held == 0


def test_delete_and_purge() -> None:
    """They count what was ready; if-unused and if-empty are respected."""
    vhost = broker()
    queue(vhost)
    put(vhost, "x", "y", "z")
    assert vhost.get("a1", "q", now=NOW) is not None
    assert vhost.purge_queue("a1", "q") == 2
    put(vhost, "x")
    assert refusal(vhost.delete_queue, "a1", "q", if_empty=True, now=NOW).code == 406
    vhost.qos("b1", 1)
    vhost.consume("b1", "q", "c", now=NOW)
    assert refusal(vhost.delete_queue, "a1", "q", if_unused=True, now=NOW).code == 406
    put(vhost, "y")
    vhost.drain()
    assert vhost.delete_queue("a1", "q", now=NOW) == 1
    assert vhost.drain() == [CancelNotify("b1", "c")]
    assert vhost.delete_queue("a1", "q", now=NOW) == 0
    vhost.ack("b1", 1, now=NOW)
    vhost.nack("a1", 1, now=NOW)
    assert vhost.bytes_held == 0


# Publishing


def test_mandatory_comes_back_only_when_nobody_wants_it() -> None:
    """The return carries RabbitMQ's 312; without mandatory the message is gone in silence."""
    vhost = broker()
    message = Message("amq.topic", "k", b"x")
    assert vhost.publish("a1", message, now=NOW) is Outcome.UNROUTABLE
    assert vhost.drain() == []
    assert vhost.publish("a1", message, mandatory=True, now=NOW) is Outcome.UNROUTABLE
    assert vhost.drain() == [Return("a1", 312, "NO_ROUTE", message)]


def test_user_id_must_be_the_login() -> None:
    """A forged sender is 406, the true one passes."""
    vhost = broker()
    queue(vhost)
    error = refusal(vhost.publish, "a1", Message("", "q", b"", user_id="user-b"), now=NOW)
    assert error.code == 406
    assert "user_id property set to 'user-b' but authenticated user was 'user-a'" in error.text
    mine = Message("", "q", b"", user_id="user-a")
    assert vhost.publish("a1", mine, now=NOW) is Outcome.QUEUED


# Consumers


def test_consumers_take_turns() -> None:
    """Messages go round, in the order of the consumers."""
    vhost = broker()
    queue(vhost)
    vhost.consume("a1", "q", "one", now=NOW)
    vhost.consume("b1", "q", "two", now=NOW)
    put(vhost, "1", "2", "3", "4")
    tags = [o.consumer_tag for o in vhost.drain() if isinstance(o, Deliver)]
    assert tags == ["one", "two", "one", "two"]


def test_delivery_tags_count_per_channel() -> None:
    """They start at 1 on each channel and go on over consumers and gets."""
    vhost = broker()
    queue(vhost)
    put(vhost, "1", "2", "3")
    got = vhost.get("a1", "q", now=NOW)
    assert got is not None
    assert (got.delivery_tag, got.remaining, got.redelivered) == (1, 2, False)
    vhost.consume("a1", "q", no_ack=True, now=NOW)
    tags = [o.delivery_tag for o in vhost.drain() if isinstance(o, Deliver)]
    assert tags == [2, 3]
    put(vhost, "4")
    vhost.close_channel("a1", now=NOW)
    assert vhost.queue_state("q").messages == 1


def test_prefetch_is_each_consumers_own() -> None:
    """It holds for consumers that start after it; an ack makes room for the next one."""
    vhost = broker()
    queue(vhost)
    vhost.qos("a1", 2)
    vhost.consume("a1", "q", "one", now=NOW)
    vhost.qos("a1", 1)
    vhost.consume("a1", "q", "two", now=NOW)
    put(vhost, *"123456")
    assert delivered(vhost) == ["1", "2", "3"]
    vhost.ack("a1", 2, now=NOW)
    assert delivered(vhost) == ["4"]
    vhost.ack("a1", 0, multiple=True, now=NOW)
    assert delivered(vhost) == ["5", "6"]
    assert vhost.problems(NOW) == []


def test_no_ack_consumer_is_not_limited() -> None:
    """Prefetch means nothing where nothing is acknowledged."""
    vhost = broker()
    queue(vhost)
    vhost.qos("a1", 1)
    vhost.consume("a1", "q", no_ack=True, now=NOW)
    put(vhost, *"123")
    assert delivered(vhost) == ["1", "2", "3"]
    assert vhost.bytes_held == 0


def test_global_prefetch_of_the_older_profile() -> None:
    """The consumers of a channel share one limit, over all their queues."""
    vhost = broker(Profile.RABBITMQ_3_10)
    for name in ("q", "r"):
        queue(vhost, name)
        vhost.qos("a1", 2, together=True)
        vhost.consume("a1", name, now=NOW)
    put(vhost, "1", "2", key="q")
    put(vhost, "3", key="r")
    assert delivered(vhost) == ["1", "2"]
    vhost.ack("a1", 1, now=NOW)
    assert delivered(vhost) == ["3"]


def test_global_prefetch_is_each_consumers_own_by_now() -> None:
    """RabbitMQ 4.3 neither refuses it nor does it: it limits every consumer to come."""
    vhost = broker()
    for name in ("q", "r"):
        queue(vhost, name)
        vhost.qos("a1", 1, together=True)
        vhost.consume("a1", name, now=NOW)
    put(vhost, "1", "2", key="q")
    put(vhost, "3", key="r")
    assert delivered(vhost) == ["1", "3"]


def test_exclusive_consumer_is_alone() -> None:
    """Nobody may join it, and it may not join anybody."""
    vhost = broker()
    queue(vhost)
    vhost.consume("a1", "q", "one", exclusive=True, now=NOW)
    error = refusal(vhost.consume, "b1", "q", now=NOW)
    assert (error.code, error.hard) == (403, False)
    assert "queue 'q' in vhost '/' in exclusive use" in error.text
    vhost.cancel("a1", "one", now=NOW)
    vhost.consume("b1", "q", now=NOW)
    assert refusal(vhost.consume, "a1", "q", exclusive=True, now=NOW).code == 403


def test_single_active_consumer_hands_over() -> None:
    """The oldest consumer gets everything; when it ends, the next one takes over."""
    vhost = broker()
    queue(vhost, single_active_consumer=True)
    vhost.qos("a1", 1)
    vhost.consume("a1", "q", "one", now=NOW)
    vhost.consume("b1", "q", "two", now=NOW)
    put(vhost, "1", "2")
    outputs = vhost.drain()
    assert [o.consumer_tag for o in outputs if isinstance(o, Deliver)] == ["one"]
    vhost.disconnect("a", now=NOW)
    outputs = vhost.drain()
    assert [
        (o.consumer_tag, o.message.body, o.redelivered) for o in outputs if isinstance(o, Deliver)
    ] == [("two", b"1", True), ("two", b"2", False)]


def test_consume_refusals() -> None:
    """A tag in use, a missing queue, and what is on the list."""
    vhost = broker()
    queue(vhost)
    assert vhost.consume("a1", "q", "t", now=NOW) == "t"
    assert vhost.consume("b1", "q", "t", now=NOW) == "t"
    error = refusal(vhost.consume, "a1", "q", "t", now=NOW)
    assert (error.code, error.hard) == (530, True)
    assert refusal(vhost.consume, "a1", "nobody", now=NOW).code == 404
    assert refusal(vhost.consume, "a1", "q", arguments={"x-priority": 1}, now=NOW).code == 540
    assert refusal(vhost.consume, "a1", "amq.rabbitmq.reply-to", now=NOW).code == 540
    vhost.cancel("a1", "nobody", now=NOW)


def test_a_client_that_does_not_read_gets_nothing_more() -> None:
    """A paused connection is passed over; when it reads again it has its share."""
    vhost = broker()
    queue(vhost)
    vhost.consume("a1", "q", "one", now=NOW)
    vhost.pause("a")
    put(vhost, "1")
    assert delivered(vhost) == []
    vhost.resume("a", now=NOW)
    assert delivered(vhost) == ["1"]


def test_a_client_is_paused_when_its_room_is_used() -> None:
    """So that one consumer without a prefetch cannot have a whole queue copied at once."""
    vhost = broker()
    queue(vhost)
    put(vhost, *"123")
    vhost.resume("a", room=1, now=NOW)
    vhost.consume("a1", "q", now=NOW)
    assert delivered(vhost) == ["1"]
    assert vhost.paused("a")
    vhost.resume("a", now=NOW)
    assert delivered(vhost) == ["2", "3"]


# Settling


def test_unknown_delivery_tag_is_406() -> None:
    """Twice the same ack, and an ack of nothing; but "all" may be none."""
    vhost = broker()
    queue(vhost)
    put(vhost, "x")
    vhost.get("a1", "q", now=NOW)
    vhost.ack("a1", 1, now=NOW)
    error = refusal(vhost.ack, "a1", 1, now=NOW)
    assert (error.code, error.text) == (406, "PRECONDITION_FAILED - unknown delivery tag 1")
    assert refusal(vhost.ack, "a1", 9, multiple=True, now=NOW).code == 406
    assert refusal(vhost.nack, "a1", 0, now=NOW).code == 406
    vhost.ack("a1", 0, multiple=True, now=NOW)


def test_requeue_goes_to_the_original_place() -> None:
    """What is given back comes again in the order in which it was published."""
    vhost = broker()
    queue(vhost)
    put(vhost, *"12345")
    for _ in range(4):
        vhost.get("a1", "q", now=NOW)
    vhost.nack("a1", 3, now=NOW)
    vhost.nack("a1", 1, now=NOW)
    vhost.nack("a1", 4, now=NOW)
    got = vhost.get("b1", "q", now=NOW)
    assert got is not None
    assert (got.message.body, got.redelivered) == (b"1", True)
    assert vhost.problems(NOW) == []
    assert all_of(vhost) == ["3", "4", "5"]


def test_a_dead_connections_deliveries_come_again() -> None:
    """In their order, marked as redelivered, ahead of what is younger."""
    vhost = broker()
    queue(vhost)
    vhost.qos("a1", 3)
    vhost.consume("a1", "q", now=NOW)
    vhost.consume("a2", "q", now=NOW)
    put(vhost, *"12345")
    vhost.drain()
    vhost.disconnect("a", now=NOW)
    assert vhost.drain() == []
    assert vhost.queue_state("q").messages == 5
    vhost.consume("b1", "q", now=NOW)
    outputs = [o for o in vhost.drain() if isinstance(o, Deliver)]
    assert [o.message.body for o in outputs] == [b"1", b"2", b"3", b"4", b"5"]
    assert all(o.redelivered for o in outputs)


def test_nack_multiple_and_recover() -> None:
    """Both give back everything up to a tag, or all of it."""
    vhost = broker()
    queue(vhost)
    put(vhost, *"1234")
    for _ in range(3):
        vhost.get("a1", "q", now=NOW)
    vhost.nack("a1", 2, multiple=True, now=NOW)
    assert vhost.queue_state("q").messages == 3
    vhost.recover("a1", now=NOW)
    assert refusal(vhost.recover, "a1", requeue=False, now=NOW).code == 540
    assert all_of(vhost) == ["1", "2", "3", "4"]


# Time


def test_messages_expire() -> None:
    """The queue's and the message's own time to live: the shorter one counts."""
    vhost = broker()
    queue(vhost, message_ttl=5000)
    put(vhost, "long")
    assert vhost.next_deadline() == NOW + 5
    vhost.publish("a1", Message("", "q", b"short", ttl=2.0), now=NOW)
    vhost.expire(NOW + 3)
    # As on RabbitMQ only the head is looked at.
    assert vhost.queue_state("q").messages == 2
    vhost.expire(NOW + 5)
    assert vhost.queue_state("q").messages == 0
    assert vhost.bytes_held == 0


def test_a_delivered_message_does_not_expire() -> None:
    """Its time counts again once it is given back."""
    vhost = broker()
    queue(vhost, message_ttl=1000)
    put(vhost, "x")
    vhost.get("a1", "q", now=NOW)
    vhost.expire(NOW + 9)
    assert vhost.bytes_held > 0
    vhost.nack("a1", 1, now=NOW + 9)
    assert all_of(vhost, now=NOW + 9) == []
    assert vhost.bytes_held == 0


def test_a_time_to_live_of_zero_means_now_or_never() -> None:
    """A waiting consumer gets it, an empty room does not keep it."""
    vhost = broker()
    queue(vhost)
    now_or_never = Message("", "q", b"x", ttl=0.0)
    vhost.publish("a1", now_or_never, now=NOW)
    assert vhost.queue_state("q").messages == 0
    vhost.consume("a1", "q", now=NOW)
    vhost.publish("a1", now_or_never, now=NOW)
    assert delivered(vhost) == ["x"]


def test_unused_queue_expires() -> None:
    """Declaring it again and taking from it start its time anew; a consumer stops it."""
    vhost = broker()
    queue(vhost, expires=1000)
    queue(vhost, "other")
    assert vhost.next_deadline() == NOW + 1
    vhost.get("b1", "q", now=NOW + 0.9)
    vhost.expire(NOW + 1)
    assert vhost.next_deadline() == pytest.approx(NOW + 1.9)
    vhost.consume("b1", "q", "c", now=NOW + 1.5)
    vhost.expire(NOW + 60)
    assert vhost.counts()["queues"] == 2
    vhost.cancel("b1", "c", now=NOW + 60)
    assert vhost.next_deadline() == NOW + 61
    vhost.expire(NOW + 61)
    assert vhost.counts()["queues"] == 1
    assert vhost.next_deadline() is None


# Limits and dead letters


def with_dead_letters(vhost: VHost, **arguments: object) -> None:
    """A queue ``q`` whose dead letters go through a fanout exchange to ``dead``."""
    vhost.declare_exchange("graves", "fanout")
    queue(vhost, "dead")
    vhost.bind_queue("a1", "dead", "graves", "")
    queue(vhost, "q", dead_letter_exchange="graves", **arguments)


def test_rejected_messages_are_dead_lettered() -> None:
    """With where, why, when and how often; ttl is taken away so that they stay."""
    vhost = broker()
    with_dead_letters(vhost)
    vhost.publish("a1", Message("", "q", b"x", properties="mine", ttl=50.0), now=NOW)
    vhost.get("a1", "q", now=NOW)
    vhost.nack("a1", 1, requeue=False, now=NOW + 1)
    got = vhost.get("a1", "dead", no_ack=True, now=NOW + 2)
    assert got is not None
    message = got.message
    assert (message.exchange, message.key, message.body) == ("graves", "q", b"x")
    assert (message.properties, message.ttl, got.redelivered) == ("mine", None, False)
    (death,) = message.deaths
    assert (death.queue, death.reason, death.count) == ("q", DeathReason.REJECTED, 1)
    assert (death.exchange, death.key, death.at, death.ttl) == ("", "q", NOW + 1, 50.0)
    assert message.first_death == death


def test_deaths_are_counted_and_the_latest_is_first() -> None:
    """A message that dies again in the same way counts up; another way is another entry."""
    vhost = broker()
    queue(vhost, "work", dead_letter_exchange="", dead_letter_routing_key="wait")
    queue(vhost, "wait", dead_letter_exchange="", dead_letter_routing_key="work", message_ttl=1000)
    put(vhost, "x", key="work")
    now = NOW
    for number in range(1, 4):
        vhost.get("a1", "work", now=now)
        vhost.nack("a1", number, requeue=False, now=now)
        now += 1
        vhost.expire(now)
    got = vhost.get("a1", "work", now=now)
    assert got is not None
    assert [(d.queue, d.reason.value, d.count) for d in got.message.deaths] == [
        ("wait", "expired", 3),
        ("work", "rejected", 3),
    ]
    assert got.message.first_death is not None
    assert got.message.first_death.queue == "work"


def test_a_message_does_not_go_round_by_itself() -> None:
    """A circle of expiries ends: the message is dropped when it would come back."""
    vhost = broker()
    queue(vhost, "q", dead_letter_exchange="", dead_letter_routing_key="q", message_ttl=0)
    put(vhost, "x")
    assert vhost.queue_state("q").messages == 0
    assert vhost.bytes_held == 0
    assert vhost.problems(NOW) == []


def test_expired_messages_are_dead_lettered() -> None:
    """When their time comes, without anybody asking."""
    vhost = broker()
    with_dead_letters(vhost, message_ttl=1000, dead_letter_routing_key="other")
    put(vhost, "x")
    vhost.consume("b1", "dead", now=NOW)
    vhost.expire(NOW + 1)
    (output,) = vhost.drain()
    assert isinstance(output, Deliver)
    assert output.message.key == "other"
    assert output.message.deaths[0].reason is DeathReason.EXPIRED


def test_dead_letters_without_an_exchange_are_dropped() -> None:
    """No exchange of that name is no error; neither is no exchange at all."""
    vhost = broker()
    queue(vhost, "q", dead_letter_exchange="nowhere")
    put(vhost, "x")
    vhost.get("a1", "q", now=NOW)
    vhost.nack("a1", 1, requeue=False, now=NOW)
    assert vhost.bytes_held == 0


@pytest.mark.parametrize(
    ("arguments", "kept", "dead"),
    [
        ({"max_length": 2}, ["3", "4"], ["1", "2"]),
        ({"max_length": 0}, [], ["1", "2", "3", "4"]),
        ({"max_length_bytes": 3}, ["2", "3", "4"], ["1"]),
        ({"max_length": 2, "overflow": "reject-publish"}, ["1", "2"], []),
        ({"max_length": 2, "overflow": "reject-publish-dlx"}, ["1", "2"], ["3", "4"]),
    ],
)
def test_full_queue(arguments: dict[str, object], kept: list[str], dead: list[str]) -> None:
    """The oldest go, or the newest are refused; and what goes is dead-lettered."""
    vhost = broker()
    with_dead_letters(vhost, **arguments)
    outcomes = [vhost.publish("a1", Message("", "q", b.encode()), now=NOW) for b in "1234"]
    refuses = str(arguments.get("overflow", "")).startswith("reject")
    assert outcomes == [Outcome.QUEUED] * 2 + [Outcome.REFUSED if refuses else Outcome.QUEUED] * 2
    assert vhost.problems(NOW) == []
    assert all_of(vhost, "q") == kept
    assert all_of(vhost, "dead") == dead
    assert vhost.bytes_held == 0


def test_every_unsupported_feature_is_a_540() -> None:
    """The written list is what is answered, and a 540 ends the connection."""
    for feature in UNSUPPORTED:
        error = unsupported(feature)
        assert (error.code, error.hard) == (Code.NOT_IMPLEMENTED, True)
        assert error.text.startswith(f"NOT_IMPLEMENTED - {feature}: ")


def test_ids_in_use_are_told() -> None:
    """Two connections or channels of one id would be the caller's mistake."""
    vhost = broker()
    with pytest.raises(ValueError, match="connection 'a' is open already"):
        vhost.connect("a", "x")
    with pytest.raises(ValueError, match="channel 'a1' is open already"):
        vhost.open_channel("b", "a1")


# ── how much there may be of all that ──────────────────────────────────────────────────

DECLARED = 40_000
Declaring = Callable[[VHost, int], object]
TOO_MUCH: dict[str, tuple[Declaring, Code]] = {
    "queues": (
        lambda vhost, n: vhost.declare_queue("ch", f"more{n}", exclusive=True, now=0.0),
        Code.PRECONDITION_FAILED,
    ),
    "queues with long arguments": (
        lambda vhost, n: vhost.declare_queue(
            "ch",
            f"more{n}",
            exclusive=True,
            arguments={"x-dead-letter-exchange": "x" * 5000},
            now=0.0,
        ),
        Code.PRECONDITION_FAILED,
    ),
    "exchanges": (
        lambda vhost, n: vhost.declare_exchange(f"more{n}", "topic", auto_delete=True),
        Code.PRECONDITION_FAILED,
    ),
    "bindings": (
        lambda vhost, n: vhost.bind_queue("ch", "mine", "amq.fanout", str(n)),
        Code.PRECONDITION_FAILED,
    ),
    "bindings of many words": (
        lambda vhost, n: vhost.bind_queue("ch", "mine", "amq.topic", f"{n}" + ".a" * 10),
        Code.PRECONDITION_FAILED,
    ),
    "bindings with long arguments": (
        lambda vhost, n: vhost.bind_queue("ch", "mine", "amq.direct", str(n), {"a": "x" * 5000}),
        Code.PRECONDITION_FAILED,
    ),
    "consumers": (
        lambda vhost, n: vhost.consume("ch", "mine", f"more{n}", now=0.0),
        Code.NOT_ALLOWED,
    ),
    "channels": (lambda vhost, n: vhost.open_channel("conn", f"more{n}"), Code.NOT_ALLOWED),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_is_declared_has_a_limit(kind: str) -> None:
    """RabbitMQ's code, nothing changed by what is refused, and room again once it is gone."""
    declare, code = TOO_MUCH[kind]
    vhost = VHost(declared=DECLARED)
    for _ in range(2):  # what the first time has left behind would count the second time
        vhost.connect("conn", "guest")
        vhost.open_channel("conn", "ch")
        vhost.declare_queue("ch", "mine", exclusive=True, now=0.0)
        done = 0
        with pytest.raises(AmqpError, match="there is no more room for what goes with") as refused:  # noqa: PT012 - until it raises
            while True:
                declare(vhost, done)
                done += 1
        assert refused.value.code is code
        assert 0 < done < 40
        assert vhost.problems(0.0) == []
        vhost.connect("other", "guest")  # who has room of its own
        vhost.open_channel("other", "other")
        vhost.declare_queue("other", "theirs", exclusive=True, now=0.0)
        vhost.disconnect("other", now=0.0)
        if kind == "bindings":
            declare(vhost, 0)  # it is there, and asks for nothing more
        vhost.disconnect("conn", now=0.0)
        for number in range(done):
            vhost.delete_exchange(f"more{number}")
        assert vhost.problems(0.0) == []
        assert set(vhost.counts().values()) == {0, 4}  # the exchanges that are always there
