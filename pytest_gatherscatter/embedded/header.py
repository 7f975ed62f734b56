"""Content headers as bytes: checked and read in one pass, and forwarded as they came.

A message's properties are never decoded and encoded again: other clients get exactly what the
publisher sent, whatever its client library's taste in types. So what is checked here is what
keeps one client's broken table from breaking another client's decoder. The walk is linear and
without recursion: a table of a hundred thousand tiny or nested entries must cost no more than
its bytes.
"""

from datetime import UTC, datetime
from struct import Struct

import msgspec
from pamqp import encode
from pamqp.common import FieldTable, FieldValue

from pytest_gatherscatter.embedded.record import Death, Message
from pytest_gatherscatter.embedded.refusal import AmqpError, Code, unsupported

BASIC = 60
_FIXED = Struct(">HHQ")
_LONG = Struct(">I")
_SHORT = Struct(">H")
# How deep tables may nest: decoders recurse, and Python's own limit is 1,000 frames.
_DEPTH = 64

# Sizes of a table's values by their type octet; S, x, A and F carry their length.
_SIZES = {
    ord(kind): size
    for kinds, size in (("V", 0), ("tbB", 1), ("sUu", 2), ("Iif", 4), ("D", 5), ("lLdT", 8))
    for kind in kinds
}
_SIZED = frozenset(b"Sx")
_NESTED = frozenset(b"AF")
_TIME = ord("T")
# The end of the year 9999: what comes later makes a Python client's decoder fail.
_LAST_SECOND = 253_402_300_799

# The properties in the order of their flags, from bit 15 down; text, table, or a fixed size.
_PROPERTIES: tuple[tuple[str, str | int], ...] = (
    ("content_type", "text"),
    ("content_encoding", "text"),
    ("headers", "table"),
    ("delivery_mode", 1),
    ("priority", 1),
    ("correlation_id", "text"),
    ("reply_to", "text"),
    ("expiration", "text"),
    ("message_id", "text"),
    ("timestamp", 8),
    ("type", "text"),
    ("user_id", "text"),
    ("app_id", "text"),
    ("cluster_id", "text"),
)
_FLAGS = {name: 1 << (15 - place) for place, (name, _) in enumerate(_PROPERTIES)}


class Header(msgspec.Struct, frozen=True):
    """A content header that was found sound: the raw bytes, and where its properties are."""

    raw: bytes
    body_size: int
    spans: dict[str, tuple[int, int]]

    def text(self, name: str) -> str | None:
        """One of the short text properties, or None."""
        span = self.spans.get(name)
        return None if span is None else self.raw[span[0] + 1 : span[1]].decode()


def read_header(raw: bytes) -> Header:
    """Check a content header frame's payload.

    Raises:
        AmqpError: 502 when it is malformed, 505 when it is another class', 540 for
            sender-selected distribution.
    """
    try:
        kind, weight, body_size = _FIXED.unpack_from(raw)
        (flags,) = _SHORT.unpack_from(raw, _FIXED.size)
    except Exception as error:
        raise _malformed("cut short") from error
    if weight:
        raise AmqpError(
            Code.UNEXPECTED_FRAME,
            f"expected content header for class {BASIC}, got non content header frame instead",
        )
    if kind != BASIC:
        raise AmqpError(
            Code.UNEXPECTED_FRAME,
            f"expected content header for class {BASIC}, got one for class {kind} instead",
        )
    # Bit 0 would announce another word of flags and bit 1 is no property at all: there are 14.
    if flags & 3:
        raise _malformed("unknown properties")
    spans = _spans(raw, flags)
    if "headers" in spans:
        for key, _, _ in _entries(raw, *spans["headers"]):
            if key in {"CC", "BCC"}:
                raise unsupported("CC")
    return Header(raw, body_size, spans)


def _spans(raw: bytes, flags: int) -> dict[str, tuple[int, int]]:
    offset = _FIXED.size + _SHORT.size
    spans = {}
    for name, shape in _PROPERTIES:
        if flags & _FLAGS[name]:
            start = offset
            if isinstance(shape, int):
                offset += shape
            else:
                offset = _text_end(raw, offset) if shape == "text" else table_end(raw, offset)
            spans[name] = (start, offset)
    if offset != len(raw):
        raise _malformed("its properties do not fill it")
    return spans


def _malformed(problem: str) -> AmqpError:
    return AmqpError(Code.SYNTAX_ERROR, f"malformed content header: {problem}")


def _text_end(raw: bytes, offset: int) -> int:
    if offset >= len(raw):
        raise _malformed("cut short")
    end = offset + 1 + raw[offset]
    if end > len(raw):
        raise _malformed("a text is longer than the header")
    try:
        raw[offset + 1 : end].decode()
    except UnicodeDecodeError as error:
        raise _malformed("a text is not UTF-8") from error
    return end


def table_end(raw: bytes, offset: int) -> int:
    """Where the table that starts at ``offset`` ends; AmqpError 502 unless it is sound."""
    ends: list[tuple[int, bool]] = []
    offset, end = _sized(raw, offset, len(raw))
    ends.append((end, True))
    while ends:
        end, keyed = ends[-1]
        if offset == end:
            ends.pop()
            continue
        if keyed:
            offset = _text_end(raw, offset)
        if offset >= end:
            raise _malformed("a table's entry has no value")
        kind = raw[offset]
        offset += 1
        if kind in _SIZES:
            offset = _fixed_end(raw, offset, kind)
        elif kind in _SIZED:
            offset = _sized(raw, offset, end)[1]
        elif kind in _NESTED:
            offset, inner = _sized(raw, offset, end)
            if len(ends) >= _DEPTH:
                raise _malformed(f"tables nest deeper than {_DEPTH}")
            ends.append((inner, kind == ord("F")))
        else:
            raise _malformed(f"unknown type {kind} in a table")
        if offset > end:
            raise _malformed("a value passes its table's end")
    return offset


def _fixed_end(raw: bytes, offset: int, kind: int) -> int:
    end = offset + _SIZES[kind]
    if kind == _TIME and int.from_bytes(raw[offset:end]) > _LAST_SECOND:
        raise _malformed("a time after the year 9999")
    return end


def _sized(raw: bytes, offset: int, limit: int) -> tuple[int, int]:
    """Start and end of something that carries its length."""
    start = offset + _LONG.size
    if start > limit:
        raise _malformed("cut short")
    end: int = start + _LONG.unpack_from(raw, offset)[0]
    if end > limit:
        raise _malformed("a length passes the end")
    return start, end


def _entries(raw: bytes, start: int, end: int) -> list[tuple[str, int, int]]:
    """The entries of a sound table, not of the tables in it: key, start and end."""
    found = []
    offset = start + _LONG.size
    while offset < end:
        first = offset
        offset = _text_end(raw, offset)
        key = raw[first + 1 : offset].decode()
        kind = raw[offset]
        offset += 1
        offset = offset + _SIZES[kind] if kind in _SIZES else _sized(raw, offset, end)[1]
        found.append((key, first, offset))
    return found


_FIRST = ("x-first-death-exchange", "x-first-death-queue", "x-first-death-reason")
_LAST = ("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason")


def with_deaths(header: Header, message: Message, wall: float, *, tell_last: bool) -> bytes:
    """The raw header of a dead letter: RabbitMQ's headers put in, the expiration taken out.

    ``wall`` is what must be added to the vhost's time to have seconds since 1970. To
    ``tell_last`` is what RabbitMQ does since 4.0.
    """
    raw = header.raw
    told: FieldTable = {
        "x-death": list[FieldValue](_told(death, wall) for death in message.deaths),
        **_in_short(_FIRST, message.first_death or message.deaths[-1]),
        **(_in_short(_LAST, message.last_death or message.deaths[0]) if tell_last else {}),
    }
    kept = b""
    if "headers" in header.spans:
        kept = b"".join(
            raw[start:end]
            for key, start, end in _entries(raw, *header.spans["headers"])
            if key not in told
        )
    added = encode.field_table(told)[_LONG.size :]
    table = _LONG.pack(len(kept) + len(added)) + kept + added
    flags = 0
    parts = []
    for name, _ in _PROPERTIES:
        if name == "headers":
            parts.append(table)
        elif name in header.spans and name != "expiration":
            start, end = header.spans[name]
            parts.append(raw[start:end])
        else:
            continue
        flags |= _FLAGS[name]
    return raw[: _FIXED.size] + _SHORT.pack(flags) + b"".join(parts)


def _in_short(names: tuple[str, str, str], death: Death) -> FieldTable:
    return dict(zip(names, (death.exchange, death.queue, death.reason.value), strict=True))


def _told(death: Death, wall: float) -> FieldTable:
    told: FieldTable = {
        "count": death.count,
        "reason": death.reason.value,
        "queue": death.queue,
        "time": datetime.fromtimestamp(death.at + wall, tz=UTC),
        "exchange": death.exchange,
        "routing-keys": [death.key],
    }
    if death.ttl is not None:
        told["original-expiration"] = str(round(death.ttl * 1000))
    return told
