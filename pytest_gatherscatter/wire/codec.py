"""Bytes ↔ message.

A body is one JSON object whose ``kind`` names the message; the AMQP property ``type`` says
kind and version (``SectionGo/1``), so that a reader can refuse what it cannot know before it
looks inside. A version grows only when an old reader would misread the new meaning; fields
that are merely added do not change it.
"""

import contextlib
from functools import cache
from typing import Any, NoReturn, get_args

import msgspec

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.wire.kind import AnyMessage
from pytest_gatherscatter.wire.messages import Message, Part
from pytest_gatherscatter.wire.roundrobin import Assign

VERSION = 1

MAX_BODY = 1024 * 1024
"""Bytes in a body: far below RabbitMQ 4's 16 MiB, and a chunk of an artifact fits (256 KiB)."""

ENVELOPE = 4 * 1024
"""Bytes that an ``Assign`` may have beside the message that it holds, which may be one of the
largest: ids, names and a key of less than 512 bytes each."""

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(AnyMessage)}
_TYPES = {kind: f"{name}/{VERSION}" for name, kind in _KINDS.items()}
_KNOWN = {text: kind for kind, text in _TYPES.items()}
_ASSIGN = _TYPES[Assign]
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.json.Encoder()


class _Nothing(Message, frozen=True):
    """What nobody says: beside it, a message has to name its kind."""


@cache
def _reads(kind: type[Message] | None) -> msgspec.json.Decoder[Message]:
    """Return what reads a kind of messages, or all: made by need, for most processes hear few."""
    return msgspec.json.Decoder(AnyMessage if kind is None else kind | _Nothing)


def type_of(message: Message) -> str:
    """Return the AMQP ``type`` property of ``message``, e.g. ``"SectionGo/1"``."""
    return _TYPES[type(message)]


def encode(message: Message) -> bytes:
    """Return the body of ``message``.

    Raises:
        MessageUnreadable: it is larger than ``MAX_BODY``, or holds what is no text (lone
            surrogates), so that nobody could read it.
    """
    try:
        body = _encoder.encode(message)
    except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError) as error:
        raise MessageUnreadable(f"{type(message).__name__}: {error}"[:500]) from None
    if len(body) > MAX_BODY and (
        len(body) > MAX_BODY + ENVELOPE or not isinstance(message, Assign)
    ):
        raise MessageUnreadable(
            f"{type(message).__name__} of {len(body)} bytes, {MAX_BODY} allowed"
        )
    return body


def size(part: Message | Part) -> int:
    """Return the bytes that a message, or a part of one, takes in a body."""
    return len(_encoder.encode(part))


def decode(body: bytes, type_property: str | None = None) -> Message:
    """Return the message in ``body``; ``type_property`` is AMQP's ``type``, if there was one.

    Raises:
        MessageUnreadable: oversized, not JSON, of an unknown kind or version, or with a
            field that is missing or out of range; ``reason`` says which.
    """
    if len(body) > MAX_BODY + (ENVELOPE if type_property == _ASSIGN else 0):
        raise MessageUnreadable(f"body of {len(body)} bytes, {MAX_BODY} allowed")
    kind = None
    if type_property is not None:
        kind = _KNOWN.get(type_property) or _refuse(type_property)
        with contextlib.suppress(*_UNREADABLE):
            if type(message := _reads(kind).decode(body)) is kind:
                return message
    try:
        message = _reads(None).decode(body)
    except _UNREADABLE as error:
        raise MessageUnreadable(str(error)[:500]) from None
    if kind is not None and type(message) is not kind:
        said = kind.__name__
        raise MessageUnreadable(f"type says {said}, body says {type(message).__name__}")
    return message


def _refuse(type_property: str) -> NoReturn:
    """Say what is wrong with an AMQP ``type`` that names no kind."""
    kind, _, version = type_property.partition("/")
    if kind not in _KINDS:
        raise MessageUnreadable(f"unknown kind {kind[:64]!r}")
    raise MessageUnreadable(f"{kind} of version {version[:16]!r}, known is {VERSION}")


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of every message, for parties in other languages."""
    (root,), components = msgspec.json.schema_components(
        [AnyMessage], ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-gatherscatter messages",
        **root,
        "$defs": components,
    }
