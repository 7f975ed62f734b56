"""How long tests took in earlier runs, kept in pytest's cache: the longest comes first.

In a file of its own there: what pytest's cache writes by itself is indented, which takes Python ten
times as long, at the end of a run, when nobody else has anything to do.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

FOLDER = "gatherscatter"
"""The directory of pytest's cache that is ours."""

DURATIONS = "durations.json"
"""The file in it with seconds by file and test id."""

_durations = msgspec.json.Decoder(dict[str, dict[str, float]])


class Memory:
    """Seconds by file and test id. ``known`` is of earlier runs, as weighted means."""

    def __init__(self, config: pytest.Config) -> None:
        self._seen: dict[str, dict[str, float]] = {}
        self.known: dict[str, dict[str, float]] = {}
        self._file: Path | None = None
        cache = getattr(config, "cache", None)
        with contextlib.suppress(OSError, ValueError):  # read-only, or no durations
            self._file = None if cache is None else cache.mkdir(FOLDER) / DURATIONS
            if self._file is not None and self._file.exists():
                self.known = _durations.decode(self._file.read_bytes())

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
        if self._file is None or not self._seen:
            return
        from pytest_gatherscatter.testfiles.schedule import smoothed  # noqa: PLC0415 - for the end

        kept = dict(self.known)
        for file, tests in self._seen.items():
            before = self.known.get(file, {})
            kept[file] = before | {
                test: round(smoothed(before.get(test), seconds), 4)
                for test, seconds in tests.items()
            }
        with contextlib.suppress(OSError):
            self._file.write_bytes(msgspec.json.encode(kept))
