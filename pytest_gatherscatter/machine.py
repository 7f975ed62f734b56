"""The contract that all rooms share: messages in, effects out, no clock and no I/O.

A machine is a value that is told things and answers with what is to be done:
``handle(input, now=...) -> list[Effect]``. Time is an argument, in seconds of the caller's
monotonic clock. Each effect has an id, unique within its machine, and what becomes of it
comes back as an input: so "ack before publish" is something that a test can see, and a
crash between any two effects is something that a simulation can play.

The rules that every machine keeps:

1. It must stand every message twice: brokers redeliver, and askers ask again.
2. Decisions are recorded, not inputs. ``Record`` is synced before any later effect of the
   same step is performed, and recovery (``Recovered``) folds the recorded events. Nothing
   that was measured or timed is computed anew.
3. Effects of one step are performed in their order.
4. The delivery that caused a step is acked once its records are synced and each of its
   publishes was confirmed or returned, unless the step said ``Settle`` itself, or ``Keep``.

Effects and inputs are structs, as messages are: each message makes a handful of them, and a frozen
dataclass takes six to ten times as long to make.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import count
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.errors import IllegalTransition
from pytest_gatherscatter.wire.messages import Message

# ── effects ────────────────────────────────────────────────────────────────────────────


class Send(Struct, frozen=True):
    """Send ``message`` to one party by its ``key`` on the lab's direct exchange, mandatory.

    ``reply_to`` is the key for the answer; ``ttl`` in seconds lets the broker drop it.
    """

    id: int
    key: str
    message: Message
    reply_to: str | None = None
    ttl: float | None = None


class Publish(Struct, frozen=True):
    """Publish ``message`` as an event on the lab's event exchange, for whoever listens."""

    id: int
    key: str
    message: Message


class Wake(Struct, frozen=True):
    """Feed ``Woken`` at ``at`` (the machine's clock); earlier wakes stay as they are."""

    id: int
    at: float


class Record(Struct, frozen=True):
    """Write a decision to the journal and sync it before anything that follows."""

    id: int
    event: Mapping[str, Any]


class Run(Struct, frozen=True):
    """Do something that takes time, elsewhere; ``command`` is of the room's own making."""

    id: int
    command: object


class Settle(Struct, frozen=True):
    """Settle a delivery otherwise, or earlier, than rule 4 would; ``reason`` if it is dead."""

    id: int
    delivery: int
    verdict: Verdict
    reason: str = ""


class Keep(Struct, frozen=True):
    """Leave a delivery open, against rule 4: a later step says ``Settle``, or the link is lost."""

    id: int
    delivery: int


Effect: TypeAlias = Send | Publish | Wake | Record | Run | Settle | Keep

# ── inputs ─────────────────────────────────────────────────────────────────────────────


class Received(Struct, frozen=True):
    """A message that came in; ``delivery`` is the pump's number for it.

    ``reply_to`` is the key on which the sender takes answers; ``user`` is the login that the
    broker vouches for, if the sender set it; ``key`` is the one that it was sent with, which the
    broker may allow to some logins only. ``id`` and ``sent`` (Unix seconds) are what its sender
    says of the message, if anything: the same id is the same message once more.
    """

    message: Message
    delivery: int
    reply_to: str | None = None
    user: str | None = None
    redelivered: bool = False
    key: str = ""
    id: str = ""
    sent: int | None = None


class Woken(Struct, frozen=True):
    """The time of some ``Wake`` has come: look at your deadlines."""


class Confirmed(Struct, frozen=True):
    """The broker has a publish: queued somewhere, not handled."""

    effect: int


class Returned(Struct, frozen=True):
    """A ``Send`` found nobody."""

    effect: int


class Failed(Struct, frozen=True):
    """An effect could not be performed (lost connection, unwritable journal)."""

    effect: int
    reason: str


class Exited(Struct, frozen=True):
    """A ``Run`` came to its end; ``result`` is of the room's own making."""

    effect: int
    result: object


class LinkUp(Struct, frozen=True):
    """Connected and consuming, for the first time or again.

    ``broker`` is another one for each start of a broker that forgets all at its end, if the machine
    wants to know; else empty.
    """

    broker: str = ""


class LinkDown(Struct, frozen=True):
    """The connection is lost; the outcome of open publishes came as ``Failed``."""

    reason: str


class Recovered(Struct, frozen=True):
    """The first input of a journalled machine: its recorded events, oldest first.

    ``wall`` is Unix time at ``now``: the only anchor to the world's clock that a machine gets.
    """

    events: tuple[Mapping[str, Any], ...]
    wall: float


class Told(Struct, frozen=True):
    """Something that the machine's own process asks of it; ``request`` is the room's."""

    request: object


class Unreadable(Struct, frozen=True):
    """Something came in that nobody can read; it is with the dead letters, for ``reason``.

    ``reply_to`` and ``correlation`` are what its properties said, true or not.
    """

    reason: str
    reply_to: str | None = None
    correlation: str | None = None
    queue: str = ""


Input: TypeAlias = (
    Received
    | Unreadable
    | Woken
    | Confirmed
    | Returned
    | Failed
    | Exited
    | LinkUp
    | LinkDown
    | Recovered
    | Told
)


class Machine(Protocol):
    """Anything that a pump can drive."""

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input at time ``now`` (seconds, monotonic) and say what is to be done."""


# ── what machines are made of ──────────────────────────────────────────────────────────


class Effects:
    """Collects the effects of one step and gives each its id."""

    def __init__(self, step: int = 1) -> None:
        """Count ids by ``step``: those of a machine around another one go the other way."""
        self._ids = count(step, step)
        self._step: list[Effect] = []

    def send(
        self, key: str, message: Message, *, reply_to: str | None = None, ttl: float | None = None
    ) -> int:
        """Add a :class:`Send`; returns its id."""
        effect = Send(next(self._ids), key, message, reply_to, ttl)
        self._step.append(effect)
        return effect.id

    def publish(self, key: str, message: Message) -> int:
        """Add a :class:`Publish`; returns its id."""
        effect = Publish(next(self._ids), key, message)
        self._step.append(effect)
        return effect.id

    def wake(self, at: float) -> int:
        """Add a :class:`Wake`; returns its id."""
        effect = Wake(next(self._ids), at)
        self._step.append(effect)
        return effect.id

    def record(self, what: str, **facts: object) -> int:
        """Add a :class:`Record` of the event ``what``; returns its id."""
        effect = Record(next(self._ids), {"what": what, **facts})
        self._step.append(effect)
        return effect.id

    def run(self, command: object) -> int:
        """Add a :class:`Run`; returns its id."""
        effect = Run(next(self._ids), command)
        self._step.append(effect)
        return effect.id

    def settle(self, delivery: int, verdict: Verdict, reason: str = "") -> int:
        """Add a :class:`Settle`; returns its id."""
        effect = Settle(next(self._ids), delivery, verdict, reason)
        self._step.append(effect)
        return effect.id

    def keep(self, delivery: int) -> int:
        """Add a :class:`Keep`; returns its id."""
        effect = Keep(next(self._ids), delivery)
        self._step.append(effect)
        return effect.id

    def take(self) -> list[Effect]:
        """Return the effects collected since the last call, in order."""
        step, self._step = self._step, []
        return step


class State(Enum):
    """The base of states: each is one object, and is hashed as one.

    ``Enum`` hashes its members by name, in Python; tables and sets of states are looked into at
    every input.
    """

    __hash__ = object.__hash__


StateT = TypeVar("StateT", bound=State)


class Lifecycle(Generic[StateT]):
    """A state out of an Enum, moved only along a transition table.

    ``table`` maps each state to the states that may follow it; the diagrams in the
    documentation are drawn from the same table.
    """

    STORY = 12  # what an error shows of the recent past; enough for one section's life

    def __init__(
        self, what: str, start: StateT, table: Mapping[StateT, Iterable[StateT]], *, now: float
    ) -> None:
        self.what = what
        self.state = start
        self.since = now
        self._table = table
        self._story: list[tuple[float, StateT, str]] = [(now, start, "")]

    @property
    def story(self) -> tuple[str, ...]:
        """The recent transitions, oldest first, each with its time."""
        return tuple(
            f"{at:.3f} {state.value}" + (f" ({why})" if why else "")
            for at, state, why in self._story[-self.STORY :]
        )

    def to(self, finish: StateT, *, now: float, why: str = "") -> None:
        """Go to ``finish``.

        Raises:
            IllegalTransition: the table has no such step.
        """
        if finish not in self._table[self.state]:
            raise IllegalTransition(self.what, self.state.value, finish.value, self.story)
        self.state = finish
        self.since = now
        self._story.append((now, finish, why))
        del self._story[: -self.STORY]
