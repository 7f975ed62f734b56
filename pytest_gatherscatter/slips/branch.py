"""Slips whose steps run in parallel: where their branches part, and meet again.

Each branch carries a copy of the slip that knows of its own steps; what all copies say together is
the truth. The copy that the slip began with stays here until it is over, and nothing is let go
without it. That of a slip which has come back from a step is never thrown away before the slip is
over: the next keeper of the room joins the same copies, and finds the same.
"""

from collections.abc import Callable
from typing import Final

from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.held import AGAIN, RENEW, Held, Holding, has
from pytest_gatherscatter.slips.slip import merge, plan, ready, step_of
from pytest_gatherscatter.wire.slips import KeepSlip, Slip, SlipOver, Task

SETTLE: Final = 1.0
"""Seconds after the room has changed hands until what runs in parallel goes out again: what came
back meanwhile stands behind it in the queue."""


class Branches:
    """The part of the waiting room that lets branches go and joins them."""

    def __init__(self, hold: Holding, wall: Callable[[float], float]) -> None:
        self._hold, self._wall = hold, wall

    def join(self, keep: KeepSlip, deliveries: list[int], *, redelivered: bool, now: float) -> None:
        """Join a copy of a slip with what is known of it."""
        trunk = self._hold.held.get(keep.slip.id)
        if trunk is None:
            trunk = Held(keep, keep.slip, [], since=now, due=now, until=now)
            trunk.launched = set(keep.launched)
            for place, one in self._hold.held.items():  # what others had begun, and is asked after
                if place[0] == keep.slip.id and one.keep.why == "elsewhere" and one.keep.task:
                    trunk.launched.add(one.keep.task)
            trunk.doubt = redelivered
            trunk.until = now + (SETTLE if trunk.doubt else 0.0)
            self._hold.held[keep.slip.id] = trunk
        trunk.deliveries += deliveries
        trunk.slip = merge(trunk.slip, keep.slip)
        # A copy may also know how others ended: from a keeper that is no more.
        trunk.launched = {task for task in trunk.launched if not has(trunk.slip, task)}
        if keep.task is not None:
            self._hold.past_task(keep.slip, keep.task)
            if keep.seconds:
                trunk.not_before[keep.task.number] = now + keep.seconds
        trunk.due = max(now, trunk.until)
        if now >= trunk.due:
            self.launch(trunk, now)

    def launch(self, trunk: Held, now: float) -> None:
        """Let out what is ready, and the slip itself when there is nothing more."""
        if trunk.leaving:
            return
        if trunk.doubt:
            self._probe(trunk, now)
        launched = tuple(trunk.launched)
        trunk.slip = route.halted(trunk.slip, wall=self._wall(now), launched=launched)
        todo = plan(trunk.slip, launched)
        if todo.outcome is not None:
            over = SlipOver(slip=trunk.slip, outcome=todo.outcome)
            self._hold.leave(trunk, trunk.slip.reply_to, over)
            return
        later = []
        for task in todo.tasks:
            due = max(trunk.not_before.get(task.number, 0.0), now)
            if due > now:
                later.append(due)
            elif task not in trunk.launched:
                trunk.launched.add(task)
                self._hold.say(trunk, *route.run_step(trunk.slip, task, doubt=trunk.doubt))
        later += [now + AGAIN] if trunk.unrouted else []
        later.append(trunk.since + RENEW)
        if trunk.slip.deadline is not None:
            left = trunk.slip.deadline - self._wall(now)
            later += [now + left] if left > 0 else []
        trunk.due = min(later)

    def _probe(self, trunk: Held, now: float) -> None:
        """Say again what the keeper before may have let go, though the slip is halted.

        What is halted waits for what has begun. Such a task goes through its queue behind what was
        let go before; if it comes back here, and nobody has it, then it was never begun.
        """
        slip = trunk.slip
        again = self._ready(trunk, now)
        for task in ready(slip):
            if task in trunk.launched or task in trunk.probed or task in again:
                continue
            trunk.probed.add(task)
            trunk.launched.add(task)
            self._hold.say(trunk, *route.run_step(slip, task, doubt=True))

    def _ready(self, trunk: Held, now: float) -> tuple[Task, ...]:
        return plan(route.halted(trunk.slip, wall=self._wall(now))).tasks

    def may_begin(self, slip: Slip, task: Task, now: float) -> bool:
        """Whether a task that was never begun may be let go: nothing may once a slip is halted."""
        trunk = self._hold.held.get(slip.id)
        step = step_of(slip, task.number)
        if trunk is None or step is None:
            return False  # the slip is over; else it goes out again when the slip itself is here
        return task.compensating or step.mandatory or task in self._ready(trunk, now)

    def never_begun(self, held: Held, now: float) -> None:
        """Drop a task that was never begun, and shall not be any more."""
        self._hold.forget(held)
        trunk = self._hold.held.get(held.slip.id)
        if trunk is not None and held.keep.task is not None:
            trunk.launched.discard(held.keep.task)
            self.launch(trunk, now)

    def unrouted(self, trunk: Held, task: Task, now: float) -> None:
        """Let a step of a joined slip wait for its queue."""
        if task in trunk.probed:  # nobody can have it
            trunk.launched.discard(task)
            self.launch(trunk, now)
            return
        until = trunk.unrouted.setdefault(task, now + trunk.slip.route_wait)
        trunk.launched.discard(task)
        if now < until:
            trunk.not_before[task.number] = min(now + AGAIN, until)
            trunk.due = min(trunk.due, trunk.not_before[task.number])
            return
        trunk.slip = route.unserved(trunk.slip, task)
        del trunk.unrouted[task]
        self._hold.tell_end(trunk.slip)
        self.launch(trunk, now)
