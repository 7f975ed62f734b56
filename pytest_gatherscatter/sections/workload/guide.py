"""The way of one section through a workload's shell: what is to be done next, without doing it.

The machine (``machine.py``) decides what is said to the lab. The guide decides what its shell
does around that: when to connect and for how long, to take the bench's lock, to sync the
ticket, to fall quiet, to come back, to give up. Two shells follow it, the one that blocks in a
test's thread (``service/workload.py``) and the one of the simulation, so that what is played
is what runs::

    guide = Guide(demand, …)
    step = guide.next(now, up=…)      # do it, tell what came of it, and ask again
    …                                 # Rest: gathered; enter, and go on asking
    …                                 # Rest: inside; the body, then leave, and go on asking

:meth:`Guide.next` is asked when the step before is done. Not thread-safe.
"""

from collections.abc import Callable

from pytest_gatherscatter.errors import NotGathered
from pytest_gatherscatter.sections.workload.bench import LOCK_TURN
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.seeking import ATTEMPT, TURN, Seeking
from pytest_gatherscatter.sections.workload.state import (
    ENDED,
    BodyEnded,
    GiveUp,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.sections.workload.step import (
    Fail,
    FallQuiet,
    Fetch,
    LetGo,
    Rest,
    Serve,
    SleepUntil,
    Step,
    SyncTicket,
    Tell,
)

CLOCK_PATIENCE = 1.0
"""Seconds for which a gathered section waits for the gatherer's clock to be read: far over
five round trips. Without a reading it starts on the safe side of t0, that is later."""

INTERRUPT_SECONDS = 3.0
"""How long an interrupted test may take to tell the lab: a person waits for the prompt."""

REPORT_GRACE = 5.0
"""Seconds on top of ``report_timeout``, in which the gatherer, who keeps it, can say so."""


class Guide(Seeking):
    """Leads one visit. Times are seconds on the caller's monotonic clock.

    Args:
        demand: what is asked for.
        section: the section's id.
        owner: who asks, for others to read.
        run: id of the run.
        memory: what the run remembers; the guide adds to it.
        token: the highest token on any ticket of this host.
        now: the time.
        why: why there is no lab to look for, if that is known: no broker, or a fresh absence.
        clock: id of the caller's clock; empty if it is not known.
        make: makes the section's machine.
    """

    def _leads(self) -> dict[Phase, Callable[[float, bool], Step]]:
        return {
            **super()._leads(),
            Phase.COMMIT: self._commit,
            Phase.QUIET: self._hush,
            Phase.LEAVE: self._leave,
            Phase.DROP: self._drop,
        }

    @property
    def gone(self) -> bool:
        """Whether its Go was said, so that it has to be left."""
        return self.coordinated and self.machine.state is WorkloadState.GO

    def next(self, now: float, *, up: bool) -> Step:
        """Say what to do at ``now``; ``up`` tells whether there is a connection."""
        if self._todo:
            return self._todo.pop(0)
        lead = self._phases.get(self.phase)
        return Rest() if lead is None else lead(now, up)

    # ── what the caller wants ──────────────────────────────────────────────────────────

    def enter(self, now: float) -> None:
        """Go on from gathered to inside."""
        self._began = now
        self.phase = Phase.COMMIT if self.coordinated else Phase.INSIDE

    def leave(
        self, outcome: str, now: float, started: float | None, stopped: float, *, overdue: bool
    ) -> None:
        """Go on from inside; ``outcome`` is ``passed``, ``failed`` or ``interrupted``."""
        self._outcome = outcome
        self._refused = None
        self._todo.clear()
        self.phase = Phase.LEAVE
        if self.coordinated:
            patience = self.demand.report_timeout + REPORT_GRACE
            self._patience = INTERRUPT_SECONDS if outcome == "interrupted" else patience
            self._until = now + self._patience
            ended = BodyEnded(outcome, started, stopped, overdue, self.needed)
            self._todo = [Tell(ended)]

    def abandon(self, reason: str, now: float) -> None:
        """Let go from wherever it is: what has gone must be left, all else is dropped."""
        if self.phase in {Phase.LEAVE, Phase.DROP, Phase.OVER}:
            return
        if self.gone:
            deadline = self.machine.deadline
            overdue = deadline is not None and now > deadline
            self.leave("interrupted", now, None, now, overdue=overdue)
            return
        self._outcome = "interrupted"
        self._until = now + INTERRUPT_SECONDS
        self._todo = [Tell(GiveUp(reason))]
        self.phase = Phase.DROP

    # ── enter ──────────────────────────────────────────────────────────────────────────

    def _commit(self, now: float, up: bool) -> Step:  # noqa: FBT001 - the phases have one form
        machine = self.machine
        if machine.state is WorkloadState.GO:
            return self._gone(now)
        if machine.state in ENDED:
            return Fail(self._refusal())
        if self._refused is not None:
            return Fail(self._refused)
        if not up:
            return self._connect(ATTEMPT, now)
        if (debt := self._debt(now)) is not None:
            return debt
        return self._prepare(now)

    def _prepare(self, now: float) -> Step:
        """See that lock, clock and ticket are there; a lone section may hold the bench."""
        machine, waited = self.machine, now - self._began
        if machine.state is WorkloadState.ACCEPTED and self._bench.held:
            # Queued again by a gatherer that restarted: whoever is before it now needs the bench.
            return self._bench.release()
        if machine.state is not WorkloadState.GATHERED:
            return Serve(TURN)
        if not self._bench.held:
            return self._bench.look(self.demand.gather_timeout, waited)
        if not machine.clock_settled and waited < CLOCK_PATIENCE:
            return Serve(LOCK_TURN)
        if self._ticket != machine.token:
            return SyncTicket(machine.token)
        return Tell(TicketSynced(machine.token, self.memory.needed))

    def _gone(self, now: float) -> Step:
        """Fall quiet; a Go that outran the news that it was queued again needs the lock anew."""
        if not self._bench.held:
            return self._bench.snatch(self.demand.gather_timeout, now - self._began)
        self.phase = Phase.QUIET
        return FallQuiet()

    def _hush(self, now: float, up: bool) -> Step:  # noqa: ARG002, FBT001 - as above
        machine = self.machine
        t0 = now if machine.t0 is None else machine.t0
        if not self._quiet:
            self._quiet = True
            if machine.go is not None:
                # From the sending of Go, as the gatherer counts what its lead must cover.
                self.needed = max(0.0, now - (t0 - (machine.go.t0 - machine.go.sent)))
                self.memory.note_needed(self.needed)
            return SleepUntil(t0)
        late, limit = now - t0, self.demand.max_duration
        if late >= limit:
            # Its time is over: its monitors have made safe by now.
            return Fail(
                NotGathered(
                    f"this process was held up until {late:.1f} s after t0, "
                    f"and the section may last {limit:g} s: its body was not run"
                )
            )
        self.phase = Phase.INSIDE
        return Rest()

    # ── leave, drop ────────────────────────────────────────────────────────────────────

    def _leave(self, now: float, up: bool) -> Step:  # noqa: FBT001 - as above
        machine = self.machine
        if not self.coordinated or machine.state in ENDED:
            return self._finish()
        left = self._until - now
        if self._refused is not None or left <= 0:
            return Tell(GiveUp(f"{self._why_unreported(up=up)} in {self._patience:g} s"))
        if not up:
            return self._connect(min(ATTEMPT, left), now, left=left)
        return self._debt(now) or Serve(min(TURN, left), left=left)

    def _why_unreported(self, *, up: bool) -> str:
        if self._refused is not None:
            return str(self._refused)
        if not up:
            return "the broker could not be reached again"
        if self.machine.state is WorkloadState.LEFT:
            return "the gatherer never closed it"
        return "the gatherer did not answer"

    def _finish(self) -> Step:
        """Take what was measured, and let go."""
        self.phase = Phase.OVER
        let_go = LetGo(self._owed, self._outcome)
        if self.machine.closed is None or self._outcome == "interrupted":
            return let_go
        self._todo = [let_go]
        return Fetch()

    def _drop(self, now: float, up: bool) -> Step:  # noqa: FBT001 - as above
        if self.machine.owes_leave and up and now < self._until:
            return Serve(LOCK_TURN)
        self.phase = Phase.OVER
        return LetGo(self._owed, self._outcome)

    @property
    def _owed(self) -> bool:
        return self.coordinated and not self.machine.acknowledged
