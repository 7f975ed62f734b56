"""Gives a slip out and follows it to its end, with no clock and no broker of its own.

Before anything runs, those who would run its steps are asked whether they could (a moment: nobody
has to answer). Then the first step goes to the queue of its process, or, where steps are parallel,
the slip goes to the waiting room. As long as it finds no queue it is still in this hand, and tried
again until its ``route_wait`` is over. From then on it is on its way, and only heard of.
"""

from dataclasses import dataclass
from typing import TypeAlias

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Effects,
    Failed,
    Input,
    Lifecycle,
    LinkUp,
    Received,
    Returned,
    State,
    Told,
    Woken,
)
from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips import slip as slips
from pytest_gatherscatter.slips.order import Say
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import SLIP_CHECK, slip_event
from pytest_gatherscatter.wire.slips import (
    CancelSlip,
    CheckSlip,
    Slip,
    SlipChecked,
    SlipOver,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Step,
    Task,
)

CHECK = 1.0
"""Seconds in which processors say whether they would run the slip: they answer at once, if at
all, and a person waits."""

AGAIN = 0.5
"""Seconds until a step that found no queue is sent again."""

SAY_AGAIN = 1.0
"""Seconds until a wish to cancel is said again: who has the slip may just have got it."""

GRACE = 60.0
"""Seconds for which the word of an end may be late: a processor that died is missed after three
heartbeats (15 s), and asked for by the waiting room after that."""


class AskState(State):
    """Where a slip stands for who gives it out."""

    CHECKING = "checking"
    """Processors are asked whether they would run its steps."""
    SENDING = "sending"
    """It is here still: its first step looks for its queue."""
    UNDERWAY = "underway"
    """Somebody has it."""
    OVER = "over"
    """Nothing of it will be run any more."""


ASK_TABLE = {
    AskState.CHECKING: (AskState.SENDING, AskState.OVER),
    AskState.SENDING: (AskState.UNDERWAY, AskState.OVER),
    AskState.UNDERWAY: (AskState.OVER,),
    AskState.OVER: (),
}


@dataclass(frozen=True, slots=True)
class CancelWish:
    """Who gave the slip out wants it to end (``Told``)."""

    who: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What processors said of the slip, before it goes out (a ``Run``)."""

    answers: tuple[SlipChecked, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The slip does not go out: ``text`` says who refuses which step, and why (a ``Run``)."""

    text: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody has said in time how it ended (a ``Run``)."""

    text: str


SlipNews: TypeAlias = SlipStepBegun | SlipStepMoved | SlipStepEnded | SlipOver | Checked | Say
"""What there is to show of a slip, each once; :class:`SlipOver` is the last."""


def undoing(slip: Slip) -> float:
    """Return for how many seconds at most what a halted slip still does may run."""

    def longest(step: Step) -> float:
        waits = sum(
            min(step.backoff * 2**tried, slips.LONGEST_BACKOFF) for tried in range(step.retries)
        )
        return float(step.timeout * (step.retries + 1) + waits)

    late = (one for one in slip.steps if one.mandatory or one.compensate is not None)
    return sum(map(longest, late))


class AskerMachine:
    """One slip, seen by who gives it out.

    Args:
        slip: the slip; its ``reply_to`` is the asker's own key.
        asker: the asker's id.
        checks: whether to ask beforehand.
        only_checks: ask, and do nothing else; then all are heard that may answer.
        lasts: seconds after which its end is waited for no more.
        now: the time.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the slip's way
        self,
        slip: Slip,
        *,
        asker: str,
        checks: bool = True,
        only_checks: bool = False,
        lasts: float,
        now: float,
    ) -> None:
        self.slip = slip
        """The slip as far as it was heard of."""
        self.life = Lifecycle(f"slip {slip.id}", AskState.CHECKING, ASK_TABLE, now=now)
        self._asker = asker
        self._checks = checks
        self._only_checks = only_checks
        self._end = now + lasts
        self._out = Effects()
        self._check_until = now + CHECK if checks else now
        self._answers: dict[str, SlipChecked] = {}
        self._sent: set[int] = set()
        self._tried: Task | None = None
        self._unrouted_since: float | None = None
        self._again_at: float | None = None
        self._doubt = False
        self._who = ""
        self._say_at: float | None = None
        self._seen: set[object] = set()

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input at time ``now`` (seconds, monotonic) and say what is to be done."""
        match message:
            case LinkUp():
                self._connected(now)
            case Received():
                self._hear(message.message, now)
            case Told(CancelWish(who)):
                self._cancel(who, now)
            case Confirmed(effect) if effect in self._sent:
                self._taken(now)
            case Returned(effect) if effect in self._sent:
                self._no_queue(now)
            case Failed(effect) if effect in self._sent:
                self._sent.discard(effect)
                self._doubt = True
            case Woken():
                pass
        self._look(now)
        return self._out.take()

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.life.state is AskState.OVER

    # ── on its way out ─────────────────────────────────────────────────────────────────

    def _connected(self, now: float) -> None:
        if self.life.state is AskState.CHECKING and self._checks:
            self._check_until = now + CHECK
            self._out.publish(SLIP_CHECK, CheckSlip(slip=self.slip, asker=self._asker))
            self._out.wake(self._check_until)
        elif self.life.state is AskState.CHECKING:
            self._check_until = now
        elif self.life.state is AskState.SENDING and not self._sent:
            self._send(now)
        if self._say_at is not None:
            self._say_at = now
        self._out.wake(self._end)

    def _look(self, now: float) -> None:
        """See to what is due."""
        state = self.life.state
        if state is AskState.CHECKING:
            asked = {step.process for step in self.slip.steps}
            missing = asked - self._served()
            if now >= self._check_until or not (missing or self._only_checks):
                self._checked(sorted(missing) if self._checks else [], now)
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            if self.life.state is AskState.SENDING:
                self._send(now)
        if self._say_at is not None and now >= self._say_at and not self.over:
            self._out.publish(
                slip_event("cancel", self.slip.id), CancelSlip(slip=self.slip.id, who=self._who)
            )
            self._say_at = now + SAY_AGAIN
            self._out.wake(self._say_at)
        if now >= self._end and not self.over:
            self.life.to(AskState.OVER, now=now, why="silence")
            text = "after it was cancelled" if self._who else "in its time"
            self._out.run(Silence(f"slip {self.slip.name} ({self.slip.id}) has not ended {text}"))

    def _served(self) -> set[str]:
        """Return the processes that somebody has answered for."""
        process = {step.number: step.process for step in self.slip.steps}
        return {
            process[one.number]
            for answer in self._answers.values()
            for one in answer.steps
            if one.number in process
        }

    def _checked(self, missing: list[str], now: float) -> None:
        """Let the slip go out, unless somebody would refuse a step of it."""
        answers = tuple(sorted(self._answers.values(), key=lambda one: one.processor))
        self._out.run(Checked(answers))
        refused = dict.fromkeys(
            f"step {one.number}: {one.refused} (processor {answer.processor} on {answer.host})"
            for answer in answers
            for one in answer.steps
            if one.refused
        )
        if self._only_checks or refused:
            self.life.to(AskState.OVER, now=now, why="checked")
            if refused:
                self._out.run(Refusal("; ".join(refused)))
            return
        if missing:
            names, wait = ", ".join(missing), self.slip.route_wait
            text = f"no processor answers for {names}; where there is no queue, it waits {wait:g} s"
            self._out.run(Say(text))
        self.life.to(AskState.SENDING, now=now)
        self._send(now)

    def _send(self, now: float) -> None:
        """Give the slip out: to the process of its first step, or to the waiting room."""
        tasks = slips.plan(self.slip).tasks
        if tasks and not slips.is_chain(self.slip):
            key, message = route.first(self.slip)
        else:
            key, message = route.onward(self.slip, wall=self.slip.created, doubt=self._doubt)
        if isinstance(message, SlipOver):
            self._finish(message, now, told=True)
            return
        if tasks[0] != self._tried:
            self._tried, self._unrouted_since = tasks[0], None
        self._sent.add(self._out.send(key, message))

    def _taken(self, now: float) -> None:
        self._sent.clear()
        if self.life.state is AskState.SENDING:
            self.life.to(AskState.UNDERWAY, now=now)

    def _no_queue(self, now: float) -> None:
        """Try again, or put on record that the step was not served."""
        self._sent.clear()
        if self.life.state is not AskState.SENDING or self._tried is None:
            return
        if self._who:
            self._cancel_here(now)
            return
        if self._unrouted_since is None:
            self._unrouted_since = now
        waited = now - self._unrouted_since
        if waited < self.slip.route_wait:
            self._again_at = now + min(AGAIN, self.slip.route_wait - waited)
            self._out.wake(self._again_at)
            return
        self.slip = route.unserved(self.slip, self._tried)
        attempt = self.slip.progress[-1]
        self._out.run(SlipStepEnded(slip=self.slip.id, name=self.slip.name, attempt=attempt))
        self._doubt = False
        self._send(now)

    # ── on its way ─────────────────────────────────────────────────────────────────────

    def _hear(self, message: Message, now: float) -> None:
        match message:
            case SlipChecked() if self.life.state is AskState.CHECKING:
                if message.slip == self.slip.id:
                    self._answers[message.processor] = message
            case SlipStepBegun(slip=self.slip.id) if not self.over:
                self._taken(now)
                if self._first((message.task, message.processor)):
                    self._out.run(message)
            case SlipStepMoved(slip=self.slip.id) if not self.over:
                self._out.run(message)
            case SlipStepEnded(slip=self.slip.id) if not self.over:
                self._taken(now)
                one = message.attempt
                if self._first((one.number, one.attempt, one.compensating)):
                    self.slip = slips.note(self.slip, one)
                    self._out.run(message)
            case SlipOver() if message.slip.id == self.slip.id and not self.over:
                self._taken(now)
                self._finish(message, now)

    def _first(self, what: object) -> bool:
        """Say whether this is news."""
        if what in self._seen:
            return False
        self._seen.add(what)
        return True

    def _cancel(self, who: str, now: float) -> None:
        if self.over or self._who:
            return
        self._who = who
        if self.life.state is AskState.CHECKING or (
            self.life.state is AskState.SENDING and not self._sent and not self._doubt
        ):
            self._cancel_here(now)
            return
        self._end = min(self._end, now + undoing(self.slip) + GRACE)
        self._out.wake(self._end)
        self._say_at = now

    def _cancel_here(self, now: float) -> None:
        """End a slip that nobody else has, and of which nothing was begun."""
        slip = route.cancelled(self.slip, self._who)
        slip = slips.cut_short(slip, "cancelled", f"by {self._who}, before it was begun")
        self._finish(SlipOver(slip=slip, outcome="cancelled"), now, told=True)

    def _finish(self, over: SlipOver, now: float, *, told: bool = False) -> None:
        """Take the end; with ``told`` it is this one's own word, which others hear too."""
        self.slip = over.slip
        self.life.to(AskState.OVER, now=now, why=over.outcome)
        if told:
            self._out.publish(slip_event("over", over.slip.id), over)
        self._out.run(over)
