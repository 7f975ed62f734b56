"""A slip as people write it: TOML, JSON, or what Python holds; each error names step and field.

A :class:`Document` is what stands in it: what is to be done, with which parameters. It becomes a
slip, with an id and a start, as often as it is given out.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import msgspec

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.settingvalue import (
    Reader,
    choice,
    count,
    named,
    read,
    string,
    truth,
    wait,
)
from pytest_gatherscatter.slips import slip as slips
from pytest_gatherscatter.wire.codec import size
from pytest_gatherscatter.wire.slips import MOST_STEPS, OnFailure, Slip, Step

ROUTE_WAIT = 30.0
"""Seconds that a step may find no queue: a processor is started, or comes back, in less."""

ADDED_TWICE = frozenset({"number", "after", "mandatory"})
"""What a step that another one adds cannot say: its place is given."""


def _params(value: object, _base: Path) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError("must be a table of names and values")
    return {named("parameter")(name, _base): param(one) for name, one in value.items()}


def param(value: object) -> str:
    """Read a parameter's value: a text, or a number, which is one of digits from then on.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{value!r} must be a text or a number; write it in quotes")


def _names(value: object, base: Path) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} must be a list of names of parameters")
    return tuple(named("parameter")(one, base) for one in value)


def _numbers(value: object, _base: Path) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or any(type(one) is not int for one in value):
        raise ValueError(f"{value!r} must be a list of numbers of steps")
    return tuple(value)


def _number(value: object, _base: Path) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} must be a number")
    return value


_on_failure = choice(*get_args(OnFailure))

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "name": string,
        "deadline": wait(),
        "route_wait": wait(zero=True),
        "on_failure": _on_failure,
        "required": _names,
        "params": _params,
        "step": lambda value, _base: value,
    }
)
"""What a document may say."""

STEP_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "number": _number,
        "process": named("process"),
        "command": named("command"),
        "shell": string,
        "params": _params,
        "timeout": wait(),
        "on_failure": _on_failure,
        "retries": count,
        "backoff": wait(zero=True),
        "rerun": truth,
        "after": _numbers,
        "compensate": named("command"),
        "mandatory": truth,
    }
)
"""What a step may say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What stands in a slip that was written.

    ``where`` names it in errors. ``deadline`` and ``route_wait`` are in seconds; ``params`` are
    defaults, ``required`` the names that must be given.
    """

    where: str
    name: str
    steps: tuple[Step, ...]
    deadline: float | None = None
    route_wait: float = ROUTE_WAIT
    required: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)

    def slip(
        self,
        params: Mapping[str, object],
        *,
        id: str,  # noqa: A002 - as the slip calls it
        now: float,
        owner: str = "",
        timeout: float | None = None,
    ) -> Slip:
        """Make a slip of it.

        Args:
            params: what is given for this time.
            id: of the slip, new.
            now: Unix time.
            owner: who gives it out, for people.
            timeout: seconds from now that end it, if its own deadline does not come first.

        Raises:
            SettingsInvalid: a parameter is missing, or nobody knows it.
        """
        known = {*self.params, *self.required}
        given = {}
        for name, value in params.items():
            where = f"{self.where}: parameter {name!r}"
            if name not in known:
                have = ", ".join(sorted(known)) or "none"
                raise SettingsInvalid(where, f"is not one of the slip's; it has {have}")
            try:
                given[name] = param(value)
            except ValueError as error:
                raise SettingsInvalid(where, str(error)) from None
        values = {**self.params, **given}
        if missing := [name for name in self.required if name not in values]:
            names = ", ".join(missing)
            raise SettingsInvalid(f"{self.where}: required", f"nobody has given {names}")
        ends = [one for one in (self.deadline, timeout) if one is not None]
        made = Slip(
            id=id,
            name=self.name,
            steps=self.steps,
            params=values,
            owner=owner[:512],
            created=now,
            deadline=now + min(ends) if ends else None,
            route_wait=self.route_wait,
        )
        return _sound(made, self.where)


def parse(text: str, where: str, *, form: str) -> Document:
    """Read a document of ``form`` ``"toml"`` or ``"json"``.

    Raises:
        SettingsInvalid: naming the file, the step and the field.
    """
    try:
        given = json.loads(text) if form == "json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SettingsInvalid(where, f"is not {form.upper()}: {error}") from None
    return document(given, where)


def document(given: object, where: str, *, name: str = "") -> Document:
    """Read a document out of what Python holds.

    Args:
        given: a mapping as a file would say it, or only a list of its steps; a step may be a
            :class:`~pytest_gatherscatter.wire.slips.Step`.
        where: names it in errors.
        name: for one that says none.

    Raises:
        SettingsInvalid: naming the step and the field.
    """
    if isinstance(given, list | tuple):
        given = {"step": given}
    if not isinstance(given, Mapping):
        raise SettingsInvalid(where, "must be a table, or a list of steps")
    said = {key: _value(where, key, value, READERS) for key, value in given.items()}
    tables = said.pop("step", ())
    if not isinstance(tables, list | tuple) or not tables:
        raise SettingsInvalid(f"{where}: step", "there is none; write [[step]], once a step")
    if len(tables) > MOST_STEPS:
        raise SettingsInvalid(f"{where}: step", f"there are {len(tables)}, {MOST_STEPS} allowed")
    policy = said.pop("on_failure", "stop")
    steps = tuple(
        _step(table, f"{where}: step {number}", number, policy)
        for number, table in enumerate(tables, 1)
    )
    said.setdefault("name", name or Path(where).stem or "slip")
    made = Document(where=where, steps=steps, **said)
    values = {**dict.fromkeys(made.required, ""), **made.params}
    _sound(Slip(id="0" * 8, name=made.name, steps=steps, params=values), where)
    return made


def added_step(given: object, where: str) -> Step:
    """Read a step that another one adds; its number counts for nothing.

    Raises:
        SettingsInvalid: naming the field.
    """
    if isinstance(given, Mapping) and (placed := sorted(ADDED_TWICE & given.keys())):
        raise SettingsInvalid(f"{where}: {placed[0]}", "is not for a step that another one adds")
    step = _step(given, where, 1, "stop")
    _sound(Slip(id="0" * 8, name="added", steps=(step,)), where)
    return step


def _step(given: object, where: str, number: int, policy: OnFailure) -> Step:
    """Read one step."""
    if isinstance(given, Step):
        return msgspec.structs.replace(given, number=number)
    if not isinstance(given, Mapping):
        raise SettingsInvalid(where, "must be a table")
    said = {key: _value(where, key, value, STEP_READERS) for key, value in given.items()}
    if "process" not in said:
        raise SettingsInvalid(f"{where}: process", "is missing: whose queue is it for?")
    if said.setdefault("number", number) != number:
        problem = f"{said['number']} stands as number {number}; numbers follow their order"
        raise SettingsInvalid(f"{where}: number", problem)
    return Step(**{"on_failure": policy, **said})


def _value(where: str, key: object, value: object, readers: Mapping[str, Reader]) -> Any:  # noqa: ANN401 - each key has a type of its own
    return read(f"{where}: {key}", str(key), value, readers, Path())


def _sound(made: Slip, where: str) -> Slip:
    """Check what is true of a slip as a whole, and of its values on the wire.

    Raises:
        SettingsInvalid: naming what is wrong.
    """
    try:
        slips.check(made)
        msgspec.convert(msgspec.to_builtins(made), Slip)
        too_large = size(made) > slips.MOST_BYTES
    except (UnicodeEncodeError, msgspec.ValidationError) as error:
        raise SettingsInvalid(where, _place(str(error), made)) from None
    except ValueError as error:
        raise SettingsInvalid(where, str(error)) from None
    if too_large:
        raise SettingsInvalid(where, f"is larger than {slips.MOST_BYTES // 1024} KiB")
    return made


def _place(problem: str, made: Slip) -> str:
    """Say where in a slip a value is wrong: ``$.steps[1].shell`` is the shell of step 2."""
    said, _, place = problem.partition(" - at `$.")
    place = place.rstrip("`")
    if place.startswith("steps["):
        index, _, name = place[len("steps[") :].partition("].")
        number = made.steps[int(index)].number if index.isdigit() else index
        place = f"step {number}: {name}"
    return f"{place}: {said}" if place else said
