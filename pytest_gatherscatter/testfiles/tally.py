"""What became of each worker's time, and how much is left: what people see of a job. Pure.

Times are seconds on one clock, the originator's; so a worker's start is what passed from its name
to its first file, with all that the network and its host took.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from pytest_gatherscatter.testfiles.schedule import Durations


class Tally(Struct):
    """One worker: when it came, was at its first file, told last; what it did meanwhile."""

    worker: str
    host: str
    came: float
    first: float | None = None
    last: float = 0.0
    files: int = 0
    tests: int = 0
    collected: float = 0.0
    """Seconds of importing and collecting."""
    ran: float = 0.0
    """Seconds of tests."""
    died: bool = False
    prepared: float = 0.0
    """Seconds until its host had the files, before it came."""

    def begin(self, now: float) -> None:
        """Take it that it works now."""
        self.first = now if self.first is None else self.first
        self.last = now

    def file(self, seconds: float, now: float) -> None:
        """Count a file that it collected."""
        self.begin(now - seconds)
        self.files += 1
        self.collected += seconds
        self.last = now

    def test(self, seconds: float, now: float) -> None:
        """Count a test that it ran."""
        self.begin(now - seconds)
        self.tests += 1
        self.ran += seconds
        self.last = now


class Shares(Struct, frozen=True):
    """Where a worker's seconds went: ``idle`` between files, ``tail`` after its last one."""

    start: float
    collect: float
    busy: float
    idle: float
    tail: float

    @property
    def whole(self) -> float:
        """All of it."""
        return self.start + self.collect + self.busy + self.idle + self.tail


def shares(tally: Tally, end: float) -> Shares:
    """Divide the time from a worker's coming until ``end``, when the last file or test was told."""
    if tally.first is None:
        return Shares(max(0.0, end - tally.came), 0.0, 0.0, 0.0, 0.0)
    start = max(0.0, tally.first - tally.came)
    tail = max(0.0, end - tally.last)
    rest = max(0.0, end - tally.came) - start - tail - tally.collected - tally.ran
    return Shares(start, tally.collected, tally.ran, max(0.0, rest), tail)


def whole_line(tallies: Iterable[Tally], end: float) -> str:
    """Say in one line how busy the workers were, what took the rest, and when files had come."""
    tallies = list(tallies)
    parts = [shares(one, end) for one in tallies]
    whole = sum(part.whole for part in parts)
    if not whole:
        return "no worker came"
    rest = {
        "start": sum(part.start for part in parts),
        "collect": sum(part.collect for part in parts),
        "idle": sum(part.idle for part in parts),
        "tail": sum(part.tail for part in parts),
    }
    many = counted(len(parts), "worker")
    said = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in rest.items())
    line = f"{many}, busy {sum(part.busy for part in parts) / whole:.0%} of {end_of(end)} ({said})"
    prepared = max(one.prepared for one in tallies)
    return f"{line}; files came in {end_of(prepared)}" if prepared else line


def counted(number: int, noun: str) -> str:
    """Say how many there are of something."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def end_of(seconds: float) -> str:
    """Say a duration as a person would."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d} min"


def line(tally: Tally, end: float) -> str:
    """Say what became of one worker's time."""
    part = shares(tally, end)
    sync = f"sync {tally.prepared:.1f}, " if tally.prepared else ""
    died = ", died" if tally.died else ""
    return (
        f"{tally.worker} on {tally.host}{died}: "
        f"{counted(tally.files, 'file')}, {counted(tally.tests, 'test')}, "
        f"busy {part.busy:.1f} s of {part.whole:.1f} s "
        f"({sync}start {part.start:.1f}, collect {part.collect:.1f}, idle {part.idle:.1f}, "
        f"tail {part.tail:.1f})"
    )


class Forecast:
    """How much is left, by what earlier runs and this one took."""

    def __init__(self, files: Iterable[str], known: Mapping[str, Mapping[str, float]]) -> None:
        self._durations = Durations(known)
        self._shut = {file: self._durations.of_file(file) for file in files}
        self._open: dict[tuple[str, str], float] = {}
        self.left = sum(self._shut.values())
        """Seconds of work that nobody has done yet."""

    def open(self, file: str, tests: Iterable[str]) -> None:
        """Take which tests a file has."""
        self.left -= self._shut.pop(file, 0.0)
        for test in tests:
            seconds = self._open[file, test] = self._durations.of_test(file, test)
            self.left += seconds

    def lose(self, file: str) -> None:
        """Take it that a file has none."""
        self.open(file, ())

    def done(self, file: str, test: str, seconds: float | None = None) -> None:
        """Take it that a test is over, after ``seconds`` if it ran."""
        self.left -= self._open.pop((file, test), 0.0)
        if seconds is not None:
            self._durations.note(file, seconds)


class View(Struct, frozen=True):
    """A job as it stands: what the line at the bottom says."""

    done: int
    total: int
    workers: int
    left: float
    """Seconds of work."""
    failed: int = 0
    longest: str = ""
    """The test that has been running longest."""
    since: float = 0.0
    """For how many seconds it has."""

    def text(self, width: int) -> str:
        """Say it in at most ``width`` characters."""
        if not self.workers:
            said = f"{self.done}/{self.total}, waiting for workers"
        else:
            said = f"{self.done}/{self.total}, {counted(self.workers, 'worker')}"
            left = self.left / self.workers
            if self.done < self.total and left >= 1:  # below, it is what runs now
                said += f", about {end_of(left)} left"
        if self.failed:
            said = f"{self.failed} failed, {said}"
        if self.longest and self.since >= 1:
            said += f", {end_of(self.since)} in {self.longest}"
        return said if len(said) <= width else f"{said[: max(0, width - 1)]}…"
