"""What the command line's arguments leave of a file: ``tests/test_a.py::TestB::test_c[1]``.

Who distributes files does not import them to find them, so what stands after ``::`` is cut off
for that, and picks among the file's tests once a worker has opened it.
"""

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest


class Selection:
    """Arguments of pytest, taken apart.

    Args:
        arguments: as ``config.args`` has them.
        config: says where they are relative to, and whether they may be names of packages.
    """

    def __init__(self, arguments: Iterable[str], config: pytest.Config) -> None:
        self.arguments: list[str] = []
        """Files and directories, each once, as they were written."""
        self.paths: list[Path] = []
        """The same, absolute."""
        self._picked: dict[Path, list[str]] = {}
        whole: set[Path] = set()
        for argument in arguments:
            place = argument.partition("[")[0].partition("::")[0]
            tests = argument[len(place) + 2 :] if argument[len(place) :].startswith("::") else ""
            path = _path(place, config)
            if path not in self.paths:
                self.arguments.append(place)
                self.paths.append(path)
            if tests:
                self._picked.setdefault(path, []).append(tests)
            else:
                whole.add(path)
        for path in [one for one in self._picked if not whole.isdisjoint((one, *one.parents))]:
            del self._picked[path]

    def of(self, path: Path, items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[str]]:
        """Return what is left of a file's tests, and what was asked for and is not there."""
        picked = self._picked.get(path)
        if picked is None:
            return list(items), []
        kept: dict[pytest.Item, None] = {}
        missing = []
        for wanted in picked:
            found = [item for item in items if _is_of(item.nodeid.partition("::")[2], wanted)]
            kept.update(dict.fromkeys(found))
            if not found:
                missing.append(wanted)
        return list(kept), missing


def _is_of(test: str, wanted: str) -> bool:
    """Whether a test is what was asked for, in it, or a parametrisation of it."""
    inside = test.startswith((f"{wanted}::", f"{wanted}["))
    return test == wanted or (inside and not wanted.endswith("]"))


def _path(place: str, config: pytest.Config) -> Path:
    path = Path(os.path.abspath(config.invocation_params.dir / place))  # noqa: PTH100 - links stay
    if config.getoption("pyargs") and not path.exists():
        try:
            spec = importlib.util.find_spec(place)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
        if spec is not None and spec.origin:
            return Path(spec.origin)
    return path
