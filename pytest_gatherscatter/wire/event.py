"""What happens in a worker of test files, as its child says it and its supervisor tells it."""

from typing import Annotated, TypeAlias

from msgspec import Meta, Raw

from pytest_gatherscatter.wire.message import Count, Label, Part, Seconds, Text, Token

Digest: TypeAlias = Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?$(?!\n)")]
"""Of a file's test ids, in order; empty where nobody has collected the file yet."""

MOST_TESTS = 100_000
"""Tests in a file: what :data:`Count` can say."""

Tail: TypeAlias = Annotated[str, Meta(max_length=65_536)]
"""The last of what a process wrote."""


class Event(Part, frozen=True, kw_only=True, tag_field="what", tag=True):
    """The base of what :class:`WorkerTold` carries. ``lease`` says in which grant it happened."""


class FileBegun(Event, frozen=True, kw_only=True):
    """A worker is about to import a file: from here on its death may be the file's fault."""

    lease: Token


class FileCollected(Event, frozen=True, kw_only=True):
    """A file was imported; its first test comes after this.

    ``tests`` are the ids after the file's path that are left after deselection, in order;
    ``digest`` is theirs. ``groups`` names, test by test, who must run on one worker (empty:
    nobody); one name alone is of all tests. Where there are any in a file that was granted whole,
    the first test waits for :class:`BeginFile`. ``whole`` forbids to divide the file. ``reports``
    are collection reports that did not pass, or were skipped. ``seconds`` is what importing and
    collecting took.
    """

    lease: Token
    tests: tuple[str, ...] = ()
    digest: Digest = ""
    groups: tuple[str, ...] = ()
    whole: bool = False
    deselected: Count = 0
    reports: tuple[Raw, ...] = ()
    seconds: Seconds = 0.0


class TestBegun(Event, frozen=True, kw_only=True):
    """The test with this number in its file is about to be set up."""

    __test__ = False  # pytest need not look at it

    lease: Token
    test: Count


class TestRan(Event, frozen=True, kw_only=True):
    """A test is torn down. ``reports`` are of all its phases, in order; it took ``seconds``."""

    __test__ = False

    lease: Token
    test: Count
    seconds: Seconds
    reports: tuple[Raw, ...]


class TestsGivenBack(Event, frozen=True, kw_only=True):
    """These tests were not begun and will not be; ``None``: the whole file was not opened."""

    __test__ = False

    lease: Token
    tests: tuple[Count, ...] | None = None


class FileFinished(Event, frozen=True, kw_only=True):
    """All that was granted and not given back has been told.

    ``strange``: the file's ids are not those that the grant was made from, and nothing was run.
    """

    lease: Token
    strange: bool = False


class WarningSeen(Event, frozen=True, kw_only=True):
    """A warning that pytest recorded, as the originator's terminal needs it."""

    warning: Raw


class WorkerPrinted(Event, frozen=True, kw_only=True):
    """Lines that a worker, its tests or what they started have printed; told where that is shown.

    Beyond what is on its way, they are left out, and a line says so.
    """

    text: Tail


class OutputTold(Event, frozen=True, kw_only=True):
    """A piece of what plugins hand in at a worker's end (``workeroutput``), in order.

    Together they are one JSON object; coverage of a large project takes more than one message.
    """

    part: Annotated[str, Meta(max_length=131_072)]


class WorkerDied(Event, frozen=True, kw_only=True):
    """A worker's process ended before its time; the last event of that worker.

    ``how`` is for people (``SIGSEGV``, ``exit status 7``, ``hung for 30 s``). ``hung``: it was
    ended since its test took too long. ``stdout`` and ``stderr`` are its last output.
    """

    how: Label
    hung: bool = False
    stdout: Tail = ""
    stderr: Tail = ""


class WorkerEnded(Event, frozen=True, kw_only=True):
    """A worker's session is finished; the last event of that worker.

    ``reports`` are errors of the last teardown. ``status`` is pytest's exit status; ``stopped`` is
    why it ended before it was told to, if it did (``pytest.exit``).
    """

    status: Count = 0
    stopped: Text = ""
    reports: tuple[Raw, ...] = ()


AnyEvent: TypeAlias = (
    FileBegun
    | FileCollected
    | TestBegun
    | TestRan
    | TestsGivenBack
    | FileFinished
    | WarningSeen
    | WorkerPrinted
    | OutputTold
    | WorkerDied
    | WorkerEnded
)
