"""Bytes and frames: what is cut right, what is refused, and what goes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gatherscatter.embedded.frames import (
    BODY,
    FRAME_MAX,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    METHOD_MAX,
    FrameReader,
    encode_content,
    encode_frame,
)
from pytest_gatherscatter.embedded.refusal import AmqpError


def reader() -> FrameReader:
    """A reader after the login."""
    made = FrameReader()
    made.frame_max = FRAME_MAX
    return made


def refused(data: bytes) -> AmqpError:
    """The refusal that bytes end in."""
    made = reader()
    made.feed(data)
    with pytest.raises(AmqpError) as caught:
        made.frames()
    return caught.value


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 60))
def test_frames_come_whole_however_the_stream_is_cut(payloads: list[bytes], step: int) -> None:
    """Every frame once, in order, for any cut."""
    stream = b"".join(encode_frame(BODY, 7, payload) for payload in payloads)
    made = reader()
    found = []
    for start in range(0, len(stream), step):
        made.feed(stream[start : start + step])
        found += made.frames()
    assert found == [(BODY, 7, payload) for payload in payloads]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x01\x00\x01\x00\x00\x00\x01AX", "frame end"),
        (b"\x08\x00\x00\x00\x00\x00\x00X", "frame end"),
        (b"\x05\x00\x01\x00\x00\x00\x00", "unknown frame type 5"),
        (b"\x03\x00\x01\xff\xff\xff\xff", "too long"),
        (b"\x01\x00\x01" + (METHOD_MAX + 1).to_bytes(4), "method of"),
        (b"\x08\x00\x00\x00\x00\x00\x01", "heartbeat with a payload"),
        (b"GET / HTTP/1.1\r\n", "unknown frame type"),
    ],
)
def test_broken_frames_are_refused_by_their_first_octets(data: bytes, told: str) -> None:
    """A wrong end, type or length is a 501, without waiting for a giant payload."""
    error = refused(data)
    assert (error.code, error.hard) == (501, True)
    assert told in error.text


def test_frames_before_a_broken_one_are_served() -> None:
    """The refusal comes with the next call."""
    made = reader()
    made.feed(encode_frame(BODY, 1, b"good") + b"\x05bad frame")
    assert made.frames() == [(BODY, 1, b"good")]
    with pytest.raises(AmqpError):
        made.frames()


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 10_000])
def test_content_is_cut_to_the_negotiated_frames(size: int) -> None:
    """No body frame is longer than it may be, and an empty body has none."""
    body = bytes(range(256)) * (size // 256 + 1)
    made = reader()
    made.feed(b"".join(encode_content(2, b"header", body[:size], 4096)))
    first, *rest = made.frames()
    assert first == (HEADER, 2, b"header")
    assert b"".join(payload for _, _, payload in rest) == body[:size]
    assert all(kind == BODY and len(payload) <= 4088 for kind, _, payload in rest)


def test_heartbeat_is_a_frame() -> None:
    """Type 8, channel 0, nothing in it."""
    made = reader()
    made.feed(HEARTBEAT_FRAME)
    assert made.frames() == [(HEARTBEAT, 0, b"")]
    assert METHOD == 1
