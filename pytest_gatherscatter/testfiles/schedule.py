"""What comes first, and who gives work back: the longest first, and the tail is shared.

Longest first alone loses to work stealing on many workers, for the last long file runs alone; so
an idle worker takes the untouched half of what the slowest has left (Graham's list scheduling
with the longest processing time first, 1969; stealing halves as in Blumofe and Leiserson, 1999).
Durations are the originator's, kept from run to run.
"""

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct, field
from msgspec.structs import replace

WEIGHT = 0.5
"""How much the last run counts against all before it: a test that got slower is believed after
two runs, and one slow night is forgotten as soon."""

UNKNOWN = 0.05
"""Seconds of a test of which nothing is known, where nothing is known of any test."""

TESTS = 10
"""Tests in a file of which nothing is known, where nothing is known of any file."""

EARLY = 2.0
"""By how much a file of which nothing is known counts for longer than it is expected to be: what
turns out to be long must not begin last."""

LONGEST = 1e9
"""More seconds than any file takes: who comes first by it comes first."""

SHORTEST = 0.05
"""Seconds of work that are worth giving back, whatever it costs to collect the file again."""


def _middle(numbers: Iterable[float]) -> float:
    """Return the median, or the higher of two; ``statistics`` takes longer to import than this."""
    ordered = sorted(numbers)
    return ordered[len(ordered) // 2]


def smoothed(before: float | None, now: float) -> float:
    """Return the exponentially weighted mean of a duration; ``before`` is the mean so far."""
    return now if before is None else (1 - WEIGHT) * before + WEIGHT * now


class Durations:
    """Expected seconds of tests and files, out of earlier runs and of this one.

    Args:
        known: seconds by file and by test id in it, from earlier runs.
    """

    def __init__(self, known: Mapping[str, Mapping[str, float]]) -> None:
        self._known = {file: dict(tests) for file, tests in known.items() if tests}
        every = [seconds for tests in known.values() for seconds in tests.values()]
        self._test = _middle(every) if every else UNKNOWN
        self._tests = _middle(len(tests) for tests in self._known.values()) if every else TESTS
        self._seen: dict[str, tuple[int, float]] = {}
        self._all = (0, 0.0)
        self._opened = (0, 0, 0.0)

    def knows(self, file: str) -> bool:
        """Whether the file was run before."""
        return file in self._known

    def of_test(self, file: str, test: str) -> float:
        """Expect so many seconds of a test: as before, as its file's others, as all others."""
        known = self._known.get(file, {}).get(test)
        if known is not None:
            return known
        ran, seconds = self._seen.get(file, (0, 0.0))
        if not ran:
            ran, seconds = self._all
        return seconds / ran if ran else self._test

    def of_file(self, file: str) -> float:
        """Expect so many seconds of a whole file, with what it takes to open one."""
        files, tests, opening = self._opened
        known = self._known.get(file)
        if known is not None:
            return sum(known.values()) + (opening / files if files else 0.0)
        if not files:
            return self._tests * self._test
        ran, seconds = self._all
        return (opening + tests * (seconds / ran if ran else self._test)) / files

    def opened(self, tests: int, seconds: float) -> None:
        """Take how many tests were found in a file of this run, and how long that took."""
        files, before, opening = self._opened
        self._opened = (files + 1, before + tests, opening + seconds)

    def note(self, file: str, seconds: float) -> None:
        """Take what a test of this run took."""
        ran, sum_of_file = self._seen.get(file, (0, 0.0))
        self._seen[file] = (ran + 1, sum_of_file + seconds)
        self._all = (self._all[0] + 1, self._all[1] + seconds)


class Portion(Struct, frozen=True):
    """What can be granted: a file, or some tests of one that was collected before.

    ``tests`` are numbers in the file, ascending; ``None`` is the whole file. ``attempt`` counts
    the workers that died on it. ``home`` names the only worker that can run it, if there is one:
    where a file has other ids each time it is collected, only who has it open knows them.
    ``group`` is the group that all of its tests are of: they are for the worker that has it.
    """

    file: str
    tests: tuple[int, ...] | None = None
    attempt: int = 1
    home: str = ""
    group: str = ""

    def only(self, tests: Iterable[int]) -> "Portion":
        """Return the same, of these tests alone."""
        return replace(self, tests=tuple(tests))


class Backlog(Struct):
    """Portions that nobody has; the longest comes first."""

    _heap: list[tuple[float, int, Portion]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def add(self, portion: Portion, seconds: float) -> None:
        """Add a portion that is expected to take so long."""
        heappush(self._heap, (-seconds, next(self._numbers), portion))

    def fill(self, files: Iterable[str], durations: Durations, *, ordered: bool = False) -> None:
        """Add whole files; those of which nothing is known come early, unless they are ordered."""
        for number, file in enumerate(files):
            if ordered:
                self.add(Portion(file), LONGEST - number)
                continue
            seconds = durations.of_file(file) * (1.0 if durations.knows(file) else EARLY)
            self.add(Portion(file), seconds)

    def take(self, worker: str, living: Iterable[str], groups: Mapping[str, str]) -> Portion | None:
        """Take the longest that this worker may have; ``None`` if there is none.

        ``groups`` says who has which. What has its home with a worker that is no longer living, or
        is of a group that such a worker had, is for everybody.
        """
        passed, found = [], None
        others = set(living) - {worker}
        while self._heap:
            entry = heappop(self._heap)
            if not others.isdisjoint((entry[2].home, groups.get(entry[2].group, ""))):
                passed.append(entry)
                continue
            found = entry[2]
            break
        for entry in passed:
            heappush(self._heap, entry)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()

    def __len__(self) -> int:
        """Count the portions."""
        return len(self._heap)


def shares(
    tests: Iterable[int], seconds: Callable[[int], float], share: float
) -> list[tuple[int, ...]]:
    """Divide tests, in their order, into runs of at least ``share`` seconds; the last may be less.

    What is left at the end stays with the run before it, if it is less than half a share: to open
    a file again is work, too.
    """
    runs: list[list[int]] = [[]]
    filled = 0.0
    for test in tests:
        if filled >= share:
            runs.append([])
            filled = 0.0
        runs[-1].append(test)
        filled += seconds(test)
    if len(runs) > 1 and filled < share / 2:
        rest = runs.pop()
        runs[-1] += rest
    return [tuple(run) for run in runs if run]


def tail(left: int) -> int:
    """Say how many of ``left`` untouched tests to ask for: the half, rounded up."""
    return (left + 1) // 2


def worth_giving(seconds: float, opening: float) -> bool:
    """Say whether a tail of so many seconds is worth what another worker pays to open its file."""
    return seconds > max(SHORTEST, 2 * opening)
