"""What a ledger wants the originator to show: the commands of its ``Run`` effects, in order.

The originator's pytest replays them as its own session. Reports are JSON that a worker wrote.
"""

from collections.abc import Mapping

from msgspec import Raw, Struct


class Outfit(Struct, frozen=True):
    """What plugins of the originator's pytest have for a worker, as JSON (``Told``)."""

    worker: str
    input: Raw


class Summary(Struct, frozen=True):
    """How the originator's pytest counted the tests of its job, to be put on record (``Told``).

    ``seconds`` is how long the job took. ``counts`` are by the words of pytest's own summary:
    ``passed``, ``failed``, ``error``, ``skipped``, ``xfailed``, ``xpassed``.
    """

    seconds: float
    counts: Mapping[str, int]


class WorkerCame(Struct, frozen=True):
    """A worker was named, to be started on ``host``; the ledger waits for its :class:`Outfit`.

    ``prepared`` is how many seconds its host took before, to fetch the files.
    """

    worker: str
    host: str
    prepared: float = 0.0


class WorkerGone(Struct, frozen=True):
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


class FileOpened(Struct, frozen=True):
    """A file's tests are known: from now on each of them has to be reported."""

    file: str
    tests: tuple[str, ...]
    deselected: int
    reports: tuple[Raw, ...]
    worker: str
    seconds: float


class FileLost(Struct, frozen=True):
    """A file could not be collected, for ``why``: one collection error."""

    file: str
    worker: str
    why: str


class TestStarted(Struct, frozen=True):
    """A worker is at a test now; nothing counts on it."""

    __test__ = False

    file: str
    test: str
    worker: str


class TestReported(Struct, frozen=True):
    """A test is over after ``seconds``, with the reports of all its phases."""

    __test__ = False

    file: str
    test: str
    worker: str
    reports: tuple[Raw, ...]
    seconds: float = 0.0


class TestLost(Struct, frozen=True):
    """A test has no reports, and never will: it failed, for ``why``."""

    __test__ = False

    file: str
    test: str
    worker: str
    why: str


class WarningTold(Struct, frozen=True):
    """A warning that a worker's pytest recorded."""

    worker: str
    warning: Raw


class LinesPrinted(Struct, frozen=True):
    """What a worker printed, in whole lines."""

    worker: str
    text: str


class ListenerFailed(Struct, frozen=True):
    """A listener on ``host`` could not take part, for ``why``, with what it printed last.

    ``who`` it is else: somebody who holds workers.
    """

    host: str
    why: str
    stdout: str = ""
    stderr: str = ""
    who: str = "listener"


class JobEnded(Struct, frozen=True):
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
