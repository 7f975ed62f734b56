"""What stands inside the messages of critical sections."""

from typing import Annotated

from msgspec import Meta

from pytest_gatherscatter.wire.message import (
    Age,
    Count,
    Id,
    Label,
    Name,
    Part,
    Pid,
    Scalar,
    Seconds,
    Text,
    Token,
)


class Hold(Part, frozen=True, kw_only=True):
    """Who holds a section or a bench, for how much longer, and why.

    ``seconds`` is 0 where nobody can say: a person's hold lasts until its holder ends it.
    """

    agent: Label
    seconds: Seconds
    reason: Text = ""


class Finding(Part, frozen=True, kw_only=True):
    """One thing that a monitor measured.

    ``passed`` is the monitor's verdict: ``False`` fails the test, ``None`` is only a figure.
    """

    name: Label
    value: Scalar = None
    unit: Label = ""
    passed: bool | None = None
    text: Text = ""


class Artifact(Part, frozen=True, kw_only=True):
    """A file in a monitor's manifest.

    ``chunks`` is how many :class:`ArtifactChunk` carry it; 0 means that it stayed on
    ``host`` at ``path``, because it is larger than the limit.
    """

    name: Label
    size: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    chunks: Count = 0
    host: Label = ""
    path: Text = ""


class MemberReport(Part, frozen=True, kw_only=True):
    """What the gatherer knows of one member at the end.

    ``started`` and ``stopped`` are on the gatherer's clock, each known to ``bound`` seconds.
    ``lateness`` is ``started - t0``. ``cause`` is empty if all is well, else ``missing``,
    ``died``, ``broken``, ``overdue``.
    """

    agent: Name
    required: bool = False
    reported: bool = False
    started: float | None = None
    stopped: float | None = None
    lateness: float | None = None
    bound: float | None = None
    findings: tuple[Finding, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    cause: Label = ""
    text: Text = ""


class AgentStatus(Part, frozen=True, kw_only=True):
    """An agent as ``status`` shows it; ``state`` says what it does in which section."""

    agent: Name
    benches: tuple[Name, ...]
    host: Label = ""
    pid: Pid = 0
    advisory: bool = False
    heard: Age = 0.0
    state: Label = ""
    offset_bound: float | None = None


class SectionStatus(Part, frozen=True, kw_only=True):
    """A section as ``status`` shows it; ``age`` in seconds since it was entered."""

    section: Id
    name: Label
    bench: Name
    state: Label
    test: Label
    owner: Label
    token: Token
    age: Age
    awaited: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    members: tuple[str, ...] = ()
    overdue: Age = 0.0


class SectionEnd(Part, frozen=True, kw_only=True):
    """A section that has ended, as ``status`` shows it: ``ago`` in seconds since then.

    ``verdict`` is a word of the table of verdicts, as far as the gatherer can know it; ``text``
    says why in a line.
    """

    section: Id
    name: Label
    bench: Name
    test: Label
    owner: Label
    token: Token
    verdict: Label
    ago: Age
    text: Text = ""


class SectionResult(Part, frozen=True, kw_only=True):
    """What came of a section, for who records it: all that its gatherer knows at its end.

    ``verdict`` is as in :class:`SectionEnd`, ``text`` says why; ``outcome`` is what its workload
    said, if it did. ``seconds`` is from its start to its stop. ``skew`` and ``reports`` are as in
    :class:`SectionClosed`, of those that were committed and closed.
    """

    test: Label
    owner: Label
    run: Id
    verdict: Label
    text: Text = ""
    cause: Label = ""
    outcome: Label = ""
    seconds: float | None = None
    skew: float | None = None
    skew_bound: float | None = None
    reports: tuple[MemberReport, ...] = ()


class BenchStatus(Part, frozen=True, kw_only=True):
    """A bench as ``status`` shows it: who is in, who waits, who holds."""

    bench: Name
    current: str = ""
    queued: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    token: Token = 0
