"""Durations and sizes as people write them: ``2``, ``"500ms"``, ``"5m"``, ``"8MiB"``.

Settings, command line and markers all read them through here, so that ``"2s"`` means the same
everywhere. Pure; may be called from any thread.
"""

import math
import re
from types import MappingProxyType

LONGEST = 7 * 86400.0
"""The longest wait in seconds: a week. ``poll`` counts milliseconds in 31 bits (24 days), and
a wait that nobody will live to see the end of is a hang."""

DURATION_RULE = "seconds, or a number with ms, s, m or h"
SIZE_RULE = "bytes, or a number with B, kB, MB, GB, KiB, MiB or GiB"

_SECONDS = MappingProxyType({"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0})
_BYTES = MappingProxyType(
    {
        "": 1,
        "B": 1,
        "kB": 1000,
        "MB": 1000**2,
        "GB": 1000**3,
        "KiB": 1024,
        "MiB": 1024**2,
        "GiB": 1024**3,
    }
)
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([A-Za-z]*)", re.ASCII)


def seconds(value: object, *, zero: bool = False) -> float:
    """Return a duration in seconds, at most :data:`LONGEST`.

    Args:
        value: a number of seconds, or text such as ``"500ms"``, ``"2s"``, ``"1.5m"``, ``"1h"``.
        zero: whether 0 ("do not wait") has a meaning here.

    Raises:
        ValueError: with what is allowed.
    """
    found = _number(value, _SECONDS)
    if found is None:
        raise ValueError(f"{value!r} is not a duration; allowed are {DURATION_RULE}")
    if found == 0 and not zero:
        raise ValueError(f"{value!r} is no time at all; it must be more than 0")
    if not 0 <= found <= LONGEST:
        raise ValueError(f"{value!r} is out of range; the longest is {LONGEST / 3600:g}h (a week)")
    return found


def size(value: object) -> int:
    """Return a size in bytes: a whole number, or text such as ``"512KiB"``, ``"8MiB"``.

    Raises:
        ValueError: with what is allowed.
    """
    found = _number(value, _BYTES)
    if found is None or found < 0 or not math.isfinite(found) or found != int(found):
        raise ValueError(f"{value!r} is not a size; allowed are {SIZE_RULE}, in whole bytes")
    return int(found)


def _number(
    value: object, units: MappingProxyType[str, float] | MappingProxyType[str, int]
) -> float | None:
    """Return the number meant, in the base unit; ``None`` if it is none. ``True`` is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None if math.isnan(value) else value
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        return None
    return float(match[1]) * units[match[2]]
