"""Reads the options of a grader: each once, and none that is not known."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pytest_gatherscatter.errors import SettingsInvalid

T = TypeVar("T")


class Options:
    """The ``[grader.options]`` of one grader, out of which it reads those that it knows.

    Raises:
        SettingsInvalid: there is another one; its ``where`` is the option.
    """

    def __init__(self, options: Mapping[str, Any], known: Iterable[str]) -> None:
        self._options = options
        names = tuple(known)
        for name in options:
            if name not in names:
                allowed = ", ".join(sorted(names))
                raise SettingsInvalid(name, f"there is no such option; allowed are {allowed}")

    def get(self, name: str, reader: Callable[[Any], T], default: T) -> T:
        """Read an option; ``default`` if it is not given.

        Raises:
            SettingsInvalid: it says something that is not allowed.
        """
        return self.need(name, reader) if name in self._options else default

    def need(self, name: str, reader: Callable[[Any], T]) -> T:
        """Read an option that has to be given.

        Raises:
            SettingsInvalid: it is not, or says something that is not allowed.
        """
        if name not in self._options:
            raise SettingsInvalid(name, "must be given")
        try:
            return reader(self._options[name])
        except (TypeError, ValueError) as error:
            raise SettingsInvalid(name, str(error)) from None
