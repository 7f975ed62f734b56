"""What a guide tells the shell of a workload to do next: each a value, none of them does it."""

from typing import TypeAlias

from msgspec import Struct

from pytest_gatherscatter.errors import GatherScatterError


class Connect(Struct, frozen=True):
    """Make an attempt to connect, for at most ``seconds``; what was open before is closed first.

    With ``retry`` it is tried again within them. ``hears_go`` says whether the bench's Go is to
    be heard; ``left`` is how long that is worth while, for people.
    """

    seconds: float
    retry: bool
    hears_go: bool
    left: float


class Serve(Struct, frozen=True):
    """Let things happen on the connection for at most ``seconds``, less as soon as one does.

    ``left`` is the guide's own limit in seconds, for people.
    """

    seconds: float
    left: float = 0.0


class Tell(Struct, frozen=True):
    """Tell the machine ``request``, connected or not."""

    request: object


class LookForDebts(Struct, frozen=True):
    """Tell the gatherer of each section of this host that nobody else will tell it about."""


class SettleDebt(Struct, frozen=True):
    """The gatherer has heard of ``section``, another one of this host: its ticket may go."""

    section: str


class TakeLock(Struct, frozen=True):
    """Take the bench on this host, within ``seconds``; ``waited`` and ``left`` are for people.

    What came of it is told by ``locked`` or ``busy``.
    """

    seconds: float
    waited: float
    left: float


class ReleaseLock(Struct, frozen=True):
    """Open the bench on this host again, for whoever is before it in the queue now."""


class SyncTicket(Struct, frozen=True):
    """Write the ticket with ``token`` and sync it; one with an older token is replaced."""

    token: int


class FallQuiet(Struct, frozen=True):
    """Close the connection and count what is open: all of it within the lead."""


class SleepUntil(Struct, frozen=True):
    """Return at ``t0`` on the local clock or right after it, never before."""

    t0: float


class Fetch(Struct, frozen=True):
    """Take the captures of a closed section."""


class LetGo(Struct, frozen=True):
    """Close the connection, open the lock, settle the ticket.

    The ticket goes if the lab knows that the section is over; if it is ``owed``, it stays for
    whoever meets the gatherer next, with what became of the section.
    """

    owed: bool
    outcome: str


class Fail(Struct, frozen=True):
    """It will not be, for this reason; everything is open still, so go on with ``abandon``."""

    error: GatherScatterError


class Rest(Struct, frozen=True):
    """It is the caller's turn: gathered, inside, or over, as the guide's phase says."""


Step: TypeAlias = (
    Connect
    | Serve
    | Tell
    | LookForDebts
    | SettleDebt
    | TakeLock
    | ReleaseLock
    | SyncTicket
    | FallQuiet
    | SleepUntil
    | Fetch
    | LetGo
    | Fail
    | Rest
)
