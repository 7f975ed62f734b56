"""Bytes and frames: what is cut right, what is refused, and what goes out."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp import frame as pamqp_frame

from pytest_gatherscatter.embedded.frames import (
    BODY,
    FRAME_MAX,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    METHOD_MAX,
    FrameReader,
    GetOk,
    QueueDeclareOk,
    RecoverAsync,
    Return,
    decode_method,
    encode_content,
    encode_deliver,
    encode_frame,
    encode_method,
)
from pytest_gatherscatter.embedded.refusal import AmqpError

NAME = "test_x[p1] ünïcode"


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


@given(st.binary(max_size=200))
def test_any_bytes_are_a_method_or_a_refusal(payload: bytes) -> None:
    """Nothing but AmqpError ever comes out of a method's payload."""
    try:
        decode_method(payload)
    except AmqpError as error:
        assert error.code in {502, 503}  # noqa: PT017 - which of the two depends on the bytes


@given(st.sampled_from(sorted(commands.INDEX_MAPPING)), st.binary(max_size=60))
def test_any_arguments_of_any_method_are_decoded_or_refused(index: int, data: bytes) -> None:
    """Right numbers and wrong arguments are refused too, by 502."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decode_method(index.to_bytes(4) + data)
        except AmqpError as error:
            assert error.code == 502  # noqa: PT017 - some bytes are right


def test_cut_arguments_are_refused() -> None:
    """A short text that claims more than there is, and octets that belong to nothing."""
    whole = encode_method(1, commands.Queue.Purge(queue="abc"))[7:-1]
    assert isinstance(decode_method(whole), commands.Queue.Purge)
    for wrong in (whole[:-2], whole + b"x"):
        with pytest.raises(AmqpError, match=r"malformed Queue\.Purge"):
            decode_method(wrong)


def test_deeply_nested_arguments_are_refused() -> None:
    """Thousands of tables in tables are a 502 and not a RecursionError."""
    table = b""
    for _ in range(2000):
        table = b"\x01k" + b"F" + len(table).to_bytes(4) + table
    whole = encode_method(1, commands.Queue.Declare(queue="q"))[7:-1]
    assert whole.endswith(b"\x00\x00\x00\x00")
    with pytest.raises(AmqpError, match=r"malformed Queue\.Declare"):
        decode_method(whole[:-4] + len(table).to_bytes(4) + table)


def test_recover_async_is_recover() -> None:
    """The deprecated method is understood, and does not warn."""
    for bit, requeue in ((b"\x01", True), (b"\x00", False)):
        frame = decode_method(b"\x00\x3c\x00\x64" + bit)
        assert isinstance(frame, RecoverAsync)
        assert frame.requeue is requeue


def test_any_name_goes_out() -> None:
    """Names that pamqp's patterns refuse are sent as RabbitMQ sends them."""
    declared = QueueDeclareOk(NAME, 3, 4)
    _, channel, read = pamqp_frame.unmarshal(encode_method(5, declared))
    assert isinstance(read, commands.Queue.DeclareOk)
    assert (channel, read.queue, read.message_count, read.consumer_count) == (5, NAME, 3, 4)
    _, _, got = pamqp_frame.unmarshal(encode_method(5, GetOk(9, True, NAME, "k", 2)))  # noqa: FBT003
    assert isinstance(got, commands.Basic.GetOk)
    assert (got.exchange, got.message_count, got.redelivered) == (NAME, 2, True)
    _, _, back = pamqp_frame.unmarshal(encode_method(5, Return(312, "NO_ROUTE", NAME, "k")))
    assert isinstance(back, commands.Basic.Return)
    assert (back.reply_code, back.exchange) == (312, NAME)


def test_deliver_is_as_pamqp_reads_it() -> None:
    """What is encoded by hand is what the specification says."""
    data = encode_deliver(3, tag=NAME, number=2**40, redelivered=True, exchange=NAME, key="a.b")
    size, channel, read = pamqp_frame.unmarshal(data)
    assert (size, channel) == (len(data), 3)
    assert isinstance(read, commands.Basic.Deliver)
    assert (read.consumer_tag, read.delivery_tag, read.redelivered) == (NAME, 2**40, True)
    assert (read.exchange, read.routing_key) == (NAME, "a.b")


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 10_000])
def test_content_is_cut_to_the_negotiated_frames(size: int) -> None:
    """No body frame is longer than it may be, and an empty body has none."""
    body = bytes(range(256)) * (size // 256 + 1)
    made = reader()
    made.feed(encode_content(2, b"header", body[:size], 4096))
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
