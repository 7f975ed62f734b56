"""Steps that somebody may have begun, or have a copy of: the waiting room looks for them.

All processors are asked, once a second. Who runs a step says so, and it is waited for; who knows
its end tells it; after silence it is interrupted, or begun if nobody can have begun it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.branch import Branches
from pytest_gatherscatter.slips.held import Held, Holding
from pytest_gatherscatter.slips.memory import key_of
from pytest_gatherscatter.slips.slip import add, is_chain, note
from pytest_gatherscatter.wire.messages import Name
from pytest_gatherscatter.wire.names import STEP_SOUGHT
from pytest_gatherscatter.wire.slips import SeekStep, Slip, StepSeen

ASK: Final = 1.0
"""Seconds between two questions after a step."""

PATIENCE: Final = 10.0
"""Seconds of silence after which nobody has a step any more: two heartbeats of a broker. A
processor that lost its connection is back by then; if it is not, what it hands in is too late."""

DOUBT: Final = 2.0
"""Seconds for which another copy of a slip is looked for before it goes on: who has one is there
and answers in milliseconds."""

ANSWERS: Final = 0.5
"""Seconds for which other answers may be late: all are asked at once, and answer at once."""


@dataclass(slots=True)
class Search:
    """The room's questions after steps, and what follows from the answers.

    Args:
        out: where effects go.
        hold: what waits in the room; ``branches`` are those of its slips.
        name: the processor's that asks.
        wall: Unix time at a time of the machine's clock.
        patience: see :data:`PATIENCE`.
        go_on: lets a slip out on its way.
    """

    out: Effects
    hold: Holding
    branches: Branches
    name: Name
    wall: Callable[[float], float]
    patience: float
    go_on: Callable[[Held, Slip, float], None]

    def seen(self, told: StepSeen, *, now: float) -> None:
        """Take an answer of a processor about a step that was looked for."""
        held = self.hold.held.get(key_of(told.slip, told.task))
        if held is None or held.leaving or held.keep.why not in {"elsewhere", "doubt"}:
            return
        if told.standing == "ahead" or (held.keep.why == "doubt" and told.standing == "running"):
            if held.keep.why == "elsewhere":
                self.hold.remember(key_of(told.slip, told.task))
            self.hold.forget(held)
        elif told.standing == "running":
            held.until, held.unbegun = now + self.patience, False
        elif told.standing == "unbegun":  # unless another one says that it has a copy
            held.unbegun = True
            held.until = held.due = min(held.until, now + ANSWERS)
        elif told.end is not None:
            self.hold.remember(key_of(told.slip, told.task))
            held.doubt = True
            self.go_on(held, _as_ended(held.slip, told), now)
        elif held.keep.why == "elsewhere":
            self._interrupt(held, f"{told.processor} was killed or stopped in it", now)

    def patience_for(self, why: str) -> float | None:
        """Return for how long answers are waited for, if any are."""
        return {"elsewhere": self.patience, "doubt": min(DOUBT, self.patience)}.get(why)

    def seek(self, held: Held, now: float) -> None:
        """Ask after a step, or draw the line under it."""
        task = held.keep.task
        assert task is not None  # noqa: S101 - who waits here is looked for by it
        if now < held.until:
            held.due = now + ASK
            seek = SeekStep(slip=held.slip.id, task=task, asker=self.name)
            self.out.publish(STEP_SOUGHT, seek)
        elif held.keep.why == "doubt" or held.unbegun:
            if not is_chain(held.slip) and not self.branches.may_begin(held.slip, task, now):
                self.branches.never_begun(held, now)
                return
            self.hold.leave(held, *route.run_step(held.slip, task, doubt=held.doubt))
        else:
            by = held.keep.processor or "the processor that had begun it"
            self._interrupt(held, f"nothing was heard of {by} for {self.patience:g} s", now)

    def _interrupt(self, held: Held, text: str, now: float) -> None:
        task = held.keep.task
        assert task is not None  # noqa: S101 - as above
        self.hold.remember(key_of(held.slip.id, task))
        slip = route.interrupted(
            held.slip,
            task,
            wall=self.wall(now),
            processor=held.keep.processor,
            text=text,
        )
        self.hold.tell_end(slip)
        held.doubt = True
        self.go_on(held, slip, now)


def _as_ended(slip: Slip, told: StepSeen) -> Slip:
    """Return the slip as it was when its processor died, after a step and before it left."""
    assert told.end is not None  # noqa: S101 - looked at
    if told.added and told.end.status == "done":
        slip = add(slip, told.task.number, told.added)
    return note(slip, told.end)
