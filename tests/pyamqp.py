"""py-amqp with pika's face, so that one suite is spoken by two clients that share no code.

A broker that was only ever tried with one client may share its mistakes. py-amqp has a codec
of its own, and habits of its own: it opens a closed channel again, sends other types of
numbers, and negotiates otherwise. What tests use of pika is given here, with pika's exceptions;
nothing more.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import amqp
import pika
from amqp import spec
from amqp.exceptions import AMQPError, MessageNacked
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)

PATIENCE = 20.0
_SOFT = {403, 404, 405, 406}
_NAMES = {"headers": "application_headers"}
"""How a property is called here, where it is not as pika calls it."""

_PROPERTIES = ["headers" if n == "application_headers" else n for n, _ in amqp.Message.PROPERTIES]


def connect(url: str) -> "Connection":
    """One more connection to the broker of an ``amqp://`` URL."""
    return Connection(url)


class Connection:
    """What tests use of ``pika.BlockingConnection``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.amqp = amqp.Connection(
            host=f"{parts.hostname}:{parts.port or 5672}",
            userid=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path[1:]) or "/",
            login_method="PLAIN",
            connect_timeout=PATIENCE,
            read_timeout=PATIENCE,
        )
        self.amqp.connect()

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return bool(self.amqp.connected)

    @property
    def is_closed(self) -> bool:
        """Whether it is not."""
        return not self.is_open

    def channel(self) -> "Channel":
        """One more channel."""
        return Channel(self)

    def process_data_events(self, time_limit: float = 0.0) -> None:
        """Hear what comes."""
        with suppress(TimeoutError):
            self.hear(max(time_limit, 0.001))

    def hear(self, timeout: float) -> None:
        """Hear the next thing that comes; TimeoutError when nothing does."""
        self.ask(self.amqp.drain_events, timeout=timeout)

    def ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        """Call the client, and raise what it raises as pika would."""
        try:
            return call(*arguments, **named)
        except AMQPError as error:
            code, text = error.reply_code, error.reply_text
            if code in _SOFT:
                raise ChannelClosedByBroker(code, text) from error
            self.amqp.collect()
            raise ConnectionClosedByBroker(code, text) from error

    def close(self) -> None:
        """Say good-bye."""
        self.amqp.close()


class Channel:
    """What tests use of pika's ``BlockingChannel``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.ask(connection.amqp.channel)
        self._channel.events["basic_return"].add(self._on_return)
        self._confirms = False
        self._returned: list[Any] = []
        self._cancelled: list[Callable[[Any], object]] = []

    def __enter__(self) -> Self:
        """Be closed at a block's end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End it."""
        if self._connection.is_open:
            self._ask(self._channel.close)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        return self._connection.ask(call, *arguments, **named)

    def _on_return(self, error: AMQPError, exchange: str, key: str, message: Any) -> None:  # noqa: ANN401
        method = SimpleNamespace(
            reply_code=error.reply_code,
            reply_text=error.reply_text,
            exchange=exchange,
            routing_key=key,
        )
        self._returned.append(SimpleNamespace(method=method, body=_body(message)))

    # Exchanges

    def exchange_declare(self, exchange: str, exchange_type: str = "direct", **named: Any) -> None:  # noqa: ANN401
        """Declare an exchange, as pika by default neither durable nor auto-delete."""
        defaults = {"durable": False, "auto_delete": False}
        self._ask(self._channel.exchange_declare, exchange, exchange_type, **(defaults | named))

    def exchange_delete(self, exchange: str, *, if_unused: bool = False) -> None:
        """Delete an exchange."""
        self._ask(self._channel.exchange_delete, exchange, if_unused=if_unused)

    def exchange_bind(self, destination: str, source: str, routing_key: str = "") -> None:
        """Lead messages from an exchange to another."""
        self._ask(self._channel.exchange_bind, destination, source, routing_key)

    def exchange_unbind(self, destination: str, source: str, routing_key: str = "") -> None:
        """Undo it."""
        self._ask(self._channel.exchange_unbind, destination, source, routing_key)

    # Queues

    def queue_declare(self, queue: str, **named: Any) -> Any:  # noqa: ANN401
        """Declare a queue, as pika by default not auto-delete."""
        state = self._ask(self._channel.queue_declare, queue, **({"auto_delete": False} | named))
        return SimpleNamespace(method=state)

    def queue_bind(self, queue: str, exchange: str, routing_key: str | None = None) -> None:
        """Bind a queue; without a key to its own name, as pika does."""
        key = queue if routing_key is None else routing_key
        self._ask(self._channel.queue_bind, queue, exchange, key)

    def queue_unbind(self, queue: str, exchange: str, routing_key: str | None = None) -> None:
        """Undo it."""
        key = queue if routing_key is None else routing_key
        self._ask(self._channel.queue_unbind, queue, exchange, key)

    def queue_purge(self, queue: str) -> Any:  # noqa: ANN401
        """Empty a queue."""
        count = self._ask(self._channel.queue_purge, queue)
        return SimpleNamespace(method=SimpleNamespace(message_count=count))

    def queue_delete(self, queue: str, **named: Any) -> Any:  # noqa: ANN401
        """Delete a queue."""
        count = self._ask(self._channel.queue_delete, queue, **named)
        return SimpleNamespace(method=SimpleNamespace(message_count=count))

    # Messages

    def confirm_delivery(self) -> None:
        """Wait for a confirm after each publish from now on."""
        self._ask(self._channel.confirm_select)
        self._confirms = True

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: pika.BasicProperties | None = None,
        mandatory: bool = False,  # noqa: FBT001, FBT002 - pika's
    ) -> None:
        """Publish; NackError or UnroutableError when confirms tell so."""
        given = {name: getattr(properties, name, None) for name in _PROPERTIES}
        message = amqp.Message(
            body, **{_NAMES.get(n, n): value for n, value in given.items() if value is not None}
        )
        arguments = (message, exchange, routing_key, mandatory)
        if not self._confirms:
            self._ask(self._channel.basic_publish, *arguments)
            return
        self._returned.clear()
        # It would ask for confirms once more otherwise.
        self._channel._confirm_selected = True
        try:
            self._ask(self._channel.basic_publish_confirm, *arguments, confirm_timeout=PATIENCE)
        except MessageNacked:
            raise NackError([]) from None
        if self._returned:
            raise UnroutableError(list(self._returned))

    def basic_qos(self, **named: Any) -> None:  # noqa: ANN401
        """Limit what consumers hold."""
        self._ask(
            self._channel.basic_qos,
            named.get("prefetch_size", 0),
            named.get("prefetch_count", 0),
            named.get("global_qos", False),
        )

    def basic_get(self, queue: str) -> tuple[Any, Any, bytes | None]:
        """Take one message."""
        message = self._ask(self._channel.basic_get, queue)
        if message is None:
            return None, None, None
        return SimpleNamespace(**message.delivery_info), _properties(message), _body(message)

    def basic_consume(
        self,
        queue: str,
        on_message_callback: Callable[..., object],
        auto_ack: bool = False,  # noqa: FBT001, FBT002 - pika's
        **named: Any,  # noqa: ANN401
    ) -> str:
        """Start a consumer."""

        def heard(message: Any) -> None:  # noqa: ANN401
            method = SimpleNamespace(**message.delivery_info)
            on_message_callback(self, method, _properties(message), _body(message))

        def cancelled(tag: str) -> None:
            for callback in self._cancelled:
                callback(SimpleNamespace(method=SimpleNamespace(consumer_tag=tag)))

        answer = self._ask(
            self._channel.basic_consume,
            queue,
            no_ack=auto_ack,
            callback=heard,
            on_cancel=cancelled,
            **named,
        )
        return str(getattr(answer, "consumer_tag", answer))

    def basic_cancel(self, consumer_tag: str) -> None:
        """End a consumer."""
        self._ask(self._channel.basic_cancel, consumer_tag)

    def add_on_cancel_callback(self, callback: Callable[[Any], object]) -> None:
        """Be told when the broker ends a consumer."""
        self._cancelled.append(callback)

    def consume(
        self,
        queue: str,
        *,
        inactivity_timeout: float,
        auto_ack: bool = False,
    ) -> Iterator[tuple[Any, Any, bytes]]:
        """Consume one message after the other."""
        heard: list[tuple[Any, Any, bytes]] = []
        self.basic_consume(queue, lambda _c, *told: heard.append(told), auto_ack)
        while True:
            while not heard:
                self._connection.hear(inactivity_timeout)
            yield heard.pop(0)

    def basic_ack(self, delivery_tag: int = 0, *, multiple: bool = False) -> None:
        """Settle for good."""
        self._ask(self._channel.basic_ack, delivery_tag, multiple)

    def basic_nack(
        self, delivery_tag: int = 0, *, multiple: bool = False, requeue: bool = True
    ) -> None:
        """Give back, or to the dead letters; py-amqp has the method and no function for it."""
        arguments = (delivery_tag, multiple, requeue)
        self._ask(self._channel.send_method, spec.Basic.Nack, "Lbb", arguments)

    def basic_reject(self, delivery_tag: int = 0, *, requeue: bool = True) -> None:
        """Give one back, or to the dead letters."""
        self._ask(self._channel.basic_reject, delivery_tag, requeue)

    def basic_recover(self, *, requeue: bool = False) -> None:
        """Give all back."""
        self._ask(
            self._channel.send_method,
            spec.Basic.Recover,
            "b",
            (requeue,),
            wait=spec.Basic.RecoverOk,
        )

    def flow(self, *, active: bool) -> None:
        """Ask for silence."""
        self._ask(self._channel.flow, active)


def _body(message: Any) -> bytes:  # noqa: ANN401
    body = message.body
    return body if isinstance(body, bytes) else bytes(body, "utf-8")


def _properties(message: Any) -> Any:  # noqa: ANN401
    """The properties under pika's names, None where there is none."""
    given = message.properties
    return SimpleNamespace(**{n: given.get(_NAMES.get(n, n)) for n in _PROPERTIES})
