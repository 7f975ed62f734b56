"""The machine of a balancer: it takes a service's tasks, and gives each to a worker's free slot.

See ``docs/decisions/0016``. A task's message is settled when its worker has said Increment, so
what a balancer has in hand comes to its follower when it dies. Answers go from worker to client.
Parts: ``table`` is who has free slots, ``desk`` what there is of each service, ``registry`` what
workers say of themselves, ``giving`` what is done with tasks, ``takeover`` how it begins.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import count

from pytest_gatherscatter import machine
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.machine import Effect, Effects, Input, Received
from pytest_gatherscatter.roundrobin import task as meaning
from pytest_gatherscatter.roundrobin.desk import Desk
from pytest_gatherscatter.roundrobin.giving import Giving
from pytest_gatherscatter.roundrobin.order import Choice, Done, Drain, Say, StoodStill
from pytest_gatherscatter.roundrobin.registry import Registry
from pytest_gatherscatter.roundrobin.table import LeastRecentlyUsed, MostFree, Table, Worker
from pytest_gatherscatter.roundrobin.takeover import Takeover
from pytest_gatherscatter.roundrobin.task import Task
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.names import (
    balancer_key,
    known_key,
    reply_key,
)

BEAT = 1.0
"""Seconds between two signs of life."""

MISSES = 3
"""Signs of life that may be missing; numbers of the Paranoid Pirate (ZeroMQ guide, chapter 4)."""

MOST_REMEMBERED = 65_536
"""Ids of tasks that were done, and may be delivered again to who follows an earlier balancer."""

LAST = 5.0
"""Seconds after the end of the drain in which what was given back may be confirmed."""


@dataclass(frozen=True, slots=True)
class BalancerFacts:
    """What a balancer is. ``balancer`` is an id of 8 to 24 hex digits; ``services`` are keys.

    ``backlog`` and ``backlog_bytes`` bound what waits, of each service. ``drain``, ``beat`` in
    seconds; after ``misses`` beats without a word a worker is lost.
    """

    balancer: str
    host: str
    pid: int
    version: str
    services: tuple[str, ...]
    backlog: int = 1000
    backlog_bytes: int = 64 * 1024 * 1024
    policy: str = "least-recently-used"
    drain: float = 60.0
    beat: float = BEAT
    misses: int = MISSES


class BalancerMachine:
    """See the module. ``choice`` is the policy if ``facts.policy`` is none of the three of its own.

    Fed with ``Recovered`` for Unix time, now and then: it has no journal.
    """

    def __init__(self, facts: BalancerFacts, *, now: float, choice: Choice | None = None) -> None:
        self.facts = facts
        self._choice = choice
        self._out = Effects()
        self._began = now
        self._wall_at = (0.0, 0.0)
        self._numbers = count(1)
        self._connections = count(0)
        self._desks = {
            service: Desk(service, facts.backlog, facts.backlog_bytes) for service in facts.services
        }
        self._draining: float | None = None
        self._finished = False
        self._reset()

    def _reset(self) -> None:
        """Be as if just started: what was in hand is delivered again, and workers register anew."""
        facts = self.facts
        self._up = False
        self._id = f"{facts.balancer}{next(self._connections):08x}"
        """Of this connection: who comes back is another balancer, for its own census too."""
        order = MostFree if facts.policy == "most-free" else LeastRecentlyUsed
        self.table = Table(facts.services, order)
        self._registry = Registry(self._id, self.table, self._out)
        self._giving = Giving(
            self._desks,
            self.table,
            self._out,
            self._wall,
            host=facts.host,
            policy=facts.policy,
            choice=self._choice,
            closed=self._draining is not None,
        )
        self._done: OrderedDict[str, m.TaskVerdict] = OrderedDict()
        for desk in self._desks.values():
            desk.reset(self._id)
        self._takeover = Takeover(self._id, self._desks, self._registry, self._giving, self._out)

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        self._giving.look(now)  # first: whatever comes, nothing is given out that is too old
        match message:
            case Received():
                self._receive(message, now)
            case machine.Confirmed(effect):
                self._confirmed(effect)
            case machine.Returned(effect):
                self._returned(effect, now)
            case machine.Failed(effect):
                self._giving.failed(effect)
            case machine.Woken():
                self._look(now)
            case _:
                self._other(message, now)
        self._takeover.look(now)
        if self._draining is not None:
            self._look_at_the_end(now)
        return self._out.take()

    def _other(self, message: Input, now: float) -> None:
        match message:
            case machine.LinkUp():
                self._up = True
                self._takeover.start(now, within=self.facts.beat * self.facts.misses)
                self._out.wake(now + self.facts.beat)
            case machine.LinkDown():
                self._reset()
            case machine.Recovered(wall=wall):
                self._wall_at = (now, wall)
            case machine.Unreadable():
                self._unreadable(message)
            case machine.Told(Drain(at_once)):
                self._drain(now, at_once=at_once)
            case machine.Told(StoodStill()):
                for worker in [*self.table]:  # what they said meanwhile comes after this
                    self.table.hear(worker, now)
            case _:
                pass

    def _wall(self, now: float) -> float:
        at, wall = self._wall_at
        return wall + now - at

    # ── what comes ─────────────────────────────────────────────────────────────────────

    def _receive(self, received: Received, now: float) -> None:
        message, key = received.message, received.key
        if key in self._desks:
            self._take(received, self._desks[key], now)
        elif isinstance(message, m.WorkersKnown) and key == known_key(message.service):
            self._takeover.count(message, received.delivery)
        elif isinstance(message, m.SeekBalancers):
            self._out.send(reply_key(message.asker), self.seen(now))
        elif (
            isinstance(message, m.Register | m.Deregister | m.Increment | m.WorkerAlive)
            and key == balancer_key(message.service)
            and message.service in self._desks
        ):
            self._hear(message, now)

    def _take(self, received: Received, desk: Desk, now: float) -> None:
        delivery, message = received.delivery, received.message
        wanted = meaning.read(desk.service, message)
        if wanted is None:
            text = f"{type(message).__name__} is nothing for {desk.service}"
            self._out.settle(delivery, Verdict.DEAD, text)
            return
        id_ = received.id or f"{self._id}.{next(self._numbers)}"
        twin = self._giving.twins.get(wanted.id)  # one that a worker has, it may have given back
        if id_ in self._giving.tasks or (twin is not None and twin.worker is None):
            return  # one copy is in hand, and the other one is acked
        if id_ in self._done:
            verdict = Verdict.DEAD if self._done[id_] == "dead" else Verdict.ACK
            self._out.settle(delivery, verdict, f"{id_} has ended before")
            return
        try:
            body = codec.encode(message)
        except MessageUnreadable as error:  # what it leaves out was left out by its client, too
            self._out.settle(delivery, Verdict.DEAD, f"it cannot be given on: {error.reason}")
            return
        self._out.keep(delivery)
        task = Task(
            id_,
            desk.service,
            delivery,
            message,
            wanted,
            received.reply_to or "",
            received.user or "",
            body,
            now,
        )
        self._giving.tasks[id_] = task
        if wanted.id:
            self._giving.twins[wanted.id] = task
        if self._wall(now) >= wanted.deadline:
            self._giving.expire(task, now)
        elif received.redelivered:
            self._claim(task, desk, now)
        elif self._draining is not None:
            self._giving.pass_on(task)
        else:
            self._giving.offer(task, now)

    def _claim(self, task: Task, desk: Desk, now: float) -> None:
        """Find out who has what an earlier balancer had in hand."""
        claim = self._registry.claim(task.id)
        if claim is not None:
            worker, adrift = claim
            if adrift:
                task.redelivered = True
                self._giving.assign(task, worker)
            else:
                task.worker = worker.name
                self.table.hold(worker, task.id)
        elif self._takeover.settling:
            desk.unclaimed[task.id] = task
            self._giving.limit(task, now)
        else:
            self._giving.again(task, now)

    def _unreadable(self, said: machine.Unreadable) -> None:
        """Answer who has sent what nobody can read, if the message says who, and which one."""
        reply_to, id_ = said.reply_to or "", said.correlation or ""
        service = said.queue.partition(".")[2].partition(".")[2]
        if service in self._desks:
            answer = meaning.unreadable(service, id_, reply_to, said.reason, self.facts.host)
            if answer is not None:
                self._out.send(reply_to, answer)

    # ── what becomes of it ─────────────────────────────────────────────────────────────

    def _confirmed(self, effect: int) -> None:
        if not self._giving.confirmed(effect):
            for worker in self._registry.confirmed(effect):
                self._giving.fill(worker)

    def _returned(self, effect: int, now: float) -> None:
        if not self._giving.returned(effect, now):
            self._confirmed(effect)

    def _increment(self, said: m.Increment, worker: Worker | None, now: float) -> None:
        """A task has ended, or came back, and a slot is free."""
        task = self._giving.tasks.get(said.task)
        mine = task is not None and worker is not None and task.worker == worker.name
        if worker is not None and self.table.take_back(worker, said.task):
            worker.done += said.verdict != "back"
            if said.verdict == "back":
                self._registry.rest(worker, now)
        if task is None:
            if said.verdict != "back":
                self._done[said.task] = said.verdict
                if len(self._done) > MOST_REMEMBERED:
                    self._done.popitem(last=False)
        elif said.verdict != "back":
            self._desks[task.service].done += 1
            self._giving.forget(task)
            self._giving.settle(
                task, Verdict.DEAD if said.verdict == "dead" else Verdict.ACK, said.reason
            )
        elif mine:
            self._giving.take_back(task, now)
        if worker is not None and worker.leaving and not worker.tasks:
            self.table.remove(worker)
        elif worker is not None:
            self._giving.fill(worker)

    # ── workers ────────────────────────────────────────────────────────────────────────

    def _hear(
        self, message: m.Register | m.Deregister | m.Increment | m.WorkerAlive, now: float
    ) -> None:
        """Take what a worker says of itself."""
        registry = self._registry
        match message:
            case m.Increment():
                self._increment(message, registry.heard(message, now), now)
            case m.WorkerAlive():
                worker = registry.alive(message, now)
                if worker is not None:
                    self._find(worker, message.running)
            case m.Deregister():
                self._out.run(Say(registry.deregister(message, now)))
                self._desks[message.service].backlog.unbind(message.worker)
            case m.Register():
                self._register(message, now)

    def _register(self, said: m.Register, now: float) -> None:
        registry = self._registry
        old = self.table.get(said.worker)
        if old is not None and old.instance != said.instance:
            self._lose(old, "it was started again", now)
        known = registry.register(said, now)
        if known is None:
            return  # of an earlier connection
        worker, vanished = known
        if said.heard == self._id:
            self._desks[said.service].census.tell(worker.name, worker.instance)
        gone = [
            task
            for id_ in vanished
            if (task := self._giving.tasks.get(id_)) is not None and task.worker == worker.name
        ]
        for task in gone:
            self._giving.take_back(task, now)
        self._giving.line_up(gone)
        self._find(worker, (*said.running, *said.done))
        for id_ in said.adrift:
            task = self._giving.tasks.get(id_)
            if task is not None and not task.over and task.worker in {None, worker.name}:
                self._desks[task.service].backlog.drop(task)
                self._desks[task.service].unclaimed.pop(id_, None)
                task.redelivered = True
                self._giving.assign(task, worker)
        self._takeover.publish()
        registry.serve(worker, said.service)
        self._giving.fill(worker)

    def _find(self, worker: Worker, running: tuple[str, ...]) -> None:
        """Leave with a worker what it says it runs."""
        for id_ in running:
            task = self._giving.tasks.get(id_)
            if task is not None and task.worker is None and not task.over:
                self._desks[task.service].backlog.drop(task)
                self._desks[task.service].unclaimed.pop(id_, None)
                task.worker = worker.name
                self.table.hold(worker, id_)

    def _lose(self, worker: Worker, why: str, now: float) -> None:
        """Take a worker out of the table, and give what it had to others."""
        self.table.remove(worker)
        for desk in self._desks.values():
            desk.backlog.unbind(worker.name)
        had = [
            task
            for id_ in worker.tasks
            if (task := self._giving.tasks.get(id_)) is not None and task.worker == worker.name
        ]
        for task in had:
            task.worker = None
            task.begun_by = (worker.name, worker.instance)
            if not task.over:
                self._giving.again(task, now)
        self._giving.line_up(had)
        tasks = "1 task" if len(had) == 1 else f"{len(had)} tasks"
        self._out.run(Say(f"worker {worker.name} is lost with {tasks}: {why}", wrong=True))
        for one in [*self.table]:  # what waited for it alone may go to anybody
            self._giving.fill(one)

    # ── time ───────────────────────────────────────────────────────────────────────────

    def _look(self, now: float) -> None:
        if not self._up:
            return
        self._giving.bury_unsaid(now)
        while (silent := self.table.longest_silent()) is not None:
            quiet = now - silent.heard_at
            if quiet < self.facts.beat * self.facts.misses:
                break
            self._lose(silent, f"nothing was heard of it for {quiet:.1f} s", now)
        for worker in self._registry.look(now):
            self._giving.fill(worker)
        self._giving.let_go(now)
        self._takeover.publish()
        self._out.wake(now + self.facts.beat)

    # ── questions and the end ──────────────────────────────────────────────────────────

    def seen(self, now: float) -> m.BalancerSeen:
        """Say how it stands."""
        workers = self._registry.seen(now)
        facts = self.facts
        return m.BalancerSeen(
            balancer=facts.balancer,
            host=facts.host,
            pid=facts.pid,
            version=facts.version,
            policy=facts.policy,
            services=tuple(desk.seen() for desk in self._desks.values()),
            workers=tuple(workers[:1000]),
            more=max(0, len(workers) - 1000),
            up=now - self._began,
            settling=self._takeover.settling,
            draining=self._draining is not None,
        )

    def _drain(self, now: float, *, at_once: bool) -> None:
        """Take nothing more; what waits goes back to its queue."""
        if self._draining is None:
            self._draining = now + self.facts.drain
            self._giving.closed = True
            self._out.wake(self._draining)
            for desk in self._desks.values():
                for task in desk.backlog.tasks():
                    if task.begun_by is None and not task.redelivered:
                        self._giving.pass_on(task)
        if at_once:
            self._draining = min(self._draining, now)

    def _look_at_the_end(self, now: float) -> None:
        if self._finished or self._draining is None:
            return
        leaves = self._giving.leaves
        # Nobody is given anything any more: what no worker has is for who follows.
        waits = leaves or any(one.worker is not None for one in self._giving.tasks.values())
        if waits and now < self._draining + (LAST if leaves else 0.0):
            if now >= self._draining:
                self._out.wake(self._draining + LAST)
            return
        self._finished = True
        self._out.run(Done(len(self._giving.tasks)))


def _came(task: Task) -> tuple[float, int]:
    return task.came, task.place or 0
