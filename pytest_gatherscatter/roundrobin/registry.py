"""What workers say of themselves, and what a balancer makes of it: the rules of the table.

REGISTER adds, or renews with a new epoch; slots are never overwritten in mid-flight. INCREMENT
frees a slot once for each task. DEREGISTER of one that is not known is a word in the log.
"""

from collections.abc import Iterator

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.roundrobin.table import Table, Worker
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.names import balanced_key

REST = 2.0
"""Seconds for which a worker gets nothing that gave something back: it has no room now."""


class Registry:
    """See the module. It belongs to one connection of a balancer, as its table does."""

    def __init__(self, balancer: str, table: Table, out: Effects) -> None:
        self._balancer, self._table, self._out = balancer, table, out
        self._claims: dict[str, tuple[Worker, bool]] = {}
        """Tasks that workers say they have, and whether those are adrift."""
        self._new: dict[tuple[str, str], Worker] = {}
        """Who gets nothing of a service before the broker has the census with it."""
        self._awaited: dict[int, list[tuple[str, str]]] = {}
        """Which publish is waited for, and by whom."""
        self._unheard: dict[tuple[str, str], Worker] = {}
        self._resting: dict[str, Worker] = {}

    # ── what workers say ───────────────────────────────────────────────────────────────

    def register(self, said: m.Register, now: float) -> tuple[Worker, list[str]] | None:
        """Add a worker or renew it; None if what it says is out of date.

        Returns:
            the worker, and the tasks of its last connection that it has never seen.
        """
        worker = self._table.get(said.worker)
        vanished: list[str] = []
        if worker is None:
            worker = Worker(
                said.worker,
                said.address,
                said.slots,
                said.instance,
                epoch=said.epoch,
                host=said.host,
                pid=said.pid,
                heard_at=now,
            )
            self._table.add(worker)
        elif said.epoch < worker.epoch:
            return None
        elif said.epoch > worker.epoch:
            worker.epoch, worker.address = said.epoch, said.address
            mine = {*said.running, *said.done}
            for id_ in [one for one in worker.tasks if one not in mine]:
                self._table.take_back(worker, id_)
                if id_ not in said.adrift:
                    vanished.append(id_)
        worker.slots = said.slots
        worker.ready, worker.leaving = True, said.leaving
        self._table.hear(worker, now)
        for id_ in said.running:
            worker.tasks[id_] = None
        for id_ in (*said.running, *said.done):  # its Increment may have come by now
            self._claims[id_] = (worker, False)
        for id_ in said.adrift:
            self._claims[id_] = (worker, True)
        self._table.place(worker)
        if said.service not in worker.services:
            self._new[worker.name, said.service] = worker
        self._out.send(
            balanced_key(said.address),
            m.Registered(
                worker=said.worker,
                service=said.service,
                balancer=self._balancer,
                epoch=said.epoch,
            ),
        )
        return worker, vanished

    def heard(self, said: m.Increment, now: float) -> Worker | None:
        """Count an Increment as heard; return its worker, if that is in the table."""
        worker = self._table.get(said.worker)
        if worker is None or worker.instance != said.instance:
            return None
        self._table.hear(worker, now)
        self._claims.pop(said.task, None)
        if said.number > worker.numbers.get(said.service, -1):
            worker.numbers[said.service] = said.number
        self._unheard[worker.name, said.service] = worker
        return worker

    def alive(self, said: m.WorkerAlive, now: float) -> Worker | None:
        """Count a sign of life; who is not in the table is told to register."""
        worker = self._table.get(said.worker)
        known = (
            worker is not None
            and worker.instance == said.instance
            and worker.epoch == said.epoch
            and (
                said.service in worker.services
                or (worker.name, said.service) in self._new
                or worker.leaving
            )
        )
        if worker is None or not known:
            unknown = m.WorkerUnknown(worker=said.worker, service=said.service)
            self._out.send(balanced_key(said.address), unknown)
            return None
        self._table.hear(worker, now)
        for id_ in said.running:
            if id_ not in worker.tasks:
                self._claims[id_] = (worker, False)
        return worker

    def deregister(self, said: m.Deregister, now: float) -> str:
        """Give a worker nothing more of a service; returns what there is to log."""
        worker = self._table.get(said.worker)
        if worker is None or worker.instance != said.instance:
            return f"worker {said.worker} has taken its leave, and was not known"
        self._table.hear(worker, now)
        self._new.pop((worker.name, said.service), None)
        self._table.leave(worker, said.service)
        if not worker.services:
            worker.leaving = True
            if not worker.tasks:
                self._table.remove(worker)
        return f"worker {said.worker} leaves {said.service} with {len(worker.tasks)} tasks"

    # ── what a balancer makes of it ────────────────────────────────────────────────────

    def claim(self, task: str) -> tuple[Worker, bool] | None:
        """Return who has a task, and whether it is adrift there; once."""
        worker, adrift = self._claims.pop(task, (None, False))
        if worker is None or self._table.get(worker.name) is not worker:
            return None
        return worker, adrift

    def pairs(self, service: str) -> set[tuple[str, str]]:
        """Return who may have tasks of a service, each with its instance."""
        return {
            (one.name, one.instance)
            for one in self._table
            if service in one.services or (one.name, service) in self._new or one.leaving
        }

    def awaits(self, send: int, service: str) -> None:
        """Let those who are new to a service have its tasks once this publish is confirmed."""
        self._awaited[send] = [key for key in self._new if key[1] == service]

    def confirmed(self, effect: int) -> Iterator[Worker]:
        """Yield those who may have tasks now that this publish is confirmed."""
        for key in self._awaited.pop(effect, ()):
            worker = self._new.pop(key, None)
            if worker is not None and self._table.get(worker.name) is worker:
                self._table.join(worker, key[1])
                yield worker

    def serve(self, worker: Worker, service: str) -> None:
        """Let a worker have tasks at once if the census with it was confirmed before."""
        key = (worker.name, service)
        if key in self._new and not any(key in keys for keys in self._awaited.values()):
            del self._new[key]
            self._table.join(worker, service)

    def rest(self, worker: Worker, now: float) -> None:
        """Give a worker nothing for a moment: it had no room for what it got."""
        worker.resting_until = now + REST
        self._resting[worker.name] = worker
        self._table.place(worker, moved=False)

    def look(self, now: float) -> Iterator[Worker]:
        """Say what was heard, forget who has left, and yield those that have rested."""
        for (name, service), worker in self._unheard.items():
            if self._table.get(name) is worker:
                number = worker.numbers[service]
                heard = m.IncrementsHeard(worker=name, service=service, number=number)
                self._out.send(balanced_key(worker.address), heard)
        self._unheard.clear()
        for worker in [*self._resting.values()]:
            if worker.resting_until is None or now >= worker.resting_until:
                worker.resting_until = None
                del self._resting[worker.name]
                self._table.place(worker)
                yield worker

    def seen(self, now: float) -> list[m.WorkerSeen]:
        """List all workers."""
        return [
            m.WorkerSeen(
                worker=one.name,
                host=one.host,
                pid=one.pid,
                services=tuple(sorted(one.services)),
                slots=one.slots,
                free=one.free,
                epoch=one.epoch,
                given=one.given,
                done=one.done,
                silent=max(0.0, now - one.heard_at),
                leaving=one.leaving,
            )
            for one in self._table
        ]
