"""A machine behind a balancer: what it would take from its queues comes from a balancer instead.

The machine inside knows nothing of it. It is given a client's message as if it had come from the
queue, and when it settles that message, or has done with it (rule 4 of ``machine``), the balancer
is told that its slot is free. All else goes through as it is. So a room whose machine serves a
queue can be put behind a balancer, and none of them knows the round robin's.

What was said and may not have been heard is said again: a balancer may die with what was confirmed.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256

from pytest_gatherscatter import machine
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.machine import Effect, Effects, Input, Keep, Machine, Received, Settle
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.names import balancer_key

BEAT = 1.0
"""Seconds between two signs of life; a balancer misses three before it gives a worker up."""

ADRIFT = 60.0
"""Seconds for which a task is asked for again that lost its message with a connection. Whoever has
it by then does not give it back."""

LONGEST_NAME = 64
"""Characters of a name, see ``wire.names.NAME_PATTERN``."""

_VERDICTS: dict[Verdict, m.TaskVerdict] = {
    Verdict.ACK: "done",
    Verdict.DEAD: "dead",
    Verdict.REQUEUE: "back",
}


@dataclass(frozen=True, slots=True)
class Pool:
    """Slots that are shared by some services: a worker of the balancer's table."""

    worker: str
    services: tuple[str, ...]
    slots: int


@dataclass(frozen=True, slots=True)
class BalancedFacts:
    """What a process behind balancers is.

    ``address`` ends the key of its inbox, ``instance`` is a new id for each process. A service is
    in one pool at the most.
    """

    address: str
    instance: str
    pools: tuple[Pool, ...]
    host: str = ""
    pid: int = 0


def pool_name(process: str, part: str) -> str:
    """Name a worker after its process and what it does there; a long one ends with its hash."""
    name = f"{process}-{part}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Leave:
    """Have balancers give nothing more (``Told``); what comes all the same goes through."""


@dataclass(slots=True, eq=False)
class _Line:
    """What there is between a pool and the balancer of one service."""

    pool: Pool
    service: str
    registered: bool = False
    heard: str = ""
    """The balancer whose start was heard of."""
    numbers: int = 0
    unheard: OrderedDict[int, m.Increment] = field(default_factory=OrderedDict)
    ended: set[str] = field(default_factory=set)
    """The tasks of those."""

    def hear(self, number: int) -> None:
        """Forget what the balancer has heard."""
        while self.unheard and next(iter(self.unheard)) <= number:
            _, said = self.unheard.popitem(last=False)
            self.ended.discard(said.task)


class BalancedMachine:
    """See the module. ``inner`` counts its effects upwards, and this one downwards."""

    def __init__(self, inner: Machine, facts: BalancedFacts) -> None:
        self.inner = inner
        self.facts = facts
        self._out = Effects(-1)
        self._lines = {
            service: _Line(pool, service) for pool in facts.pools for service in pool.services
        }
        self._tasks: dict[int, tuple[_Line, str]] = {}
        """What the machine inside has in hand, by delivery."""
        self._running: dict[str, int] = {}
        self._ending: dict[int, set[int]] = {}
        """What is settled once these effects have their outcomes."""
        self._effects: dict[int, int] = {}
        self._doubtful: list[int] = []
        self._says: dict[int, _Line] = {}
        self._adrift: dict[str, tuple[_Line, float]] = {}
        self._epoch = 0
        self._up = self._left = False
        self._beat_at = 0.0

    @property
    def registered(self) -> bool:
        """Whether a balancer of each service knows of it."""
        return all(line.registered for line in self._lines.values())

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        if self._doubtful and not isinstance(message, machine.Failed | machine.LinkDown):
            self._look_at_doubts()
        if isinstance(message, Received) and self._is_said_to_me(message):
            return self._out.take()
        if isinstance(message, machine.Told) and isinstance(message.request, Leave):
            self._leave()
            return self._out.take()
        if isinstance(message, machine.Confirmed | machine.Returned | machine.Failed):
            if message.effect < 0:
                self._outcome(message)
                return self._out.take()
            inside = self._through(message, now)
            self._is_over(message.effect, failed=isinstance(message, machine.Failed))
        elif isinstance(message, Received) and isinstance(message.message, m.Assign):
            inside = self._assigned(message.message, message.delivery, now)
        else:
            if isinstance(message, machine.LinkDown):
                self._lost(now)
            inside = self._through(message, now)
        if isinstance(message, machine.LinkUp):
            self._back(now)
        if self._up and now >= self._beat_at:
            self._beat(now)
        return [*inside, *self._out.take()]

    # ── to the machine inside ──────────────────────────────────────────────────────────

    def _through(self, message: Input, now: float) -> list[Effect]:
        """Give an input to the machine inside; what it settles of a balancer's is told to that."""
        effects = self.inner.handle(message, now=now)
        if not self._tasks:
            return effects
        return [
            Settle(one.id, one.delivery, Verdict.ACK)
            if isinstance(one, Settle) and self._end(one.delivery, one.verdict, one.reason)
            else one
            for one in effects
        ]

    def _assigned(self, assign: m.Assign, delivery: int, now: float) -> list[Effect]:
        """Unwrap a client's message, unless it is for another life, or known inside."""
        line = self._lines.get(assign.service)
        mine = assign.instance == self.facts.instance and assign.epoch == self._epoch
        if line is None or not mine or assign.task in self._running:
            return []
        if assign.task in line.ended:
            return []  # it has ended here, and the balancer will hear so
        self._adrift.pop(assign.task, None)
        self._tasks[delivery] = line, assign.task
        self._running[assign.task] = delivery
        try:
            message = codec.decode(bytes(assign.body), assign.type)
        except MessageUnreadable as error:
            self._end(delivery, Verdict.DEAD, error.reason)
            return []
        received = Received(
            message,
            delivery,
            reply_to=assign.reply_to or None,
            user=assign.sender or None,
            redelivered=assign.redelivered,
            key=assign.service,
            id=assign.task,
        )
        try:
            effects = self.inner.handle(received, now=now)
        except Exception as error:
            # The pump buries what it has in hand, which is not the client's message.
            self._end(delivery, Verdict.DEAD, f"{type(error).__name__}: {error}")
            raise
        return self._taken(effects, delivery)

    def _taken(self, effects: list[Effect], delivery: int) -> list[Effect]:
        """Look at what came of a client's message: kept, settled, or done with by rule 4."""
        kept, through, open_ = False, list[Effect](), set[int]()
        for effect in effects:
            match effect:
                case Settle(_, other, verdict, reason) if self._end(other, verdict, reason):
                    through.append(Settle(effect.id, other, Verdict.ACK))
                    continue
                case Keep(_, other):
                    kept = kept or other == delivery
                case machine.Send() | machine.Publish():
                    open_.add(effect.id)
                case _:
                    pass
            through.append(effect)
        if delivery in self._tasks and not kept:
            if open_:
                self._ending[delivery] = open_
                self._effects.update(dict.fromkeys(open_, delivery))
            else:
                self._end(delivery, Verdict.ACK, "")
        return through

    def _is_over(self, effect: int, *, failed: bool) -> None:
        """Count the outcome of a publish by which a task may be done with.

        One that failed did so most often with the connection, which is told next: then the task is
        not done with.
        """
        delivery = self._effects.pop(effect, None)
        if delivery is not None:
            open_ = self._ending[delivery]
            open_.discard(effect)
            if failed:
                self._doubtful.append(delivery)
            if not open_ and delivery not in self._doubtful:
                del self._ending[delivery]
                self._end(delivery, Verdict.ACK, "")

    def _look_at_doubts(self) -> None:
        """The connection is well: what failed could not be said, and will not be."""
        for delivery in self._doubtful:
            if not self._ending.get(delivery):
                self._ending.pop(delivery, None)
                self._end(delivery, Verdict.ACK, "")
        self._doubtful = [one for one in self._doubtful if one in self._ending]

    def _end(self, delivery: int, verdict: Verdict, reason: str) -> bool:
        """Tell the balancer that a task has ended; False if it is none of a balancer's."""
        line, task = self._tasks.pop(delivery, (None, ""))
        if line is None:
            return False
        del self._running[task]
        line.numbers += 1
        said = m.Increment(
            worker=line.pool.worker,
            service=line.service,
            instance=self.facts.instance,
            number=line.numbers,
            task=task,
            verdict=_VERDICTS[verdict],
            reason=reason[:512],
        )
        line.unheard[said.number] = said
        if verdict is not Verdict.REQUEUE:  # that may come again
            line.ended.add(task)
        if line.registered:
            self._say(line, said)
        return True

    # ── to and from the balancer ───────────────────────────────────────────────────────

    def _is_said_to_me(self, received: Received) -> bool:
        """Take what a balancer says; False if it is for the machine inside."""
        message = received.message
        match message:
            case m.Registered():
                line = self._line_of(message.worker, message.service)
                if line is not None and message.epoch == self._epoch and not line.registered:
                    line.registered = True
                    for said in line.unheard.values():
                        self._say(line, said)
            case m.IncrementsHeard():
                line = self._line_of(message.worker, message.service)
                if line is not None:
                    line.hear(message.number)
            case m.WorkerUnknown():
                line = self._line_of(message.worker, message.service)
                if line is not None:
                    self._register(line)
            case m.BalancerStarted():
                line = self._lines.get(message.service)
                if line is not None:
                    line.heard = message.balancer
                    self._register(line)
            case _:
                return False
        return True

    def _line_of(self, worker: str, service: str) -> _Line | None:
        line = self._lines.get(service)
        return line if line is not None and line.pool.worker == worker else None

    def _back(self, now: float) -> None:
        """Register over a new connection; an inbox is new with it, and empty."""
        self._up = True
        self._epoch += 1
        for line in self._lines.values():
            line.heard = ""
            self._register(line)
        self._beat_at = now + BEAT
        self._out.wake(self._beat_at)

    def _lost(self, now: float) -> None:
        """What it had in hand it still runs, and will want given again."""
        self._up = False
        for line, task in self._tasks.values():
            self._adrift[task] = line, now + ADRIFT
        self._tasks.clear()
        self._running.clear()
        self._ending.clear()
        self._effects.clear()
        self._doubtful.clear()
        self._says.clear()
        for line in self._lines.values():
            line.registered = False

    def _register(self, line: _Line) -> None:
        """Say who it is, and what it has; a Registered comes back."""
        line.registered = False
        if not self._up:
            return
        facts, pool = self.facts, line.pool
        said = m.Register(
            worker=pool.worker,
            address=facts.address,
            service=line.service,
            services=pool.services,
            slots=pool.slots,
            instance=facts.instance,
            epoch=self._epoch,
            heard=line.heard,
            running=self._running_of(line),
            adrift=tuple(task for task, (one, _) in self._adrift.items() if one is line),
            done=tuple(line.ended),
            leaving=self._left,
            host=facts.host,
            pid=facts.pid,
        )
        self._says[self._out.send(balancer_key(line.service), said)] = line

    def _running_of(self, line: _Line) -> tuple[str, ...]:
        return tuple(task for one, task in self._tasks.values() if one is line)

    def _say(self, line: _Line, said: m.Increment) -> None:
        self._says[self._out.send(balancer_key(line.service), said)] = line

    def _outcome(self, message: machine.Confirmed | machine.Returned | machine.Failed) -> None:
        """See that there is no balancer; it is asked again with the next beat."""
        line = self._says.pop(message.effect, None)
        if line is not None and not isinstance(message, machine.Confirmed):
            line.registered = False

    def _beat(self, now: float) -> None:
        """Be heard of."""
        self._beat_at = now + BEAT
        self._out.wake(self._beat_at)
        for task in [task for task, (_, until) in self._adrift.items() if now >= until]:
            del self._adrift[task]
        for line in self._lines.values():
            if line.registered:
                alive = m.WorkerAlive(
                    worker=line.pool.worker,
                    address=self.facts.address,
                    service=line.service,
                    instance=self.facts.instance,
                    epoch=self._epoch,
                    running=self._running_of(line),
                )
                self._says[self._out.send(balancer_key(line.service), alive)] = line
            else:
                self._register(line)

    def _leave(self) -> None:
        """Take leave of all balancers."""
        self._left = True
        for line in self._lines.values():
            if line.registered:
                said = m.Deregister(
                    worker=line.pool.worker, service=line.service, instance=self.facts.instance
                )
                self._says[self._out.send(balancer_key(line.service), said)] = line
