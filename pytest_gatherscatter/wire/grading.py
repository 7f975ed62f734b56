"""The messages of graders: requests to judge something, and their answers.

Payloads and details are JSON of whoever wrote them: they are carried as they are, and read by the
thread that grades, or by who asked. Times are Unix times.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Raw, field

from pytest_gatherscatter.wire.messages import (
    Age,
    Count,
    Id,
    Label,
    Message,
    Name,
    Part,
    Pid,
    Text,
)

MOST_FILES = 32
"""Files of a request: they come as one message, and each has a name and a hash."""

MOST_INLINE = 512 * 1024
"""Bytes of all files inside a request, which base64 makes a third more: a message has 1 MiB."""

Attempts: TypeAlias = Annotated[int, Meta(ge=1, le=100)]
Wall: TypeAlias = Annotated[float, Meta(ge=0, le=1e11)]
Score: TypeAlias = float | None
Sha256: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
FileName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$(?!\n)")]
"""A file of a request: no word of a path, and none that is hidden."""

GradeOutcome: TypeAlias = Literal[
    "graded", "failed", "timed-out", "expired", "undecodable", "refused", "no-response"
]
"""How a request ended. ``failed``: the grader broke. ``timed-out``: it took too long. ``expired``:
the deadline had passed when it was taken. ``undecodable``: nobody could read it. Two are the
asker's own: ``refused``: there is no such queue; ``no-response``: nobody has answered in time."""


class GradingFile(Part, frozen=True, kw_only=True):
    """A file that goes with a request: its ``data``, or its ``path`` where both sides reach it."""

    name: FileName
    size: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    sha256: Sha256
    data: bytes = b""
    path: Text = ""


# ── graders: requests ─────────────────────────────────────────────────────────────────


class GradeRequest(Message, frozen=True, kw_only=True):
    """Asker → the queue of a kind of grading: judge this before the deadline, and answer.

    ``attempt`` grows each time that somebody died with it. Redelivered: it goes to the queue of
    suspects as the next attempt, unless this examiner knows it.
    """

    request: Id
    queue: Name
    deadline: Wall
    created: Wall = 0.0
    payload: Raw = field(default_factory=lambda: Raw(b"null"))
    files: Annotated[tuple[GradingFile, ...], Meta(max_length=MOST_FILES)] = ()
    owner: Label = ""
    attempt: Attempts = 1


class GradeAnswer(Message, frozen=True, kw_only=True):
    """Examiner → who asked, and all who watch: a request has ended.

    ``passed``, ``score`` and ``details`` are of one that was graded; ``text`` is the grader's
    message, or what went wrong. ``waited`` and ``took`` are seconds in the queue and in the grader,
    ``owner`` is who asked. Redelivered, or said by two: the first counts.
    """

    request: Id
    queue: Name
    outcome: GradeOutcome
    passed: bool = False
    score: Score = None
    text: Text = ""
    details: Raw = field(default_factory=lambda: Raw(b"{}"))
    owner: Label = ""
    examiner: Label = ""
    host: Label = ""
    attempt: Attempts = 1
    waited: Age = 0.0
    took: Age = 0.0


# ── graders: questions ────────────────────────────────────────────────────────────────


class SeekExaminers(Message, frozen=True, kw_only=True):
    """Person or asker → all examiners: who is there? Answered each time."""

    asker: Id


class GraderSeen(Part, frozen=True, kw_only=True):
    """A grader of an examiner: ``busy`` of its ``threads`` grade, ``overdue`` ones too long.

    ``graded``, ``failed`` and ``slow`` count since it was started; ``failed`` is all that was not
    graded. ``waiting`` is what it has in hand and no thread for. ``seconds`` is for how long its
    threads have graded, in all.
    """

    name: Name
    kind: Label
    queues: tuple[Name, ...]
    threads: Count
    busy: Count = 0
    overdue: Count = 0
    waiting: Count = 0
    graded: Annotated[int, Meta(ge=0)] = 0
    failed: Annotated[int, Meta(ge=0)] = 0
    slow: Annotated[int, Meta(ge=0)] = 0
    seconds: Age = 0.0


class ExaminerSeen(Message, frozen=True, kw_only=True):
    """Examiner → who sought it: what it grades, and how it stands."""

    examiner: Name
    host: Label
    pid: Pid
    version: Label
    graders: Annotated[tuple[GraderSeen, ...], Meta(max_length=256)]
    up: Age = 0.0
    draining: bool = False


GradingMessage: TypeAlias = GradeRequest | GradeAnswer | SeekExaminers | ExaminerSeen
"""Every message of graders."""
