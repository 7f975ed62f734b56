"""What each side claims, out of its lines. A line that cannot be read is kept as that."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Time = float | None
Key = tuple[str, str, int]
"""A section: its lab, its id and its token. One that lost its connection has a second token."""


class Local(msgspec.Struct, frozen=True):
    """Times on the monotonic clock of the workload's host."""

    t0: Time = None
    started: Time = None
    stopped: Time = None


class MemberClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A member's report, as either side states it."""

    agent: str
    required: bool = False
    reported: bool = False
    started: Time = None
    stopped: Time = None
    bound: Time = None
    cause: str = ""
    failed: tuple[str, ...] = ()
    sha256: str = ""


class ArtifactClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A captured file: at ``path`` below the records' folder, on ``host``, or lost."""

    agent: str
    name: str
    size: int
    sha256: str
    path: str | None = None
    host: str = ""
    problem: str = ""


class WorkloadClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a workload: ``begun``, or ``ended`` with all of it."""

    what: Literal["begun", "ended"]
    at: float
    lab: str
    section: str
    token: int
    bench: str
    name: str
    test: str
    run: str
    owner: str
    clock: str
    coordinated: bool
    require: tuple[str, ...]
    min_monitors: int
    max_skew: Time
    max_duration: float
    local: Local
    gatherer: str = ""
    members: tuple[str, ...] = ()
    sent: Time = None
    t0: Time = None
    deadline: Time = None
    t0_bound: Time = None
    verdict: str = ""
    outcome: str = ""
    state: str = ""
    overdue: bool = False
    given_up: bool = False
    noise: tuple[str, ...] = ()
    started: Time = None
    stopped: Time = None
    bound: Time = None
    cause: str = ""
    skew: Time = None
    skew_bound: Time = None
    reports: tuple[MemberClaim, ...] | None = None
    artifacts: tuple[ArtifactClaim, ...] = ()
    fenced: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Which section it is about."""
        return (self.lab, self.section, self.token)

    @property
    def went(self) -> bool:
        """Whether its Go was taken."""
        return self.t0 is not None


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    lab: str
    section: str
    clock: str = ""
    """Whose times it tells."""


class Opened(_Event, frozen=True, kw_only=True, tag="opened", tag_field="what"):
    """The gatherer took a section in."""

    token: int
    bench: str
    name: str
    test: str
    run: str
    owner: str


class Committed(_Event, frozen=True, kw_only=True, tag="committed", tag_field="what"):
    """The gatherer decided Go."""

    token: int
    sent: float
    t0: float
    deadline: float
    members: tuple[str, ...]
    required: tuple[str, ...]


class Left(_Event, frozen=True, kw_only=True, tag="left", tag_field="what"):
    """The gatherer heard that the workload is out."""

    token: int
    outcome: str
    started: Time
    stopped: Time
    bound: Time
    needed: float
    overdue: bool

    @property
    def told_later(self) -> bool:
        """Whether somebody told it afterwards, without a time."""
        return self.started is None and not self.needed


class Closed(_Event, frozen=True, kw_only=True, tag="closed", tag_field="what"):
    """The journal's word that a section is over."""


class Aborted(_Event, frozen=True, kw_only=True, tag="aborted", tag_field="what"):
    """The journal's word that a committed section was given up."""

    cause: str = ""


class Ended(_Event, frozen=True, kw_only=True, tag="ended", tag_field="what"):
    """What came of a section, as the gatherer knows it."""

    token: int
    bench: str
    verdict: str
    cause: str
    ended_at: float
    min_monitors: int = 0
    left_at: Time = None
    skew: Time = None
    skew_bound: Time = None
    reports: tuple[MemberClaim, ...] | None = None
    fenced: tuple[str, ...] = ()


Event = Opened | Committed | Left | Closed | Aborted | Ended


@dataclass(slots=True)
class GathererClaim:
    """All that the gatherer says of one section; ``order`` is where its lines stand."""

    lab: str
    section: str
    token: int
    order: int
    opened: Opened | None = None
    committed: Committed | None = None
    left: Left | None = None
    ended: Ended | None = None
    closed: bool = False
    over_at: int | None = None
    """Where the line stands that says that its bench is open again."""
    gone_at: int | None = None
    """Where the line stands of its commit."""

    @property
    def key(self) -> Key:
        """Which section it is about."""
        return (self.lab, self.section, self.token)

    @property
    def bench(self) -> str:
        """Its bench."""
        told = self.opened or self.ended
        return "" if told is None else told.bench


@dataclass(slots=True)
class Side:
    """What one side wrote: lines as they were, the time of the first one, and what is no line."""

    lines: int = 0
    since: float | None = None
    unreadable: list[str] = field(default_factory=list)

    def count(self, at: float) -> None:
        """Count a line that was read."""
        self.lines += 1
        self.since = at if self.since is None else min(self.since, at)


@dataclass(slots=True)
class WorkloadSide(Side):
    """The last word of each section's workload."""

    claims: dict[Key, WorkloadClaim] = field(default_factory=dict)

    def leave_out_all_but(self, lab: str) -> None:
        """Look at one lab only."""
        self.claims = {key: one for key, one in self.claims.items() if one.lab == lab}


@dataclass(slots=True)
class GathererSide(Side):
    """What the gatherer says of each section."""

    claims: dict[Key, GathererClaim] = field(default_factory=dict)

    def leave_out_all_but(self, lab: str) -> None:
        """Look at one lab only."""
        self.claims = {key: one for key, one in self.claims.items() if one.lab == lab}

    tokens: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last token of each section: closed and aborted name none."""


Line = tuple[str, bytes]
"""Where a line stands, for people, and what it says."""


def read_workload(lines: Iterable[Line], side: WorkloadSide) -> None:
    """Add a workload's lines."""
    for where, line in lines:
        try:
            claim = msgspec.json.decode(line, type=WorkloadClaim)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            side.unreadable.append(f"{where}: {error}")
            continue
        side.count(claim.at)
        known = side.claims.get(claim.key)
        if known is None or known.what == "begun":
            side.claims[claim.key] = claim


def read_gatherer(lines: Iterable[Line], side: GathererSide) -> None:
    """Add a gatherer's lines, in their order; what is told twice counts once."""
    for where, line in lines:
        try:
            event = msgspec.json.decode(line, type=Event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            side.unreadable.append(f"{where}: {error}")
            continue
        side.count(event.at)
        _take(event, side)


def _take(event: Event, side: GathererSide) -> None:
    """Add one event to what is known of its section."""
    name = (event.lab, event.section)
    if isinstance(event, Closed | Aborted):
        if name not in side.tokens:
            return  # of a section whose opening was put aside long ago
        token = side.tokens[name]
    else:
        token = side.tokens[name] = event.token
    key = (*name, token)
    claim = side.claims.setdefault(key, GathererClaim(*key, order=side.lines))
    match event:
        case Opened():
            claim.opened = claim.opened or event
        case Committed():
            claim.committed = claim.committed or event
            claim.gone_at = claim.gone_at or side.lines
        case Left():
            claim.left = claim.left or event
        case Closed() | Aborted():
            claim.closed = True
            claim.over_at = claim.over_at or side.lines
        case Ended():
            claim.ended = claim.ended or event
            claim.over_at = claim.over_at or side.lines
