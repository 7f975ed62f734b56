"""What is left of a run by what pytest's cache remembers: ``--lf``, ``--ff``, ``--nf``, ``--sw``.

pytest's own plugins look at tests that were collected, and the originator collects none. So the
files are chosen and put in order here, and each worker gets with a file which of its tests were
meant. ``--sw`` means in a plain run: stop at the first failure, and go on there next time. Many
workers have no one place to go on from; so what passed since is remembered, and left out.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_gatherscatter.wire.testfiles import MOST_CHOSEN, Choice

PASSED = "gatherscatter/stepwise"
"""Where pytest's cache keeps what has passed since ``--sw`` began, by file."""

FAILED = "cache/lastfailed"
NODEIDS = "cache/nodeids"


class Chooser:
    """Reads the cache once, before pytest's own plugins change it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        option = config.option
        self._cache = getattr(config, "cache", None)
        known = self._cache is not None
        self.lf = known and bool(getattr(option, "lf", False))
        self.ff = known and bool(getattr(option, "failedfirst", False))
        self.nf = known and bool(getattr(option, "newfirst", False))
        self.sw = known and bool(getattr(option, "stepwise", False))
        self._reset = bool(getattr(option, "stepwise_reset", False))
        self._failed = _by_file(self._get(FAILED, {}))
        self._passed: dict[str, list[str]] = {}
        if self.sw and not self._reset:
            self._passed = {file: list(ids) for file, ids in self._get(PASSED, {}).items()}
        self._found: dict[str, set[str]] = {}
        self.lines: list[str] = []
        """What the header says about it."""

    def _get(self, key: str, default: Any) -> Any:  # noqa: ANN401 - JSON
        found = default if self._cache is None else self._cache.get(key, default)
        return found if isinstance(found, type(default)) else default

    def files(self, names: Iterable[str]) -> list[str]:
        """Return the files that are to be run, in the order in which they should begin."""
        every = list(names)
        if self.lf:
            return self._last_failed(every)
        if self.ff:
            first = [file for file in every if file in self._failed]
            self._say_failed(first, " first")
            return [*first, *(file for file in every if file not in self._failed)]
        if self.nf:
            root = self._config.rootpath
            return sorted(every, key=lambda file: _modified(root / file), reverse=True)
        if self.sw:
            passed = sum(map(len, self._passed.values()))
            have = "1 test has" if passed == 1 else f"{passed} tests have"
            self.lines.append(f"stepwise: {have} passed already (--sw-reset: again)")
        return every

    @property
    def ordered(self) -> bool:
        """Whether the order of the files is asked for, and not only what is fastest."""
        return self.ff or self.nf

    def _last_failed(self, every: list[str]) -> list[str]:
        kept = [file for file in every if file in self._failed]
        if kept:
            skipped = len(every) - len(kept)
            files = "1 file" if skipped == 1 else f"{skipped} files"
            self._say_failed(kept, f" (skipped {files})" if skipped else "")
            return kept
        if self._failed:
            count = sum(map(len, self._failed.values()))
            self.lines.append(f"run-last-failure: {count} known failures not in selected tests")
            return every
        none = self._config.getoption("last_failed_no_failures") == "none"
        said = "deselecting all items" if none else "not deselecting items"
        self.lines.append(f"run-last-failure: no previously failed tests, {said}.")
        return [] if none else every

    def _say_failed(self, files: Collection[str], what: str) -> None:
        count = sum(max(1, len(self._failed[file])) for file in files)
        noun = "failure" if count == 1 else "failures"
        self.lines.append(f"run-last-failure: rerun previous {count} {noun}{what}")

    def choices(self, files: Iterable[str]) -> dict[str, Choice]:
        """Return which of the files' tests are meant, where that is not all of them."""
        if self.lf or self.ff:
            how: Literal["only", "first"] = "only" if self.lf else "first"
            found = {file: Choice(how, tuple(self._failed.get(file, ()))) for file in files}
        elif self.sw:
            found = {file: Choice("without", tuple(self._passed.get(file, ()))) for file in files}
        else:
            return {}
        return {
            file: choice
            for file, choice in found.items()
            if choice.tests and sum(map(len, choice.tests)) <= MOST_CHOSEN
        }

    # ── what is to be remembered ───────────────────────────────────────────────────────

    def open(self, file: str, tests: Iterable[str]) -> None:
        """Note which tests a file has."""
        self._found[file] = set(tests)

    def passed(self, file: str, test: str) -> None:
        """Note that a test has passed."""
        if self.sw:
            self._passed.setdefault(file, []).append(test)

    def keep(self, *, passed: bool) -> None:
        """Write down what the next run has to know; ``passed``: all was run, and nothing failed."""
        if self._cache is None:
            return
        if self.sw and not passed:
            self._cache.set(PASSED, self._passed)
        elif self._get(PASSED, {}):
            self._cache.set(PASSED, {})
        new = {f"{file}::{test}" for file, tests in self._found.items() for test in tests}
        known = self._get(NODEIDS, [])
        if not new <= set(known):
            self._cache.set(NODEIDS, sorted({*known, *new}))


def _by_file(failed: Iterable[str]) -> dict[str, list[str]]:
    """Part nodeids by file; a file that failed as a whole has an empty list."""
    parted: dict[str, list[str]] = {}
    for nodeid in failed:
        file, _, test = nodeid.partition("::")
        tests = parted.setdefault(file, [])
        if test:
            tests.append(test)
    whole = {nodeid for nodeid in failed if "::" not in nodeid}
    return {file: [] if file in whole else tests for file, tests in parted.items()}


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
