"""Bytes and frames: what arrives is cut and checked before pamqp sees it.

pamqp has four habits that a server cannot take from a stranger. It raises alike for
"incomplete" and "malformed", so lengths are checked first. It does not look at a heartbeat's
end octet. Its decoders copy the rest of a table at each entry, so a method has a limit of its
own. And its outgoing frames refuse names that RabbitMQ takes (``test_x[p1]``), so frames that
carry names are sent by subclasses that do not validate.
"""

import struct
from struct import Struct
from typing import ClassVar

from pamqp import base, commands
from pamqp.exceptions import AMQPError as PamqpError

from pytest_gatherscatter.embedded.header import table_end
from pytest_gatherscatter.embedded.refusal import AmqpError, Code

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
# RabbitMQ's default, and the frame header and end that it counts in.
FRAME_MAX = 131_072
FRAME_MIN = 4096
# Until the login: a stranger may not have more memory than this (RabbitMQ's limit too).
HANDSHAKE_MAX = 8192
OVERHEAD = 8
# Names are at most 255 octets and tables are small, so a method has no need of more; pamqp's
# table decoder costs the square of the length (16 KiB of tiny entries: some 10 ms).
METHOD_MAX = 16_384

_FRAME = Struct(">BHI")
_METHOD = Struct(">HH")
_DELIVER = Struct(">QB")
_RECOVER_ASYNC = (60, 100)

HEARTBEAT_FRAME = _FRAME.pack(HEARTBEAT, 0, 0) + bytes([FRAME_END])
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

RawFrame = tuple[int, int, bytes]
"""Frame type, channel number, payload."""


class FrameReader:
    """Cuts a stream into frames, and holds no more than one unfinished frame."""

    def __init__(self) -> None:
        self.frame_max = HANDSHAKE_MAX
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._held += data

    def protocol_header(self) -> bytes | None:
        """The first eight octets of the stream, once they are there."""
        if len(self._held) < len(PROTOCOL_HEADER):
            return None
        header = bytes(self._held[: len(PROTOCOL_HEADER)])
        del self._held[: len(PROTOCOL_HEADER)]
        return header

    def frames(self) -> list[RawFrame]:
        """All complete frames; those before a broken one are given first.

        Raises:
            AmqpError: 501 when the next frame is too long, of no known type or has no end.
        """
        found: list[RawFrame] = []
        offset = 0
        held = self._held
        try:
            while len(held) - offset >= _FRAME.size:
                kind, channel, size = _FRAME.unpack_from(held, offset)
                problem = self._problem(kind, size)
                end = offset + _FRAME.size + size
                if problem is None and len(held) <= end:
                    break
                if problem is None and held[end] != FRAME_END:
                    problem = f"frame end is {held[end]}, not {FRAME_END}"
                if problem is not None:
                    if found:
                        # The next call meets it again and raises.
                        break
                    raise AmqpError(Code.FRAME_ERROR, problem)
                found.append((kind, channel, bytes(held[offset + _FRAME.size : end])))
                offset = end + 1
        finally:
            del held[:offset]
        return found

    def _problem(self, kind: int, size: int) -> str | None:
        if kind not in {METHOD, HEADER, BODY, HEARTBEAT}:
            return f"unknown frame type {kind}"
        if size > self.frame_max - OVERHEAD:
            return f"frame of {size} octets is too long"
        if kind == METHOD and size > METHOD_MAX:
            return f"method of {size} octets is too long"
        if kind == HEARTBEAT and size:
            return "heartbeat with a payload"
        return None


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


def encode_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return _FRAME.pack(kind, channel, len(payload)) + payload + b"\xce"


def encode_method(channel: int, frame: base.Frame) -> bytes:
    """One method frame as bytes."""
    payload: bytes = frame.marshal()
    return encode_frame(METHOD, channel, frame.index.to_bytes(4) + payload)


def encode_content(channel: int, header: bytes, body: bytes, frame_max: int) -> bytes:
    """Header and body frames as bytes; an empty body has no body frame."""
    parts = [encode_frame(HEADER, channel, header)]
    step = frame_max - OVERHEAD
    parts.extend(
        encode_frame(BODY, channel, body[start : start + step])
        for start in range(0, len(body), step)
    )
    return b"".join(parts)


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


class Return(_AnyName, commands.Basic.Return):
    """Basic.Return with any exchange name."""

    __slots__: ClassVar[list[str]] = commands.Basic.Return.__slots__


class GetOk(_AnyName, commands.Basic.GetOk):
    """Basic.GetOk with any exchange name."""

    __slots__: ClassVar[list[str]] = commands.Basic.GetOk.__slots__
