"""Does what the guide of a visit says: with sockets, files and clocks, in the calling thread.

Each step is done, and what came of it told, before the guide is asked for the next one. What a
step waits for is shown to people meanwhile.
"""

import logging
import time
from pathlib import Path

from pytest_gatherscatter.broker.topology.sections import section_topology
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerUnreachable,
    NoGatherer,
    NotGathered,
)
from pytest_gatherscatter.sections.census import Census
from pytest_gatherscatter.sections.service import benchlock, proc
from pytest_gatherscatter.sections.service.capture import Captures
from pytest_gatherscatter.sections.service.display import Display
from pytest_gatherscatter.sections.service.line import Line
from pytest_gatherscatter.sections.service.owed import Owed
from pytest_gatherscatter.sections.service.recorder import Recorder
from pytest_gatherscatter.sections.service.ticket import open_ticket
from pytest_gatherscatter.sections.service.visit import Visit, owner_line, sleep_until
from pytest_gatherscatter.sections.workload.phase import Phase
from pytest_gatherscatter.sections.workload.seeking import TURN
from pytest_gatherscatter.sections.workload.step import (
    Connect,
    Fail,
    FallQuiet,
    Fetch,
    LetGo,
    LookForDebts,
    ReleaseLock,
    Rest,
    Serve,
    SettleDebt,
    SleepUntil,
    SyncTicket,
    TakeLock,
    Tell,
)
from pytest_gatherscatter.wire import names

log = logging.getLogger(__name__)

CHUNK_PREFETCH = 32
"""Chunks on their way at once: 8 MiB of the usual 256 KiB."""


class Follower:
    """Follows the guides of one run's visits, one at a time.

    Args:
        lab: the lab's name.
        safe: where the broker is, without a password.
        line: the way to it, if there is one.
        display: where waits are shown.
        owed: what other sections of this host owe the lab, and what is owed from now on.
        recorder: keeps what is known of each section.
        tickets: the folder of tickets.
        locks: the folder of bench locks; the user's own unless given.
    """

    def __init__(  # noqa: PLR0913 - all that a step may touch
        self,
        lab: str,
        safe: str,
        line: Line | None,
        display: Display,
        *,
        owed: Owed,
        recorder: Recorder,
        tickets: Path,
        locks: Path | None,
    ) -> None:
        self._lab = lab
        self._safe = safe
        self._line = line
        self._display = display
        self._owed = owed
        self._recorder = recorder
        self._tickets = tickets
        self._locks = locks

    def follow(self, visit: Visit) -> None:  # noqa: C901, PLR0912 - a branch for each step
        """Do what the guide says, until it is the caller's turn; raises as the caller says."""
        guide = visit.guide
        while True:
            match guide.next(time.monotonic(), up=visit.up):
                case Rest():
                    return
                case Serve() as step:
                    self._serve(visit, step)
                case Connect() as step:
                    self._connect(visit, step)
                case Tell(request):
                    visit.tell(request)
                case LookForDebts():
                    self._to_lab.look_for_debts(visit)
                case SettleDebt(section):
                    self._to_lab.settle_debt(section)
                case TakeLock() as step:
                    self._take_lock(visit, step)
                case ReleaseLock():
                    visit.unlock()
                case SyncTicket(token):
                    self._sync_ticket(visit)
                    guide.synced(token)
                case FallQuiet():
                    self._fall_quiet(visit)
                case SleepUntil(t0):
                    sleep_until(t0)
                case Fetch():
                    self._fetch(visit)
                case LetGo(owed, outcome):
                    self.let_go(visit, outcome, owed=owed)
                case Fail(NoGatherer() as error):
                    raise NoGatherer(f"{error.text}; {self._advice}")
                case Fail(error):
                    raise error

    def _serve(self, visit: Visit, step: Serve) -> None:
        try:
            if visit.guide.phase is Phase.DROP:  # nobody waits any more
                visit.turn(step.seconds)
            else:
                self._to_lab.serve(visit, step)
        except BrokerError as error:
            visit.guide.refused(error)

    def _connect(self, visit: Visit, step: Connect) -> None:
        line, guide = self._to_lab, visit.guide
        began = time.monotonic()
        try:
            line.connect(visit, step)
        except BrokerUnreachable as error:
            now = time.monotonic()
            if guide.unreachable(str(error), now):
                left = step.left - (now - began)
                waited = now - visit.began
                self._display.show(visit.section, "connecting", waited=waited, left=left)
        except BrokerError as error:
            guide.refused(error)
        else:
            guide.connected()
            if guide.phase is Phase.SEEK:
                proc.addresses(line.url.host)  # looked up here: no name server inside the lead

    def _take_lock(self, visit: Visit, step: TakeLock) -> None:
        def shown(waited: float, holder: str) -> None:
            left = step.left - waited
            waited += step.waited
            self._display.show(visit.section, "locked", (holder,), waited=waited, left=left)

        try:
            visit.lock = benchlock.acquire(
                self._lab,
                visit.demand.bench,
                timeout=step.seconds,
                owner=f"{visit.demand.test} of {owner_line()}",
                on_wait=shown,
                folder=self._locks,
            )
        except NotGathered as error:
            visit.guide.busy(error)
            if not step.seconds:
                shown(0.0, error.text.partition(": ")[2] or "another process")
        else:
            visit.guide.locked()

    def _sync_ticket(self, visit: Visit) -> None:
        old = visit.ticket
        visit.ticket = open_ticket(self._tickets, visit.facts(self._lab, self._safe))
        if old is not None:
            old.abandon()  # its file has just been replaced

    def _fall_quiet(self, visit: Visit) -> None:
        """Close the connection and count what is open, all within the lead."""
        section, machine = visit.section, visit.guide.machine
        visit.copy()
        visit.close_contact()
        section.census.entry = self.census()
        if machine.go is not None:
            section.t0, section.deadline = machine.t0, machine.deadline
            section.lead = machine.go.t0 - machine.go.sent
            self._recorder.begun(section, machine)

    def let_go(self, visit: Visit, outcome: str, *, owed: bool) -> None:
        """Close and open again what is held; the ticket goes, or is owed. Twice is once."""
        visit.close_contact()
        ticket, visit.ticket = visit.ticket, None
        if ticket is not None and not owed:
            ticket.remove()
        elif ticket is not None:
            ticket.abandon()
            self._owed.add(ticket, outcome)
        visit.unlock()

    def _fetch(self, visit: Visit) -> None:
        """Take the captures from the section's own queue, and the queue away afterwards."""
        closed = visit.guide.machine.closed
        if closed is None:
            return
        captures = visit.captures = Captures(visit.section.artifacts, closed.reports)
        if not captures.awaited or visit.contact is None:
            return
        link, queue = visit.contact.link, names.section_queue(self._lab, visit.id)
        end = time.monotonic() + visit.demand.report_timeout
        try:
            link.declare(section_topology(self._lab, visit.id, prefetch=CHUNK_PREFETCH))
            while captures.awaited and visit.contact.up and (left := end - time.monotonic()) > 0:
                self._display.show(visit.section, "reporting", captures.awaited, left=left)
                visit.contact.turn(min(TURN, left))
            if not captures.awaited:
                link.delete_queue(queue)
        except BrokerError as error:
            log.warning("captures of section %s: %s", visit.id, error)

    # ── what they share ────────────────────────────────────────────────────────────────

    @property
    def _to_lab(self) -> Line:
        """The line that a coordinated visit comes by."""
        if self._line is None:
            raise RuntimeError("there is no broker")
        return self._line

    @property
    def _advice(self) -> str:
        """Where a gatherer was looked for, and who knows more."""
        where = "" if self._line is None else f"lab {self._lab} on {self._safe}, "
        return f"{where}see gatherscatter doctor"

    def census(self) -> Census:
        """Count what is open and runs in this process, the broker's connections apart."""
        line = self._line
        return proc.take(None if line is None else (line.url.host, line.url.port))
