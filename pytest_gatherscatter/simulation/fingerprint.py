"""What makes two states of a small lab the same: all that decides, and nothing that counts.

Times count from now and are rounded, since when everything happened is of no interest, only
how far apart; numbers of effects and recent stories differ with the way there, and decide nothing.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import count
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

from pytest_gatherscatter.machine import Effects, Lifecycle
from pytest_gatherscatter.sections.clock import GathererClock
from pytest_gatherscatter.sections.gatherer.lead import Lead
from pytest_gatherscatter.sections.monitor.hookcall import CallHook
from pytest_gatherscatter.sections.monitor.hookline import HookLine

LONG_AGO = 30.0
"""Seconds after which it does not matter any more when something was: over all waits of a small
lab."""

TIMES = (500_000.0, 1_000_000_000.0)
"""Between these a number is a time on the lab's clock; below a duration, above a wall clock's."""

DIGITS = 1
"""Digits of a time: waits are of whole seconds, leads of some hundredths."""

FORGOTTEN = frozenset(
    {
        "purposes",  # outcomes come at once
        "_wakes",  # what a deadline asked for; the deadlines themselves are compared
        "wakes",
        "_asked",
        "_number",
        "_contacts",
        "_join_effect",
        "started",
        "missed",  # whether a line of the log was said
        # What never changes in one small lab:
        "_take",
        "_phases",
        "clocks",
        "demand",
        "_demand",
        "_demands",
        "facts",
        "identity",
        "_me",
        "kinds",
        "world",
        "_lab",
        "lab",
    }
)
"""Attributes that only number things, follow from others, or are the same all along."""

_SKIPPED = (Effects, Lead, count, MethodType, FunctionType, BuiltinMethodType, type)

Walker = Callable[["_Walk", Any], object]


def fingerprint(state: object, now: float) -> bytes:
    """Return a digest that is equal for equal states."""
    return hashlib.blake2b(repr(_Walk(now).of(state)).encode(), digest_size=12).digest()


class _Walk:
    """One walk over a state, in an order that does not hang on the way there."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.met: dict[int, int] = {}

    def of(self, thing: Any) -> object:  # noqa: ANN401 - anything, each kind in its way
        kind = type(thing)
        walker = _WALKERS.get(kind)
        if walker is None:
            walker = _WALKERS[kind] = _walker(kind)
        return walker(self, thing)


def _same(_: _Walk, thing: object) -> object:
    return thing


def _nothing(_: _Walk, __: object) -> None:
    return None


def _number(walk: _Walk, number: float) -> object:
    least, most = TIMES
    if least < number < most:
        return ("t", max(-LONG_AGO, round(number - walk.now, DIGITS)))
    return round(number, DIGITS)


def _row(walk: _Walk, things: Iterable[Any]) -> object:
    return tuple([walk.of(one) for one in things])


def _bag(walk: _Walk, things: Iterable[Any]) -> object:
    return tuple(sorted([walk.of(one) for one in things], key=repr))


def _mapping(walk: _Walk, things: Mapping[Any, Any]) -> object:
    return tuple(sorted([(walk.of(key), walk.of(one)) for key, one in things.items()], key=repr))


def _enum(_: _Walk, thing: Enum) -> object:
    return thing.value


def _life(walk: _Walk, life: Lifecycle[Any]) -> object:
    return ("life", life.state.value, _number(walk, life.since))


def _clock(_: _Walk, clock: GathererClock) -> object:
    return ("clock", clock.gatherer, clock.known())


def _line(walk: _Walk, line: HookLine) -> object:
    current = line._current  # noqa: SLF001 - without the effect's number
    return ("line", walk.of(line._waiting), walk.of(current and current[1:]))  # noqa: SLF001 - as above


def _call(walk: _Walk, call: CallHook) -> object:
    return ("call", call.hook.value, call.section.id, walk.of(call.at))


_WALKERS: dict[type, Walker] = {
    str: _same,
    int: _same,
    bool: _same,
    bytes: _same,
    type(None): _same,
    float: _number,
    list: _row,
    tuple: _row,
    deque: _row,
    set: _bag,
    frozenset: _bag,
    dict: _mapping,
    Lifecycle: _life,
    GathererClock: _clock,
    HookLine: _line,
    CallHook: _call,
}


def _walker(kind: type) -> Walker:
    """Make the walker of a kind that is met for the first time."""
    if issubclass(kind, _SKIPPED):
        return _nothing
    if issubclass(kind, Enum):
        return _enum
    if issubclass(kind, tuple):
        return _row
    if issubclass(kind, dict):
        return _mapping
    slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    fields = sorted({*slots, *getattr(kind, "__struct_fields__", ())} - FORGOTTEN)
    name = kind.__name__

    def walk_object(walk: _Walk, thing: object) -> object:
        number = walk.met.get(id(thing))
        if number is not None:
            return ("see", number)
        walk.met[id(thing)] = len(walk.met)
        parts = [name, *(walk.of(getattr(thing, one, None)) for one in fields)]
        for key, value in sorted(getattr(thing, "__dict__", {}).items()):
            if key not in FORGOTTEN:
                parts.append((key, walk.of(value)))
        return tuple(parts)

    return walk_object
