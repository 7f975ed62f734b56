"""Where a slip goes next: to a process's queue, to the waiting room, or back to who gave it out.

Pure functions, for whoever has the slip in hand: who gives it out, a processor, the waiting room.
"""

from typing import TypeAlias

import msgspec

from pytest_gatherscatter.slips.slip import cut_short, is_chain, judge, note, plan, step_of
from pytest_gatherscatter.wire.names import WAITING_KEY, steps_key
from pytest_gatherscatter.wire.slips import Attempt, KeepSlip, RunStep, Slip, SlipOver, Status, Task

Onward: TypeAlias = tuple[str, RunStep | KeepSlip | SlipOver]
"""A key on the direct exchange, empty for nobody, and the message for it."""


TOO_LATE = "the slip's deadline had passed"


def first(slip: Slip) -> Onward:
    """Return how a slip begins its way."""
    if is_chain(slip):
        return onward(slip, wall=slip.created)
    return WAITING_KEY, KeepSlip(slip=slip, why="parallel")


def onward(slip: Slip, *, wall: float, doubt: bool = False, delay: float = 0.0) -> Onward:
    """Return what is to be said next of a slip whose steps are one after the other.

    ``wall`` is Unix time; ``delay`` is for how many seconds its next attempt shall wait.
    """
    slip = halted(slip, wall=wall)
    todo = plan(slip)
    if todo.outcome is not None or not todo.tasks:
        return slip.reply_to, SlipOver(slip=slip, outcome=todo.outcome or "failed")
    task = todo.tasks[0]
    if delay > 0:
        return WAITING_KEY, KeepSlip(slip=slip, why="retry", task=task, seconds=delay)
    return run_step(slip, task, doubt=doubt)


def run_step(slip: Slip, task: Task, *, doubt: bool = False) -> Onward:
    """Return a task for the queue of its process."""
    step = step_of(slip, task.number)
    assert step is not None, task  # noqa: S101 - tasks are made from steps
    return steps_key(step.process), RunStep(slip=slip, task=task, doubt=doubt)


def halted(slip: Slip, *, wall: float, launched: tuple[Task, ...] = ()) -> Slip:
    """Return the slip, cut short between its steps if it was cancelled or is too late."""
    if slip.cancelled:
        return _cut(slip, "cancelled", f"cancelled by {slip.cancelled}", launched)
    if slip.deadline is not None and wall >= slip.deadline:
        return _cut(slip, "expired", TOO_LATE, launched)
    return slip


def unserved(slip: Slip, task: Task) -> Slip:
    """Return the slip with a task on record for which nobody had a queue."""
    step = step_of(slip, task.number)
    process = "" if step is None else step.process
    text = f"no processor serves {process!r}: nobody has made a queue for it"
    return note(slip, _never(task, "unserved", text))


def interrupted(slip: Slip, task: Task, *, wall: float, processor: str, text: str) -> Slip:
    """Return the slip with a task on record that was begun and that nobody has any more."""
    final, _ = judge(slip, task, "interrupted")
    attempt = Attempt(
        number=task.number,
        attempt=task.attempt,
        compensating=task.compensating,
        status="interrupted",
        final=final,
        started=wall,
        ended=wall,
        processor=processor,
        text=text,
    )
    return note(slip, attempt)


def cancelled(slip: Slip, who: str) -> Slip:
    """Return the slip with the wish that it ends, if nobody had it before."""
    return msgspec.structs.replace(slip, cancelled=slip.cancelled or who)


def _cut(slip: Slip, status: Status, text: str, launched: tuple[Task, ...]) -> Slip:
    for _ in slip.steps:
        shorter = cut_short(slip, status, text, launched=launched)
        if shorter is slip:
            break
        slip = shorter
    return slip


def _never(task: Task, status: Status, text: str) -> Attempt:
    """Return an attempt that never began; it is final: the next would find the same."""
    return Attempt(
        number=task.number,
        attempt=task.attempt,
        compensating=task.compensating,
        status=status,
        text=text,
    )
