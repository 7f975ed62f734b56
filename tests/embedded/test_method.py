"""Methods: what is understood, what is refused, and what is done by hand."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base, commands
from pamqp import frame as pamqp_frame

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
from pytest_gatherscatter.embedded.refusal import AmqpError

NAME = "test_x[p1] ünïcode"


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


def test_what_is_sent_most_is_as_pamqp_reads_it() -> None:
    """What is encoded by hand is what the specification says."""
    data = encode_deliver(3, tag=NAME, number=2**40, redelivered=True, exchange=NAME, key="a.b")
    size, channel, read = pamqp_frame.unmarshal(data)
    assert (size, channel) == (len(data), 3)
    assert isinstance(read, commands.Basic.Deliver)
    assert (read.consumer_tag, read.delivery_tag, read.redelivered) == (NAME, 2**40, True)
    assert (read.exchange, read.routing_key) == (NAME, "a.b")
    back = encode_return(3, code=312, text="NO_ROUTE", exchange=NAME, key="a.b")
    size, channel, read = pamqp_frame.unmarshal(back)
    assert (size, channel) == (len(back), 3)
    assert isinstance(read, commands.Basic.Return)
    assert (read.reply_code, read.reply_text) == (312, "NO_ROUTE")
    assert (read.exchange, read.routing_key) == (NAME, "a.b")
    size, channel, read = pamqp_frame.unmarshal(encode_ack(3, 2**40))
    assert (size, channel) == (21, 3)
    assert isinstance(read, commands.Basic.Ack)
    assert (read.delivery_tag, read.multiple) == (2**40, False)


def as_pamqp_reads(payload: bytes, kind: type[base.Frame]) -> base.Frame:
    """The same payload, decoded by the library alone."""
    read = kind()
    read.unmarshal(payload[4:])
    return read


@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 255))
def test_a_publish_is_as_pamqp_reads_it(exchange: str, key: str, bits: int) -> None:
    """Decoded by hand, with any names and flags; cut or too long, it is refused."""
    texts = b"".join(bytes([len(data)]) + data for data in (exchange.encode(), key.encode()))
    payload = b"\x00\x3c\x00\x28\x00\x00" + texts + bytes([bits])
    read = decode_method(payload)
    assert isinstance(read, commands.Basic.Publish)
    wanted = as_pamqp_reads(payload, commands.Basic.Publish)
    names = ("exchange", "routing_key", "mandatory", "immediate")
    assert [getattr(read, name) for name in names] == [getattr(wanted, name) for name in names]
    for wrong in (payload[:-1], payload + b"x"):
        with pytest.raises(AmqpError, match=r"malformed Basic\.Publish"):
            decode_method(wrong)


@given(st.integers(0, 2**63 - 1), st.integers(0, 255))  # pamqp reads larger ones as negative
def test_an_ack_is_as_pamqp_reads_it(number: int, bits: int) -> None:
    """Decoded by hand, with any number and flags; cut or too long, it is refused."""
    payload = b"\x00\x3c\x00\x50" + number.to_bytes(8) + bytes([bits])
    read = decode_method(payload)
    assert isinstance(read, commands.Basic.Ack)
    wanted = as_pamqp_reads(payload, commands.Basic.Ack)
    assert isinstance(wanted, commands.Basic.Ack)
    assert (read.delivery_tag, read.multiple) == (wanted.delivery_tag, wanted.multiple)
    for wrong in (payload[:-1], payload + b"x"):
        with pytest.raises(AmqpError, match=r"malformed Basic\.Ack"):
            decode_method(wrong)
