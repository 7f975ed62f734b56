"""What a routing slip means: which of its steps is next, and when it is over.

Pure functions of slips, which are immutable. The rules:

1. A step is over with its first ``final`` attempt; a later one is on record and counts for nothing.
2. A step may begin when all that it is ``after`` are over; without ``after`` that is all before it.
3. A step that ended otherwise than ``done`` halts the slip, unless its policy is ``continue``; a
   cancelled or expired one always does. Steps that have begun are waited for.
4. A halted slip is compensated, if the step that halted it says so: what was done, or may have
   been, is undone in reverse order of its end, one at a time. An undoing that fails is on record,
   and the next one is begun.
5. Mandatory steps are run last, in order, whatever has happened.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from pytest_gatherscatter.wire.codec import size
from pytest_gatherscatter.wire.names import ID_PATTERN, slip_key
from pytest_gatherscatter.wire.slips import MOST_STEPS, Attempt, Outcome, Slip, Status, Step, Task

MOST_BYTES = 512 * 1024
"""A slip's size on the wire: half of what a message may have, so that what is around it fits."""

MOST_ADDED = 100
"""Steps that one step may add; their numbers are its own times this, and up."""

MOST_INTERRUPTIONS = 3
"""How often a step with ``rerun`` is begun again after its processor died: a step that always
kills its processor would kill them all, one after the other."""

LONGEST_BACKOFF = 3600.0
"""Seconds between two attempts, however often the backoff was doubled."""

_ASKER = re.compile(re.escape(slip_key("")) + ID_PATTERN.removeprefix("^"))

_UNKNOWN: frozenset[Status] = frozenset({"interrupted", "timed-out", "cancelled", "expired"})
"""What may have been done, all or in part; so it is undone as if it were."""

_TRIED_AGAIN: frozenset[Status] = frozenset({"failed", "timed-out"})
"""What may go better the next time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done of a slip: ``tasks`` may begin now; with an ``outcome`` it is over.

    With neither, it waits for what has begun.
    """

    tasks: tuple[Task, ...] = ()
    outcome: Outcome | None = None


def step_of(slip: Slip, number: int) -> Step | None:
    """Return the step of this number, if there is one."""
    return next((step for step in slip.steps if step.number == number), None)


def check(slip: Slip) -> None:
    """Check what no type can say, of a slip as people write it or as it came in.

    Raises:
        ValueError: naming step and field.
    """
    # A key that is no key, or that a processor may not use, would cost it its connection.
    if slip.reply_to and _ASKER.fullmatch(slip.reply_to) is None:
        raise ValueError(f"reply_to: {slip.reply_to[:40]!r} is nobody who gives out slips")
    before: set[int] = set()
    last = False
    for step in slip.steps:
        where = f"step {step.number}"
        if step.number in before:
            raise ValueError(f"{where}: there are two of this number")
        if (step.command is None) == (not step.shell):
            raise ValueError(f"{where}: command or shell is wanted, and one of them only")
        if step.after is not None and (unknown := set(step.after) - before):
            names = ", ".join(map(str, sorted(unknown)))
            raise ValueError(f"{where}: after names {names}: only steps that stand before it may")
        if last and not step.mandatory:
            raise ValueError(f"{where}: mandatory steps stand last, and the one before it is one")
        if step.mandatory and step.after is not None:
            raise ValueError(f"{where}: after is not for mandatory steps: they are run last")
        last = step.mandatory
        before.add(step.number)


def is_chain(slip: Slip) -> bool:
    """Whether its steps are one after the other, so that one message is all there is of it."""
    return all(step.after is None for step in slip.steps)


def ends(slip: Slip, *, compensating: bool = False) -> dict[int, Attempt]:
    """Return the attempt with which each step was over, or its compensation, in their order."""
    over: dict[int, Attempt] = {}
    for one in slip.progress:
        if one.final and one.compensating == compensating:
            over.setdefault(one.number, one)
    return over


def task_for(slip: Slip, number: int, *, compensating: bool = False) -> Task:
    """Return the next attempt at a step: one more than are on record."""
    tried = [
        one.attempt
        for one in slip.progress
        if one.number == number and one.compensating == compensating
    ]
    return Task(number=number, attempt=max(tried, default=0) + 1, compensating=compensating)


def plan(slip: Slip, launched: Collection[Task] = ()) -> Plan:
    """Say what may begin, beside what is ``launched`` and has not come back."""
    over = ends(slip)
    busy = {task.number for task in launched if not task.compensating}
    halts = _halts(slip, over)
    if not halts:
        tasks = tuple(task for task in ready(slip) if task.number not in busy)
        if tasks or any(step.number not in over for step in slip.steps if not step.mandatory):
            return Plan(tasks)
    if launched:
        return Plan()
    for number in _to_undo(slip, halts):
        return Plan((task_for(slip, number, compensating=True),))
    for step in slip.steps:
        if step.mandatory and step.number not in over:
            return Plan((task_for(slip, step.number),))
    return Plan(outcome=_outcome(slip, halts))


def ready(slip: Slip) -> tuple[Task, ...]:
    """Return what may begin, or may have begun, as far as what it is after is concerned."""
    over = {*ends(slip)}
    return tuple(
        task_for(slip, step.number)
        for step in slip.steps
        if not step.mandatory and step.number not in over and _after(slip, step) <= over
    )


def note(slip: Slip, attempt: Attempt) -> Slip:
    """Return the slip with an attempt on record; one that is on record already changes nothing."""
    key = (attempt.number, attempt.compensating, attempt.attempt)
    if any((one.number, one.compensating, one.attempt) == key for one in slip.progress):
        return slip
    return _fitted(msgspec.structs.replace(slip, progress=(*slip.progress, attempt)))


def judge(slip: Slip, task: Task, status: Status) -> tuple[bool, float]:
    """Say whether an attempt that ended so is final; if not, in how many seconds the next is due.

    A mandatory step and a compensation are tried again as any other.
    """
    step = step_of(slip, task.number)
    if step is None or slip.cancelled:
        return True, 0.0
    tried = [
        one.status
        for one in slip.progress
        if one.number == task.number and one.compensating == task.compensating
    ]
    if status == "interrupted" and step.rerun:
        return tried.count("interrupted") >= MOST_INTERRUPTIONS, 0.0
    failures = sum(one in _TRIED_AGAIN for one in tried)
    if status in _TRIED_AGAIN and failures < step.retries:
        return False, min(step.backoff * 2**failures, LONGEST_BACKOFF)
    return True, 0.0


def add(slip: Slip, by: int, steps: Sequence[Step]) -> Slip:
    """Return the slip with ``steps`` added by step ``by``: after all others, before the mandatory.

    They get numbers of their own and come one after the other. Said again, they are there.

    Raises:
        ValueError: there are too many, or a mandatory step wants to add some.
    """
    adder = step_of(slip, by)
    if adder is None or adder.mandatory:
        raise ValueError(f"step {by} may not add steps")
    if len(steps) >= MOST_ADDED or by >= 2**53 // MOST_ADDED:
        raise ValueError(f"a step may add fewer than {MOST_ADDED} steps")
    known = {step.number for step in slip.steps}
    fresh = [
        msgspec.structs.replace(step, number=by * MOST_ADDED + index, after=None, mandatory=False)
        for index, step in enumerate(steps, 1)
    ]
    fresh = [step for step in fresh if step.number not in known]
    if len(slip.steps) + len(fresh) > MOST_STEPS:
        raise ValueError(f"a slip has at most {MOST_STEPS} steps")
    last = next((i for i, step in enumerate(slip.steps) if step.mandatory), len(slip.steps))
    return msgspec.structs.replace(slip, steps=(*slip.steps[:last], *fresh, *slip.steps[last:]))


def merge(one: Slip, two: Slip) -> Slip:
    """Return what two copies of a slip say together: each branch knows of its own steps only."""
    known = {step.number for step in one.steps}
    fresh = tuple(step for step in two.steps if step.number not in known)
    last = next((i for i, step in enumerate(one.steps) if step.mandatory), len(one.steps))
    joined = msgspec.structs.replace(
        one,
        steps=(*one.steps[:last], *fresh, *one.steps[last:]),
        cancelled=one.cancelled or two.cancelled,
    )
    for attempt in two.progress:
        joined = note(joined, attempt)
    return joined


def cut_short(slip: Slip, status: Status, text: str, *, launched: Iterable[Task] = ()) -> Slip:
    """Return the slip halted between its steps: what would come next is over, with ``status``."""
    for task in plan(slip, tuple(launched)).tasks:
        step = step_of(slip, task.number)
        if step is not None and not (step.mandatory or task.compensating):
            attempt = Attempt(number=task.number, attempt=task.attempt, status=status, text=text)
            return note(slip, attempt)
    return slip


def halted_by(slip: Slip) -> Attempt | None:
    """Return the attempt that halted the slip, or else the first that failed, if one did."""
    bad = [one for one in slip.progress if one.final and one.status != "done"]
    return next(iter([*_halts(slip, ends(slip)), *bad]), None)


def _after(slip: Slip, step: Step) -> set[int]:
    """Return the numbers that must be over before a step."""
    if step.after is not None:
        return set(step.after)
    before: set[int] = set()
    for other in slip.steps:
        if other.number == step.number:
            break
        before.add(other.number)
    return before


def _halts(slip: Slip, over: dict[int, Attempt]) -> list[Attempt]:
    """Return the attempts that halt a slip, in the order of its steps; parallel ones may be two."""
    halts = []
    for step in slip.steps:
        end = over.get(step.number)
        if end is None or end.status == "done" or step.mandatory:
            continue
        if step.on_failure != "continue" or end.status in {"cancelled", "expired"}:
            halts.append(end)
    return halts


def _to_undo(slip: Slip, halts: list[Attempt]) -> Iterable[int]:
    """Return the steps to compensate, in the order in which that is done."""
    halting = {one.number for one in halts}
    if not any(one.on_failure == "compensate" for one in slip.steps if one.number in halting):
        return ()
    undone = {one.number for one in slip.progress if one.final and one.compensating}
    began = [  # also by an attempt that counts for nothing, since another one was final
        one.number
        for one in slip.progress
        if one.final
        and not one.compensating
        and (one.status == "done" or (one.status in _UNKNOWN and one.attempt > 0 and one.started))
    ]
    named = {step.number for step in slip.steps if step.compensate is not None}
    return [number for number in reversed(began) if number in named and number not in undone]


def _outcome(slip: Slip, halts: list[Attempt]) -> Outcome:
    statuses = {one.status for one in halts}
    if "cancelled" in statuses:
        return "cancelled"
    if "expired" in statuses:
        return "expired"
    over = [*ends(slip).values(), *ends(slip, compensating=True).values()]
    well = all(one.status == "done" for one in over)
    return "done" if well else "failed"


def _fitted(slip: Slip) -> Slip:
    """Return the slip small enough for the wire: the oldest output goes first, then the words."""
    for spared in range(len(slip.progress)):
        if size(slip) <= MOST_BYTES:
            break
        progress = list(slip.progress)
        progress[spared] = msgspec.structs.replace(
            progress[spared], stdout_tail="", stderr_tail="", text=progress[spared].text[:200]
        )
        slip = msgspec.structs.replace(slip, progress=tuple(progress))
    return slip
