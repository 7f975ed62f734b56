"""What the workload asks of the gatherer, and says to it: once, and then every second."""

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.clock import GathererClock
from pytest_gatherscatter.sections.workload.standing import Standing
from pytest_gatherscatter.sections.workload.state import BodyEnded, TellOf, WorkloadState
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire import names

REPEAT = 1.0
"""Seconds between two questions: half of the default handshake, so that one may get lost."""

ABSENT_REPEAT = 0.25
"""Seconds between two questions while nobody has the gatherer's queue: such a question costs
the broker one return, and a gatherer that restarts is met soon."""


class Questions:
    """Asks how things stand. ``owner`` and ``run`` say who asks."""

    def __init__(
        self, standing: Standing, effects: Effects, clock: GathererClock, *, owner: str, run: str
    ) -> None:
        self.reply: str | None = None
        """Where answers are taken."""
        self._standing = standing
        self._effects = effects
        self._clock = clock
        self._owner = owner
        self._run = run
        self._asked: set[int] = set()
        self._next = float("-inf")

    # ── when ───────────────────────────────────────────────────────────────────────────

    def at_once(self, now: float) -> None:
        """Let the next question come now."""
        self._next = now

    def anew(self, now: float) -> None:
        """Ask over a new connection: what was asked over the old one comes back no more."""
        self._asked.clear()
        self._next = now

    def ask_if_due(self, now: float) -> None:
        """Ask what there is to ask, and wake up for the next time."""
        if now >= self._next:
            self._ask(now)
            self._next = now + REPEAT
            self._effects.wake(self._next)

    def returned(self, effect: int) -> bool:
        """Say whether it was a question for which there was nobody."""
        if effect not in self._asked:
            return False
        self._asked.discard(effect)
        return True

    def sooner(self, now: float) -> None:
        """Ask again soon, since nobody was there."""
        self._next = min(self._next, now + ABSENT_REPEAT)
        self._effects.wake(self._next)

    # ── what ───────────────────────────────────────────────────────────────────────────

    def _ask(self, now: float) -> None:
        standing = self._standing
        match standing.state:
            case WorkloadState.ENTERING | WorkloadState.ACCEPTED | WorkloadState.GATHERED:
                self._enter()
            case WorkloadState.READY:
                if now - standing.heard > 2 * REPEAT:
                    self._enter()  # perhaps it restarted and knows nothing of us
                self._commit()
            case _:
                self._leave(now)

    def _enter(self) -> None:
        standing = self._standing
        self._to_gatherer(
            standing.demand.question(
                standing.section, owner=self._owner, run=self._run, token=standing.token
            )
        )

    def _commit(self) -> None:
        standing = self._standing
        if standing.ready is not None:
            token, needed = standing.ready.token, standing.ready.needed
            self._to_gatherer(m.WorkloadReady(section=standing.section, token=token, needed=needed))

    def _leave(self, now: float) -> None:
        standing, ended, clock = self._standing, self._standing.ended, self._clock
        if ended is None:
            return
        known = clock.known()
        # The clock may have been read long after the start: the bound is that of then.
        times = [time for time in (ended.started, ended.stopped) if time is not None]
        self._to_gatherer(
            m.LeaveSection(
                section=standing.section,
                token=standing.token,
                outcome=ended.outcome,
                started=self._there(ended.started, now) if known else None,
                stopped=self._there(ended.stopped, now) if known else None,
                bound=max(map(clock.bound, times)) if known and times else None,
                needed=ended.needed,
                overdue=ended.overdue,
            )
        )

    def _there(self, local: float | None, now: float) -> float | None:
        return None if local is None else self._clock.to_gatherer(local, now)

    def tell_of(self, other: TellOf) -> None:
        """Tell that another section of this host is over."""
        self._to_gatherer(
            m.LeaveSection(section=other.section, token=other.token, outcome=other.outcome)
        )

    def _to_gatherer(self, message: m.Message) -> None:
        self._asked.add(
            self._effects.send(names.GATHERER_KEY, message, reply_to=self.reply, ttl=10 * REPEAT)
        )

    # ── taking it back ─────────────────────────────────────────────────────────────────

    def let_go(self, reason: str, now: float) -> None:
        """Take the question back.

        Once the commit was asked for it may have happened, and only leaving ends that; a
        gatherer that did not commit takes it for a withdrawal. Either way it answers.
        """
        if self._standing.ready is None:
            self.withdraw(reason)
        else:
            self._standing.ended = BodyEnded("interrupted", None, None)
            self.at_once(now)

    def withdraw(self, reason: str) -> None:
        """Say that nobody waits for it any more; nobody answers that."""
        if self._standing.linked:
            self._effects.send(
                names.GATHERER_KEY,
                m.WithdrawSection(section=self._standing.section, reason=reason[:4096]),
                reply_to=self.reply,
            )
