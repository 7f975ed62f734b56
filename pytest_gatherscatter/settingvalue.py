"""Reads one value of the settings: what each key may say, and what a wrong one is told.

A reader takes the value as a source gave it (text from an option, a variable or an ini; a
typed value from TOML) and the directory that relative paths stand on. It returns what is meant,
or raises ``ValueError`` or ``TypeError`` with what is allowed. :func:`read` adds where it stood.
Pure; no file is opened here.
"""

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from pytest_gatherscatter import quantity
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.wire.names import check_name

Reader: TypeAlias = Callable[[object, Path], Any]
Command: TypeAlias = tuple[str, ...]
"""A program and its arguments. No shell reads it; who wants one writes ``sh -c '…'``."""

MOST = 256
"""What can be counted of workers and workspaces of one machine: each is some ten MiB or more."""

TABLES = (
    *("examiner", "gatherer", "grader", "listener", "monitor", "process", "processor"),
    "recorder",
)
"""What a settings file may hold beside its plain keys."""


def read(where: str, key: str, value: object, readers: Mapping[str, Reader], base: Path) -> Any:  # noqa: ANN401 - each key has a type of its own
    """Read ``value`` of ``key``.

    Raises:
        SettingsInvalid: at ``where``, with what is allowed.
    """
    __tracebackhide__ = True
    reader = readers.get(key)
    if reader is None:
        known = {*readers, *TABLES} if readers is READERS else readers
        raise SettingsInvalid(where, f"there is no such key; {_known(key, known)}")
    try:
        return reader(value, base)
    except (SettingsInvalid, TypeError, ValueError) as error:
        raise SettingsInvalid(where, str(error)) from None


def _known(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(names)}"


def string(value: object, _base: Path) -> str:
    """Read a text that is not empty, without the blanks around it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} must be a text that is not empty")
    return value.strip()


def truth(value: object, _base: Path) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} must be true or false")
    return value


def _broker(value: object, base: Path) -> str:
    """Read the broker's word or URL. The value is never repeated: it may hold a password."""
    text = string(value, base) if isinstance(value, str) else ""
    if text not in {"auto", "local", "docker", "none"} and not re.match(r"amqps?://.", text):
        raise ValueError("allowed are auto, local, docker, none or an amqp:// or amqps:// URL")
    return text


def path_of(value: object, base: Path) -> Path:
    """Read a path, which stands on ``base``."""
    if isinstance(value, Path):
        value = str(value)
    path = Path(string(value, base))
    try:
        return base / path.expanduser()
    except RuntimeError:
        raise ValueError(f"{value!r} begins with the home of a user who is not known") from None


def choice(*allowed: str) -> Reader:
    """Make a reader of one of these words."""

    def read(value: object, _base: Path) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed; allowed are {', '.join(allowed)}")
        return str(value)

    return read


def named(kind: str) -> Reader:
    """Make a reader of the name of a ``kind``."""

    def read(value: object, base: Path) -> str:
        return check_name(kind, string(value, base))

    return read


def names_of(kind: str) -> Reader:
    """Read names from a list, or from one text with commas or blanks between them."""

    def read(value: object, base: Path) -> tuple[str, ...]:
        if isinstance(value, str):
            value = value.replace(",", " ").split()
        if not isinstance(value, list | tuple | set | frozenset):
            raise TypeError(f"{value!r} must be a list of {kind} names")
        words = [word for item in value for word in string(item, base).split(",") if word]
        return tuple(dict.fromkeys(check_name(kind, word.strip()) for word in words))

    return read


def _name_set(kind: str) -> Reader:
    names = names_of(kind)
    return lambda value, base: frozenset(names(value, base))


def wait(*, zero: bool = False) -> Reader:
    """Make a reader of a time in seconds; ``zero`` if none at all has a meaning."""
    return lambda value, _base: quantity.seconds(value, zero=zero)


def _size(value: object, _base: Path) -> int:
    return quantity.size(value)


def count(value: object, _base: Path) -> int:
    """Read a whole number from 0 to :data:`MOST`."""
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST:
        raise ValueError(f"{value!r} must be a whole number from 0 to {MOST}")
    return number


def _slots(kind: str) -> Reader:
    def read(value: object, base: Path) -> int:
        number = count(value, base)
        if not number:
            raise ValueError(f"a {kind} without a slot does nothing; allowed are 1 and more")
        return number

    return read


def _texts(value: object, base: Path) -> tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    return tuple(string(one, base) for one in given)


def _target(value: object, base: Path) -> str:
    text = string(value, base)
    module, colon, name = text.partition(":")
    if not colon or not all(word.isidentifier() for word in (*module.split("."), *name.split("."))):
        raise ValueError(f"{text!r} must be package.module:Class")
    return text


def _command(value: object, base: Path) -> Command:
    """Read a command: a list of words, or one text that is split as a shell would split it."""
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    text = string(value, base)
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{text!r} cannot be split into words: {error}") from None


def options_of(value: object, _base: Path) -> Mapping[str, Any]:
    """Read a table of anything."""
    if not isinstance(value, dict):
        raise TypeError("must be a table")
    return MappingProxyType(value)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "broker": _broker,
        "lab": named("lab"),
        "bench": named("bench"),
        "require": _name_set("agent"),
        "handshake_timeout": wait(),
        "queue_timeout": wait(zero=True),  # 0: fail at once on a busy bench, as flock -n
        "gather_timeout": wait(zero=True),  # 0: who is missing is not waited for
        "stale_after": wait(),
        "hold_limit": wait(zero=True),  # 0: nobody may hold
        "max_duration": wait(),
        "report_timeout": wait(),
        "no_gatherer": choice("run", "skip", "fail"),
        "not_gathered": choice("fail", "skip", "run"),
        "artifacts": path_of,
        "artifact_limit": _size,
        "gatherer.agents": _name_set("agent"),
        "gatherer.state_dir": path_of,
    }
)

COMMANDS = ("on_prepare", "on_go", "on_stop", "on_abort", "on_overdue")

MONITOR_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "name": named("agent"),
        "target": _target,
        **dict.fromkeys(COMMANDS, _command),
        "benches": names_of("bench"),
        "advisory": truth,
        "hook_timeout": wait(),
        "drain": wait(zero=True),  # 0: it makes safe at once
        "options": options_of,
    }
)

LISTENER_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "name": named("listener"),
        "slots": _slots("listener"),
        "job_slots": count,
        "labels": _name_set("label"),
        "sources": _texts,
        "workspaces": path_of,
        "keep": count,
        "fresh": truth,
        "sync_plugins": _texts,
        "connect_timeout": wait(),
        "silence_timeout": wait(),
        "sync_timeout": wait(),
        "drain": wait(zero=True),  # 0: running tests are given up at once
        "log": path_of,
    }
)

PROCESSOR_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "name": named("processor"),
        "slots": _slots("processor"),
        "logs": path_of,
        "drain": wait(zero=True),  # 0: what runs is ended at once
        "allow_shell": truth,
        "via_balancer": truth,
    }
)
