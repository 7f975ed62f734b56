"""Methods: the payload of a method frame as what it asks, and answers as bytes.

pamqp has three habits that a server cannot take from a stranger. It raises alike for "incomplete"
and "malformed", so what it decoded is measured against the payload. Its decoders copy the rest of a
table at each entry, so a method has a limit of its own (``frames.py``). And its outgoing frames
refuse names that RabbitMQ takes (``test_x[p1]``), so frames that carry names are sent by
subclasses that do not validate.

It also takes its time. The five methods that a busy client sends and hears with each message are
decoded and encoded by hand.
"""

import struct
from struct import Struct
from typing import ClassVar

from pamqp import base, commands
from pamqp.exceptions import AMQPError as PamqpError

from pytest_gatherscatter.embedded.frames import FRAME_END, METHOD, encode_frame
from pytest_gatherscatter.embedded.header import table_end
from pytest_gatherscatter.embedded.refusal import AmqpError, Code

_METHOD = Struct(">HH")
_DELIVER = Struct(">QB")
_RETURN = Struct(">HHH")
_ACK = Struct(">HHQB")
_ACK_FRAME = Struct(">BHIHHQBB")  # with the frame around it
_BASIC_PUBLISH, _BASIC_ACK, _RECOVER_ASYNC = (60, 40), (60, 80), (60, 100)
_EXCHANGE = 6  # where the first text of a publish is: after class, method and the ticket of old


def method_id(payload: bytes) -> tuple[int, int]:
    """Class and method number of a method frame, for a refusal; zeros when it has none."""
    try:
        kind, number = _METHOD.unpack_from(payload)
    except struct.error:
        return 0, 0
    return kind, number


def decode_method(payload: bytes) -> base.Frame:
    """Decode a method frame's payload.

    Raises:
        AmqpError: 502 when it is malformed, 503 when there is no such method.
    """
    ids = method_id(payload)
    if ids == _BASIC_PUBLISH and (publish := _publish(payload)) is not None:
        return publish
    if ids == _BASIC_ACK and len(payload) == _ACK.size:
        return _ack(payload)
    if ids == _RECOVER_ASYNC:
        # pamqp warns when it makes one, and a warning may be an error here.
        return RecoverAsync(requeue=payload[_METHOD.size :] != b"\x00")
    kind: type[base.Frame] | None = commands.INDEX_MAPPING.get(ids[0] << 16 | ids[1])
    if kind is None:
        raise AmqpError(Code.COMMAND_INVALID, f"unknown method {ids[0]}.{ids[1]}")
    try:
        frame: base.Frame = kind()
        frame.unmarshal(payload[_METHOD.size :])
        # A short text that is cut decodes to less than its length says, so measure it back.
        return _complete(frame, payload[_METHOD.size :])
    except (
        AmqpError,
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        RecursionError,
        struct.error,
        PamqpError,
    ) as error:
        raise AmqpError(Code.SYNTAX_ERROR, f"malformed {kind.name}") from error


_FIXED_SIZES = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}


def _complete(frame: base.Frame, data: bytes) -> base.Frame:
    """See that the arguments fill the payload exactly."""
    offset = bits = 0
    for name in frame.attributes():
        kind = frame.amqp_type(name)
        if kind == "bit":
            # Eight neighbours share an octet.
            offset += bits % 8 == 0
            bits += 1
            continue
        bits = 0
        if kind == "shortstr":
            offset += 1 + data[offset]
        elif kind == "table":
            # pamqp takes a text or table within it for whole that is cut.
            offset = table_end(data, offset)
        elif kind == "longstr":
            offset += 4 + int.from_bytes(data[offset : offset + 4])
        else:
            offset += _FIXED_SIZES[kind]
    if offset != len(data):
        raise ValueError("its arguments do not fill it")
    return frame


def _publish(payload: bytes) -> commands.Basic.Publish | None:
    """Decode Basic.Publish; None if anything about it is odd, which pamqp may judge then."""
    try:
        middle = _EXCHANGE + 1 + payload[_EXCHANGE]
        end = middle + 1 + payload[middle]
        exchange, key = payload[_EXCHANGE + 1 : middle].decode(), payload[middle + 1 : end].decode()
        bits = payload[end]
    except (IndexError, UnicodeDecodeError):
        return None
    if len(payload) != end + 1:
        return None
    made = commands.Basic.Publish.__new__(commands.Basic.Publish)
    made.exchange, made.routing_key = exchange, key
    made.mandatory, made.immediate = bool(bits & 1), bool(bits & 2)
    return made


def _ack(payload: bytes) -> commands.Basic.Ack:
    made = commands.Basic.Ack.__new__(commands.Basic.Ack)
    _, _, made.delivery_tag, bits = _ACK.unpack(payload)
    made.multiple = bool(bits & 1)
    return made


def encode_method(channel: int, frame: base.Frame) -> bytes:
    """One method frame as bytes."""
    payload: bytes = frame.marshal()
    return encode_frame(METHOD, channel, frame.index.to_bytes(4) + payload)


def encode_ack(channel: int, number: int) -> bytes:
    """Basic.Ack, a confirm, as a whole frame."""
    return _ACK_FRAME.pack(METHOD, channel, _ACK.size, *_BASIC_ACK, number, 0, FRAME_END)


def encode_deliver(  # noqa: PLR0913 - the protocol's own arguments
    channel: int, *, tag: str, number: int, redelivered: bool, exchange: str, key: str
) -> bytes:
    """Basic.Deliver, by hand: it is what the broker sends most, and pamqp takes its time."""
    payload = b"".join(
        (
            _METHOD.pack(60, 60),
            _text(tag),
            _DELIVER.pack(number, redelivered),
            _text(exchange),
            _text(key),
        )
    )
    return encode_frame(METHOD, channel, payload)


def encode_return(channel: int, *, code: int, text: str, exchange: str, key: str) -> bytes:
    """Basic.Return, by hand."""
    payload = _RETURN.pack(60, 50, code) + _text(text) + _text(exchange) + _text(key)
    return encode_frame(METHOD, channel, payload)


def _text(value: str) -> bytes:
    data = value.encode()
    return bytes([len(data)]) + data


class RecoverAsync(commands.Basic.Recover):
    """Basic.RecoverAsync: Recover without an answer."""

    __slots__: ClassVar[list[str]] = []


class _AnyName:
    """Leaves out pamqp's pattern for names: RabbitMQ takes any UTF-8."""

    __slots__: ClassVar[list[str]] = []

    def validate(self) -> None:
        """Accept; the names came from short texts, so their length is right."""


class QueueDeclareOk(_AnyName, commands.Queue.DeclareOk):
    """Queue.DeclareOk with any name."""

    __slots__: ClassVar[list[str]] = commands.Queue.DeclareOk.__slots__


class GetOk(_AnyName, commands.Basic.GetOk):
    """Basic.GetOk with any exchange name."""

    __slots__: ClassVar[list[str]] = commands.Basic.GetOk.__slots__
