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

from pytest_gatherscatter.errors import BrokerError, NoGatherer, NotGathered, SectionFailed
from pytest_gatherscatter.machine import Woken
from pytest_gatherscatter.sections.demand import Demand
from pytest_gatherscatter.sections.section import error_of
from pytest_gatherscatter.sections.workload.bench import LOCK_TURN, Bench
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.state import (
    ENDED,
    BodyEnded,
    GiveUp,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.sections.workload.step import (
    Connect,
    Fail,
    FallQuiet,
    Fetch,
    LetGo,
    LookForDebts,
    Rest,
    Serve,
    SettleDebt,
    SleepUntil,
    Step,
    SyncTicket,
    Tell,
)

TURN = 0.5
"""Seconds of one wait inside a longer one, so that people see it go on and can interrupt it."""

ATTEMPT = 2.0
"""Seconds of one attempt to connect, for the same reason; a far TLS broker takes about one."""

CLOCK_PATIENCE = 1.0
"""Seconds for which a gathered section waits for the gatherer's clock to be read: far over
five round trips. Without a reading it starts on the safe side of t0, that is later."""

INTERRUPT_SECONDS = 3.0
"""How long an interrupted test may take to tell the lab: a person waits for the prompt."""

REPORT_GRACE = 5.0
"""Seconds on top of ``report_timeout``, in which the gatherer, who keeps it, can say so."""

LOOK_AGAIN = 5.0
"""Seconds between two looks at the tickets while a bench is busy: its owner may have died
meanwhile, and reading a directory costs a fraction of a millisecond."""


class Guide:
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

    def __init__(  # noqa: PLR0913 - the facts of a section
        self,
        demand: Demand,
        *,
        section: str,
        owner: str,
        run: str,
        memory: Memory,
        token: int,
        now: float,
        why: str | None = None,
        clock: str = "",
        make: Callable[..., Workload] = Workload,
    ) -> None:
        memory.token = max(memory.token, token)
        self.demand = demand
        self.memory = memory
        self.phase = Phase.SEEK
        self.alone_because: str | None = None
        """Why it runs alone, if it does."""
        self.needed = 0.0
        """Seconds from the sending of Go until quiet."""
        self.machine = make(
            demand,
            section=section,
            owner=owner,
            run=run,
            token=memory.token,
            met=memory.met,
            clock=clock,
            now=now,
        )
        # An answer that comes too late counts from the next section on.
        self._met = memory.met
        self._nobody = why
        self._began = now
        self._until = now + (demand.gather_timeout if self._met else demand.handshake_timeout)
        self._retry = self._met or not memory.tried
        self._contacted = False
        self._unreached = ""
        self._refused: BrokerError | None = None
        self._looked = float("-inf")
        self._bench = Bench()
        self._ticket = 0
        self._quiet = False
        self._todo: list[Step] = []
        self._outcome = "interrupted"
        self._patience = 0.0
        self._phases: dict[Phase, Callable[[float, bool], Step]] = {
            Phase.SEEK: self._seek,
            Phase.LOCK: self._lock,
            Phase.COMMIT: self._commit,
            Phase.QUIET: self._hush,
            Phase.LEAVE: self._leave,
            Phase.DROP: self._drop,
        }

    @property
    def coordinated(self) -> bool:
        """Whether a gatherer gathers it."""
        return self.alone_because is None

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

    # ── what the shell tells ───────────────────────────────────────────────────────────

    def connected(self) -> None:
        """Take it that an attempt to connect was of use."""
        self._contacted = True

    def unreachable(self, why: str, now: float) -> bool:
        """Take it that an attempt was of none; say whether there will be another."""
        if self._contacted:
            self.machine.handle(Woken(), now=now)  # it keeps its deadlines, connected or not
            return True
        self._unreached = why
        return self._retry and now < self._until

    def refused(self, error: BrokerError) -> None:
        """Take it that the broker refuses us: login, rights, a name."""
        self._refused = error

    def locked(self) -> None:
        """Take it that the bench's lock is held."""
        self._bench.taken()

    def busy(self, error: NotGathered) -> None:
        """Take it that somebody else holds the bench's lock; ``error`` says who."""
        self._bench.busy(error)

    def synced(self, token: int) -> None:
        """Take it that the ticket with ``token`` is on disk."""
        self._ticket = token

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

    # ── gather ─────────────────────────────────────────────────────────────────────────

    def _seek(self, now: float, up: bool) -> Step:  # noqa: FBT001 - the phases have one form
        machine = self.machine
        if self._refused is not None:
            return self._turned_away(self._refused, now)
        if self._nobody is not None:
            return self._nobody_there(self._nobody, now)
        if machine.state is WorkloadState.GATHERED or machine.state in ENDED:
            return self._sought(now)
        if up:
            return self._debt(now) or Serve(TURN)
        return self._connect(ATTEMPT, now) if self._contacted else self._first(now)

    def _first(self, now: float) -> Step:
        """Look for the lab, as long as that is worth while."""
        left = self._until - now
        if self._unreached and (left <= 0 or not self._retry):
            self.memory.absent(self._unreached, now)
            return self._nobody_there(self._unreached, now)
        return Connect(max(0.0, min(ATTEMPT, left)), self._retry, hears_go=True, left=left)

    def _turned_away(self, error: BrokerError, now: float) -> Step:
        if self.demand.no_gatherer != "run":
            return Fail(error)
        return self._go_alone(str(error), now)

    def _sought(self, now: float) -> Step:
        """See what the seeking came to, and remember it for the sections to come."""
        machine, memory = self.machine, self.memory
        memory.met = memory.met or machine.answered
        memory.token = max(memory.token, machine.token)
        alone = machine.state is WorkloadState.ALONE
        if alone and not machine.absent:
            memory.absent(machine.alone_because, now)
        elif machine.refusal is not None and machine.refusal.cause == NoGatherer.cause:
            memory.absent(machine.refusal.text, now)
        elif alone:
            memory.empty(machine.alone_because, now)
        else:
            memory.there()
        if alone:
            return self._nobody_there(machine.alone_because, now)
        if machine.state in ENDED:
            return self._not_gathered(now)
        self.phase = Phase.GATHERED
        return Rest()

    def _not_gathered(self, now: float) -> Step:
        error = self._refusal()
        # A veto or a broken monitor is news that no policy overrules.
        if type(error) is NotGathered and self.demand.not_gathered == "run":
            return self._go_alone(error.text, now)
        return Fail(error)

    def _refusal(self) -> SectionFailed:
        refusal = self.machine.refusal
        if refusal is None:
            return NotGathered("it was withdrawn")
        return error_of(refusal.cause, refusal.text)

    def _nobody_there(self, why: str, now: float) -> Step:
        """There is nobody to gather with: go alone, or fail."""
        demand = self.demand
        policy = demand.no_gatherer or ("fail" if demand.demanding or self._met else "run")
        if policy == "run":
            return self._go_alone(why, now)
        return Fail(NoGatherer(f"{why}: nobody could measure it" if demand.demanding else why))

    def _go_alone(self, why: str, now: float) -> Step:
        """Let go of the lab, and take the bench on this host."""
        self.alone_because = why
        self._began = now
        self.phase = Phase.LOCK
        self._todo.append(LetGo(owed=False, outcome="interrupted"))
        return Tell(GiveUp(why))

    def _lock(self, now: float, up: bool) -> Step:  # noqa: ARG002, FBT001 - as above
        """Take the bench on this host; nothing else keeps lone sections apart."""
        if not self._bench.held:
            return self._bench.wait(self.demand.queue_timeout, now - self._began)
        self.phase = Phase.GATHERED
        return Rest()

    # ── enter ──────────────────────────────────────────────────────────────────────────

    def _commit(self, now: float, up: bool) -> Step:  # noqa: FBT001 - as above
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

    # ── what they share ────────────────────────────────────────────────────────────────

    @property
    def _owed(self) -> bool:
        return self.coordinated and not self.machine.acknowledged

    def _connect(self, seconds: float, now: float, left: float | None = None) -> Connect:
        if left is None:
            left = self.machine.patience(now)
        return Connect(seconds, retry=True, hears_go=self.machine.go is None, left=left)

    def _debt(self, now: float) -> Step | None:
        """Tell a gatherer that answers of sections that nobody else will tell it about."""
        machine = self.machine
        if machine.told_of:
            return SettleDebt(machine.told_of.pop())
        if machine.answered and now - self._looked >= LOOK_AGAIN:
            self._looked = now
            return LookForDebts()
        return None
