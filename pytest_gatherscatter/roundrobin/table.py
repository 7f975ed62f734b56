"""The table of workers: who has free slots, and whose turn it is. No I/O and no clock.

Every question takes the same time for ten workers and for a hundred thousand: for each service,
those with a free slot stand in an order of their own, and the others in none.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, eq=False)
class Worker:
    """A worker: how many tasks it may have at a time, and which ones it has.

    ``instance`` is of its process, ``epoch`` of its connection, ``address`` of its inbox. ``tasks``
    are the ids of what it runs. ``heard_at`` in seconds of the caller's clock. ``resting_until``:
    it gave something back for want of room, and gets nothing before. Who is not ``ready`` cannot be
    reached. ``numbers`` are the last Increments heard, by service.
    """

    name: str
    address: str
    slots: int
    instance: str
    services: set[str] = field(default_factory=set)
    epoch: int = 0
    host: str = ""
    pid: int = 0
    heard_at: float = 0.0
    ready: bool = True
    leaving: bool = False
    resting_until: float | None = None
    tasks: dict[str, None] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    given: int = 0
    done: int = 0

    @property
    def free(self) -> int:
        """How many more tasks it may have: never less than none, also with fewer slots now."""
        return max(0, self.slots - len(self.tasks))

    @property
    def may_take(self) -> bool:
        """Whether it stands in the order."""
        return (
            self.ready
            and not self.leaving
            and self.resting_until is None
            and len(self.tasks) < self.slots
        )


class Order(Protocol):
    """The workers of one service with a free slot, and whose turn it is among them.

    ``by_slots``: whose turn it is hangs on how many slots are free, so each change counts.
    """

    by_slots: bool

    def add(self, worker: Worker) -> None:
        """Put a worker where it belongs, at the end of its equals."""

    def drop(self, worker: Worker) -> None:
        """Take a worker out that may be in it."""

    def first(self) -> Worker | None:
        """Return whose turn it is; it stays where it is."""

    def __iter__(self) -> Iterator[Worker]:
        """Yield them in their order, next first."""


class LeastRecentlyUsed:
    """Who got nothing for the longest time is next: a given task, and being full, count as use."""

    by_slots = False

    def __init__(self) -> None:
        self._order: OrderedDict[str, Worker] = OrderedDict()

    def add(self, worker: Worker) -> None:
        """Put a worker at the end."""
        self._order[worker.name] = worker
        self._order.move_to_end(worker.name)

    def drop(self, worker: Worker) -> None:
        """Take a worker out that may be in it."""
        self._order.pop(worker.name, None)

    def first(self) -> Worker | None:
        """Return whose turn it is; it stays where it is."""
        return next(iter(self._order.values()), None)

    def __iter__(self) -> Iterator[Worker]:
        """Yield them in their order, next first."""
        return iter(self._order.values())


class MostFree:
    """Who has the most free slots is next; among equals who was added first."""

    by_slots = True

    def __init__(self) -> None:
        self._equals: dict[int, OrderedDict[str, Worker]] = {}
        self._of: dict[str, int] = {}
        self._most = 0

    def add(self, worker: Worker) -> None:
        """Put a worker at the end of those with as many free slots."""
        self.drop(worker)
        free = worker.free
        self._of[worker.name] = free
        self._equals.setdefault(free, OrderedDict())[worker.name] = worker
        self._most = max(self._most, free)

    def drop(self, worker: Worker) -> None:
        """Take a worker out that may be in it."""
        free = self._of.pop(worker.name, None)
        if free is not None:
            equals = self._equals[free]
            del equals[worker.name]
            if not equals:
                del self._equals[free]

    def first(self) -> Worker | None:
        """Return whose turn it is; it stays where it is."""
        if not self._of:
            self._most = 0
            return None
        while self._most not in self._equals:  # each step down was paid for by an add
            self._most -= 1
        return next(iter(self._equals[self._most].values()))

    def __iter__(self) -> Iterator[Worker]:
        """Yield them in their order, next first."""
        for free in sorted(self._equals, reverse=True):
            yield from self._equals[free].values()


class Table:
    """All workers that a balancer knows, by name; ``order`` makes the order of each service."""

    def __init__(
        self, services: Iterable[str], order: Callable[[], Order] = LeastRecentlyUsed
    ) -> None:
        self._workers: dict[str, Worker] = {}
        self._orders = {service: order() for service in services}
        self._heard: OrderedDict[str, Worker] = OrderedDict()
        """By when they were heard of, the longest silent one first."""

    def __len__(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        """Yield all workers: by service those with free slots whose turn is next, then the rest."""
        seen: dict[str, Worker] = {}
        for order in self._orders.values():
            for worker in order:
                seen.setdefault(worker.name, worker)
        for worker in self._workers.values():
            seen.setdefault(worker.name, worker)
        yield from seen.values()

    def get(self, name: str) -> Worker | None:
        """Return a worker by its name."""
        return self._workers.get(name)

    def add(self, worker: Worker) -> None:
        """Add one whose name is free, as the most recently used.

        Raises:
            ValueError: there is one of the name.
        """
        if worker.name in self._workers:
            raise ValueError(f"there is a worker {worker.name!r} already")
        self._workers[worker.name] = worker
        self._heard[worker.name] = worker
        self.place(worker)

    def remove(self, worker: Worker) -> None:
        """Forget a worker, and nothing of its tasks."""
        if self._workers.get(worker.name) is worker:
            del self._workers[worker.name]
            del self._heard[worker.name]
            for order in self._orders_of(worker):
                order.drop(worker)

    def join(self, worker: Worker, service: str) -> None:
        """Let a worker have tasks of one more service."""
        worker.services.add(service)
        self.place(worker)

    def leave(self, worker: Worker, service: str) -> None:
        """Let a worker have no more tasks of a service; those that it has stay."""
        if service in worker.services:
            self._orders[service].drop(worker)
            worker.services.discard(service)

    def hold(self, worker: Worker, task: str) -> None:
        """Count a task that a worker says it has: nobody gave it, and so it is no turn."""
        worker.tasks[task] = None
        self.place(worker, moved=False)

    def first(self, service: str) -> Worker | None:
        """Return whose turn it is, if anybody of the service has a free slot."""
        return self._orders[service].first()

    def free(self, service: str) -> Iterator[Worker]:
        """Yield those of a service that have a free slot, next first."""
        return iter(self._orders[service])

    def give(self, worker: Worker, task: str) -> None:
        """Count a task that a worker was given: it goes to the end, or out if it is full."""
        worker.tasks[task] = None
        worker.given += 1
        self.place(worker)

    def take_back(self, worker: Worker, task: str) -> bool:
        """Free the slot of a task, once; say whether it had one."""
        if task not in worker.tasks:
            return False
        full = not worker.may_take
        del worker.tasks[task]
        self.place(worker, moved=full)
        return True

    def place(self, worker: Worker, *, moved: bool = True) -> None:
        """Put a worker where it belongs after something of it has changed.

        ``moved`` puts it at the end. Only an order by free slots wants it anew at each change.
        """
        for order in self._orders_of(worker):
            if not worker.may_take:
                order.drop(worker)
            elif moved or order.by_slots:
                order.add(worker)

    def hear(self, worker: Worker, now: float) -> None:
        """Count any sign of life."""
        worker.heard_at = now
        self._heard.move_to_end(worker.name)

    def longest_silent(self) -> Worker | None:
        """Return who was not heard of for the longest time, if there is anybody."""
        return next(iter(self._heard.values()), None)

    def _orders_of(self, worker: Worker) -> Iterator[Order]:
        return (self._orders[one] for one in worker.services if one in self._orders)
