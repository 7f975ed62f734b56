"""The messages of test files: between the originator of a job and the supervisors of its workers.

A *worker* is one child of pytest; its *supervisor* speaks for it. Whatever happens in a worker is
an :class:`Event` (a part, tagged by its name); a supervisor tells events in :class:`WorkerTold`,
numbered a worker, and says each again until the originator has accepted it. So order, gaps and
repetitions are one matter, settled once. Reports of pytest are opaque here: JSON that a worker
wrote and the originator replays.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Raw, field

from pytest_gatherscatter.wire.event import AnyEvent, Digest, Tail
from pytest_gatherscatter.wire.message import (
    Age,
    Count,
    Id,
    Label,
    Message,
    Name,
    Part,
    Pid,
    Seconds,
    Text,
    Token,
)

FilePath: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""A test file's path below the job's root, with ``/``: what is before ``::`` in a nodeid."""

Total: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""Tests of a whole job: of each of its files there may be as many as :data:`Count` can say."""

MOST_CHOSEN = 200_000
"""Characters of chosen ids in a grant: of up to four bytes each, below the 1 MiB of a message."""


class JobTerms(Part, frozen=True, kw_only=True):
    """What a worker has to know before it starts.

    ``arguments`` are pytest's, as the originator was called, below ``root``; ``place`` is the
    directory it was called in, below ``root`` too, and ``here`` whether that is on its
    ``sys.path``. ``basetemp`` is a directory of the originator's machine, for workers there; empty
    elsewhere. ``run`` is the run's unique id. ``live``: what workers print is shown as it comes.
    """

    arguments: tuple[str, ...]
    root: Text
    place: Text = "."
    here: bool = True
    basetemp: Text = ""
    run: Id
    workers: Count = 0
    test_timeout: Seconds = 0.0
    live: bool = False


class JobSource(Part, frozen=True, kw_only=True):
    """Where listeners get a job's files from, who shall take it, and which of its callbacks it has.

    ``place`` is what rsync reads. On the originator's own ``host`` (an id, empty if that does not
    matter) it is ``path``. ``excludes`` are rsync's patterns of what is left out. A listener takes
    the job if it has all ``labels``. ``terms`` are those that its workers will have.
    """

    place: Text
    host: Label = ""
    path: Text = ""
    excludes: Annotated[tuple[Label, ...], Meta(max_length=200)] = ()
    labels: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    callbacks: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    terms: JobTerms


class ListenerJob(Part, frozen=True, kw_only=True):
    """A job that a listener has, running or in its queue: for how many seconds in this state."""

    job: Id
    originator: Label
    state: Label
    slots: Count = 0
    seconds: Age = 0.0


# ── test files: a job and its workers ──────────────────────────────────────────────────


class SeekJob(Message, frozen=True, kw_only=True):
    """Supervisor → all originators: who has a job? Redelivered: it is offered once more."""

    supervisor: Id


class JobOffered(Message, frozen=True, kw_only=True):
    """Originator → all supervisors, or to one that seeks a job: join, if you have a slot.

    Without a ``source`` it is only for who has the files already.
    """

    job: Id
    originator: Label
    root: Text
    files: Count
    source: JobSource | None = None


class JoinJob(Message, frozen=True, kw_only=True):
    """Supervisor → originator. Redelivered: answered with the same workers.

    Who has another ``version`` of this package is refused; ``pytest`` is its pytest's. ``prepared``
    is for how long it got ready: files came, callbacks ran.
    """

    job: Id
    supervisor: Id
    slots: Annotated[int, Meta(ge=1, le=1024)]
    host: Label = ""
    pid: Pid = 0
    version: Label = ""
    pytest: Label = ""
    prepared: Seconds = 0.0


class JobJoined(Message, frozen=True, kw_only=True):
    """Originator → supervisor: start this worker. Redelivered: it is there.

    ``input`` is what plugins of the originator's pytest have for it (``workerinput``).
    """

    job: Id
    worker: Name
    terms: JobTerms
    input: Raw = field(default_factory=lambda: Raw(b"{}"))  # the schema could not say it as a value


class JobRefused(Message, frozen=True, kw_only=True):
    """Originator → supervisor: not this one, and why."""

    job: Id
    text: Text


class Choice(Part, frozen=True):
    """Which of a file's tests are meant, by their ids after the file's path.

    ``only`` these, if any of them is there; these ``first``; or all ``without`` these. An id that
    is not there is no matter.
    """

    how: Literal["only", "first", "without"]
    tests: tuple[str, ...]


class RunFile(Message, frozen=True, kw_only=True):
    """Originator → supervisor: a worker's next file, or part of one. Redelivered: it has it.

    ``tests`` are numbers into the file's ids whose ``digest`` is given; ``None`` is the whole
    file, whatever is in it. ``choice`` is made before anything is counted.
    """

    job: Id
    worker: Name
    lease: Token
    file: FilePath
    tests: tuple[Count, ...] | None = None
    digest: Digest = ""
    choice: Choice | None = None


class RunFiles(Message, frozen=True, kw_only=True):
    """Originator → supervisor: a worker's next files, all of them whole; each as by itself.

    ``files`` are leases with files, in the order in which they are to be run.
    """

    job: Id
    worker: Name
    files: Annotated[tuple[tuple[Token, FilePath], ...], Meta(max_length=64)]


class BeginFile(Message, frozen=True, kw_only=True):
    """Originator → supervisor, answering a :class:`FileCollected` with groups: begin its tests.

    Not those ``without`` which it goes: they are of groups that other workers have. Redelivered:
    it has begun.
    """

    job: Id
    worker: Name
    lease: Token
    without: tuple[Count, ...] = ()


class GiveBack(Message, frozen=True, kw_only=True):
    """Originator → supervisor: give back up to ``most`` tests of a grant, from its end.

    Only what is not begun, and not announced to the test before it.
    """

    job: Id
    worker: Name
    lease: Token
    most: Count


class WorkerTold(Message, frozen=True, kw_only=True):
    """Supervisor → originator, again until accepted: events ``number`` and on, without a gap."""

    job: Id
    supervisor: Id
    worker: Name
    number: Token
    events: tuple[AnyEvent, ...]


class ToldAccepted(Message, frozen=True, kw_only=True):
    """Originator → supervisor: no event of this worker below ``number`` need be said again."""

    job: Id
    worker: Name
    number: Token


class SupervisorAlive(Message, frozen=True, kw_only=True):
    """Supervisor → originator, as a keepalive; unroutable: the job is over, so end the workers."""

    job: Id
    supervisor: Id


class JobAlive(Message, frozen=True, kw_only=True):
    """Originator → supervisor, answering its keepalive: go on."""

    job: Id


class LeaveJob(Message, frozen=True, kw_only=True):
    """Supervisor → originator, when it ends in good order; ``text`` says why."""

    job: Id
    supervisor: Id
    text: Text = ""


class JobOver(Message, frozen=True, kw_only=True):
    """Originator → supervisors: finish the tests that run, tear down, tell, and end.

    ``text`` is empty where everything was run.
    """

    job: Id
    text: Text = ""


class JobFinished(Message, frozen=True, kw_only=True):
    """Originator → all: how a job ended, for who records it. Redelivered: the same.

    ``files`` and ``tests`` are what was found; the others count tests as pytest's summary does.
    ``unrun`` were found and not run; ``text`` says why it ended before all was run, if it did.
    """

    job: Id
    originator: Label
    root: Text
    seconds: Age
    workers: Count = 0
    files: Count = 0
    tests: Total = 0
    passed: Total = 0
    failed: Total = 0
    errors: Total = 0
    skipped: Total = 0
    xfailed: Total = 0
    xpassed: Total = 0
    unrun: Total = 0
    text: Text = ""


class ListenerTold(Message, frozen=True, kw_only=True):
    """Listener → originator, as a keepalive of a job that it has; unroutable: the job is over.

    ``state`` is ``queued``, ``preparing``, ``working`` or ``failed``, the last with ``text``: then
    it is not to be counted on. Answered with :class:`JobAlive` or :class:`JobOver`.
    """

    job: Id
    listener: Id
    host: Label
    state: Label
    slots: Count = 0
    text: Text = ""
    stdout: Tail = ""
    stderr: Tail = ""


class SeekListeners(Message, frozen=True, kw_only=True):
    """Person → all listeners: who is there? Answered each time."""

    asker: Id


class ListenerSeen(Message, frozen=True, kw_only=True):
    """Listener → person, answering at once, however busy it is.

    ``load`` is the host's, of the last minute. ``jobs`` are those that run, then those that wait;
    ``waiting`` counts these.
    """

    listener: Id
    host: Label
    pid: Pid
    version: Label
    slots: Count
    free: Count
    load: Age
    labels: tuple[Name, ...] = ()
    jobs: tuple[ListenerJob, ...] = ()
    waiting: Count = 0
    up: Age = 0.0
    draining: bool = False


TestFileMessage: TypeAlias = (
    SeekJob
    | JobOffered
    | JoinJob
    | JobJoined
    | JobRefused
    | RunFile
    | RunFiles
    | BeginFile
    | GiveBack
    | WorkerTold
    | ToldAccepted
    | SupervisorAlive
    | JobAlive
    | LeaveJob
    | JobOver
    | JobFinished
    | ListenerTold
    | SeekListeners
    | ListenerSeen
)
"""Every message of test files."""
