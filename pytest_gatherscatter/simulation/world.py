"""Virtual time, the clocks that everybody reads instead, and what an onlooker saw.

The onlooker sees what leaves a process or comes in, hooks and bodies that begin and end, and
nothing of any machine's own state: so the invariants cannot believe what a machine believes.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import Message

EPOCH = 1_790_000_000.0
"""Unix time at the world's beginning: any will do, as long as it is the same in each run."""

DRIFT = 50e-6
"""Each clock's own drift, so that two of them part by 100 ppm at the most, as assumed."""

HAIR = 1e-6
"""Seconds by which a timer fires late: conversions between clocks round, and must not round
to before the time that was asked for."""


MOST_STEPS = 100_000
"""Steps of one play: fifty times the usual, so that a storm of messages is an end too, also one
in which no time passes."""


class Violated(Exception):
    """Something happened that must not; ``rule`` names the invariant."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


# ── what the onlooker sees ─────────────────────────────────────────────────────────────


class Said(Struct, frozen=True):
    """A message left a process; ``clock`` names the clock that its times are meant on."""

    at: float
    party: str
    key: str
    message: Message
    clock: str | None


class Heard(Struct, frozen=True):
    """A message came in."""

    at: float
    party: str
    message: Message


class Recorded(Struct, frozen=True):
    """An event became durable."""

    at: float
    party: str
    event: dict[str, Any]


class HookCalled(Struct, frozen=True):
    """A monitor's hook began; ``bound`` is how well it says to know the gatherer's clock."""

    at: float
    party: str
    instance: str
    section: str
    hook: Hook
    bound: float | None


class HookAnswered(Struct, frozen=True):
    """A monitor's hook ended; ``answer`` in a word: ``ready``, ``hold``, ``veto``, ``broken``."""

    at: float
    party: str
    instance: str
    section: str
    hook: Hook
    answer: str


class VisitBegan(Struct, frozen=True):
    """A workload wants to enter a section."""

    at: float
    party: str
    section: str
    demand: Demand


class WentAlone(Struct, frozen=True):
    """A workload decided that there is no gatherer."""

    at: float
    party: str
    section: str


class BodyBegan(Struct, frozen=True):
    """A workload is inside. ``bound`` is how well it knows the gatherer's clock."""

    at: float
    party: str
    section: str
    bench: str
    host: str
    coordinated: bool
    bound: float | None


class BodyLeft(Struct, frozen=True):
    """A workload is outside again, or dead."""

    at: float
    party: str
    section: str


class VisitEnded(Struct, frozen=True):
    """A workload's test went on (or its process died); ``excused`` seconds do not count."""

    at: float
    party: str
    section: str
    outcome: str
    excused: float


class TicketSynced(Struct, frozen=True):
    """A section's ticket is on its host's disk, with this token."""

    at: float
    party: str
    section: str
    token: int


class LockTaken(Struct, frozen=True):
    """A workload has its bench's lock on its host, for this section."""

    at: float
    party: str
    section: str
    bench: str


class LockBusy(Struct, frozen=True):
    """A workload found its bench's lock held for ``holder``, who can hear news if ``alert``."""

    at: float
    party: str
    section: str
    holder: str
    alert: bool


class LockReleased(Struct, frozen=True):
    """A workload that is queued again has opened its bench's lock."""

    at: float
    party: str
    section: str
    bench: str


class TicketGone(Struct, frozen=True):
    """A section's ticket was taken off its host's disk, by its owner or whoever settled it."""

    at: float
    party: str
    section: str


class Happened(Struct, frozen=True):
    """Anything else that a reader of the story wants to know: faults, most of all."""

    at: float
    party: str
    what: str


class Died(Struct, frozen=True):
    """A process is gone, with what it had in memory."""

    at: float
    party: str


class Froze(Struct, frozen=True):
    """A process stands still for ``seconds``."""

    at: float
    party: str
    seconds: float


Sight: TypeAlias = (
    Said
    | Heard
    | Recorded
    | HookCalled
    | HookAnswered
    | VisitBegan
    | WentAlone
    | BodyBegan
    | BodyLeft
    | VisitEnded
    | TicketSynced
    | LockTaken
    | LockBusy
    | LockReleased
    | TicketGone
    | Happened
    | Died
    | Froze
)


Kind: TypeAlias = type | tuple[type, type]
"""A kind of sight, or of message; ``(Said, …)`` and ``(Heard, …)`` are one half of the latter."""


class Onlooker(Protocol):
    """Who is shown what it asks for, in the moment.

    ``kinds`` are the kinds of sights, or of messages that were said or heard.
    """

    kinds: frozenset[Kind]

    def see(self, sight: Sight) -> None:
        """Take a sight; raise :class:`Violated` if it must not be."""


class VirtualClock:
    """A host's monotonic clock: ``offset`` seconds off, and ``drift`` seconds a second."""

    def __init__(self, world: "World", name: str, offset: float, drift: float) -> None:
        self._world = world
        self.name = name
        self.offset = offset
        self.rate = 1.0 + drift
        world.clocks[name] = self

    def read(self) -> float:
        """What it shows now."""
        return self.offset + self.rate * self._world.now

    def shows(self, true: float) -> float:
        """What it shows at true time ``true``."""
        return self.offset + self.rate * true

    def true(self, local: float) -> float:
        """The true time at which it shows ``local``."""
        return (local - self.offset) / self.rate


class World:
    """True time, one source of chance, and what is seen.

    With ``story`` all that happens is kept in ``history``. Without it only what an onlooker asks
    for is looked at: a seed tells the same story again, so that it need not be kept each time.
    """

    def __init__(self, seed: int, *, story: bool = False) -> None:
        self.random = Random(seed)  # noqa: S311 - chance that can be repeated is the point
        self.now = 0.0
        self.steps = 0
        self.clocks: dict[str, VirtualClock] = {}
        self.history: list[Sight] = []
        self.over = False
        """Set when what was waited for has come; :meth:`run` returns then."""
        self._story = story
        self._onlookers: dict[type, list[Callable[[Sight], None]]] = {}
        self._saying: dict[type, list[Callable[[Sight], None]]] = {}
        self._hearing: dict[type, list[Callable[[Sight], None]]] = {}
        self._messages: dict[bytes, Message] = {}
        self._wanted_said: set[str | None] = set()
        self._wanted_heard: set[str | None] = set()
        # What is to be done with what, instead of what a partial or a lambda would hold: these are
        # made for each message, and take longer to make than to call.
        self._queue: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()

    def at(self, when: float, action: Callable[..., None], *args: object) -> None:
        """Do ``action`` at true time ``when``, in the order of asking if others are due then."""
        if when < self.now:  # noqa: PLR1730 - at each step, and max() is a call
            when = self.now
        heappush(self._queue, (when, next(self._order), action, args))

    def after(self, delay: float, action: Callable[..., None], *args: object) -> None:
        """Do ``action`` in ``delay`` seconds."""
        self.at(self.now + delay, action, *args)

    def run(self, until: float) -> bool:
        """Let things happen up to true time ``until``; say whether ``over`` was set before."""
        self.over = False
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, args = heappop(queue)
            self.steps += 1
            action(*args)
            if self.over:
                return True
            if self.steps > MOST_STEPS:
                raise Violated("no storm", f"{MOST_STEPS} steps in {self.now:.1f} s")
        self.now = max(self.now, until)
        return False

    def show(self, onlooker: Onlooker) -> None:
        """Show ``onlooker`` what it asks for, from now on."""
        for kind in onlooker.kinds:
            how, what = kind if isinstance(kind, tuple) else (None, kind)
            if not issubclass(what, Message):
                self._onlookers.setdefault(what, []).append(onlooker.see)
                continue
            name = f"{what.__name__}/{codec.VERSION}"
            if how is not Heard:
                self._saying.setdefault(what, []).append(onlooker.see)
                self._wanted_said.add(name)
            if how is not Said:
                self._hearing.setdefault(what, []).append(onlooker.see)
                self._wanted_heard.add(name)

    def see(self, sight: Sight) -> None:
        """Note something, and show it to whoever looks for such things."""
        if self._story:
            self.history.append(sight)
        if isinstance(sight, Said):
            looking = self._saying.get(type(sight.message))
        elif isinstance(sight, Heard):
            looking = self._hearing.get(type(sight.message))
        else:
            looking = self._onlookers.get(type(sight))
        if looking is not None:
            for see in looking:
                see(sight)

    def looks_for(self, how: type["Said | Heard"], kind: str | None) -> bool:
        """Say whether anybody wants to see that a message of this AMQP type is said, or heard."""
        wanted = self._wanted_said if how is Said else self._wanted_heard
        return kind in wanted or self._story

    def read(self, body: bytes, kind: str | None) -> Message:
        """Read a body as its reader does, each once: one may go to many, and is seen on its way.

        A message is never changed, so that all who read it may share it.
        """
        message = self._messages.get(body)
        if message is None:
            message = self._messages[body] = codec.decode(body, kind)
        return message

    def clock(self) -> VirtualClock:
        """Make a clock of its own, as after a reboot."""
        chance, name = self.random, f"c10c{len(self.clocks):04x}"
        offset, drift = chance.uniform(0.0, 1e5), chance.uniform(-DRIFT, DRIFT)
        return VirtualClock(self, name, offset, drift)

    def tell(self, party: str, what: str) -> None:
        """Note something for the story."""
        if self._story:
            self.see(Happened(self.now, party, what))

    def id(self) -> str:
        """Make an identifier, as programs would by chance."""
        return f"{self.random.getrandbits(32):08x}"
