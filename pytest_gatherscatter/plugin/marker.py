"""What a ``critical_section`` marker, or a call of the fixture, may say.

Pure: keywords in, checked :class:`Arguments` out. Several markers on one test (module, class,
function) add up: ``require`` is their union, of everything else the nearest one counts. pytest
itself would drop the outer marker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_gatherscatter import quantity
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.settings import NoGatherer, NotGathered
from pytest_gatherscatter.settingvalue import READERS, Reader, read

MARKER = "critical_section"

LABEL = 512
"""Characters in a section's name: what the wire carries."""

MOST_MONITORS = 10_000
"""Monitors that may be demanded; more of them than a lab has agents is a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What was said about a section; ``None`` where nothing was. Durations are in seconds.

    ``span`` says what the section takes in: the ``call`` (the test function) or the whole
    ``test`` with its fixtures. ``check`` is called with the section after it closed.
    """

    name: str | None = None
    require: frozenset[str] = frozenset()
    bench: str | None = None
    max_duration: float | None = None
    max_skew: float | None = None
    min_monitors: int | None = None
    no_gatherer: NoGatherer | None = None
    not_gathered: NotGathered | None = None
    quiet: Literal["report", "strict"] | None = None
    span: Literal["call", "test"] | None = None
    check: Callable[[Any], object] | None = None

    def demands(self) -> dict[str, Any]:
        """Return what goes into a demand: all but ``name``, ``span`` and ``check``."""
        return {
            "require": self.require,
            "bench": self.bench,
            "max_duration": self.max_duration,
            "max_skew": self.max_skew,
            "min_monitors": self.min_monitors,
            "no_gatherer": self.no_gatherer,
            "not_gathered": self.not_gathered,
            "quiet": self.quiet,
        }


def _name(value: object, _base: Path) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= LABEL:
        raise ValueError(f"{value!r} must be a text of 1 to {LABEL} characters")
    return value.strip()


def _count(value: object, _base: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_MONITORS:
        raise ValueError(f"{value!r} must be a whole number from 0 to {MOST_MONITORS}")
    return value


def _choice(*allowed: str) -> Reader:
    def choose(value: object, _base: Path) -> object:
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed; allowed are {', '.join(allowed)}")
        return value

    return choose


def _check(value: object, _base: Path) -> object:
    if not callable(value):
        raise TypeError(f"{value!r} must be a function that takes the section")
    return value


KEYWORDS: Mapping[str, Reader] = {
    "name": _name,
    "require": READERS["require"],
    "bench": READERS["bench"],
    "max_duration": READERS["max_duration"],
    "max_skew": lambda value, _base: quantity.seconds(value, zero=True),
    "min_monitors": _count,
    "no_gatherer": READERS["no_gatherer"],
    "not_gathered": READERS["not_gathered"],
    "quiet": _choice("report", "strict"),
    "span": _choice("call", "test"),
    "check": _check,
}


def arguments(where: str, positional: Sequence[object], keywords: Mapping[str, Any]) -> Arguments:
    """Check what one marker or call says. The name may stand first, without its keyword.

    Raises:
        SettingsInvalid: at ``where``, naming the keyword and what is allowed.
    """
    __tracebackhide__ = True
    given = dict(keywords)
    if len(positional) > 1 or (positional and "name" in given):
        raise SettingsInvalid(where, "takes keywords, and before them the name only")
    if positional:
        given["name"] = positional[0]
    checked: dict[str, Any] = {}
    for key, value in given.items():  # a comprehension's frame could not be hidden
        if value is not None or key not in KEYWORDS:
            checked[key] = read(f"{where}: {key}", key, value, KEYWORDS, Path())
    return Arguments(**checked)


def merged(nearest_first: Sequence[Arguments]) -> Arguments:
    """Add up the arguments of several markers."""
    fields: dict[str, Any] = {}
    for one in reversed(nearest_first):
        for key in KEYWORDS:
            value = getattr(one, key)
            if value is not None:
                fields[key] = value
    fields["require"] = frozenset().union(*(one.require for one in nearest_first))
    return Arguments(**fields)


def of_item(item: pytest.Item) -> Arguments | None:
    """Return what the markers of a test say together; ``None`` if it has none of ours.

    Raises:
        SettingsInvalid: one of them says something that is not allowed.
    """
    marks = list(item.iter_markers(MARKER))
    if not marks:
        return None
    where = f"@pytest.mark.{MARKER}"
    return merged([arguments(where, mark.args, mark.kwargs) for mark in marks])
