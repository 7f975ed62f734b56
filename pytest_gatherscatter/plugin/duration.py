"""How long tests took in earlier runs, kept in pytest's cache: the longest comes first."""

from collections.abc import Iterable

import pytest

from pytest_gatherscatter.testfiles.schedule import smoothed

DURATIONS = "gatherscatter/durations"
"""Where pytest's cache keeps seconds by file and test id."""


class Memory:
    """Seconds by file and test id. ``known`` is of earlier runs, as weighted means."""

    def __init__(self, config: pytest.Config) -> None:
        self._cache = getattr(config, "cache", None)
        self._seen: dict[str, dict[str, float]] = {}
        known = None if self._cache is None else self._cache.get(DURATIONS, None)
        self.known: dict[str, dict[str, float]] = known if isinstance(known, dict) else {}

    def open(self, file: str, tests: Iterable[str]) -> None:
        """Take which tests a file has, all of them: others that it had are forgotten."""
        have = set(tests)
        known = self.known.get(file, {})
        self.known[file] = {test: seconds for test, seconds in known.items() if test in have}

    def note(self, file: str, test: str, seconds: float) -> None:
        """Take what a test of this run took."""
        self._seen.setdefault(file, {})[test] = seconds

    def keep(self) -> None:
        """Write this run's durations down, beside those of tests that were not run."""
        if self._cache is None or not self._seen:
            return
        kept = dict(self.known)
        for file, tests in self._seen.items():
            before = self.known.get(file, {})
            kept[file] = before | {
                test: round(smoothed(before.get(test), seconds), 4)
                for test, seconds in tests.items()
            }
        self._cache.set(DURATIONS, kept)
