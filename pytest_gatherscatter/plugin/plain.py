"""Turns whatever plugins and tests put into reports into JSON of a bounded size.

A property may be an enumeration's member, a path, bytes, half a surrogate pair, or a megabyte.
One bad value costs one field: it becomes its text. Where all is too much, the longest texts lose
their middles, for what went wrong mostly stands at an end.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

DEPTH = 60
"""How deep values may be nested: reports of pytest have some ten levels."""

TEXTS = (65_536, 16_384, 4_096, 1_024, 256)
"""Characters that a text may keep, tried in turn until the whole is small enough."""

ENTRIES = 100
"""Elements that a list may keep where cutting texts is not enough."""

_encode = msgspec.json.Encoder().encode


def plain(value: object, depth: int = DEPTH) -> Any:  # noqa: ANN401, PLR0911 - JSON has no type
    """Return ``value`` as JSON can say it; what it cannot becomes its text. Never raises."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else text_of(value)  # type: ignore[operator]
    if kind is float:
        return value if math.isfinite(value) else text_of(value)  # type: ignore[arg-type]
    if depth == 0:
        return clipped(text_of(value), TEXTS[-1])
    if kind is dict:
        return {
            key if type(key) is str else text_of(key): plain(one, depth - 1)
            for key, one in value.items()  # type: ignore[attr-defined]
        }
    if kind in {list, tuple}:
        return [plain(one, depth - 1) for one in value]  # type: ignore[attr-defined]
    return text_of(value)


def text_of(value: object) -> str:
    """Return the text of anything, even of what refuses to have one."""
    try:
        text = str(value)
        return text if type(text) is str else str.__str__(text)
    except Exception as error:  # noqa: BLE001 - it is a user's __str__
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"


def clipped(text: str, most: int) -> str:
    """Return ``text`` with at most about ``most`` characters; the middle is what goes."""
    left_out = len(text) - most
    if left_out <= 0:
        return text
    end = most // 2
    note = f"\n… {left_out} characters left out …\n"
    return f"{text[: most - end]}{note}{text[len(text) - end :]}"


def encoded(value: object) -> bytes:
    """Return plain ``value`` as JSON; what is no text in UTF-8 is escaped as Python does it."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_texts(value, speakable))


def fitted(value: object, most: int) -> bytes | None:
    """Return plain ``value`` as JSON of at most ``most`` bytes; ``None`` if that takes more."""
    body = encoded(value)
    if len(body) <= most:
        return body
    for limit in TEXTS:
        body = encoded(_texts(value, partial(clipped, most=limit)))
        if len(body) <= most:
            return body
    body = encoded(_texts(_shortened(value), partial(clipped, most=TEXTS[-1])))
    return body if len(body) <= most else None


def speakable(text: str) -> str:
    r"""Return ``text`` with lone surrogates as ``\udcXX``."""
    return text.encode("utf-8", "backslashreplace").decode()


def _texts(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {speakable(key): _texts(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_texts(one, change) for one in value]
    return value


def _shortened(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave the middles of long lists out."""
    if isinstance(value, dict):
        return {key: _shortened(one) for key, one in list(value.items())[:ENTRIES]}
    if isinstance(value, list):
        half = ENTRIES // 2
        kept = value if len(value) <= ENTRIES else [*value[:half], *value[-half:]]
        return [_shortened(one) for one in kept]
    return value
