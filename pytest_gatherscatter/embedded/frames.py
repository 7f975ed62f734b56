"""Frames: the stream of bytes is cut and checked before anybody looks into it.

A length that is too large is refused by its first octets, and no more than one unfinished frame
is held for a client.
"""

from collections.abc import Iterator
from struct import Struct

from pytest_gatherscatter.embedded.refusal import AmqpError, Code

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
# RabbitMQ's default, and the frame header and end that it counts in.
FRAME_MAX = 131_072
# What a client may not go below; 4.1 has doubled it.
FRAME_MIN, OLDER_FRAME_MIN = 8192, 4096
# Until the login: a stranger may not have more memory than this (RabbitMQ's limit too).
HANDSHAKE_MAX = 8192
OVERHEAD = 8
# Names are at most 255 octets and tables are small, so a method has no need of more; pamqp's
# table decoder costs the square of the length (16 KiB of tiny entries: some 10 ms).
METHOD_MAX = 16_384

_FRAME = Struct(">BHI")

HEARTBEAT_FRAME = _FRAME.pack(HEARTBEAT, 0, 0) + bytes([FRAME_END])
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

# Smaller bodies are copied into their frames: that is quicker than to send them in three parts.
_SMALL = 4096

RawFrame = tuple[int, int, bytes]
"""Frame type, channel number, payload."""


class FrameReader:
    """Cuts a stream into frames, and holds no more than one unfinished frame."""

    def __init__(self) -> None:
        self.frame_max = HANDSHAKE_MAX
        # What is left of earlier reads, which grows, and else what came last, as it came: most
        # reads are whole frames, and these are cut out of it with one copy.
        self._held = bytearray()
        self._fresh = b""

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        if self._held or self._fresh:
            self._held += self._fresh
            self._held += data
            self._fresh = b""
        else:
            self._fresh = data

    def protocol_header(self) -> bytes | None:
        """The first eight octets of the stream, once they are there."""
        self._held += self._fresh
        self._fresh = b""
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
        source = self._held or self._fresh
        length = len(source)
        try:
            while length - offset >= _FRAME.size:
                kind, channel, size = _FRAME.unpack_from(source, offset)
                problem = self._problem(kind, size)
                start = offset + _FRAME.size
                end = start + size
                if problem is None:
                    if length <= end:
                        break
                    if source[end] == FRAME_END:
                        found.append((kind, channel, bytes(source[start:end])))
                        offset = end + 1
                        continue
                    problem = f"frame end is {source[end]}, not {FRAME_END}"
                if found:
                    # The next call meets it again and raises.
                    break
                raise AmqpError(Code.FRAME_ERROR, problem)
        finally:
            if source is self._held:
                del self._held[:offset]
            else:
                self._held += self._fresh[offset:]
                self._fresh = b""
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


def encode_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return _FRAME.pack(kind, channel, len(payload)) + payload + b"\xce"


def encode_content(
    channel: int, header: bytes, body: bytes, frame_max: int
) -> Iterator[bytes | memoryview]:
    """Header and body frames, in parts; an empty body has no body frame.

    A large body is not copied: it may go to a thousand clients, who may be slow to read it.
    """
    first = encode_frame(HEADER, channel, header)
    step = frame_max - OVERHEAD
    if len(body) <= min(step, _SMALL):
        yield first + encode_frame(BODY, channel, body) if body else first
        return
    yield first
    whole = memoryview(body)
    for start in range(0, len(body), step):
        part = whole[start : start + step]
        yield _FRAME.pack(BODY, channel, len(part))
        yield part
        yield b"\xce"
