"""The kinds of graders that are there without any plugin: ``sleep`` and ``python``.

``subprocess`` and ``http`` have files of their own.
"""

import importlib
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pytest_gatherscatter.errors import GraderFailed, GradingTimedOut, SettingsInvalid
from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
from pytest_gatherscatter.graders.option import Options
from pytest_gatherscatter.graders.service.bell import wait
from pytest_gatherscatter.quantity import seconds


class SleepGrader(Grader):
    """Sleeps from ``min`` to ``max`` seconds, and lets everything pass: to measure the rest."""

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Take ``min`` and ``max``, both times; without any it does not sleep at all."""
        told = Options(options, ("min", "max"))
        least = told.get("min", lambda value: seconds(value, zero=True), 0.0)
        most = told.get("max", lambda value: seconds(value, zero=True), least)
        if most < least:
            raise SettingsInvalid("max", f"{most:g} s is less than min, {least:g} s")
        return cls(least, most)

    def grade(self, request: GraderRequest) -> Grade:
        """Sleep."""
        time = random.uniform(self._least, self._most)  # noqa: S311 - no secret
        if time > 0:
            wait(min(time, request.seconds), request.ended)
        if time > request.seconds:
            raise GradingTimedOut(f"it would sleep {time:.3f} s")
        return Grade(passed=True, score=1.0, message=f"slept {time:.3f} s", details={"slept": time})


class PythonGrader(Grader):
    """Calls ``target`` (``package.module:function``) with each request.

    It returns a :class:`Grade`, or whether it passes. Nobody can end it: one that does not come
    back keeps its thread.
    """

    def __init__(
        self, target: str, function: Callable[..., object], more: Mapping[str, Any]
    ) -> None:
        self._target, self._function, self._more = target, function, more

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Take ``target``, and ``options``: further keyword arguments of each call."""
        told = Options(options, ("target", "options"))
        target = told.need("target", _text)
        return cls(target, _import(target), told.get("options", _table, {}))

    def grade(self, request: GraderRequest) -> Grade:
        """Call it."""
        found = self._function(request, **self._more)
        if isinstance(found, Grade):
            return found
        if isinstance(found, bool):
            return Grade(passed=found)
        name = type(found).__name__
        raise GraderFailed(f"{self._target} returned {name}; a Grade or a bool is wanted")


def _import(target: str) -> Callable[..., object]:
    """Return what ``package.module:function`` names; the current directory counts."""
    module, colon, name = target.partition(":")
    if not colon or not name:
        raise SettingsInvalid("target", f"{target!r} must be package.module:function")
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        found: object = importlib.import_module(module)
        for word in name.split("."):
            found = getattr(found, word)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module does when imported
        text = f"{target!r} cannot be imported: {type(error).__name__}: {error}"
        raise SettingsInvalid("target", text[:1000]) from None
    if not callable(found):
        raise SettingsInvalid("target", f"{target!r} cannot be called")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} must be a text that is not empty")
    return value


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} must be a table")
    return value
