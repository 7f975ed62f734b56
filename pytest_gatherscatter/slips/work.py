"""The steps that one processor has in hand: each in a slot, or on its way out."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.hand import AGAIN, LONG, Leases, Work
from pytest_gatherscatter.slips.memory import MOST, End, Key, Memory, facts
from pytest_gatherscatter.slips.order import (
    BeginCommand,
    CommandMoved,
    CommandOver,
    EndCommand,
    Templates,
)
from pytest_gatherscatter.slips.slip import add, is_chain, judge, note
from pytest_gatherscatter.wire.messages import Name
from pytest_gatherscatter.wire.names import WAITING_KEY, slip_event
from pytest_gatherscatter.wire.slips import (
    Attempt,
    KeepSlip,
    RunStep,
    Slip,
    SlipOver,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Status,
    Step,
)

HAND: Final = 2.0
"""Seconds for which a slip may wait here for a slot, before it goes back to the queue: another
processor may have one. It comes about where several queues have something for the last slot. Each
time that it comes here again, it may wait for twice as long: nobody else had one."""

LONGEST_HAND: Final = 64.0
"""Seconds for which it may wait at most, before another processor has its chance."""

UNHEARD: Final = 60.0
"""Seconds for which somebody is looked for who wants to hear how a slip ended: a connection that
was lost is back by then, or its owner is gone."""

TRUST: Final = 0.25
"""Seconds for which nothing is begun after this process has stood still. What came on a connection
that is lost was given to others, who may have begun it; and the loss is behind it in the socket."""


class Works:
    """The part of a processor's machine that runs steps.

    Args:
        out: where effects go.
        memory: what it knows.
        templates: what it may run.
        wall: Unix time at a time of the machine's clock.
        name: the processor's; ``host`` where it is.
        slots: commands at a time; ``long`` as :data:`LONG`.
    """

    def __init__(  # noqa: PLR0913 - what a processor is made of
        self,
        out: Effects,
        memory: Memory,
        templates: Templates,
        wall: Callable[[float], float],
        *,
        name: Name,
        host: str,
        slots: int,
        long: float = LONG,
    ) -> None:
        self._out, self._name, self._host, self._slots = out, name, host, slots
        self._long = long
        self._templates, self._memory, self._wall = templates, memory, wall
        self._works: dict[Key, Work] = {}
        self._hand: deque[Work] = deque()
        self._patience: OrderedDict[Key, float] = OrderedDict()
        self._runs: dict[int, Work] = {}
        self._sends: dict[int, Work] = {}
        self._leases = Leases(out, name, long)
        self._linked = False
        self._begins_at = float("-inf")
        """When steps are begun again, after this process stood still."""

    def __iter__(self) -> Iterator[Work]:
        """Iterate over what runs, the oldest first."""
        return iter(self._runs.values())

    def __len__(self) -> int:
        """Return how many tasks are in hand, those included that wait or are on their way out."""
        return len(self._works) + len(self._hand)

    @property
    def free(self) -> int:
        """How many slots are free."""
        return max(0, self._slots - len(self._runs))

    def of(self, key: Key) -> Work | None:
        """Return the task of this key, if it is in hand, even if it has no slot yet."""
        return self._works.get(key) or next((one for one in self._hand if one.key == key), None)

    def of_slip(self, slip: str) -> list[Work]:
        """Return all that is in hand of a slip."""
        return [work for work in self._works.values() if work.slip.id == slip]

    # ── beginning ──────────────────────────────────────────────────────────────────────

    def take(self, told: RunStep, step: Step, delivery: int, *, now: float) -> None:
        """Begin a task, or let it wait a moment for a slot."""
        self._out.keep(delivery)
        work = Work(told.slip, told.task, step, delivery, now)
        if self.free and now >= self._begins_at:
            self._begin(work, now)
        else:
            work.patience = self._patience.get(work.key, HAND)
            self._hand.append(work)
            self._out.wake(now + work.patience)

    def adopt(self, work: Work, delivery: int, *, now: float) -> None:
        """Have the slip itself again of a task that is in hand."""
        self._out.keep(delivery)
        work.delivery = delivery
        if work.onward is None:
            self._leases.later(work, now + self._long)
        elif work.send is None:
            self._say(work, now)

    def distrust(self, now: float) -> None:
        """Begin nothing for a moment."""
        self._begins_at = now + TRUST
        self._out.wake(self._begins_at)

    def _begin(self, work: Work, now: float) -> None:
        slip, task, step = work.slip, work.task, work.step
        self._works[work.key] = work
        self._patience.pop(work.key, None)
        self._memory.unbegun.pop(work.key, None)
        who = self._memory.cancelled(slip.id)
        if who:
            slip = work.slip = route.cancelled(slip, who)
        wall = self._wall(now)
        late = slip.deadline is not None and wall >= slip.deadline
        if not work.cleaning and (slip.cancelled or late):
            status: Status = "cancelled" if slip.cancelled else "expired"
            text = f"cancelled by {slip.cancelled}" if slip.cancelled else route.TOO_LATE
            self._over(work, self._attempt(work, status, text=text), now)
            return
        try:
            line = self._templates.line(step, slip.params, compensating=task.compensating)
        except ValueError as error:
            self._over(work, self._attempt(work, "refused", text=str(error)[:4000]), now)
            return
        timeout = step.timeout
        if slip.deadline is not None and not work.cleaning:
            timeout = min(timeout, max(slip.deadline - wall, 0.001))
        self._out.record("begun", **facts(work.key))
        work.run = self._out.run(BeginCommand(slip, task, line, timeout))
        self._runs[work.run] = work
        begun = SlipStepBegun(
            slip=slip.id,
            name=slip.name,
            task=task,
            process=step.process,
            command=work.command,
            processor=self._name,
            host=self._host,
        )
        self._out.publish(slip_event("begun", slip.id), begun)
        self._leases.later(work, work.since + self._long)

    # ── while it runs ──────────────────────────────────────────────────────────────────

    def moved(self, told: CommandMoved) -> None:
        """Tell how far a command is."""
        work = self._runs.get(told.run)
        if work is not None:
            share = min(max(told.share, 0.0), 1.0)
            text = told.text[:512]
            moved = SlipStepMoved(slip=work.slip.id, task=work.task, share=share, text=text)
            self._out.publish(slip_event("moved", work.slip.id), moved)

    def end(self, work: Work, status: Status, text: str) -> None:
        """End a command; how it ended comes as always."""
        if work.run is not None:
            self._out.run(EndCommand(work.run, status, text))

    def cancel(self, slip: str, who: str, *, now: float) -> None:
        """End what runs of a slip, but what cleans up."""
        for work in self.of_slip(slip):
            if not work.cleaning:
                work.slip = route.cancelled(work.slip, who)
                self.end(work, "cancelled", f"cancelled by {who}")
        for work in [one for one in self._hand if one.slip.id == slip]:
            self._hand.remove(work)
            self._begin(work, now)  # which does not: it is cancelled

    # ── the end ────────────────────────────────────────────────────────────────────────

    def over(self, run: int, told: CommandOver, *, now: float) -> None:
        """Take how a command ended, and hand its slip on."""
        work = self._runs.pop(run, None)
        if work is None:
            return
        work.run = None
        attempt = self._attempt(work, told.status, text=told.text)
        if told.status == "timed-out" and work.is_too_late(told.started):
            attempt = self._attempt(work, "expired", text=route.TOO_LATE)
        attempt = msgspec.structs.replace(
            attempt,
            exit_status=told.exit_status,
            signal=told.signal,
            started=told.started,
            ended=told.ended,
            stdout_tail=told.stdout_tail[-4096:],
            stderr_tail=told.stderr_tail[-4096:],
            log=told.log,
        )
        if told.status == "done" and told.added:
            try:
                work.slip = add(work.slip, work.task.number, told.added)
            except ValueError as error:
                attempt = msgspec.structs.replace(attempt, status="failed", text=str(error))
        self._over(work, attempt, now, told.added)
        self.look(now)

    def _over(self, work: Work, attempt: Attempt, now: float, added: tuple[Step, ...] = ()) -> None:
        final, delay = judge(work.slip, work.task, attempt.status)
        attempt = msgspec.structs.replace(attempt, final=final)
        slip = note(work.slip, attempt)
        end = self._memory.ended[work.key] = End(attempt, added)
        self._out.record("ended", **facts(work.key, end))
        self._tell_end(slip)
        self._hand_on(work, slip, now, delay=0.0 if final else delay)

    def _hand_on(self, work: Work, slip: Slip, now: float, *, delay: float = 0.0) -> None:
        work.slip = slip
        wall = self._wall(now)
        if not is_chain(slip):
            keep = KeepSlip(slip=slip, why="parallel", task=work.task, seconds=delay)
            work.onward = WAITING_KEY, keep
        else:
            work.onward = route.onward(slip, wall=wall, delay=delay)
        if work.delivery is None:
            self._hand_in(work, delay)
        if self._linked:
            self._say(work, now)

    def _hand_in(self, work: Work, delay: float = 0.0) -> None:
        """Let the waiting room go on with a slip that is not here itself."""
        keep = KeepSlip(
            slip=work.slip, why="returned", task=work.task, seconds=delay, doubt=work.doubt
        )
        work.onward = WAITING_KEY, keep

    def _say(self, work: Work, now: float) -> None:
        """Say where a slip goes; it is settled when that is confirmed."""
        assert work.onward is not None  # noqa: S101 - it is over
        key, message = work.onward
        if isinstance(message, SlipOver):
            self._out.publish(slip_event("over", message.slip.id), message)
        if not key:
            self._gone(work, now)
            return
        work.again = None
        work.send = self._out.send(key, message)
        self._sends[work.send] = work

    # ── what became of what was said ───────────────────────────────────────────────────

    def confirmed(self, effect: int, *, now: float) -> None:
        """Settle the slip that was handed on, or leased."""
        self._leases.confirmed(effect)
        work = self._sends.pop(effect, None)
        if work is not None:
            self._gone(work, now)

    def returned(self, effect: int, *, now: float) -> None:
        """Let a slip wait whose next process has no queue, or whose end nobody heard."""
        self._leases.failed(effect, now)
        work = self._sends.pop(effect, None)
        if work is None or work.onward is None:
            return
        work.send = None
        match work.onward[1]:
            case RunStep(slip=slip, task=task):
                keep = KeepSlip(slip=slip, why="unrouted", task=task, seconds=slip.route_wait)
                work.onward = WAITING_KEY, keep
                self._say(work, now)
            case SlipOver(slip=slip):
                keep = KeepSlip(slip=slip, why="unheard", seconds=UNHEARD)
                work.onward = WAITING_KEY, keep
                self._say(work, now)
            case KeepSlip():  # the room was deleted; it is made anew with the next connection
                self._later(work, now)

    def failed(self, effect: int, *, now: float) -> None:
        """Say again later what could not be said."""
        self._leases.failed(effect, now)
        work = self._sends.pop(effect, None)
        if work is not None:
            work.send, work.doubt = None, True
            self._later(work, now)

    def _later(self, work: Work, now: float) -> None:
        work.again = now + AGAIN
        self._out.wake(work.again)

    def _gone(self, work: Work, now: float) -> None:
        self._works.pop(work.key, None)
        # What was handed in is no slip: who asks is told how it ended, and not that it is ahead.
        if not (work.given_back or work.handed_in):
            self._memory.hand_on(work.slip, work.key)
        if work.delivery is not None:
            self._out.settle(work.delivery, Verdict.ACK)
        self.look(now)

    # ── the link ───────────────────────────────────────────────────────────────────────

    def lost(self) -> None:
        """Note that no slip is here any more; the broker gives them out again."""
        self._linked = False
        for work in self._hand:
            self._memory.let_go(work.key)
        self._hand.clear()
        for work in [one for one in self._works.values() if one.given_back]:
            del self._works[work.key]
        for work in self._works.values():
            work.doubt |= work.send is not None
            work.delivery, work.send = None, None
        self._sends.clear()
        self._leases.clear()

    def back(self, *, now: float) -> None:
        """Hand in what has ended meanwhile: its slip is, or will be, in the waiting room."""
        self._linked = True
        for work in list(self._works.values()):
            if work.onward is not None and work.send is None and work.delivery is None:
                keep = work.onward[1]
                delay = keep.seconds if isinstance(keep, KeepSlip) and keep.why == "retry" else 0.0
                self._hand_in(work, delay)
                self._say(work, now)

    # ── time ───────────────────────────────────────────────────────────────────────────

    def look(self, now: float) -> None:
        """Fill free slots, give back what waits for too long, and say again what must be."""
        while self._hand and self.free and now >= self._begins_at:
            self._begin(self._hand.popleft(), now)
        for work in [one for one in self._hand if now - one.since >= one.patience]:
            self._hand.remove(work)
            self._patience[work.key] = min(2 * work.patience, LONGEST_HAND)
            if len(self._patience) > MOST:
                self._patience.popitem(last=False)
            self._memory.let_go(work.key)  # whoever gets it will ask
            assert work.delivery is not None  # noqa: S101 - it is in hand
            self._out.settle(work.delivery, Verdict.REQUEUE)
        for work in list(self._works.values()):
            if work.again is not None and now >= work.again and work.onward is not None:
                self._say(work, now)
        if self._linked:
            self._leases.look(self._runs.values(), now)

    def give_back_all(self, *, now: float) -> None:
        """Say again what waits for a slot, as new: who answers questions is about to go."""
        while self._hand:
            work = self._hand.popleft()
            self._works[work.key] = work
            work.onward, work.given_back = route.run_step(work.slip, work.task), True
            self._say(work, now)

    # ── telling ────────────────────────────────────────────────────────────────────────

    def _attempt(self, work: Work, status: Status, *, text: str) -> Attempt:
        return Attempt(
            number=work.task.number,
            attempt=work.task.attempt,
            compensating=work.task.compensating,
            status=status,
            host=self._host,
            processor=self._name,
            text=text,
        )

    def _tell_end(self, slip: Slip) -> None:
        ended = SlipStepEnded(slip=slip.id, name=slip.name, attempt=slip.progress[-1])
        self._out.publish(slip_event("ended", slip.id), ended)
