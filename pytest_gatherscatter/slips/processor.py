"""The machine of a processor: it takes slips from its queues, has steps run, and hands them on.

Its parts: ``work`` is what it has in hand, ``memory`` what it has seen, ``room`` the waiting room
of the lab, which the broker gives to one processor at a time. The rules of handing on:

1. Whoever has a slip's delivery hands it on: the next message is confirmed, then the delivery is
   settled. A processor that dies in a step leaves the delivery to the broker, which gives it to
   another one.
2. A slip that was delivered before may have been begun, and is not begun here: it goes to the
   waiting room, which asks who has it.
3. Who has lost the delivery (its connection went) does not hand on what it has done: it hands it
   in to the waiting room, which has the slip, or will have it.
"""

from dataclasses import dataclass
from typing import Literal

from pytest_gatherscatter import machine
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effect, Effects, Input, Received
from pytest_gatherscatter.slips import slip as meaning
from pytest_gatherscatter.slips.hand import LONG, Work
from pytest_gatherscatter.slips.memory import End, Key, Memory, key_of
from pytest_gatherscatter.slips.order import (
    CommandMoved,
    CommandOver,
    Done,
    Drain,
    StoodStill,
    Templates,
)
from pytest_gatherscatter.slips.room import Room
from pytest_gatherscatter.slips.search import PATIENCE
from pytest_gatherscatter.slips.work import Works
from pytest_gatherscatter.wire import slips as m
from pytest_gatherscatter.wire.messages import Name
from pytest_gatherscatter.wire.names import WAITING_KEY, processor_key, slip_key


@dataclass(frozen=True, slots=True)
class ProcessorFacts:
    """What a processor is; ``drain`` in seconds.

    ``patience`` as :data:`search.PATIENCE`, ``long`` as :data:`work.LONG`.
    """

    processor: Name
    host: str
    pid: int
    version: str
    processes: tuple[Name, ...]
    slots: int
    drain: float = 60.0
    patience: float = PATIENCE
    long: float = LONG


class ProcessorMachine:
    """See the module. ``templates`` may be replaced while it runs."""

    def __init__(self, facts: ProcessorFacts, templates: Templates, *, now: float) -> None:
        self.facts = facts
        self._out = Effects()
        self._memory = Memory()
        self._began = now
        self._wall_at = (0.0, 0.0)
        self._draining: float | None = None
        self._finished = False
        self._room = Room(
            self._out, facts.processor, self._memory, self._wall, patience=facts.patience
        )
        self._works = Works(
            self._out,
            self._memory,
            templates,
            self._wall,
            name=facts.processor,
            host=facts.host,
            slots=facts.slots,
            long=facts.long,
        )
        self._templates = templates

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received():
                self._receive(message, now)
            case machine.Exited(effect, CommandOver() as over):
                self._works.over(effect, over, now=now)
            case machine.Told(request):
                self._told(request, now)
            case machine.Recovered(events, wall):
                self._wall_at = (now, wall)
                self._memory.recover(events)
            case _:
                self._hear_of(message, now)
        self._works.look(now)
        self._room.look(now)
        self._look_at_the_end(now)
        return self._out.take()

    def _hear_of(self, message: Input, now: float) -> None:
        """Take what became of a publish, or of the connection."""
        match message:
            case machine.Confirmed(effect):
                if not self._room.confirmed(effect):
                    self._works.confirmed(effect, now=now)
            case machine.Returned(effect):
                if not self._room.returned(effect, now=now):
                    self._works.returned(effect, now=now)
            case machine.Failed(effect):
                if not self._room.failed(effect, now=now):
                    self._works.failed(effect, now=now)
            case machine.LinkUp():
                self._works.back(now=now)
            case machine.LinkDown():
                self._room.lost()
                self._works.lost()
            case _:
                pass

    def fold(self) -> list[dict[str, object]]:
        """Return the events that its journal needs, to be kept instead of all that are there."""
        return self._memory.fold(work.key for work in self._works)

    def _wall(self, now: float) -> float:
        at, wall = self._wall_at
        return wall + now - at

    # ── what comes ─────────────────────────────────────────────────────────────────────

    def _receive(self, received: Received, now: float) -> None:
        match received.message:
            case m.RunStep() as told:
                self._run_step(told, received, now)
            case m.KeepSlip() as keep:
                self._keep(keep, received, now)
            case m.SeekStep() as seek:
                self._sought(seek)
            case m.StepSeen() as seen:
                self._room.seen(seen, now=now)
            case m.CancelSlip(slip=slip, who=who):
                self._memory.cancel(slip, who)
                self._works.cancel(slip, who, now=now)
                self._room.cancel(slip, who, now=now)
            case m.SlipOver(slip=slip) as over:
                self._memory.end(over)
                self._room.end(slip.id)
            case m.CheckSlip() as asked:
                self._check(asked)
            case m.SeekProcessors(asker=asker):
                self._out.send(slip_key(asker), self._seen(now))
            case _:
                pass

    def _run_step(self, told: m.RunStep, received: Received, now: float) -> None:
        if not self._is_sound(told.slip, told.task, delivery=received.delivery):
            return
        step = meaning.step_of(told.slip, told.task.number)
        assert step is not None  # noqa: S101 - looked at
        if step.process not in self.facts.processes:
            self._bury(received.delivery, f"{step.process!r} is not served here")
            return
        key = key_of(told.slip.id, told.task)
        if meaning.is_chain(told.slip):  # a branch is not all that there is of its slip
            self._memory.meet(told.slip)
        mine = self._works.of(key)
        if mine is not None and not mine.leased and mine.send is None:
            if mine.delivery is None:
                self._works.adopt(mine, received.delivery, now=now)
        elif self._memory.is_over(told.slip.id):
            self._out.send(WAITING_KEY, m.KeepSlip(slip=told.slip, why="doubt", task=told.task))
        elif self._memory.is_beyond(key):
            pass  # said twice: it was handed on
        elif told.doubt or received.redelivered or mine is not None or self._known(key):
            begun = not told.doubt or received.redelivered
            why: Literal["doubt", "elsewhere"] = "elsewhere" if begun else "doubt"
            self._out.send(WAITING_KEY, m.KeepSlip(slip=told.slip, why=why, task=told.task))
        else:
            self._works.take(told, step, received.delivery, now=now)
            if self._draining is not None:
                self._works.give_back_all(now=now)

    def _keep(self, keep: m.KeepSlip, received: Received, now: float) -> None:
        chain = meaning.is_chain(keep.slip)
        if received.key != WAITING_KEY:  # of a queue of steps it would take a slot, for long
            self._bury(received.delivery, "a slip is kept in the waiting room only")
        elif keep.task is None and keep.why not in {"parallel", "unheard"}:
            self._bury(received.delivery, f"{keep.why} of no task")
        elif keep.why == "parallel" and chain:
            self._bury(received.delivery, "parallel, of a chain")
        elif self._is_sound(keep.slip, keep.task, *keep.launched, delivery=received.delivery):
            if chain and keep.why != "returned":
                self._memory.meet(keep.slip)  # what is returned is nothing without its slip
            self._room.take(keep, received.delivery, redelivered=received.redelivered, now=now)
            if self._draining is not None:
                self._room.release()

    def _is_sound(self, slip: m.Slip, *tasks: m.Task | None, delivery: int) -> bool:
        """Whether all of it makes sense; what does not goes to the dead letters."""
        try:
            meaning.check(slip)
        except ValueError as error:
            self._bury(delivery, f"slip {slip.id}: {error}")
            return False
        for task in tasks:
            if task is not None and meaning.step_of(slip, task.number) is None:
                self._bury(delivery, f"slip {slip.id}: there is no step {task.number}")
                return False
        return True

    def _bury(self, delivery: int, reason: str) -> None:
        self._out.settle(delivery, Verdict.DEAD, reason)

    # ── questions ──────────────────────────────────────────────────────────────────────

    def _known(self, key: Key) -> bool:
        """Whether it was begun here in an earlier life."""
        return key in self._memory.cut or key in self._memory.ended

    def _sought(self, seek: m.SeekStep) -> None:
        """Say what there is to say of a step; who knows nothing is silent."""
        key = key_of(seek.slip, seek.task)
        ahead = self._memory.is_beyond(key) or any(
            _has_behind(work, seek.task) for work in self._works.of_slip(seek.slip)
        )
        if self._works.of(key) is not None:
            self._say_seen(seek, "running")
        elif ahead:
            self._say_seen(seek, "ahead")
        elif self._memory.was_unbegun(key):
            self._say_seen(seek, "unbegun")
        elif self._known(key):
            self._say_seen(seek, "dropped", self._memory.ended.get(key))

    def _say_seen(
        self,
        seek: m.SeekStep,
        standing: Literal["running", "ahead", "unbegun", "dropped"],
        end: End | None = None,
    ) -> None:
        seen = m.StepSeen(
            slip=seek.slip,
            task=seek.task,
            processor=self.facts.processor,
            standing=standing,
            end=None if end is None else end.attempt,
            added=() if end is None else end.added,
        )
        self._out.send(processor_key(seek.asker), seen)

    def _check(self, asked: m.CheckSlip) -> None:
        """Say how the steps of a slip would be run here, if any would."""
        checked = []
        for step in asked.slip.steps:
            if step.process in self.facts.processes:
                checked.append(self._checked(step, asked.slip, compensating=False))
                if step.compensate is not None:
                    checked.append(self._checked(step, asked.slip, compensating=True))
        if checked:
            answer = m.SlipChecked(
                slip=asked.slip.id,
                processor=self.facts.processor,
                host=self.facts.host,
                steps=tuple(checked),
            )
            self._out.send(slip_key(asked.asker), answer)

    def _checked(self, step: m.Step, slip: m.Slip, *, compensating: bool) -> m.StepChecked:
        try:
            line = self._templates.line(step, slip.params, compensating=compensating)
        except ValueError as error:
            text = str(error)[:4096]
            return m.StepChecked(number=step.number, refused=text, compensating=compensating)
        return m.StepChecked(number=step.number, line=line[:4096], compensating=compensating)

    def _seen(self, now: float) -> m.ProcessorSeen:
        facts = self.facts
        return m.ProcessorSeen(
            processor=facts.processor,
            host=facts.host,
            pid=facts.pid,
            version=facts.version,
            processes=facts.processes,
            slots=facts.slots,
            free=self._works.free,
            running=tuple(
                f"{one.slip.name} {one.task.number} {one.step.command or 'shell'}"
                f" ({now - one.since:.0f} s)"
                for one in self._works
            ),
            waiting=len(self._room),
            up=now - self._began,
            draining=self._draining is not None,
        )

    # ── the end ────────────────────────────────────────────────────────────────────────

    def _told(self, request: object, now: float) -> None:
        match request:
            case CommandMoved():
                self._works.moved(request)
            case StoodStill():
                self._works.distrust(now)
                self._room.stood_still(now)
            case Drain(at_once):
                if self._draining is None:
                    self._draining = now + self.facts.drain
                    self._works.give_back_all(now=now)
                    self._room.release()
                    self._out.wake(self._draining)
                if at_once:
                    self._draining = now
            case _:
                pass

    def _look_at_the_end(self, now: float) -> None:
        if self._draining is None or self._finished:
            return
        if now >= self._draining:
            for work in self._works:
                self._works.end(work, "interrupted", f"{self.facts.processor} was told to end")
        if not len(self._works):
            self._finished = True
            self._out.run(Done())


def _has_behind(work: Work, task: m.Task) -> bool:
    """Whether a slip in hand has an attempt on record."""
    wanted = (task.number, task.compensating, task.attempt)
    return any((one.number, one.compensating, one.attempt) == wanted for one in work.slip.progress)
