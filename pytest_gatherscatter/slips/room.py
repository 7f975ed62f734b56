"""The waiting room: slips that wait for something, and what is done for them.

All processors of a lab consume its queue, and the broker gives it to one of them at a time (a
single active consumer). So all copies of a slip that has several on their way meet in one process,
and whoever died with a slip in hand is judged in one place, without a scheduler or an election of
our own. Nothing is lost with that process: all that waits is unsettled, and the next one gets it.

Rules:

1. A slip whose steps run in parallel is begun here; each step comes back here, and what is then
   ready goes out. After the room has changed hands nobody knows what went out: it goes out again,
   with doubt.
2. A step that somebody may have begun is looked for: while a processor says that it runs there,
   it is waited for; it comes back, or is ``ahead``; after silence it is interrupted.
3. A slip with doubt goes on if nobody knows of another copy of it.
4. What comes back from a step is nothing without its slip, which is here, or will be. If it does
   not come, then it was over.
"""

from collections.abc import Callable

import msgspec

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.branch import Branches
from pytest_gatherscatter.slips.held import AGAIN, RENEW, Held, Holding, has
from pytest_gatherscatter.slips.memory import Memory, key_of
from pytest_gatherscatter.slips.search import PATIENCE, Search
from pytest_gatherscatter.slips.slip import is_chain, plan
from pytest_gatherscatter.slips.stray import Strays
from pytest_gatherscatter.slips.work import UNHEARD
from pytest_gatherscatter.wire.messages import Name
from pytest_gatherscatter.wire.slips import (
    KeepSlip,
    RunStep,
    Slip,
    SlipOver,
    StepSeen,
    Task,
)


class Room:
    """The part of a processor's machine that the broker makes the keeper, or does not.

    Args:
        out: where effects go.
        name: the processor's; ``memory`` is what it knows.
        wall: Unix time at a time of the machine's clock.
        patience: see :data:`search.PATIENCE`.
    """

    def __init__(
        self,
        out: Effects,
        name: Name,
        memory: Memory,
        wall: Callable[[float], float],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._out, self._wall = out, wall
        self._memory = memory
        self._hold = Holding(out)
        self._branches = Branches(self._hold, wall)
        self._strays = Strays(self._hold, wall)
        self._search = Search(out, self._hold, self._branches, name, wall, patience, self._go_on)
        self._wakes_at = float("inf")

    def __len__(self) -> int:
        """Return how many slips wait here."""
        return len(self._hold.held)

    # ── in ─────────────────────────────────────────────────────────────────────────────

    def take(self, keep: KeepSlip, delivery: int, *, redelivered: bool, now: float) -> None:
        """Take a slip in; it is settled when it has left."""
        self._out.keep(delivery)
        if is_chain(keep.slip):
            self._hold.overtake(keep)
        if keep.why == "unheard":
            self._unheard(keep, delivery, now)
        elif keep.slip.id in self._hold.past or self._memory.is_over(keep.slip.id):
            self._past(keep, delivery, now)
        elif not is_chain(keep.slip) and keep.why in {"parallel", "returned"}:
            self._join(keep, [delivery], redelivered=redelivered, now=now)
        elif keep.why == "returned":
            self._returned(keep, delivery, redelivered=redelivered, now=now)
        else:
            self._wait(keep, delivery, redelivered=redelivered, now=now)

    def seen(self, told: StepSeen, *, now: float) -> None:
        """Take an answer of a processor about a step that was looked for."""
        self._search.seen(told, now=now)

    def cancel(self, slip: str, who: str, *, now: float) -> None:
        """Let a slip that waits go its last way, if it is here."""
        for held in [one for one in self._hold.held.values() if one.slip.id == slip]:
            if held.keep.why != "elsewhere" and not held.leaving:
                held.slip = route.cancelled(held.slip, who)
                if is_chain(held.slip):
                    self._go_on(held, held.slip, now)
                else:
                    held.due = now

    def end(self, slip: str) -> None:
        """Note that a slip is over; copies of it that still come are dropped."""
        self._hold.remember(slip)
        for stray in self._strays.take_all(slip):
            self._hold.drop(stray.deliveries)

    # ── what became of what was sent ───────────────────────────────────────────────────

    def confirmed(self, effect: int) -> bool:
        """Settle what has left; say whether it was the room's."""
        if effect in self._hold.renewals:
            self._hold.drop(self._hold.renewals.pop(effect))
            return True
        held, _ = self._hold.sends.pop(effect, (None, None))
        if held is None:
            return False
        held.sends.discard(effect)
        if held.leaving and not held.sends:
            self._hold.forget(held)
        return True

    def returned(self, effect: int, *, now: float) -> bool:
        """Wait for a queue that is not there as long as the slip says; nobody need hear an end."""
        held, message = self._hold.sends.get(effect, (None, None))
        if held is None or isinstance(message, KeepSlip):  # the room's own queue was deleted
            return self.failed(effect, now=now)
        if isinstance(message, SlipOver):
            if held.keep.why != "unheard":
                held.keep = KeepSlip(slip=message.slip, why="unheard")
                held.until = now + UNHEARD
            return self.failed(effect, now=now) if now < held.until else self.confirmed(effect)
        del self._hold.sends[effect]
        held.sends.discard(effect)
        assert message is not None  # noqa: S101 - it came with the slip
        if held.keep.why == "parallel":
            self._branches.unrouted(held, message.task, now)
        else:
            self._not_there(held, message.slip, message.task, now)
        return True

    def failed(self, effect: int, *, now: float) -> bool:
        """Say again what could not be said; after a lost connection the slip comes again."""
        if effect in self._hold.renewals:
            del self._hold.renewals[effect]  # the old copies stand, and are renewed later
            return True
        held, message = self._hold.sends.pop(effect, (None, None))
        if held is None:
            return False
        held.sends.discard(effect)
        held.due = now + AGAIN
        if isinstance(message, RunStep):
            held.launched.discard(message.task)
        return True

    def stood_still(self, now: float) -> None:
        """Wait for answers anew: those that came meanwhile are still to be heard."""
        for held in self._hold.held.values():
            patience = self._search.patience_for(held.keep.why)
            if patience is not None:
                held.until, held.due = max(held.until, now + patience), now

    def lost(self) -> None:
        """Forget everything: the connection is lost, and all of it goes to the next keeper.

        Also what has left: nobody knows whether it got through.
        """
        self._hold.past.clear()
        self._hold.held.clear()
        self._strays.clear()
        self._hold.sends.clear()
        self._hold.renewals.clear()

    def release(self) -> None:
        """Put all back that is not on its way out: this processor will be the keeper no more."""
        for held in [one for one in self._hold.held.values() if not one.leaving]:
            self._hold.held = {
                place: one for place, one in self._hold.held.items() if one is not held
            }
            for delivery in held.deliveries:
                self._out.settle(delivery, Verdict.REQUEUE)
        for stray in self._strays:
            for delivery in stray.deliveries:
                self._out.settle(delivery, Verdict.REQUEUE)
        self._strays.clear()

    # ── time ───────────────────────────────────────────────────────────────────────────

    def look(self, now: float) -> None:
        """Do what is due."""
        for held in list(self._hold.held.values()):
            if now >= held.due and not held.sends:
                self._look_at(held, now)
        due = min(
            (one.due for one in self._hold.held.values() if not one.sends), default=float("inf")
        )
        due = min(due, self._strays.look(now))
        if now >= self._wakes_at:
            self._wakes_at = float("inf")
        if due < self._wakes_at:
            self._wakes_at = max(due, now)
            self._out.wake(self._wakes_at)

    def _look_at(self, held: Held, now: float) -> None:
        if held.outgoing is not None:
            self._hold.say(held, *held.outgoing)
            return
        if now - held.since >= RENEW:
            self._renew(held, now)
        match held.keep.why:
            case "elsewhere" | "doubt":
                self._search.seek(held, now)
            case "retry" | "unrouted":
                self._go_on(held, held.slip, now)
            case _:
                self._branches.launch(held, now)

    def _renew(self, held: Held, now: float) -> None:
        """Say a slip again, so that no delivery grows too old; what comes joins what is here."""
        keep = msgspec.structs.replace(
            held.keep,
            slip=held.slip,
            launched=tuple(held.launched),
            task=None if held.keep.why == "parallel" else held.keep.task,
            seconds=0.0 if held.keep.why == "parallel" else max(held.until - now, 0.0),
        )
        self._hold.renew(held, keep, now)

    # ── steps that somebody may have ───────────────────────────────────────────────────

    def _wait(self, keep: KeepSlip, delivery: int, *, redelivered: bool, now: float) -> None:
        assert keep.task is not None  # noqa: S101 - looked at by the processor
        key = key_of(keep.slip.id, keep.task)
        known = self._hold.held.get(key)
        if key in self._hold.past or self._hold.is_behind(keep.slip.id, keep.task):
            self._hold.drop([delivery])
        elif known is not None and not known.leaving:
            known.deliveries.append(delivery)
            if keep.why == "elsewhere" and known.keep.why != "elsewhere":
                known.keep, known.due, known.until = keep, now, now + self._search.patience
        else:
            patience = self._search.patience_for(keep.why)
            # One of this attempt that has left may be back before its confirm: that settles it, but
            # not what came back.
            held = Held(
                keep,
                keep.slip,
                [delivery],
                since=now,
                due=now + keep.seconds if keep.why == "retry" else now,
                until=now + (keep.seconds if patience is None else patience),
                doubt=redelivered,
            )
            self._hold.held[key] = held
            trunk = self._hold.held.get(keep.slip.id)
            if trunk is not None and keep.why == "elsewhere" and not has(trunk.slip, keep.task):
                trunk.launched.add(keep.task)
            stray = self._strays.take(key)
            if stray is not None:
                held.deliveries += stray.deliveries
                held.doubt |= stray.keep.doubt
                self._hold.remember(key)
                self._go_on(held, stray.slip, now, delay=stray.keep.seconds)

    def _returned(self, keep: KeepSlip, delivery: int, *, redelivered: bool, now: float) -> None:
        """Go on with what a processor hands in that has not the slip itself any more."""
        assert keep.task is not None  # noqa: S101 - looked at by the processor
        key = key_of(keep.slip.id, keep.task)
        held = self._hold.held.get(key)
        if key in self._hold.past:
            self._hold.drop([delivery])
        elif held is not None and not held.leaving:
            held.deliveries.append(delivery)
            held.doubt |= redelivered or keep.doubt
            self._hold.remember(key)
            self._go_on(held, keep.slip, now, delay=keep.seconds)
        else:
            self._strays.keep(keep, [delivery], now)

    def _join(
        self, keep: KeepSlip, deliveries: list[int], *, redelivered: bool, now: float
    ) -> None:
        """Join a copy of a slip whose steps run in parallel with the slip itself."""
        if keep.task is not None and keep.slip.id not in self._hold.held:
            self._strays.keep(keep, deliveries, now)  # its slip is with another keeper yet, or over
            return
        early = self._strays.take_all(keep.slip.id)
        self._branches.join(keep, deliveries, redelivered=redelivered or bool(early), now=now)
        for stray in early:
            self._branches.join(stray.keep, stray.deliveries, redelivered=True, now=now)

    def _past(self, keep: KeepSlip, delivery: int, now: float) -> None:
        """Drop a copy of a slip that is over.

        Whoever said so may have died before who waits for it was told: it is told again.
        """
        over = self._memory.over(keep.slip.id)
        if over is None:
            self._hold.drop([delivery])
        else:
            again = KeepSlip(slip=over.slip, why="unheard", seconds=UNHEARD)
            self._unheard(again, delivery, now)

    def _unheard(self, keep: KeepSlip, delivery: int, now: float) -> None:
        """Say an end again to somebody who was not there."""
        held = Held(keep, keep.slip, [delivery], since=now, due=now, until=now + keep.seconds)
        self._hold.held[f"{keep.slip.id} unheard {delivery}"] = held
        over = SlipOver(slip=keep.slip, outcome=plan(keep.slip).outcome or "failed")
        held.outgoing = keep.slip.reply_to, over
        self._hold.say(held, *held.outgoing)

    # ── going on ───────────────────────────────────────────────────────────────────────

    def _go_on(self, held: Held, slip: Slip, now: float, *, delay: float = 0.0) -> None:
        """Let a slip out on its way: along its chain, or back to where its branches meet."""
        if is_chain(slip):
            self._hold.leave(
                held, *route.onward(slip, wall=self._wall(now), doubt=held.doubt, delay=delay)
            )
            return
        keep = KeepSlip(slip=slip, why="parallel", task=held.keep.task, seconds=delay)
        deliveries, held.deliveries = held.deliveries, []
        self._hold.forget(held)
        self._join(keep, deliveries, redelivered=False, now=now)

    def _not_there(self, held: Held, slip: Slip, task: Task, now: float) -> None:
        """Look again for a queue, or note that there is none."""
        if held.keep.why != "unrouted":
            held.keep = KeepSlip(slip=slip, why="unrouted", task=task)
            held.until = now + slip.route_wait
        if now < held.until:
            held.slip, held.outgoing, held.due = slip, None, min(now + AGAIN, held.until)
            return
        slip = route.unserved(slip, task)
        self._hold.tell_end(slip)
        held.keep = KeepSlip(slip=slip, why="retry", task=task)  # its next step has its own wait
        self._go_on(held, slip, now)
