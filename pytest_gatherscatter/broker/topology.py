"""What a party declares on the broker, as plain data; nothing here does I/O.

A :class:`Topology` is everything that a link must declare, bind and consume before it is of
use, so that "connect + declare + consume" can be retried as one unit. The functions below
build the product's topologies from ``wire/names.py``, and are the only place that does.

RabbitMQ 4.3 refuses transient queues that are not exclusive, the queue modes and the
version 1 of classic queues, and global prefetch. :class:`Queue` cannot be made in such a form
and :class:`Consumer` knows no global prefetch, so no topology can hold what 4.3 refuses.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from msgspec import Struct

from pytest_gatherscatter.wire import names

DEAD_LETTERS = 10_000
"""Dead letters that are kept: enough to see a pattern, at 1 KiB each about 10 MiB."""

DEAD_LETTER_SECONDS = 7 * 24 * 3600
"""How long a dead letter is kept: a week, so that Monday can read what broke on Friday."""

SECTION_QUEUE_SECONDS = 3600
"""How long an unused queue of artifacts stays: the hand-in ends in ``report_timeout`` (30 s),
and an hour leaves a restarted gatherer time to come for what it missed."""

SLIP_QUEUE_SECONDS = 3600
"""How long the queue of who gave out a slip stays without it: far longer than any way back."""

GRADE_QUEUE_SECONDS = 600
"""How long the queue of who asked for grades stays without it: a lost connection is back before."""

RECORD_SECONDS = 28 * 24 * 3600
"""How long a recorder's queue stays without it: four weeks, longer than most people are away."""

RECORD_EVENTS = 100_000
"""Events that wait for a recorder; of more the oldest are lost, and nobody is held up by it."""

RECORD_BYTES = 256 * 1024 * 1024
"""Bytes of them: what a lab's broker can spare, and 2.6 KiB for each of the most events."""

RECORD_PREFETCH = 200
"""Events in a recorder's hand: of the largest ones 200 MiB, and enough for one transaction."""

INBOX_PREFETCH = 256
"""Unsettled messages an inbox may hold: inboxes settle at once, so this only bounds memory."""

ROOM_PREFETCH = 10_000
"""Slips that may wait in one processor's hand: of 10 KiB each that is 100 MiB. Those behind them
wait in the queue until some have left."""

MOST_PREFETCH = 0xFFFF
"""What fits the short unsigned integer that carries a prefetch on the wire."""

_REFUSED_ARGUMENTS = frozenset({"x-queue-mode"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange; ``kind`` is what the embedded broker knows too (no headers exchanges).

    ``shared``: somebody with more rights has made it, as a rule: look for it before making it.
    """

    name: str
    kind: Literal["topic", "fanout", "direct"] = "topic"
    durable: bool = True
    shared: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue: durable, or exclusive to the connection that declares it.

    ``shared`` as for an exchange; its bindings are part of what was made.

    Raises:
        ValueError: it would be one that RabbitMQ 4.3 refuses to declare.
    """

    name: str
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, str | int] = field(default_factory=dict)
    shared: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what RabbitMQ 4.3 refuses."""
        if not self.name:
            raise ValueError("a queue needs a name: a reconnect must find the same one")
        if not self.durable and not self.exclusive:
            raise ValueError(f"{self.name}: RabbitMQ 4.3 refuses transient non-exclusive queues")
        if refused := _REFUSED_ARGUMENTS & set(self.arguments):
            raise ValueError(f"{self.name}: RabbitMQ 4.3 refuses {', '.join(sorted(refused))}")
        if self.arguments.get("x-queue-version") == 1:
            raise ValueError(f"{self.name}: RabbitMQ 4.3 refuses x-queue-version=1")
        if self.arguments.get("x-queue-type") == "quorum" and (self.exclusive or not self.durable):
            raise ValueError(f"{self.name}: a quorum queue must be durable and not exclusive")


class Binding(Struct, frozen=True):
    """Messages of ``exchange`` whose key matches ``key`` go to ``queue``."""

    queue: str
    exchange: str
    key: str


class Consumer(Struct, frozen=True):
    """Take deliveries from ``queue``, at most ``prefetch`` unsettled ones (1 to 65535).

    ``exclusive`` refuses every other consumer of the queue (403 to whoever comes second).
    """

    queue: str
    prefetch: int = INBOX_PREFETCH
    exclusive: bool = False

    def __post_init__(self) -> None:
        """Refuse an unbounded prefetch: 0 would mean all that the queue holds at once."""
        if not 1 <= self.prefetch <= MOST_PREFETCH:
            raise ValueError(
                f"{self.queue}: a prefetch is 1 to {MOST_PREFETCH}, not {self.prefetch}"
            )


_N = TypeVar("_N", bound=Exchange | Queue)
_T = TypeVar("_T")


def _join_named(one: Sequence[_N], two: Sequence[_N]) -> tuple[_N, ...]:
    """Join two sequences, each name once.

    Raises:
        ValueError: one name is described in two ways (the broker would say 406).
    """
    known: dict[str, _N] = {}
    for item in (*one, *two):
        if known.setdefault(item.name, item) != item:
            raise ValueError(f"{item.name} is described in two ways")
    return tuple(known.values())


def _join(one: Iterable[_T], two: Iterable[_T]) -> tuple[_T, ...]:
    """Join two sequences, each item once, in order."""
    return tuple(dict.fromkeys((*one, *two)))


class Topology(Struct, frozen=True):
    """What one connection declares (in this order), and what it consumes."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()
    consumers: tuple[Consumer, ...] = ()

    def __add__(self, other: "Topology") -> "Topology":
        """Join two topologies; what both hold is there once.

        Raises:
            ValueError: one name is described in two ways, or one queue consumed twice.
        """
        consumers = _join(self.consumers, other.consumers)
        if len({consumer.queue for consumer in consumers}) != len(consumers):
            raise ValueError("one queue is consumed in two ways")
        return Topology(
            exchanges=_join_named(self.exchanges, other.exchanges),
            queues=_join_named(self.queues, other.queues),
            bindings=_join(self.bindings, other.bindings),
            consumers=consumers,
        )

    def found(self) -> "Topology":
        """The same without what is shared: what there is to declare where that was found."""
        there = {queue.name for queue in self.queues if queue.shared}
        return Topology(
            tuple(exchange for exchange in self.exchanges if not exchange.shared),
            tuple(queue for queue in self.queues if not queue.shared),
            tuple(binding for binding in self.bindings if binding.queue not in there),
            self.consumers,
        )

    def without_consumer(self, queue: str) -> "Topology":
        """The same, but ``queue`` is no longer consumed."""
        return Topology(
            self.exchanges,
            self.queues,
            self.bindings,
            tuple(c for c in self.consumers if c.queue != queue),
        )

    def only_queue(self, queue: str) -> "Topology":
        """Return ``queue`` alone, with its bindings and its consumer."""
        return Topology(
            (),
            tuple(q for q in self.queues if q.name == queue),
            tuple(b for b in self.bindings if b.queue == queue),
            tuple(c for c in self.consumers if c.queue == queue),
        )

    def without_queue(self, queue: str) -> "Topology":
        """The same without ``queue``, its bindings and its consumer."""
        return Topology(
            self.exchanges,
            tuple(q for q in self.queues if q.name != queue),
            tuple(b for b in self.bindings if b.queue != queue),
            tuple(c for c in self.consumers if c.queue != queue),
        )


def lab_topology(lab: str, *, shared: bool = True) -> Topology:
    """Build what every party of ``lab`` needs: its exchanges and the dead letters.

    All of it is durable and declared alike by everybody, so that nobody must come first. But
    whoever finds it (``shared``) leaves it alone, and so needs no right to make or delete it.
    """
    dead = names.dead(lab)
    return Topology(
        exchanges=(
            Exchange(names.event_exchange(lab), shared=shared),
            Exchange(names.direct_exchange(lab), shared=shared),
            Exchange(dead, kind="fanout", shared=shared),
        ),
        queues=(
            Queue(
                dead,
                durable=True,
                arguments={
                    "x-max-length": DEAD_LETTERS,
                    "x-message-ttl": DEAD_LETTER_SECONDS * 1000,
                },
                shared=shared,
            ),
        ),
        bindings=(Binding(dead, dead, "#"),),
    )


def gatherer_topology(lab: str) -> Topology:
    """Build the gatherer's: the exclusive inbox whose absence is told at once.

    It sees to what the lab shares each time, so that what somebody deleted comes back. It hears
    of agents that join or leave only by requests: events are for those who watch.
    """
    direct = names.direct_exchange(lab)
    keys = ((direct, names.GATHERER_KEY), (direct, names.STEER_KEY))
    return lab_topology(lab, shared=False) + own_inbox(lab, names.gatherer_queue(lab), keys)


def agent_topology(lab: str, name: str, benches: Iterable[str]) -> Topology:
    """Build an agent's: its exclusive inbox, with the events of its ``benches``."""
    events = names.event_exchange(lab)
    keys = [(names.direct_exchange(lab), names.agent_key(name)), (events, names.GATHERER_STARTED)]
    keys += [(events, key) for bench in benches for key in names.bench_events(bench)]
    return lab_topology(lab) + own_inbox(lab, names.agent_queue(lab, name), keys)


def reply_topology(lab: str, reply_id: str, events: Iterable[str] = ()) -> Topology:
    """Build an asker's: the exclusive queue of its answers, and ``events`` (keys) if any."""
    keys = [(names.direct_exchange(lab), names.reply_key(reply_id))]
    keys += [(names.event_exchange(lab), key) for key in events]
    return lab_topology(lab) + own_inbox(lab, names.reply_queue(lab, reply_id), keys)


def job_topology(lab: str, job: str) -> Topology:
    """Build the originator's of a job: its exclusive inbox, whose absence ends the workers."""
    keys = (
        (names.direct_exchange(lab), names.job_key(job)),
        (names.event_exchange(lab), names.JOB_SOUGHT),
    )
    return lab_topology(lab) + own_inbox(lab, names.job_queue(lab, job), keys)


def supervisor_topology(lab: str, supervisor: str) -> Topology:
    """Build a supervisor's: its exclusive inbox, with every job that is offered."""
    keys = (
        (names.direct_exchange(lab), names.supervisor_key(supervisor)),
        (names.event_exchange(lab), names.job_event("offered", "*")),
    )
    return lab_topology(lab) + own_inbox(lab, names.supervisor_queue(lab, supervisor), keys)


def listener_topology(lab: str, listener: str) -> Topology:
    """Build a listener's: a supervisor's, that also hears who asks for listeners."""
    queue = names.supervisor_queue(lab, listener)
    sought = Binding(queue, names.event_exchange(lab), names.LISTENER_SOUGHT)
    return supervisor_topology(lab, listener) + Topology(bindings=(sought,))


def ping_topology(lab: str, asker: str) -> Topology:
    """Build that of who asks for listeners: the exclusive queue of their answers."""
    keys = ((names.direct_exchange(lab), names.ping_key(asker)),)
    return lab_topology(lab) + own_inbox(lab, names.reply_queue(lab, asker), keys)


def processor_topology(lab: str, name: str, processes: Iterable[str], slots: int) -> Topology:
    """Build a processor's: its inbox, the work queues of its ``processes``, the waiting room.

    Of each work queue it takes as many slips as it has ``slots``. The waiting room is consumed by
    all processors, and the broker gives it to one of them at a time.
    """
    direct, events, dead = names.direct_exchange(lab), names.event_exchange(lab), names.dead(lab)
    keys = [(direct, names.processor_key(name))]
    wishes = [names.slip_event(what, "*") for what in ("cancel", "over")]
    questions = [names.SLIP_CHECK, names.STEP_SOUGHT, names.PROCESSOR_SOUGHT]
    keys += [(events, key) for key in wishes + questions]
    shared = [(names.steps_queue(lab, one), names.steps_key(one), slots) for one in processes]
    work = Topology(
        queues=tuple(
            Queue(queue, durable=True, arguments={"x-dead-letter-exchange": dead})
            for queue, _, _ in shared
        ),
        bindings=tuple(Binding(queue, direct, key) for queue, key, _ in shared),
        consumers=tuple(Consumer(queue, prefetch) for queue, _, prefetch in shared),
    )
    waiting = names.waiting_queue(lab)
    room = Topology(
        queues=(
            Queue(
                waiting,
                durable=True,
                arguments={"x-dead-letter-exchange": dead, "x-single-active-consumer": True},
            ),
        ),
        bindings=(Binding(waiting, direct, names.WAITING_KEY),),
        consumers=(Consumer(waiting, ROOM_PREFETCH),),
    )
    inbox = own_inbox(lab, names.processor_queue(lab, name), keys)
    return lab_topology(lab) + inbox + work + room


def slip_watcher_topology(lab: str, asker: str, events: Iterable[str] = ()) -> Topology:
    """Build that of who asks for processors: the exclusive queue of their answers, and events."""
    keys = [(names.direct_exchange(lab), names.slip_key(asker))]
    keys += [(names.event_exchange(lab), key) for key in events]
    return lab_topology(lab) + own_inbox(lab, names.reply_queue(lab, asker), keys)


def asker_topology(lab: str, asker: str, slip: str) -> Topology:
    """Build that of who gives out a slip: a queue that outlives its connection.

    An exclusive one would take the end of a slip to its grave: a connection that is lost silently
    keeps its name, and is confirmed what nobody will read. Its owner deletes it.
    """
    queue = names.slip_queue(lab, asker)
    arguments: dict[str, str | int] = {
        "x-expires": SLIP_QUEUE_SECONDS * 1000,
        "x-dead-letter-exchange": names.dead(lab),
    }
    events = (names.slip_event(what, slip) for what in ("begun", "moved", "ended", "over"))
    return lab_topology(lab) + Topology(
        queues=(Queue(queue, durable=True, arguments=arguments),),
        bindings=(
            Binding(queue, names.direct_exchange(lab), names.slip_key(asker)),
            *(Binding(queue, names.event_exchange(lab), event) for event in events),
        ),
        consumers=(Consumer(queue),),
    )


def examiner_topology(lab: str, name: str, threads: Mapping[str, int]) -> Topology:
    """Build an examiner's: its inbox, and its work queues with the threads that serve each.

    Of each work queue it takes as many requests as it has threads for it, of its suspects one.
    """
    direct, events, dead = names.direct_exchange(lab), names.event_exchange(lab), names.dead(lab)
    found: list[tuple[str, str, int]] = []
    for queue, prefetch in threads.items():
        found.append((names.grading_queue(lab, queue), names.grading_key(queue), prefetch))
        found.append((names.suspects_queue(lab, queue), names.suspects_key(queue), 1))
    work = Topology(
        queues=tuple(
            Queue(queue, durable=True, arguments={"x-dead-letter-exchange": dead})
            for queue, _, _ in found
        ),
        bindings=tuple(Binding(queue, direct, key) for queue, key, _ in found),
        consumers=tuple(Consumer(queue, prefetch) for queue, _, prefetch in found),
    )
    inbox = own_inbox(lab, names.examiner_queue(lab, name), ((events, names.EXAMINER_SOUGHT),))
    return lab_topology(lab) + inbox + work


def grade_topology(lab: str, asker: str) -> Topology:
    """Build that of who asks for grades: a queue that outlives its connection, as of slips."""
    queue = names.grade_queue(lab, asker)
    arguments: dict[str, str | int] = {
        "x-expires": GRADE_QUEUE_SECONDS * 1000,
        "x-dead-letter-exchange": names.dead(lab),
    }
    return lab_topology(lab) + Topology(
        queues=(Queue(queue, durable=True, arguments=arguments),),
        bindings=(Binding(queue, names.direct_exchange(lab), names.grade_key(asker)),),
        consumers=(Consumer(queue),),
    )


def recorder_topology(lab: str, name: str) -> Topology:
    """Build a recorder's: a durable queue of what ended, which waits for it while it is away.

    It is bounded, and drops its oldest rather than refuse new ones: who says that something ended
    is not to be held up. One recorder consumes it, lest each of two had the half.
    """
    queue, events = names.record_queue(lab, name), names.event_exchange(lab)
    arguments: dict[str, str | int] = {
        "x-expires": RECORD_SECONDS * 1000,
        "x-max-length": RECORD_EVENTS,
        "x-max-length-bytes": RECORD_BYTES,
    }
    return lab_topology(lab) + Topology(
        queues=(Queue(queue, durable=True, arguments=arguments),),
        bindings=tuple(Binding(queue, events, key) for key in names.recorded_events()),
        consumers=(Consumer(queue, RECORD_PREFETCH, exclusive=True),),
    )


def observer_topology(lab: str, reply_id: str) -> Topology:
    """Build an observer's: every event, and nothing that is meant for one party.

    An observer bound to everything on the direct exchange would make an absent gatherer
    routable; so it binds to the events only. ``reply_id`` names its exclusive queue.
    """
    return lab_topology(lab) + own_inbox(
        lab, names.reply_queue(lab, reply_id), ((names.event_exchange(lab), "#"),)
    )


def section_topology(lab: str, section: str, *, prefetch: int | None = None) -> Topology:
    """Build the durable queue of a section's artifacts, consumed if ``prefetch`` is given.

    The lab's exchanges are not in it: whoever declares this has joined the lab already.
    """
    queue = names.section_queue(lab, section)
    return Topology(
        queues=(
            Queue(
                queue,
                durable=True,
                arguments={
                    "x-expires": SECTION_QUEUE_SECONDS * 1000,
                    "x-dead-letter-exchange": names.dead(lab),
                },
            ),
        ),
        bindings=(Binding(queue, names.direct_exchange(lab), names.section_key(section)),),
        consumers=() if prefetch is None else (Consumer(queue, prefetch),),
    )


def own_inbox(
    lab: str, queue: str, keys: Iterable[tuple[str, str]], prefetch: int = INBOX_PREFETCH
) -> Topology:
    """Build an exclusive inbox with its bindings ``(exchange, key)`` and its consumer."""
    return Topology(
        queues=(
            Queue(queue, exclusive=True, arguments={"x-dead-letter-exchange": names.dead(lab)}),
        ),
        bindings=tuple(Binding(queue, exchange, key) for exchange, key in dict.fromkeys(keys)),
        consumers=(Consumer(queue, prefetch),),
    )
