"""A task in a worker's hand, and answers on their way: each is said until the broker has it."""

from dataclasses import dataclass

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.wire.roundrobin import Execute, Executed

AGAIN = 1.0
"""Seconds until an answer that could not be said is said again."""

KEPT = 10.0
"""Seconds for which an answer without a queue is kept: a client whose broker was restarted is back
by then; one that was killed is not waited for by those behind it."""

UNWANTED = 5.0
"""Seconds after its deadline from which nobody waits for an answer: its client has given up two
seconds after it, and clocks do not agree to the second."""

GONE = 60.0
"""Seconds for which a client that was given up is not waited for again."""

TRIES = 20
"""How often an answer is said over one connection: what nobody can encode is no answer."""


@dataclass(slots=True, eq=False)
class Work:
    """A task in hand. Without a ``delivery`` (its connection was lost) the broker has it too.

    Times are of the worker's clock: ``expires_at`` is its deadline, ``due`` when it will be done,
    ``tell_at`` when its client hears that it is still worked on.
    """

    task: Execute
    reply_to: str
    delivery: int | None
    expires_at: float
    began: float | None = None
    due: float = 0.0
    tell_at: float | None = None
    answer: Executed | None = None
    send: int | None = None
    """The effect that says the answer, until its outcome."""
    tries: int = 0
    retry_at: float | None = None
    give_up_at: float | None = None


class Answers:
    """Answers that are on their way; ``out`` takes what is to be sent."""

    def __init__(self, out: Effects) -> None:
        self._out = out
        self._up = False
        self._open: dict[str, Work] = {}
        self._sends: dict[int, Work] = {}
        self._gone: dict[str, float] = {}

    def say(self, work: Work, now: float) -> bool:
        """Say an answer, once there is a connection; False if that was tried too often."""
        self._open[work.task.task] = work
        work.retry_at = None
        if work.answer is None or not self._up:
            return True
        work.tries += 1
        if work.tries > TRIES:
            self._drop(work, now)
            return False
        work.send = self._out.send(work.reply_to, work.answer)
        self._sends[work.send] = work
        return True

    def link(self, *, up: bool, now: float) -> None:
        """Hear that the connection is there, or lost: what has no outcome is said again."""
        self._up = up
        if up:
            for work in self._open.values():
                if work.send is None:
                    work.tries = 0
                    self.say(work, now)

    def confirmed(self, effect: int) -> Work | None:
        """Take what was said off the list, and return it."""
        work = self._sends.pop(effect, None)
        if work is not None:
            self._open.pop(work.task.task, None)
            self._gone.pop(work.reply_to, None)
        return work

    def unheard(self, effect: int, now: float, *, returned: bool) -> Work | None:
        """Keep what nobody took for a while; return it if nobody will."""
        work = self._sends.pop(effect, None)
        if work is None:
            return None
        work.send = None
        if returned and work.give_up_at is None:
            known = self._gone.get(work.reply_to, -GONE) + GONE > now
            work.give_up_at = now if known else min(now + KEPT, work.expires_at + UNWANTED)
        if work.give_up_at is not None and now >= work.give_up_at:
            self._drop(work, now)
            return work
        work.retry_at = now + AGAIN
        self._out.wake(work.retry_at)
        return None

    def due(self, now: float) -> list[Work]:
        """Say again what is due; return what was tried too often."""
        due = [one for one in self._open.values() if one.retry_at is not None]
        return [one for one in due if now >= (one.retry_at or 0.0) and not self.say(one, now)]

    def hurry(self, now: float) -> None:
        """Keep no longer what has found nobody."""
        for work in self._open.values():
            if work.give_up_at is not None:
                work.give_up_at = now

    def _drop(self, work: Work, now: float) -> None:
        self._open.pop(work.task.task, None)
        self._gone = {key: at for key, at in self._gone.items() if at + GONE > now}
        self._gone[work.reply_to] = now
