"""Who may have tasks of a service: kept in a queue for whoever is the balancer next.

A balancer that follows another one is given again by the broker what that one had in hand, and asks
all workers what they run. If everybody of the census has told it, then what nobody has was never
begun. If somebody is missing, it may have died with something.
"""

from collections.abc import Iterable
from itertools import count

from pytest_gatherscatter.wire.roundrobin import MOST_KNOWN, WorkerKnown, WorkersKnown


class Census:
    """The census of one service, as one balancer sees it; pairs are a worker and its instance."""

    def __init__(self, service: str, balancer: str) -> None:
        self._service, self._balancer = service, balancer
        self._before: set[tuple[str, str]] | None = None
        self._unlimited = True
        self._told: set[tuple[str, str]] = set()
        self._published: set[tuple[str, str]] = set()
        self._revisions = count(1)
        self._old: list[int] = []
        self._mine: int | None = None

    def take(self, message: WorkersKnown, delivery: int) -> list[int]:
        """Take one out of the queue; returns deliveries that nobody needs any more.

        Those of earlier balancers are needed until :meth:`settled`, my own until the next.
        """
        if message.balancer != self._balancer:
            self._before = {(one.worker, one.instance) for one in message.workers} | (
                self._before or set()
            )
            self._unlimited = self._unlimited and not message.more
            self._old.append(delivery)
            return []
        done = [] if self._mine is None else [self._mine]
        self._mine = delivery
        return done

    def tell(self, worker: str, instance: str) -> None:
        """Count a worker that has read all that an earlier balancer gave it, and has said so."""
        self._told.add((worker, instance))

    @property
    def complete(self) -> bool:
        """Whether all have told of whom an earlier balancer knew."""
        return self._before is not None and self._unlimited and self._before <= self._told

    def publish(self, pairs: Iterable[tuple[str, str]]) -> WorkersKnown | None:
        """Return what is to be said now, if it is something new."""
        wanted = {*pairs} | (self._before or set())
        if wanted == self._published:
            return None
        self._published = wanted
        named = sorted(wanted)[:MOST_KNOWN]
        return WorkersKnown(
            service=self._service,
            balancer=self._balancer,
            revision=next(self._revisions),
            workers=tuple(WorkerKnown(worker=name, instance=instance) for name, instance in named),
            more=len(wanted) > len(named) or not self._unlimited,
        )

    def settled(self) -> None:
        """Forget who was before: what they may have had is known by now."""
        self._before = set()
        self._unlimited = True

    def outdated(self) -> list[int]:
        """Return the deliveries of earlier balancers, once, if mine is in the queue."""
        if self._mine is None or self._before:
            return []
        old, self._old = self._old, []
        return old
