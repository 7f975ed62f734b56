"""A worker's child as its supervisor's machine knows it, and what is done with it."""

from collections import deque
from collections.abc import Iterator

from msgspec import Raw, Struct, field

from pytest_gatherscatter.wire import event as ev
from pytest_gatherscatter.wire import testfiles as m

QUICK = 32
"""Files whose ends are remembered of a child, and that a quick one may have ahead: a long test
keeps from others all that its child has."""

HANDED = 2
"""Files that a child has: the one that it works on, and the next, whose fixtures of package and
session it keeps. It has as many more as it finished lately: one that takes a millisecond a file
shall not wait for each."""

LATELY = 0.2
"""Seconds: several times what passes until a child's words are read."""

BATCH = 200
"""Events in one message: some hundred bytes each, and far from what a body may have."""

ROOM = 256 * 1024
"""Bytes of reports in one message, of which a body may have four times as many."""

WINDOW = 4
"""Messages of a worker that may be on their way: enough to keep it busy, and a bound."""

PRINTED = 128 * 1024
"""Bytes of what a child printed that may be on their way: who prints more is read by nobody."""

MOST_PRINTED = 60_000
"""Characters of lines in one event, of what the wire carries."""

# ── what the shell does ────────────────────────────────────────────────────────────────


class StartChild(Struct, frozen=True):
    """Start a child for a worker (``Run``)."""

    worker: str
    terms: m.JobTerms
    input: Raw


class TellChild(Struct, frozen=True):
    """Hand a command to a child: a file, that it may begin, or give back, or the end (``Run``)."""

    worker: str
    command: m.RunFile | m.BeginFile | m.GiveBack | m.JobOver


class AbortChild(Struct, frozen=True):
    """Have a child say where it hangs, and end it (``Run``)."""

    worker: str


class EndChild(Struct, frozen=True):
    """End a child now, whatever it does (``Run``)."""

    worker: str


# ── what the shell tells ───────────────────────────────────────────────────────────────


class ChildSaid(Struct, frozen=True):
    """A child told an event (``Told``); ``size`` is its bytes."""

    worker: str
    event: ev.AnyEvent
    size: int


class ChildGone(Struct, frozen=True):
    """A child's process is over and all of its words were read (``Told``)."""

    worker: str
    died: ev.WorkerDied


class Child(Struct):
    """A worker's child. ``said`` are events from number ``accepted`` on; ``sent`` of them are out.

    ``handed`` are the leases that it has, the one that it works on first.
    """

    worker: str
    grants: deque[m.RunFile] = field(default_factory=deque)
    seen: set[int] = field(default_factory=set)
    handed: list[int] = field(default_factory=list)
    said: deque[tuple[ev.AnyEvent, int]] = field(default_factory=deque)
    accepted: int = 0
    sent: int = 0
    sent_at: float = 0.0
    finished: deque[float] = field(default_factory=lambda: deque(maxlen=QUICK))
    """When it finished files, the last ones."""
    gone: bool = False
    last: bool = False
    """The last event has been said."""
    printed: int = 0
    """Bytes of what it printed that are not accepted."""
    left_out: int = 0
    """Bytes of what it printed that were not told, since the last that were."""
    since: float | None = None
    """When the test, or the import, that runs began."""
    aborted: float | None = None
    """When it was ended, since that took too long."""

    def take_next(self, now: float) -> Iterator[m.RunFile]:
        """Take the files that it is to have next from its grants."""
        most = HANDED + sum(now - at < LATELY for at in self.finished)
        while len(self.handed) < most and self.grants and not self.gone:
            run = self.grants.popleft()
            self.handed.append(run.lease)
            yield run

    def hear(self, event: ev.AnyEvent, now: float) -> None:
        """Note what it is at: importing a file, a test, or nothing that may take too long."""
        match event:
            case ev.FileBegun() | ev.TestBegun():
                self.since = now
            case ev.FileCollected() | ev.TestRan() | ev.FileFinished():
                self.since = None
            case _:
                pass

    def prints(self, said: ev.WorkerPrinted, size: int) -> ev.WorkerPrinted | None:
        """Return what to tell of its lines; ``None`` if there is no room for them."""
        if self.printed and self.printed + size > PRINTED:
            self.left_out += size
            return None
        self.printed += size
        left_out, self.left_out = self.left_out, 0
        if not left_out:
            return said
        return ev.WorkerPrinted(text=f"… {left_out} bytes left out …\n{said.text}"[:MOST_PRINTED])

    def untold(self, now: float) -> Iterator[tuple[int, tuple[ev.AnyEvent, ...]]]:
        """Yield what was not said yet, in pieces of bounded size with their first one's number."""
        self.sent_at = now
        events = list(self.said)
        while self.sent < min(len(events), WINDOW * BATCH):
            room, upto = ROOM, self.sent
            while upto < len(events) and upto - self.sent < BATCH:
                room -= events[upto][1]
                if room < 0 and upto > self.sent:
                    break
                upto += 1
            begin, self.sent = self.sent, upto
            yield self.accepted + begin, tuple(event for event, _ in events[begin:upto])

    def accept(self) -> None:
        """Take the first event as accepted."""
        event, size = self.said.popleft()
        self.accepted += 1
        self.sent = max(0, self.sent - 1)
        if isinstance(event, ev.WorkerPrinted):
            self.printed -= size

    def hangs(self, limit: float, now: float) -> bool:
        """Say whether it takes longer than ``limit`` seconds, of which 0 is for ever."""
        return bool(limit) and self.since is not None and not self.gone and now - self.since > limit
