"""The truth about one file of a job: which tests it has, and which of them have been reported."""

from collections.abc import Iterable

from msgspec import Struct

from pytest_gatherscatter.testfiles.schedule import Portion
from pytest_gatherscatter.wire.event import FileCollected


class Book:
    """One file. Tests are numbers, from 0, in the order in which they were collected first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.tests: tuple[str, ...] | None = None
        """Their ids after the file's path; ``None`` until the file was collected."""
        self.digest = ""
        self.whole = False
        self._groups: tuple[str, ...] = ()
        self.opened_by = ""
        self.opening = 0.0
        """Seconds that collecting took."""
        self.lost = False
        """It could not be collected: there will be no tests."""
        self._open: set[int] = set()
        self._deaths: dict[int, int] = {}

    def open(self, told: FileCollected, worker: str) -> None:
        """Fix what has to be reported, once."""
        self.tests, self.digest, self.whole = told.tests, told.digest, told.whole
        self._groups = told.groups
        self.opened_by, self.opening = worker, told.seconds
        self._open = set(range(len(told.tests)))

    def lose(self) -> None:
        """Take it that it cannot be collected."""
        self.lost, self.tests = True, ()

    def settle(self, test: int) -> bool:
        """Take a test as reported; say whether it was open, which it is once."""
        if test not in self._open:
            return False
        self._open.remove(test)
        return True

    def of(self, tests: Iterable[int]) -> list[int]:
        """Return those that are not reported yet."""
        return [test for test in tests if test in self._open]

    def die(self, test: int) -> int:
        """Count a death of a worker in this test; returns how many there were."""
        self._deaths[test] = self._deaths.get(test, 0) + 1
        return self._deaths[test]

    def name(self, test: int) -> str:
        """Return a test's id after the file's path."""
        return "" if self.tests is None else self.tests[test]

    def group(self, test: int) -> str:
        """Return who must run on one worker with a test; empty for nobody."""
        groups = self._groups
        if len(groups) == 1:
            return groups[0]
        return groups[test] if test < len(groups) else ""

    def parted(self, tests: Iterable[int]) -> dict[str, list[int]]:
        """Part tests by group, in their order; where the file is whole its first group has all."""
        parts: dict[str, list[int]] = {}
        tests = list(tests)
        first = next(filter(None, map(self.group, tests)), "") if self.whole else ""
        for test in tests:
            parts.setdefault(first or self.group(test), []).append(test)
        return parts

    @property
    def open_tests(self) -> list[int]:
        """Tests that are not reported, ascending."""
        return sorted(self._open)


class Lease(Struct):
    """A grant: ``portion`` is the worker's until it is finished, given back, or the worker dies.

    ``left`` are its tests that are not reported, once it is collected; ``running`` is the one
    that has begun. ``asked`` is whether it was asked to give back and has not answered.
    ``seconds`` is how long it was expected to take when it was granted. ``without`` are tests that
    its worker was told to leave to others when it had collected the file.
    """

    number: int
    portion: Portion
    worker: str
    seconds: float = 0.0
    begun: bool = False
    left: list[int] | None = None
    running: int | None = None
    asked: bool = False
    without: tuple[int, ...] | None = None
    cut: bool = False
    """What is more than a share was asked back, or there is none."""

    def untouched(self) -> list[int]:
        """Tests that may be given back, in order: neither begun nor next."""
        left = self.left or []
        return left[1:] if self.running is None else left[2:]
