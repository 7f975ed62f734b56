"""What a ledger wants the originator to show: the commands of its ``Run`` effects, in order.

The originator's pytest replays them as its own session. Reports are JSON that a worker wrote.
"""

from dataclasses import dataclass

from msgspec import Raw


@dataclass(frozen=True, slots=True)
class Outfit:
    """What plugins of the originator's pytest have for a worker, as JSON (``Told``)."""

    worker: str
    input: Raw


@dataclass(frozen=True, slots=True)
class WorkerCame:
    """A worker was named, to be started on ``host``; the ledger waits for its :class:`Outfit`."""

    worker: str
    host: str


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker is no more. ``died`` says how, empty if it ended in good order.

    ``after`` is the test that it had run last, where it was in none when it died by itself: then
    fixtures of that one were not torn down. ``output`` is the JSON of what its plugins hand in,
    empty if it has not told all of it.
    """

    worker: str
    died: str = ""
    after: str = ""
    status: int = 0
    output: str = ""
    reports: tuple[Raw, ...] = ()


@dataclass(frozen=True, slots=True)
class FileOpened:
    """A file's tests are known: from now on each of them has to be reported."""

    file: str
    tests: tuple[str, ...]
    deselected: int
    reports: tuple[Raw, ...]
    worker: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FileLost:
    """A file could not be collected, for ``why``: one collection error."""

    file: str
    worker: str
    why: str


@dataclass(frozen=True, slots=True)
class TestStarted:
    """A worker is at a test now; nothing counts on it."""

    __test__ = False

    file: str
    test: str
    worker: str


@dataclass(frozen=True, slots=True)
class TestReported:
    """A test is over after ``seconds``, with the reports of all its phases."""

    __test__ = False

    file: str
    test: str
    worker: str
    reports: tuple[Raw, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TestLost:
    """A test has no reports, and never will: it failed, for ``why``."""

    __test__ = False

    file: str
    test: str
    worker: str
    why: str


@dataclass(frozen=True, slots=True)
class WarningTold:
    """A warning that a worker's pytest recorded."""

    worker: str
    warning: Raw


@dataclass(frozen=True, slots=True)
class LinesPrinted:
    """What a worker printed, in whole lines."""

    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class ListenerFailed:
    """A listener on ``host`` could not take part, for ``why``, with what it printed last.

    ``who`` it is else: somebody who holds workers.
    """

    host: str
    why: str
    stdout: str = ""
    stderr: str = ""
    who: str = "listener"


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Nothing more will come.

    ``text`` says why not everything was run, empty if all was; ``status`` is the exit status of
    the worker's pytest that wanted so, 0 if none did. ``unrun`` are tests that were found and not
    run, ``unopened`` files that were not even collected.
    """

    text: str
    unrun: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()
    status: int = 0


News = (
    WorkerCame
    | WorkerGone
    | FileOpened
    | FileLost
    | TestStarted
    | TestReported
    | TestLost
    | WarningTold
    | LinesPrinted
    | ListenerFailed
    | JobEnded
)
