"""Giving tasks to workers, and what becomes of each until its message is settled."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import inf

from msgspec import Raw

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.roundrobin import task as meaning
from pytest_gatherscatter.roundrobin.desk import Desk
from pytest_gatherscatter.roundrobin.order import Choice
from pytest_gatherscatter.roundrobin.table import Table, Worker
from pytest_gatherscatter.roundrobin.task import Task
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.names import balanced_key

OLD = 4 * 60.0
"""Seconds after which what waits is published anew, so that no message is held for long."""

HELD = 24 * 60.0
"""Seconds for which a message is held at the most: RabbitMQ takes it away after thirty minutes."""


class Giving:
    """See the module. It lives as long as a connection of its balancer.

    ``closed``: nothing is given out any more. ``wall`` tells Unix time; ``policy`` is one of the
    balancer's own, or ``choice`` tells who gets a task.
    """

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        desks: Mapping[str, Desk],
        table: Table,
        out: Effects,
        wall: Callable[[float], float],
        *,
        host: str,
        policy: str,
        choice: Choice | None,
        closed: bool = False,
    ) -> None:
        self.desks, self.table, self._out, self.wall = desks, table, out, wall
        self._host, self._policy, self._choice = host, policy, choice
        self.closed = closed
        self.tasks: dict[str, Task] = {}
        """All that is in hand, as it came."""
        self.twins: dict[str, Task] = {}
        """The same by their clients' ids."""
        self._assigned: dict[int, tuple[Task, Worker, int]] = {}
        self._answered: dict[int, Task] = {}
        self._passing: dict[int, Task] = {}
        self._unsaid: list[Task] = []
        self._freed: list[Worker] = []
        self._deadlines: list[tuple[float, int, str]] = []
        self._numbers = count(1)

    @property
    def leaves(self) -> bool:
        """Whether something of it is on its way to clients, or back to a queue."""
        return bool(self._passing or self._answered)

    # ── giving out ─────────────────────────────────────────────────────────────────────

    def offer(self, task: Task, now: float, *, ahead: bool = False) -> None:
        """Give a task to a worker with a free slot, else let it wait."""
        desk = self.desks[task.service]
        if ahead and self.wall(now) >= task.wanted.deadline:
            self.expire(task, now)
            return
        worker = None
        if not self.closed and (ahead or desk.backlog.passes):
            worker = self._choose(task, desk)
        if worker is not None:
            self.assign(task, worker)
        elif not ahead and task.wanted.answered and desk.backlog.is_full(task.size):
            desk.busy += 1
            text = f"busy: {len(desk.backlog)} wait already at the balancer of {task.service}"
            self._answer(task, "busy", text, now)
        elif self.closed and task.begun_by is None and not task.redelivered:
            self.pass_on(task)
        else:
            desk.backlog.push(task, ahead=ahead)
            self.limit(task, now)

    def _choose(self, task: Task, desk: Desk) -> Worker | None:
        """Return who gets a task, if anybody can have it now; it may become bound to one."""
        affinity = task.wanted.affinity
        first = self.table.first(desk.service)
        if self._policy == "affinity" and affinity:
            worker = self._owner(desk, affinity)
            if worker is not None:
                if worker.may_take:
                    return worker
                task.bound = worker.name
                return None
            if first is not None:
                desk.bind(affinity, first.name)
        elif self._choice is not None and first is not None:
            free = tuple(self.table.free(desk.service))
            chosen = self._choice(desk.service, affinity, free)
            return next((one for one in free if one.name == chosen), first)
        return first

    def fill(self, worker: Worker) -> None:
        """Give a worker what waits, for as long as it has free slots."""
        while worker.may_take and not self.closed:
            heads = [
                task
                for service in worker.services
                if (task := self.desks[service].backlog.next(worker.name)) is not None
            ]
            if not heads:
                return
            task = min(heads, key=_came)
            desk, affinity = self.desks[task.service], task.wanted.affinity
            if self._policy == "affinity" and affinity and task.bound is None:
                owner = self._owner(desk, affinity)
                if owner is not None and owner is not worker:  # since it began to wait
                    desk.backlog.bind(task, owner.name)
                    continue
                desk.bind(affinity, worker.name)
            desk.backlog.drop(task)
            self.assign(task, worker)

    def _owner(self, desk: Desk, affinity: str) -> Worker | None:
        """Return who had the last task of an affinity, if it lives and stays."""
        worker = self.table.get(desk.bound.get(affinity, ""))
        if worker is None or worker.leaving or desk.service not in worker.services:
            return None
        return worker

    def assign(self, task: Task, worker: Worker) -> None:
        """Send a task to its worker."""
        task.worker = worker.name
        task.gives += 1
        self.table.give(worker, task.id)
        self.desks[task.service].given += 1
        assign = m.Assign(
            task=task.id,
            worker=worker.name,
            service=task.service,
            instance=worker.instance,
            epoch=worker.epoch,
            type=codec.type_of(task.message),
            body=Raw(task.body),
            reply_to=task.reply_to,
            sender=task.sender,
            redelivered=task.redelivered,
        )
        send = self._out.send(balanced_key(worker.address), assign)
        self._assigned[send] = (task, worker, task.gives)

    def again(self, task: Task, now: float) -> None:
        """Give out once more what somebody may have begun, or say that nobody will."""
        task.redelivered = True
        if not task.wanted.rerun or task.gives >= task.wanted.gives:
            self.desks[task.service].lost += 1
            name = "its worker" if task.begun_by is None else f"worker {task.begun_by[0]}"
            times = f", and {task.gives - 1} before it" if task.gives > 1 else ""
            self._answer(task, "worker-lost", f"{name} was lost with it{times}", now)
        else:
            self.offer(task, now, ahead=True)

    def line_up(self, tasks: Sequence[Task]) -> None:
        """Let those of them that wait stand ahead of all, in their order."""
        for task in reversed(tasks):
            backlog = self.desks[task.service].backlog
            if backlog.drop(task):
                backlog.push(task, ahead=True)

    # ── what becomes of it ─────────────────────────────────────────────────────────────

    def confirmed(self, effect: int) -> bool:
        """Settle what has gone on; False if this publish is none of these."""
        if self._assigned.pop(effect, None) is not None:
            return True
        ended = self._answered.pop(effect, None) or self._passing.pop(effect, None)
        if ended is None:
            return False
        self.forget(ended)
        self.settle(ended, Verdict.ACK)
        return True

    def returned(self, effect: int, now: float) -> bool:
        """A worker's inbox is gone, it may be back in a moment; or a client's, that waits no more.

        False if this publish is none of these.
        """
        task, worker, gives = self._assigned.pop(effect, (None, None, 0))
        if task is not None and worker is not None:
            worker.ready = False
            self.table.place(worker, moved=False)
            if task.worker == worker.name and task.gives == gives:
                self.table.take_back(worker, task.id)
                self.take_back(task, now)
            return True
        passed = self._passing.pop(effect, None)
        if passed is not None:
            self.forget(passed)
            self.settle(passed, Verdict.REQUEUE)
            return True
        return self.confirmed(effect)

    def failed(self, effect: int) -> None:
        """Most often the connection is lost, which is told next; else it cannot be said."""
        assigned = self._assigned.pop(effect, None)
        task = self._answered.pop(effect, None) or self._passing.pop(effect, None)
        if assigned is not None:
            task = assigned[0]
            self.table.take_back(assigned[1], task.id)
            self._freed.append(assigned[1])
        if task is not None:
            self._unsaid.append(task)

    def take_back(self, task: Task, now: float) -> None:
        """Let a task wait again that no worker has seen."""
        task.worker = None
        task.gives -= 1
        if not task.over:
            self.offer(task, now, ahead=True)

    def _answer(self, task: Task, outcome: m.ExecuteOutcome, text: str, now: float) -> None:
        """Tell a client that its task will not be done; then its message is settled."""
        self.desks[task.service].backlog.drop(task)
        self.desks[task.service].unclaimed.pop(task.id, None)
        task.over = True
        if not task.wanted.answered or not meaning.may_be_answered(task.reply_to):
            self.forget(task)
            self.settle(task, Verdict.DEAD, f"{outcome}: {text}")
            return
        answer = meaning.answer(task, outcome, text, host=self._host, now=now)
        self._answered[self._out.send(task.reply_to, answer)] = task

    def _bury(self, task: Task, text: str, now: float) -> None:
        """Set aside what can be given to nobody, and say so to its client."""
        if task.wanted.answered and not task.over:
            self._answer(task, "failed", text, now)
        else:
            self.forget(task)
            self.settle(task, Verdict.DEAD, text)

    def pass_on(self, task: Task) -> None:
        """Publish what waits anew, at the end of its queue; then the old one is settled."""
        self.twins.pop(task.wanted.id, None)
        self.desks[task.service].backlog.drop(task)
        task.over = True
        reply_to = task.reply_to or None
        send = self._out.send(task.service, task.message, reply_to=reply_to)
        self._passing[send] = task

    def forget(self, task: Task) -> None:
        """Let go of a task: nobody is to run it any more."""
        if self.tasks.get(task.id) is task:
            del self.tasks[task.id]
        if self.twins.get(task.wanted.id) is task:
            del self.twins[task.wanted.id]
        self.desks[task.service].backlog.drop(task)
        self.desks[task.service].unclaimed.pop(task.id, None)
        task.over = True

    def settle(self, task: Task, verdict: Verdict, reason: str = "") -> None:
        """Settle its message, once."""
        if not task.settled:
            task.settled = True
            reason = f"{task.id}: {reason}" if verdict is Verdict.DEAD else ""
            self._out.settle(task.delivery, verdict, reason)

    # ── time ───────────────────────────────────────────────────────────────────────────

    def look(self, now: float) -> None:
        """See to deadlines."""
        while self._deadlines and self._deadlines[0][0] <= now:
            task = self.tasks.get(heapq.heappop(self._deadlines)[-1])
            if task is not None and not task.over:
                self.expire(task, now)

    def bury_unsaid(self, now: float) -> None:
        """Set aside what could not be said, although the connection is well."""
        for task in self._unsaid:
            self._bury(task, "it cannot be said", now)
        self._unsaid = []
        for worker in self._freed:  # which says nothing of what it never had
            if self.table.get(worker.name) is worker:
                self.fill(worker)
        self._freed = []

    def limit(self, task: Task, now: float) -> None:
        """Look at a task that waits when its deadline has come."""
        if task.wanted.deadline < inf:
            at = now + task.wanted.deadline - self.wall(now)
            heapq.heappush(self._deadlines, (at, next(self._numbers), task.id))
            self._out.wake(at)

    def expire(self, task: Task, now: float) -> None:
        """Tell a client that its time is over, unless somebody works on it."""
        if task.worker is None:
            self.desks[task.service].expired += 1
            late = max(0.0, self.wall(now) - task.wanted.deadline)
            why = "its worker was lost" if task.redelivered else "nobody had a free slot"
            text = f"{why}, and its time was over {late:.1f} s before"
            self._answer(task, "expired", text, now)

    def let_go(self, now: float) -> None:
        """Hold no message for longer than the broker allows.

        What waits is published anew, but for what may have been begun: that keeps its mark.
        """
        held = []
        for task in self.tasks.values():
            if now < task.came + OLD:
                break  # they stand as they came
            held.append(task)
        for task in held:
            if task.over:
                pass  # an answer, or its copy, is on its way
            elif now >= task.came + HELD and task.worker is not None:
                self.settle(task, Verdict.ACK)
            elif now >= task.came + HELD:
                self.forget(task)
                self.settle(task, Verdict.REQUEUE)
            elif task.worker is None and task.begun_by is None and not task.redelivered:
                self.pass_on(task)


def _came(task: Task) -> tuple[float, int]:
    return task.came, task.place or 0
