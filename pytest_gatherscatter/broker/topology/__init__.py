"""What a party declares on the broker, as plain data; nothing here does I/O.

A :class:`Topology` is everything that a link must declare, bind and consume before it is of
use, so that "connect + declare + consume" can be retried as one unit. Here is what all parties of
a lab need, and who asks or looks; what those of a room declare is in a module of its name beside
this one. Nothing else builds topologies from ``wire/names.py``.

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

INBOX_PREFETCH = 256
"""Unsettled messages an inbox may hold: inboxes settle at once, so this only bounds memory."""

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


def work_queues(lab: str, served: Iterable[tuple[str, str, int | None]]) -> Topology:
    """Build durable queues of work, each ``(queue, key, prefetch)``; without one it is only made.

    Whoever has to do with a queue of work declares it, alike: who comes first makes it.
    """
    served = tuple(served)
    arguments = {"x-dead-letter-exchange": names.dead(lab)}
    direct = names.direct_exchange(lab)
    return Topology(
        queues=tuple(Queue(queue, durable=True, arguments=arguments) for queue, _, _ in served),
        bindings=tuple(Binding(queue, direct, key) for queue, key, _ in served),
        consumers=tuple(
            Consumer(queue, prefetch) for queue, _, prefetch in served if prefetch is not None
        ),
    )


def lasting_queue(
    lab: str, queue: str, keys: Iterable[tuple[str, str]], *, seconds: int
) -> Topology:
    """Build a queue that outlives its connection by ``seconds``, bound with ``(exchange, key)``.

    An exclusive one would take what is said to it to its grave: a connection that is lost silently
    keeps its name, and is confirmed what nobody will read. Its owner deletes it.
    """
    arguments: dict[str, str | int] = {
        "x-expires": seconds * 1000,
        "x-dead-letter-exchange": names.dead(lab),
    }
    return Topology(
        queues=(Queue(queue, durable=True, arguments=arguments),),
        bindings=tuple(Binding(queue, exchange, key) for exchange, key in keys),
        consumers=(Consumer(queue),),
    )


def reply_topology(lab: str, reply_id: str, events: Iterable[str] = ()) -> Topology:
    """Build an asker's: the exclusive queue of its answers, and ``events`` (keys) if any."""
    keys = [(names.direct_exchange(lab), names.reply_key(reply_id))]
    keys += [(names.event_exchange(lab), key) for key in events]
    return lab_topology(lab) + own_inbox(lab, names.reply_queue(lab, reply_id), keys)


def observer_topology(lab: str, reply_id: str) -> Topology:
    """Build an observer's: every event, and nothing that is meant for one party.

    An observer bound to everything on the direct exchange would make an absent gatherer
    routable; so it binds to the events only. ``reply_id`` names its exclusive queue.
    """
    return lab_topology(lab) + own_inbox(
        lab, names.reply_queue(lab, reply_id), ((names.event_exchange(lab), "#"),)
    )
