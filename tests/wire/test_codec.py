"""Bytes ↔ message: round trips, golden bytes of version 1, and what cannot be read."""

import contextlib
import json
import re
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.kind import AnyMessage

KINDS: tuple[type[m.Message], ...] = get_args(AnyMessage)

GOLDEN = {
    "ClockProbe": b'{"kind":"ClockProbe","sent":1.5}',
    "AgentReady": b'{"kind":"AgentReady","section":"00000001","token":7,"agent":"scope",'
    b'"instance":"abcdef01"}',
    "SectionGo": b'{"kind":"SectionGo","section":"00000001","token":7,"bench":"default",'
    b'"gatherer":"abcdef01","members":["scope"],"sent":1.0,"t0":1.05,"deadline":31.05}',
    "LeaveSection": b'{"kind":"LeaveSection","section":"00000001","token":7,"outcome":"passed",'
    b'"started":1.05,"stopped":2.0,"bound":0.001,"needed":0.01,"overdue":false}',
}

PREPARE: dict[str, Any] = {
    "section": "00000001",
    "token": 7,
    "bench": "default",
    "name": "burst",
    "test": "t",
    "owner": "o",
    "required": True,
    "max_duration": 1.0,
    "hold_limit": 1.0,
}


def values(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - any annotation
    """Make a strategy for a field's type, within its constraints."""
    return _of(msgspec.inspect.type_info(kind))


def _of(info: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401, C901, PLR0911, PLR0912 - a case a type
    match info:
        case msgspec.inspect.StrType(pattern=str(pattern)):
            # Long enough for a hash, and in the alphabet of every pattern; a service has a kind.
            texts = ("0123abcd", "b" * 16, "f" * 32, "a" * 64, "service.power")
            return st.sampled_from([text for text in texts if re.search(pattern, text)])
        case msgspec.inspect.StrType(min_length=least, max_length=most):
            return st.text(min_size=least or 0, max_size=min(most or 40, 40))
        case msgspec.inspect.IntType(ge=least, le=most):
            return st.integers(least if least is not None else -5, most or 10**6)
        case msgspec.inspect.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.RawType():
            return st.sampled_from([msgspec.Raw(b'{"outcome":"passed"}'), msgspec.Raw(b"[1,2]")])
        case msgspec.inspect.BytesType():
            return st.binary(max_size=50)
        case msgspec.inspect.VarTupleType(item_type=item, min_length=least):
            return st.lists(_of(item), min_size=least or 0, max_size=3).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(_of, items))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=3)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_of(one) for one in types])
        case msgspec.inspect.StructType(cls=cls):
            return structs(cls)
    raise AssertionError(f"no strategy for {info}")


def structs(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Make a strategy for a whole struct."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {name: values(hints[name]) for name in kind.__struct_fields__}
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)  # for each of fifty messages
@given(data=st.data())
def test_every_message_comes_back_as_it_went(kind: type[m.Message], data: st.DataObject) -> None:
    """Encode, decode, equal; and the body is one JSON object that names its kind."""
    message = data.draw(structs(kind))
    body = codec.encode(message)
    assert codec.decode(body, codec.type_of(message)) == message
    assert json.loads(body)["kind"] == kind.__name__


@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_bytes_of_version_1(kind: str) -> None:
    """What was written once is read for ever, and written the same."""
    message = codec.decode(GOLDEN[kind], f"{kind}/1")
    assert codec.encode(message) == GOLDEN[kind]


def test_a_newer_party_may_say_more() -> None:
    """Unknown fields are ignored."""
    body = b'{"kind":"ClockProbe","sent":1.5,"mood":"good"}'
    assert codec.decode(body, "ClockProbe/1") == m.ClockProbe(sent=1.5)


@pytest.mark.parametrize(
    ("body", "type_property", "reason"),
    [
        (b"", None, "Input data was truncated"),
        (b"\xff\xfe", None, "malformed"),
        (b"[]", None, "Expected `object`"),
        (b'{"kind":"Nonsense"}', None, "Invalid value 'Nonsense'"),
        (b"{}", "Nonsense/1", "unknown kind 'Nonsense'"),
        (b'{"kind":"ClockProbe","sent":1}', "ClockProbe/2", "of version '2', known is 1"),
        (b'{"kind":"ClockProbe","sent":1}', "AskStatus/1", "type says AskStatus"),
        (b'{"kind":"ClockProbe"}', "ClockProbe/1", "missing required field `sent`"),
        (b'{"sent":1}', "ClockProbe/1", "missing required field `kind`"),
        (b'{"kind":"_Nothing"}', "ClockProbe/1", "Invalid value '_Nothing'"),
        (b'{"kind":"_Nothing"}', None, "Invalid value '_Nothing'"),
        (b'{"kind":"ClockProbe","sent":"x"}', "ClockProbe/1", "Expected `float`"),
        (b'{"kind":"ClockProbe","sent":NaN}', "ClockProbe/1", "malformed"),
        (b'{"kind":"ReleaseBench","hold":"../etc"}', None, "matching regex"),
        (b" " * (codec.MAX_BODY + 1), None, "allowed"),
        (b"[" * 100_000, None, ""),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, type_property: str | None, reason: str) -> None:
    """One reason, for the dead letters; never another exception."""
    with pytest.raises(MessageUnreadable) as caught:
        codec.decode(body, type_property)
    assert reason in caught.value.reason


@given(st.binary(max_size=200), st.none() | st.text(max_size=20))
def test_random_bytes_are_refused_or_read(body: bytes, type_property: str | None) -> None:
    """Nothing else comes out of a reader that stands in the open."""
    with contextlib.suppress(MessageUnreadable):
        codec.decode(body, type_property)


def test_what_is_too_large_to_be_read_is_not_written() -> None:
    """The sender hears it, not the receiver."""
    chunk = m.ArtifactChunk(
        section="00000001", agent="scope", artifact="a", number=0, data=b"x" * codec.MAX_BODY
    )
    with pytest.raises(MessageUnreadable, match="ArtifactChunk of"):
        codec.encode(chunk)


def test_the_schema_defines_every_message() -> None:
    """For parties in other languages."""
    defined = codec.schema()["$defs"]
    assert {kind.__name__ for kind in KINDS} <= set(defined)
    assert defined["SectionGo"]["properties"]["t0"] == {"type": "number"}


def test_every_message_says_who_sends_it_to_whom() -> None:
    """The docstring is the protocol's text."""
    for kind in KINDS:
        assert "→" in (kind.__doc__ or ""), kind


def test_a_line_feed_ends_no_name() -> None:
    """Names and ids go into routing keys, file names and lines of a log."""
    body = codec.encode(m.PrepareSection(**PREPARE))
    for good in (b'"00000001"', b'"default"'):
        with pytest.raises(MessageUnreadable):
            codec.decode(body.replace(good, good[:-1] + b'\\n"'))
    assert codec.decode(body) == m.PrepareSection(**PREPARE)
