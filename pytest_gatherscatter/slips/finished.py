"""A slip that is over, as who gave it out sees it: how it ended, and how each step did."""

from pytest_gatherscatter.slips import slip as slips
from pytest_gatherscatter.wire.slips import Attempt, Outcome, Slip, SlipOver, Step

MOST_TAIL = 2000
"""Characters of a step's output in the text of a failure: the log file of its host has all."""


class FinishedSlip:
    """What ``gs_run_slip`` returns. Nothing in it changes any more.

    ``outcome`` is ``done``, ``failed``, ``cancelled`` or ``expired``; ``steps`` are those of the
    slip, with those that were added on the way; ``progress`` is every attempt, in the order of
    their ends.
    """

    def __init__(self, over: SlipOver) -> None:
        self.slip: Slip = over.slip
        self.outcome: Outcome = over.outcome

    @property
    def id(self) -> str:
        """Its id, as in logs and events."""
        return self.slip.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.slip.name

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps."""
        return self.slip.steps

    @property
    def progress(self) -> tuple[Attempt, ...]:
        """Every attempt that was made or refused."""
        return self.slip.progress

    @property
    def done(self) -> bool:
        """Whether every step was done."""
        return self.outcome == "done"

    @property
    def seconds(self) -> float:
        """From the begin of the first attempt to the end of the last; 0 if none was begun."""
        began = [one.started for one in self.progress if one.started]
        ended = [one.ended for one in self.progress if one.ended]
        return max(0.0, max(ended) - min(began)) if began and ended else 0.0

    def step(self, number: int) -> Attempt:
        """Return how step ``number`` ended: its last attempt.

        Raises:
            LookupError: it was not begun, or there is none.
        """
        return self._last(number, compensating=False)

    def compensation(self, number: int) -> Attempt:
        """Return how the undoing of step ``number`` ended.

        Raises:
            LookupError: it was not undone.
        """
        return self._last(number, compensating=True)

    def _last(self, number: int, *, compensating: bool) -> Attempt:
        for one in reversed(self.progress):
            if (one.number, one.compensating) == (number, compensating):
                return one
        what = "the undoing of step" if compensating else "step"
        raise LookupError(f"slip {self.name}: {what} {number} was not begun")

    def __repr__(self) -> str:
        """Show name, outcome, and the status of each attempt."""
        return f"<FinishedSlip {self.name}: {self.outcome}, {len(self.progress)} attempts>"


def step_title(slip: Slip, number: int, *, compensating: bool = False) -> str:
    """Name a step for people: ``step 2, flash write``."""
    step = slips.step_of(slip, number)
    if step is None:
        return f"step {number}"
    command = step.compensate if compensating else step.command or "shell"
    return f"{'undoing ' if compensating else ''}step {number}, {step.process} {command}"


def attempt_end(attempt: Attempt) -> str:
    """Say how an attempt ended: ``failed, exit status 3, after 1.2 s on bench-pc``."""
    parts: list[str] = [attempt.status]
    if attempt.signal:
        parts.append(attempt.signal)
    elif attempt.exit_status is not None and attempt.status != "done":
        parts.append(f"exit status {attempt.exit_status}")
    text = ", ".join(parts)
    if attempt.started:
        text += f" after {max(0.0, attempt.ended - attempt.started):.1f} s"
    if attempt.host:
        text += f" on {attempt.host}"
    return text + (f": {attempt.text}" if attempt.text else "")


def failure(finished: FinishedSlip) -> str:
    """Say what ended a slip early, and how each of its steps went, with the last of the output."""
    slip = finished.slip
    cause = slips.halted_by(slip)
    head = f"slip {slip.name} {finished.outcome}"
    if slip.cancelled:
        head += f" by {slip.cancelled}"
    if cause is not None:
        title = step_title(slip, cause.number, compensating=cause.compensating)
        head += f": {title}: {attempt_end(cause)}"
    lines = [head]
    for one in finished.progress:
        title = step_title(slip, one.number, compensating=one.compensating)
        again = f", attempt {one.attempt}" if one.attempt > 1 else ""
        lines.append(f"  {title}{again}: {attempt_end(one)}")
    if cause is not None:
        for name, tail in (("output", cause.stdout_tail), ("errors", cause.stderr_tail)):
            if tail.strip():
                lines += [f"last {name}:", *(f"  {line}" for line in _last_of(tail))]
        if cause.log:
            lines.append(f"all of it: {cause.log} on {cause.host}")
    return "\n".join(lines)


def _last_of(tail: str) -> list[str]:
    return tail[-MOST_TAIL:].rstrip().splitlines()
