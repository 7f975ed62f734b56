"""Content headers as bytes: sound ones pass untouched, broken ones never reach another client."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, encode, header

from pytest_gatherscatter.embedded.header import read_header, table_end, with_deaths
from pytest_gatherscatter.embedded.record import Death, DeathReason, Message
from pytest_gatherscatter.embedded.refusal import AmqpError

SECOND = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made(size: int = 0, **properties: Any) -> bytes:  # noqa: ANN401
    """The payload of a content header."""
    return header.ContentHeader(0, size, commands.Basic.Properties(**properties)).marshal()


def read_by_pamqp(raw: bytes) -> commands.Basic.Properties:
    """The properties as another implementation reads them."""
    read = header.ContentHeader()
    read.unmarshal(raw)
    return read.properties


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=8)
    | st.floats(width=32)
    | st.just(SECOND)
    | st.just(Decimal("1.5"))
    | st.binary(max_size=5).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=4))
def test_every_sound_table_is_walked_to_its_end(table: dict[str, Any]) -> None:
    """What pamqp encodes is accepted, and measured to the octet."""
    raw = encode.field_table(table)
    assert table_end(raw + b"more", 0) == len(raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_header_or_a_refusal(data: bytes) -> None:
    """Nothing but AmqpError comes out, and what passes can be read by pamqp."""
    raw = made()[:12] + data
    try:
        read = read_header(raw)
    except AmqpError as error:
        assert error.code in {502, 540}  # noqa: PT017 - some bytes are right
    else:
        assert read.raw == raw


@given(st.dictionaries(st.text(max_size=6), values, max_size=4), st.data())
def test_a_table_with_one_wrong_octet_is_sound_or_refused(
    table: dict[str, Any],
    data: Any,  # noqa: ANN401
) -> None:
    """Lengths, types and keys may be wrong anywhere: the walk ends."""
    raw = bytearray(encode.field_table(table))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert table_end(bytes(raw), 0) <= len(raw)
    except AmqpError as error:
        assert error.code == 502  # noqa: PT017 - some octets do no harm


def test_texts_are_found_among_all_properties() -> None:
    """Those that the broker must know, whatever stands before them."""
    raw = made(
        7,
        content_type="text/plain",
        headers={"a": [1, {"b": "c"}]},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        expiration="1500",
        message_id="m",
        timestamp=SECOND,
        message_type="t",
        user_id="me",
        app_id="app",
    )
    read = read_header(raw)
    assert read.body_size == 7
    assert read.text("expiration") == "1500"
    assert read.text("user_id") == "me"
    assert read.text("reply_to") is None


@pytest.mark.parametrize(
    ("raw", "got"),
    [
        (b"\x00\x3d" + made()[2:], "got one for class 61 instead"),
        (b"\x00\x3c\x00\x01" + made()[4:], "got non content header frame instead"),
    ],
)
def test_headers_that_belong_to_no_publish_are_refused(raw: bytes, got: str) -> None:
    """Of another class, or with a weight: 505, in RabbitMQ's words."""
    with pytest.raises(AmqpError, match=f"expected content header for class 60, {got}") as caught:
        read_header(raw)
    assert caught.value.code == 505


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        made()[:13],
        made(expiration="5")[:-1],
        made(expiration="5") + b"x",
        made()[:12] + b"\x00\x01\x00\x00",
        made()[:12] + b"\x01\x00\x02\xff\xff",
        made()[:12] + b"\x20\x00\xff\xff\xff\xff",
        made()[:12] + b"\x20\x00\x00\x00\x00\x02\x01k",
        made()[:12] + b"\x20\x00\x00\x00\x00\x03\x01kZ",
        made()[:12] + b"\x20\x00\x00\x00\x00\x03\x01kl",
        made()[:12] + b"\x20\x00\x00\x00\x00\x0b\x01kT" + b"\xff" * 8,
    ],
)
def test_malformed_headers_are_refused(raw: bytes) -> None:
    """Cut, with wrong lengths, flags, types or times: 502."""
    with pytest.raises(AmqpError) as caught:
        read_header(raw)
    assert caught.value.code == 502


def test_nested_tables_have_a_limit() -> None:
    """Decoders recurse; a header of two thousand tables in tables goes to nobody."""
    table = b""
    for _ in range(2000):
        table = b"\x01kF" + len(table).to_bytes(4) + table
    raw = made()[:12] + b"\x20\x00" + len(table).to_bytes(4) + table
    with pytest.raises(AmqpError, match="nest deeper"):
        read_header(raw)


@pytest.mark.parametrize("key", ["CC", "BCC"])
def test_sender_selected_distribution_is_on_the_list(key: str) -> None:
    """A header that RabbitMQ would route by is refused, not ignored."""
    with pytest.raises(AmqpError) as caught:
        read_header(made(headers={key: ["q"]}))
    assert caught.value.code == 540


@pytest.mark.parametrize("newer", [False, True])
def test_dead_letters_carry_rabbitmqs_headers(newer: bool) -> None:  # noqa: FBT001
    """x-death replaces an older one, the expiration goes, all else stays; 4.0 tells the last."""
    raw = made(
        headers={"mine": 5, "x-death": "old", "also": "mine"}, expiration="700", message_id="m"
    )
    first = Death("q", DeathReason.EXPIRED, "", "q", 5.0, ttl=0.7)
    second = Death("r", DeathReason.REJECTED, "e", "k", 9.0, count=2)
    last = Death("r", DeathReason.REJECTED, "f", "k", 9.0)
    message = Message("e", "k", b"", deaths=(second, first), first_death=first, last_death=last)
    told = with_deaths(read_header(raw), message, SECOND.timestamp(), tell_last=newer)
    read = read_header(told)
    assert read.text("expiration") is None
    assert read.text("message_id") == "m"
    headers: Any = read_by_pamqp(told).headers
    assert (headers["mine"], headers["also"]) == (5, "mine")
    assert headers["x-first-death-queue"] == "q"
    assert headers["x-first-death-reason"] == "expired"
    assert headers.get("x-last-death-queue") == ("r" if newer else None)
    assert headers.get("x-last-death-exchange") == ("f" if newer else None)
    latest, oldest = headers["x-death"]
    assert (latest["queue"], latest["reason"], latest["count"]) == ("r", "rejected", 2)
    assert latest["routing-keys"] == ["k"]
    assert oldest["original-expiration"] == "700"
    assert (oldest["time"] - SECOND).total_seconds() == 5


def test_dead_letters_without_headers_get_some() -> None:
    """A message that had no properties at all has x-death afterwards."""
    death = Death("q", DeathReason.MAXLEN, "e", "k", 0.0)
    message = Message("e", "k", b"", deaths=(death,), first_death=death)
    told = with_deaths(read_header(made()), message, 0.0, tell_last=True)
    headers: Any = read_by_pamqp(told).headers
    assert headers["x-death"][0]["reason"] == "maxlen"
