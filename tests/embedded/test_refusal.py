"""Every refusal word for word: people search for what RabbitMQ says, and tools match it."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pika
import pytest
from pika import spec
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ConnectionClosedByBroker

Call = Callable[[Any, Callable[[str], str]], object]
"""What a call does with a channel (pika's, and its inner one) and a way to make names."""
TEN_YEARS = 315_360_000_000


def declare(**arguments: Any) -> Call:  # noqa: ANN401
    """Declare a new durable queue; ``x_expires`` is ``x-expires``."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    return lambda c, n: c.queue_declare(n("new"), durable=True, arguments=named)


def again(**arguments: Any) -> Call:  # noqa: ANN401
    """Declare the queue that has all arguments again, with others."""
    named = ARGUMENTS | {key.replace("_", "-"): value for key, value in arguments.items()}
    return lambda c, n: c.queue_declare(
        n("all"), durable=True, arguments={k: v for k, v in named.items() if v is not ...}
    )


def publish(**properties: Any) -> Call:  # noqa: ANN401
    """Publish to a queue with some property."""
    return lambda c, n: c.basic_publish("", n("plain"), b"", pika.BasicProperties(**properties))


ARGUMENTS: dict[str, Any] = {
    "x-message-ttl": 60000,
    "x-expires": 3_000_000_000,
    "x-max-length": 10,
    "x-max-length-bytes": 100_000,
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "amq.topic",
    "x-dead-letter-routing-key": "k",
    "x-single-active-consumer": True,
}

CALLS: dict[str, Call] = {
    # Names that are there, are not there, or are the broker's own.
    "passive queue": lambda c, n: c.queue_declare(n("no"), passive=True),
    "passive exchange": lambda c, n: c.exchange_declare(n("no"), passive=True),
    "passive, locked": lambda c, n: c.queue_declare(n("locked"), passive=True),
    "locked": lambda c, n: c.queue_declare(n("locked"), exclusive=True),
    "locked, otherwise": lambda c, n: c.queue_declare(n("locked"), durable=True, auto_delete=True),
    "own queue": lambda c, _: c.queue_declare("amq.mine", durable=True),
    "own queue, passive": lambda c, _: c.queue_declare("amq.mine", passive=True),
    "own exchange": lambda c, _: c.exchange_declare("amq.mine", "topic"),
    "own exchange, otherwise": lambda c, _: c.exchange_declare("amq.topic", "direct", durable=True),
    "own exchange, passing": lambda c, _: c.exchange_declare("amq.topic", "topic"),
    "default exchange": lambda c, _: c.exchange_declare("", "direct"),
    "default exchange, passive": lambda c, _: c.exchange_declare("", passive=True),
    "delete default": lambda c, _: c.exchange_delete(""),
    "delete own": lambda c, _: c.exchange_delete("amq.topic"),
    "delete own, missing": lambda c, _: c.exchange_delete("amq.mine"),
    "no name yet": lambda c, _: c.queue_purge(""),
    "no name yet, passive": lambda c, _: c.queue_declare("", passive=True),
    # Declarations that differ.
    "exchange type": lambda c, n: c.exchange_declare(n("e"), "fanout", auto_delete=True),
    "exchange durable": lambda c, n: c.exchange_declare(n("e"), "topic", True, True),  # noqa: FBT003
    "exchange auto-delete": lambda c, n: c.exchange_declare(n("e"), "topic"),
    "exchange internal": lambda c, n: c.exchange_declare(
        n("e"), "topic", auto_delete=True, internal=True
    ),
    "odd exchange type": lambda c, n: c.exchange_declare(n("f"), "odd"),
    "odd exchange type, passive": lambda c, n: c.exchange_declare(n("f"), "odd", passive=True),
    "queue auto-delete": lambda c, n: c.queue_declare(n("plain"), durable=True, auto_delete=True),
    "queue exclusive": lambda c, n: c.queue_declare(n("plain"), exclusive=True),
    "queue durable": lambda c, n: c.queue_declare(n("plain")),
    "arguments added": lambda c, n: c.queue_declare(n("plain"), durable=True, arguments=ARGUMENTS),
    "arguments gone": lambda c, n: c.queue_declare(n("all"), durable=True),
    "text added": lambda c, n: c.queue_declare(
        n("plain"), durable=True, arguments={"x-overflow": "drop-head"}
    ),
    "flag added": lambda c, n: c.queue_declare(
        n("plain"), durable=True, arguments={"x-single-active-consumer": True}
    ),
    "invalid and different": lambda c, n: c.queue_declare(
        n("plain"), durable=True, arguments={"x-expires": 0}
    ),
    "other time": again(x_message_ttl=1),
    "other text": again(x_overflow="drop-head"),
    "other flag": again(x_single_active_consumer=False),
    "other kind": again(x_max_length="10"),
    "one gone": again(x_expires=...),
    "flag gone": again(x_single_active_consumer=...),
    # Arguments that no queue can have.
    "expires 0": declare(x_expires=0),
    "expires negative": declare(x_expires=-1),
    "expires late": declare(x_expires=TEN_YEARS + 1),
    "expires text": declare(x_expires="1"),
    "expires flag": declare(x_expires=True),
    "ttl negative": declare(x_message_ttl=-1),
    "ttl late": declare(x_message_ttl=TEN_YEARS + 1),
    "ttl text": declare(x_message_ttl="1"),
    "length negative": declare(x_max_length=-1),
    "length text": declare(x_max_length="many"),
    "length list": declare(x_max_length=[1]),
    "bytes negative": declare(x_max_length_bytes=-1),
    "overflow": declare(x_overflow="explode"),
    "overflow number": declare(x_overflow=1),
    "dead exchange number": declare(x_dead_letter_exchange=1),
    "dead key alone": declare(x_dead_letter_routing_key="k"),
    "dead key number": declare(x_dead_letter_exchange="", x_dead_letter_routing_key=1),
    "single text": declare(x_single_active_consumer="yes"),
    "single number": declare(x_single_active_consumer=1),
    "queue type": declare(x_queue_type="odd"),
    "queue type number": declare(x_queue_type=1),
    "quorum's": declare(x_delivery_limit=1),
    "stream's": declare(x_max_age="1D"),
    "version 3": declare(x_queue_version=3),
    "version text": declare(x_queue_version="two"),
    # Bindings.
    "bind to nothing": lambda c, n: c.queue_bind(n("plain"), n("no"), "k"),
    "bind nothing": lambda c, n: c.queue_bind(n("no"), n("e"), "k"),
    "bind nothing to nothing": lambda c, n: c.queue_bind(n("no"), n("no"), "k"),
    "bind locked": lambda c, n: c.queue_bind(n("locked"), n("e"), "k"),
    "bind locked to nothing": lambda c, n: c.queue_bind(n("locked"), n("no"), "k"),
    "bind to default": lambda c, n: c.queue_bind(n("plain"), "", "k"),
    "bind nothing to default": lambda c, n: c.queue_bind(n("no"), "", "k"),
    "unbind from default": lambda c, n: c.queue_unbind(n("plain"), "", "k"),
    "unbind locked": lambda c, n: c.queue_unbind(n("locked"), n("e"), "k"),
    "exchange to nothing": lambda c, n: c.exchange_bind(n("e"), n("no"), "k"),
    "nothing to exchange": lambda c, n: c.exchange_bind(n("no"), n("e"), "k"),
    "nothing to nothing": lambda c, n: c.exchange_bind(n("no"), n("no"), "k"),
    "unbind locked, not bound": lambda c, n: c.queue_unbind(n("locked"), n("e"), "x"),
    "unbind from nothing": lambda c, n: c.queue_unbind(n("plain"), n("no"), "k"),
    "unbind nothing": lambda c, n: c.queue_unbind(n("no"), n("e"), "k"),
    "exchange from nothing": lambda c, n: c.exchange_unbind(n("e"), n("no"), "k"),
    "default to exchange": lambda c, n: c.exchange_bind("", n("e"), "k"),
    "exchange to default": lambda c, n: c.exchange_bind(n("e"), "", "k"),
    # In use.
    "exchange in use": lambda c, n: c.exchange_delete(n("e"), if_unused=True),
    "queue in use": lambda c, n: c.queue_delete(n("eaten"), if_unused=True),
    "queue not empty": lambda c, n: c.queue_delete(n("full"), if_empty=True),
    "queue in use and not empty": lambda c, n: c.queue_delete(
        n("both"), if_unused=True, if_empty=True
    ),
    "delete locked": lambda c, n: c.queue_delete(n("locked")),
    "purge locked": lambda c, n: c.queue_purge(n("locked")),
    "purge nothing": lambda c, n: c.queue_purge(n("no")),
    # Messages.
    "publish to nothing": lambda c, n: c.basic_publish(n("no"), "k", b""),
    "publish to internal": lambda c, n: c.basic_publish(n("inner"), "k", b""),
    "expiration a word": publish(expiration="soon"),
    "expiration empty": publish(expiration=""),
    "expiration negative": publish(expiration="-1"),
    "expiration broken": publish(expiration="1.5"),
    "expiration late": publish(expiration=str(TEN_YEARS + 1)),
    "expiration with a blank": publish(expiration="1 "),
    "another's name": publish(user_id="you"),
    "immediate": lambda c, _: c._impl._send_method(
        spec.Basic.Publish(routing_key="k", immediate=True), (pika.BasicProperties(), b"")
    ),
    "get nothing": lambda c, n: c.basic_get(n("no")),
    "get locked": lambda c, n: c.basic_get(n("locked")),
    "consume nothing": lambda c, n: c.basic_consume(n("no"), print),
    "consume locked": lambda c, n: c.basic_consume(n("locked"), print),
    "consume exclusively": lambda c, n: c.basic_consume(n("eaten"), print, exclusive=True),
    "consume an exclusive one": lambda c, n: c.basic_consume(n("alone"), print),
    "single and exclusive": lambda c, n: c.basic_consume(n("all"), print, exclusive=True),
    "priority text": lambda c, n: c.basic_consume(
        n("plain"), print, arguments={"x-priority": "high"}
    ),
    "tag twice": lambda c, n: [
        c._impl._send_method(spec.Basic.Consume(queue=n("plain"), consumer_tag="t"))
        for _ in range(2)
    ],
    "ack": lambda c, _: c.basic_ack(7),
    "ack 0": lambda c, _: c.basic_ack(0),
    "ack to 7": lambda c, _: c.basic_ack(7, multiple=True),
    "nack": lambda c, _: c.basic_nack(7),
    "reject": lambda c, _: c.basic_reject(7),
    "recover": lambda c, _: c.basic_recover(requeue=False),
    "prefetch size": lambda c, _: c.basic_qos(prefetch_size=1),
    "flow": lambda c, _: c.flow(active=False),
    "open twice": lambda c, _: c._impl._send_method(spec.Channel.Open()),
    "not a client's": lambda c, _: c._impl._send_method(spec.Basic.QosOk()),
}


# What RabbitMQ 4.3 has changed its mind about; each has a queue of its own, for it may be taken.
# Queues that are transient and shared are not among them: Debian's 4.3 is patched to take them.
CHANGED: dict[str, Call] = {
    "version 1": lambda c, n: c.queue_declare(
        n("one"), durable=True, arguments={"x-queue-version": 1}
    ),
    "locator": lambda c, n: c.queue_declare(
        n("located"), durable=True, arguments={"x-queue-master-locator": "min-masters"}
    ),
    "mode": lambda c, n: c.queue_declare(
        n("lazy"), durable=True, arguments={"x-queue-mode": "lazy"}
    ),
    "odd mode": lambda c, n: c.queue_declare(
        n("odd"), durable=True, arguments={"x-queue-mode": "odd"}
    ),
    "global": lambda c, _: c.basic_qos(prefetch_count=1, global_qos=True),
}


class Refusal(NamedTuple):
    """How a broker said no: what ended, and the code and text of it."""

    ended: str
    code: int
    text: str


def stage(channel: BlockingChannel, name: Callable[[str], str]) -> None:
    """What the calls meet."""
    for queue in ("plain", "eaten", "alone", "full", "both"):
        channel.queue_declare(name(queue), durable=True)
    channel.queue_declare(name("all"), durable=True, arguments=ARGUMENTS)
    channel.queue_declare(name("locked"), exclusive=True)
    channel.exchange_declare(name("e"), "topic", auto_delete=True)
    channel.exchange_declare(name("inner"), "topic", auto_delete=True, internal=True)
    channel.queue_bind(name("locked"), name("e"), "k")
    channel.queue_bind(name("locked"), name("inner"), "k")
    channel.basic_consume(name("eaten"), print)
    channel.basic_consume(name("alone"), print, exclusive=True)
    channel.confirm_delivery()
    channel.basic_publish("", name("full"), b"")
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(name("both"), print)
    for _ in range(2):
        channel.basic_publish("", name("both"), b"")


def clean(channel: BlockingChannel, name: Callable[[str], str]) -> None:
    """Leave nothing behind."""
    names = ("plain", "eaten", "alone", "full", "both", "all", "new", "one", "located")
    for queue in (*names, "lazy", "odd"):
        channel.queue_delete(name(queue))


def ask(url: str, lab: str, calls: dict[str, Call] = CALLS) -> dict[str, Refusal | str]:
    """What a broker answers to every call, each on a connection of its own."""

    def name(short: str) -> str:
        return f"{lab}.{short}"

    parameters = pika.URLParameters(url)
    found: dict[str, Refusal | str] = {}
    with pika.BlockingConnection(parameters) as owner:
        stage(owner.channel(), name)
        for what, call in calls.items():
            connection = pika.BlockingConnection(parameters)
            channel = connection.channel()
            try:
                call(channel, name)
                # What is refused without an answer to wait for is heard at the next one.
                channel.basic_qos(prefetch_count=1)
            except ChannelClosedByBroker as told:
                found[what] = Refusal("channel", told.reply_code, told.reply_text)
            except ConnectionClosedByBroker as told:
                found[what] = Refusal("connection", told.reply_code, told.reply_text)
            else:
                found[what] = "taken"
            if connection.is_open:
                connection.close()
        clean(owner.channel(), name)
    # The two logins differ, and so does what is told of them.
    login = urlsplit(url).username or ""
    return {
        what: answer
        if isinstance(answer, str)
        else answer._replace(text=answer.text.replace(f"user was '{login}'", "user was LOGIN"))
        for what, answer in found.items()
    }


def test_refusals_are_the_same_word_for_word(
    twin_urls: tuple[str, str], lab: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What ends, with which code, and every word of the text."""
    caplog.set_level(logging.CRITICAL, "pika")
    embedded, rabbitmq = (ask(url, lab) for url in twin_urls)
    differing = {
        what: (embedded[what], rabbitmq[what]) for what in CALLS if embedded[what] != rabbitmq[what]
    }
    assert differing == {}


def test_what_4_3_has_changed_is_changed_here(
    twin_urls: tuple[str, str], lab: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Code and first sentence; what RabbitMQ advises then would lead astray here."""
    caplog.set_level(logging.CRITICAL, "pika")
    embedded, rabbitmq = (
        {
            what: answer
            if isinstance(answer, str)
            else answer._replace(text=answer.text.replace("\n", " ").split(". ")[0])
            for what, answer in ask(url, lab, CHANGED).items()
        }
        for url in twin_urls
    )
    assert embedded == rabbitmq


def turned_away(url: str, **changed: object) -> tuple[str, int, str]:
    """How a broker turns a client away at the door."""
    parameters = pika.URLParameters(url)
    for name, value in changed.items():
        setattr(parameters, name, value)
    with pytest.raises(AMQPConnectionError) as told:
        pika.BlockingConnection(parameters)
    error: Any = told.value
    return type(error).__name__, getattr(error, "reply_code", 0), getattr(error, "reply_text", "")


def test_strangers_are_turned_away_alike(
    twin_urls: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password and a wrong virtual host; where to look is each broker's own to say."""
    caplog.set_level(logging.CRITICAL, "pika")
    wrong = pika.PlainCredentials("nobody", "nothing")
    first, second = (turned_away(url, credentials=wrong) for url in twin_urls)
    assert first == second
    first, second = (turned_away(url, virtual_host="elsewhere") for url in twin_urls)
    assert first == second
