"""One channel of a session: methods in, calls on the vhost, replies out.

Whoever reads a method's handler sees which call of the vhost it becomes. Refusals are raised;
the session turns a soft one into Channel.Close and a hard one into Connection.Close.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

from msgspec import Struct, field
from pamqp import base, commands

from pytest_gatherscatter.embedded.argument import expiration_seconds
from pytest_gatherscatter.embedded.frames import BODY, HEADER, METHOD, encode_content
from pytest_gatherscatter.embedded.header import Header, read_header, with_deaths
from pytest_gatherscatter.embedded.hub import Hub
from pytest_gatherscatter.embedded.method import (
    GetOk,
    QueueDeclareOk,
    RecoverAsync,
    decode_method,
    encode_ack,
    encode_deliver,
    encode_method,
    encode_return,
)
from pytest_gatherscatter.embedded.record import (
    CancelNotify,
    ChannelId,
    Deliver,
    Message,
    Outcome,
    Output,
    Profile,
)
from pytest_gatherscatter.embedded.refusal import AmqpError, Code, not_implemented, unsupported

NO_METHOD = "expected method frame, got non method frame instead"
"""What RabbitMQ says of content that belongs to no publish."""


class Wire(Protocol):
    """What a channel needs of its session."""

    frame_max: int

    @property
    def capabilities(self) -> Mapping[str, object]:
        """What the client says that it can bear."""

    def send(self, data: bytes | memoryview) -> None:
        """Give bytes to the client."""


class _Content(Struct):
    """A publish whose header or body is still on its way."""

    method: commands.Basic.Publish
    header: Header | None = None
    body: bytearray = field(default_factory=bytearray)


class ChannelSession:
    """One open channel.

    Args:
        hub: the broker that all sessions share.
        wire: the session, for what goes out.
        id: the channel's id in the vhost.
        number: the channel's number on the wire.
    """

    def __init__(self, hub: Hub, wire: Wire, id: ChannelId, number: int) -> None:  # noqa: A002
        self._hub = hub
        self._wire = wire
        self.id = id
        self.number = number
        self._content: _Content | None = None
        self._confirms: int | None = None

    # In

    def receive(self, kind: int, payload: bytes, now: float) -> None:
        """Handle one frame; AmqpError is for the session to answer."""
        if self._content is not None:
            self._receive_content(self._content, kind, payload, now)
            return
        if kind != METHOD:
            raise AmqpError(Code.UNEXPECTED_FRAME, NO_METHOD)
        frame = decode_method(payload)
        handler = self._HANDLERS.get(type(frame))
        if handler is None:
            if frame.name.startswith("Tx."):
                raise unsupported("tx")
            raise AmqpError(Code.COMMAND_INVALID, "unimplemented method")
        handler(self, frame, now)

    def drop(self) -> None:
        """Forget what was on its way, at the channel's end."""
        if self._content is not None:
            self._hub.partial -= len(self._content.body)
            self._content = None

    def _receive_content(self, content: _Content, kind: int, payload: bytes, now: float) -> None:
        if content.header is None:
            if kind != HEADER:
                raise AmqpError(
                    Code.UNEXPECTED_FRAME,
                    "expected content header for class 60, got non content header frame instead",
                )
            content.header = read_header(payload)
            if content.header.body_size > self._hub.limits.message:
                raise AmqpError(
                    Code.PRECONDITION_FAILED,
                    f"message size {content.header.body_size} is larger than configured max "
                    f"size {self._hub.limits.message}",
                )
        else:
            if kind != BODY:
                raise AmqpError(
                    Code.UNEXPECTED_FRAME,
                    "expected content body, got non content body frame instead",
                )
            content.body += payload
            self._hub.partial += len(payload)
            if len(content.body) > content.header.body_size:
                raise AmqpError(
                    Code.FRAME_ERROR, "content body frame exceeds remaining content size"
                )
            if self._hub.partial > self._hub.limits.memory // 2:
                raise AmqpError(Code.RESOURCE_ERROR, "too many unfinished messages")
        if len(content.body) == content.header.body_size:
            self.drop()
            self._publish(content.method, content.header, bytes(content.body), now)

    def _publish(
        self, method: commands.Basic.Publish, header: Header, body: bytes, now: float
    ) -> None:
        expiration = header.text("expiration")
        message = Message(
            method.exchange,
            method.routing_key,
            body,
            header,
            len(header.raw),
            None if expiration is None else expiration_seconds(expiration),
            header.text("user_id"),
        )
        outcome = self._hub.vhost.publish(self.id, message, mandatory=method.mandatory, now=now)
        if self._confirms is None:
            return
        self._confirms += 1
        # A return comes before the confirm of the same message.
        self._hub.flush()
        if outcome is Outcome.REFUSED:
            self._reply(commands.Basic.Nack(self._confirms))
        else:
            self._wire.send(encode_ack(self.number, self._confirms))

    # Out

    def emit(self, output: Output) -> None:
        """Put what the vhost says into frames."""
        if isinstance(output, Deliver):
            message = output.message
            self._wire.send(
                encode_deliver(
                    self.number,
                    tag=output.consumer_tag,
                    number=output.delivery_tag,
                    redelivered=output.redelivered,
                    exchange=message.exchange,
                    key=message.key,
                )
            )
            self._send_content(message)
        elif isinstance(output, CancelNotify):
            if self._wire.capabilities.get("consumer_cancel_notify") is True:
                self._reply(commands.Basic.Cancel(output.consumer_tag, nowait=True))
        else:
            message = output.message
            self._wire.send(
                encode_return(
                    self.number,
                    code=output.code,
                    text=output.text,
                    exchange=message.exchange,
                    key=message.key,
                )
            )
            self._send_content(message)

    def _send_content(self, message: Message) -> None:
        header = message.properties
        assert isinstance(header, Header)  # noqa: S101 - what _publish has put there
        raw = header.raw
        if message.deaths:
            newer = self._hub.profile is not Profile.RABBITMQ_3_10
            raw = with_deaths(header, message, self._hub.wall, tell_last=newer)
        for part in encode_content(self.number, raw, message.body, self._wire.frame_max):
            self._wire.send(part)

    def _reply(self, frame: base.Frame) -> None:
        self._wire.send(encode_method(self.number, frame))

    # Channel and confirms

    def _on_flow(self, frame: commands.Channel.Flow, _: float) -> None:
        if not frame.active:
            raise not_implemented("active=false")
        self._reply(commands.Channel.FlowOk(active=True))

    def _on_confirm_select(self, frame: commands.Confirm.Select, _: float) -> None:
        if self._confirms is None:
            self._confirms = 0
        if not frame.nowait:
            self._reply(commands.Confirm.SelectOk())

    # Exchanges

    def _on_exchange_declare(self, frame: commands.Exchange.Declare, _: float) -> None:
        self._hub.vhost.declare_exchange(
            frame.exchange,
            frame.exchange_type,
            passive=frame.passive,
            durable=frame.durable,
            auto_delete=frame.auto_delete,
            internal=frame.internal,
            arguments=_table(frame.arguments),
        )
        if not frame.nowait:
            self._reply(commands.Exchange.DeclareOk())

    def _on_exchange_delete(self, frame: commands.Exchange.Delete, _: float) -> None:
        self._hub.vhost.delete_exchange(frame.exchange, if_unused=frame.if_unused)
        if not frame.nowait:
            self._reply(commands.Exchange.DeleteOk())

    def _on_exchange_bind(self, frame: commands.Exchange.Bind, _: float) -> None:
        self._hub.vhost.bind_exchange(
            frame.destination, frame.source, frame.routing_key, _table(frame.arguments)
        )
        if not frame.nowait:
            self._reply(commands.Exchange.BindOk())

    def _on_exchange_unbind(self, frame: commands.Exchange.Unbind, _: float) -> None:
        self._hub.vhost.unbind_exchange(
            frame.destination, frame.source, frame.routing_key, _table(frame.arguments)
        )
        if not frame.nowait:
            self._reply(commands.Exchange.UnbindOk())

    # Queues

    def _on_queue_declare(self, frame: commands.Queue.Declare, now: float) -> None:
        state = self._hub.vhost.declare_queue(
            self.id,
            frame.queue,
            passive=frame.passive,
            durable=frame.durable,
            exclusive=frame.exclusive,
            auto_delete=frame.auto_delete,
            arguments=_table(frame.arguments),
            now=now,
        )
        if not frame.nowait:
            self._reply(QueueDeclareOk(state.name, state.messages, state.consumers))

    def _on_queue_bind(self, frame: commands.Queue.Bind, _: float) -> None:
        self._hub.vhost.bind_queue(
            self.id, frame.queue, frame.exchange, frame.routing_key, _table(frame.arguments)
        )
        if not frame.nowait:
            self._reply(commands.Queue.BindOk())

    def _on_queue_unbind(self, frame: commands.Queue.Unbind, _: float) -> None:
        self._hub.vhost.unbind_queue(
            self.id, frame.queue, frame.exchange, frame.routing_key, _table(frame.arguments)
        )
        self._reply(commands.Queue.UnbindOk())

    def _on_queue_purge(self, frame: commands.Queue.Purge, _: float) -> None:
        dropped = self._hub.vhost.purge_queue(self.id, frame.queue)
        if not frame.nowait:
            self._reply(commands.Queue.PurgeOk(dropped))

    def _on_queue_delete(self, frame: commands.Queue.Delete, now: float) -> None:
        dropped = self._hub.vhost.delete_queue(
            self.id, frame.queue, if_unused=frame.if_unused, if_empty=frame.if_empty, now=now
        )
        if not frame.nowait:
            self._reply(commands.Queue.DeleteOk(dropped))

    # Messages

    def _on_qos(self, frame: commands.Basic.Qos, _: float) -> None:
        if frame.prefetch_size:
            raise not_implemented(f"prefetch_size!=0 ({frame.prefetch_size})")
        self._hub.vhost.qos(self.id, frame.prefetch_count, together=bool(frame.global_))
        self._reply(commands.Basic.QosOk())

    def _on_consume(self, frame: commands.Basic.Consume, now: float) -> None:
        tag = self._hub.vhost.consume(
            self.id,
            frame.queue,
            frame.consumer_tag,
            no_ack=frame.no_ack,
            exclusive=frame.exclusive,
            arguments=_table(frame.arguments),
            now=now,
        )
        if not frame.nowait:
            self._reply(commands.Basic.ConsumeOk(tag))

    def _on_cancel(self, frame: commands.Basic.Cancel, now: float) -> None:
        self._hub.vhost.cancel(self.id, frame.consumer_tag or "", now=now)
        if not frame.nowait:
            self._reply(commands.Basic.CancelOk(frame.consumer_tag))

    def _on_get(self, frame: commands.Basic.Get, now: float) -> None:
        got = self._hub.vhost.get(self.id, frame.queue, no_ack=frame.no_ack, now=now)
        if got is None:
            self._reply(commands.Basic.GetEmpty())
            return
        message = got.message
        self._reply(
            GetOk(got.delivery_tag, got.redelivered, message.exchange, message.key, got.remaining)
        )
        self._send_content(message)

    def _on_publish(self, frame: commands.Basic.Publish, _: float) -> None:
        if frame.immediate:
            raise not_implemented("immediate=true")
        self._content = _Content(frame)

    def _on_ack(self, frame: commands.Basic.Ack, now: float) -> None:
        self._hub.vhost.ack(self.id, frame.delivery_tag, multiple=frame.multiple, now=now)

    def _on_nack(self, frame: commands.Basic.Nack, now: float) -> None:
        self._hub.vhost.nack(
            self.id,
            frame.delivery_tag,
            multiple=frame.multiple,
            requeue=frame.requeue,
            now=now,
        )

    def _on_reject(self, frame: commands.Basic.Reject, now: float) -> None:
        self._hub.vhost.reject(self.id, frame.delivery_tag or 0, requeue=frame.requeue, now=now)

    def _on_recover(self, frame: commands.Basic.Recover, now: float) -> None:
        self._hub.vhost.recover(self.id, requeue=frame.requeue, now=now)
        self._reply(commands.Basic.RecoverOk())

    def _on_recover_async(self, frame: RecoverAsync, now: float) -> None:
        self._hub.vhost.recover(self.id, requeue=frame.requeue, now=now)

    # Each handler takes its own kind of frame, which is the key that leads to it.
    _HANDLERS: ClassVar[dict[type[base.Frame], Callable[..., None]]] = {
        commands.Channel.Flow: _on_flow,
        commands.Confirm.Select: _on_confirm_select,
        commands.Exchange.Declare: _on_exchange_declare,
        commands.Exchange.Delete: _on_exchange_delete,
        commands.Exchange.Bind: _on_exchange_bind,
        commands.Exchange.Unbind: _on_exchange_unbind,
        commands.Queue.Declare: _on_queue_declare,
        commands.Queue.Bind: _on_queue_bind,
        commands.Queue.Unbind: _on_queue_unbind,
        commands.Queue.Purge: _on_queue_purge,
        commands.Queue.Delete: _on_queue_delete,
        commands.Basic.Qos: _on_qos,
        commands.Basic.Consume: _on_consume,
        commands.Basic.Cancel: _on_cancel,
        commands.Basic.Get: _on_get,
        commands.Basic.Publish: _on_publish,
        commands.Basic.Ack: _on_ack,
        commands.Basic.Nack: _on_nack,
        commands.Basic.Reject: _on_reject,
        commands.Basic.Recover: _on_recover,
        RecoverAsync: _on_recover_async,
    }


def _table(arguments: Mapping[str, object] | None) -> Mapping[str, object]:
    return arguments or {}
