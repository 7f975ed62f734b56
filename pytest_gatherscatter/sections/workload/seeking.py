"""The beginning of a section's way: the lab is sought, and gathers; or the section runs alone.

Also what a guide is made of: what it remembers of the way, and what its shell tells it. The rest of
the way is in ``guide.py``.
"""

from collections.abc import Callable

from pytest_gatherscatter.errors import BrokerError, NoGatherer, NotGathered, SectionFailed
from pytest_gatherscatter.machine import Woken
from pytest_gatherscatter.sections.demand import Demand
from pytest_gatherscatter.sections.section import error_of
from pytest_gatherscatter.sections.workload.bench import Bench
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.state import ENDED, GiveUp, WorkloadState
from pytest_gatherscatter.sections.workload.step import (
    Connect,
    Fail,
    LetGo,
    LookForDebts,
    Rest,
    Serve,
    SettleDebt,
    Step,
    Tell,
)

TURN = 0.5
"""Seconds of one wait inside a longer one, so that people see it go on and can interrupt it."""

ATTEMPT = 2.0
"""Seconds of one attempt to connect, for the same reason; a far TLS broker takes about one."""

LOOK_AGAIN = 5.0
"""Seconds between two looks at the tickets while a bench is busy: its owner may have died
meanwhile, and reading a directory costs a fraction of a millisecond."""


class Seeking:
    """A guide's memory, and the phases in which it seeks; the arguments are those of the guide."""

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
        self._phases = self._leads()

    def _leads(self) -> dict[Phase, Callable[[float, bool], Step]]:
        """Say who leads in which phase."""
        return {Phase.SEEK: self._seek, Phase.LOCK: self._lock}

    @property
    def coordinated(self) -> bool:
        """Whether a gatherer gathers it."""
        return self.alone_because is None

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

    # ── what they share ────────────────────────────────────────────────────────────────

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
