"""The settings of graders: the ``[[grader]]`` tables, and ``[examiner]``. Pure, as ``settings``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.settingvalue import (
    Reader,
    count,
    named,
    names_of,
    options_of,
    read,
    string,
    truth,
    wait,
)

MOST_ATTEMPTS = 20
"""Attempts at a request whose examiners die: each costs one of them."""

MOST_GRADERS = 256
"""Graders of an examiner: it tells of no more in one message, and who asked would hear nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderSettings:
    """A ``[[grader]]`` table: a kind of grader, the queues it serves, and its threads.

    Without ``queues`` it serves the one of its own name. A grading that takes longer than
    ``timeout`` seconds is ended, one longer than ``slow`` logged. ``attempts`` is how often a
    request is tried whose graders are killed. ``where`` is where it stands, for errors.
    """

    name: str
    kind: str
    queues: tuple[str, ...] = ()
    threads: int = 1
    timeout: float = 60.0
    slow: float = 10.0
    attempts: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = "grader"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminerSettings:
    """The ``[examiner]`` table. Without a ``name`` it is called after its host and its graders.

    ``drain`` is for how many seconds gradings may go on after the first signal. With
    ``via_balancer`` requests are taken from a balancer (``roundrobin serve``), not from the queue.
    """

    name: str = ""
    drain: float = 60.0
    via_balancer: bool = False


def _threads(value: object, base: Path) -> int:
    number = count(value, base)
    if not number:
        raise ValueError("a grader without a thread does nothing; allowed are 1 and more")
    return number


def _queues(value: object, base: Path) -> tuple[str, ...]:
    queues: tuple[str, ...] = names_of("queue")(value, base)
    if not queues:
        raise ValueError("a grader without a queue does nothing; without the key it has its name's")
    return queues


def _attempts(value: object, base: Path) -> int:
    number = count(value, base)
    if not 1 <= number <= MOST_ATTEMPTS:
        raise ValueError(f"{value!r} must be a whole number from 1 to {MOST_ATTEMPTS}")
    return number


HERE = "{here}"
"""What stands in options for the folder of the settings, which is not where a grader runs."""


def _options(value: object, base: Path) -> dict[str, Any]:
    return {key: _placed(one, str(base.absolute())) for key, one in options_of(value, base).items()}


def _placed(value: Any, here: str) -> Any:  # noqa: ANN401 - whatever TOML may hold
    match value:
        case str():
            return value.replace(HERE, here)
        case list():
            return [_placed(one, here) for one in value]
        case dict():
            return {key: _placed(one, here) for key, one in value.items()}
        case _:
            return value


GRADER_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "name": named("grader"),
        "kind": string,
        "queues": _queues,
        "threads": _threads,
        "timeout": wait(),
        "slow": wait(),
        "attempts": _attempts,
        "options": _options,
    }
)

EXAMINER_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "name": named("examiner"),
        "drain": wait(zero=True),  # 0: what runs is given back at once
        "via_balancer": truth,
    }
)


def read_graders(file: Path, tables: object) -> tuple[GraderSettings, ...]:
    """Read the ``[[grader]]`` tables of a file.

    Raises:
        SettingsInvalid: naming the file and the key; also if two of them serve one queue.
    """
    if not isinstance(tables, list):
        raise SettingsInvalid(f"{file}: grader", "must be written [[grader]], once a grader")
    if len(tables) > MOST_GRADERS:
        text = f"stands here {len(tables)} times, {MOST_GRADERS} are allowed"
        raise SettingsInvalid(f"{file}: grader", text)
    graders: dict[str, GraderSettings] = {}
    serves: dict[str, str] = {}
    for number, table in enumerate(tables, start=1):
        if not isinstance(table, dict):
            raise SettingsInvalid(f"{file}: grader", "must be a table")
        where = f"{file}: grader {table.get('name', number)}"
        given = {
            key: read(f"{where}: {key}", key, value, GRADER_READERS, file.parent)
            for key, value in table.items()
        }
        for key in ("name", "kind"):
            if key not in given:
                raise SettingsInvalid(where, f"has no {key}")
        grader = GraderSettings(**{"queues": (given["name"],), **given, "where": where})
        if grader.name in graders:
            raise SettingsInvalid(where, "stands here twice")
        graders[grader.name] = grader
        for queue in grader.queues:
            if queue in serves:
                text = f"queue {queue!r} is served by grader {serves[queue]} already"
                raise SettingsInvalid(f"{where}: queues", text)
            serves[queue] = grader.name
    return tuple(graders.values())
