"""Sections of one run, from the thread that runs the test: gather, enter, leave.

Everything blocks the caller and nothing else: there is no thread of ours, and between
:meth:`Workloads.enter` and :meth:`Workloads.leave` no connection either. Every wait has an
end. Whatever :meth:`Workloads.gather` or :meth:`Workloads.enter` raise, also a
``KeyboardInterrupt``, nothing is left open behind them::

    visit = workloads.gather(demand)      # raises, or is gathered, or runs alone
    section = workloads.enter(visit)      # returns at t0, quiet
    ...                                   # the body
    section = workloads.leave(visit, "passed")
    errors = verdict(section)

What is said to the lab is decided in ``sections/workload/machine.py``, what is done around that
in ``sections/workload/guide.py``; here both meet sockets, files and clocks.
"""

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.broker.topology import section_topology
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerUnreachable,
    NoGatherer,
    NotGathered,
)
from pytest_gatherscatter.host.process import clock_id
from pytest_gatherscatter.sections.census import Census
from pytest_gatherscatter.sections.section import (
    Closing,
    Demand,
    Section,
    SectionState,
    Waiting,
)
from pytest_gatherscatter.sections.service import benchlock, proc
from pytest_gatherscatter.sections.service.capture import Captures, folder_name
from pytest_gatherscatter.sections.service.display import Display
from pytest_gatherscatter.sections.service.line import Line
from pytest_gatherscatter.sections.service.owed import Owed
from pytest_gatherscatter.sections.service.recorder import Recorder
from pytest_gatherscatter.sections.service.ticket import open_ticket, ticket_directory
from pytest_gatherscatter.sections.service.visit import (
    Visit,
    closing_of,
    owner_line,
    sleep_until,
)
from pytest_gatherscatter.sections.workload.guide import TURN, Guide
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.sections.workload.phase import Phase
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
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import names

log = logging.getLogger(__name__)

CHUNK_PREFETCH = 32
"""Chunks on their way at once: 8 MiB of the usual 256 KiB."""


class Workloads:
    """The sections of one run (a pytest session, a command), and what it remembers.

    One thread at a time may call it; it may be another one each time. ``on_wait`` is called in
    that thread, at each change and about every half second while a call waits; what it raises
    ends the wait. ``notes`` collects lines about what was put in order on the way.

    Args:
        settings: what the run was told; the broker itself is in ``found``.
        found: where the broker is.
        run: id of the run (8 to 32 hexadecimal digits).
        on_wait: shows people for whom the section waits.
        tickets: the folder of tickets; the user's own unless given.
        locks: the folder of bench locks; the user's own unless given.
    """

    def __init__(  # noqa: PLR0913 - what a run is told
        self,
        settings: Settings,
        found: Found,
        *,
        run: str,
        on_wait: Callable[[Waiting], None] = lambda _: None,
        tickets: Path | None = None,
        locks: Path | None = None,
    ) -> None:
        self.settings = settings
        self.found = found
        self.notes: list[str] = []
        self._run = run
        self._display = Display(on_wait)
        self._tickets = tickets or ticket_directory()
        self._locks = locks
        self._memory = Memory()
        self._owed = Owed(settings.lab, self._tickets)
        self._recorder = Recorder(
            settings.artifacts, lab=settings.lab, run=run, owner=owner_line(), notes=self.notes
        )
        self._line: Line | None = None
        if found.url is not None:
            url = parse(found.url)
            self._line = Line(url, settings.lab, self._display, self._owed, self.notes)

    def interrupt(self) -> None:
        """Let a call that waits in another thread raise ``KeyboardInterrupt`` soon (2 s)."""
        self._display.interrupt()

    # ── gather ─────────────────────────────────────────────────────────────────────────

    def gather(self, demand: Demand) -> Visit:
        """Wait until all are ready, or decide that the section runs alone.

        Raises:
            NoGatherer: nobody coordinates, and the section demands it or the policy says so;
                :meth:`Demand.skips` tells whether that is a skip.
            NotGathered: someone is missing, the bench is busy, a hold lasts; the same.
            SectionVetoed, MonitorBroken: a monitor said no, or its hook broke.
            BrokerError: the broker refuses us (login, rights), which no waiting would mend.
        """
        section_id = secrets.token_hex(8)
        folder = f"{folder_name(demand.name)}-{section_id}"
        section = Section(demand=demand, id=section_id, artifacts=self.settings.artifacts / folder)
        visit = Visit(section, self._guide(section))
        self._display.begin()
        try:
            self._follow(visit)
        except BaseException as error:
            self._drop(visit, "interrupted")
            visit.copy()
            self._recorder.missed(section, visit.guide.machine, error)
            raise
        section.coordinated = visit.guide.coordinated
        section.alone_because = visit.guide.alone_because or ""
        if section.coordinated:
            visit.copy()
        section.waited = time.monotonic() - visit.began
        return visit

    def _guide(self, section: Section) -> Guide:
        now, memory = time.monotonic(), self._memory
        why = memory.absence(now, demanding=section.demand.demanding)
        if self._line is None:
            why = self.found.why or "no broker is configured"
        return Guide(
            section.demand,
            section=section.id,
            owner=owner_line(),
            run=self._run,
            memory=memory,
            token=self._owed.highest_token() if why is None else 0,
            now=now,
            why=why,
            clock=clock_id(),
        )

    # ── enter ──────────────────────────────────────────────────────────────────────────

    def enter(self, visit: Visit) -> Section:
        """Commit, and return at t0 or right after it: quiet, with the body to come.

        Raises:
            NotGathered, SectionVetoed, MonitorBroken: it fell apart before the start.
            BrokerError: as :meth:`gather`.
            OSError, SettingsInvalid: the ticket cannot be written.
        """
        section, guide = visit.section, visit.guide
        guide.enter(time.monotonic())
        try:
            self._follow(visit)
        except BaseException as error:
            if guide.gone:
                self.leave(visit, "interrupted")
            else:
                self._drop(visit, "interrupted")
                self._recorder.missed(section, guide.machine, error)
            raise
        if not section.coordinated:
            self._recorder.begun(section, guide.machine)
        section.started = time.monotonic()
        if not section.coordinated:
            section.t0 = section.started
            section.deadline = section.started + visit.demand.max_duration
        section.state = SectionState.RUNNING
        return section

    # ── leave ──────────────────────────────────────────────────────────────────────────

    def stop(self, visit: Visit) -> None:
        """Take the time and the census of the body's end; does nothing the second time.

        :meth:`leave` begins with it. Who leaves in a thread of its own calls it before that
        thread exists, which would be noise of ours otherwise.
        """
        section = visit.section
        if section.stopped is not None:
            return
        section.stopped = time.monotonic()
        if section.deadline is not None:
            section.overdue = section.stopped > section.deadline
        if section.coordinated:
            section.census.exit = self._census()

    def leave(self, visit: Visit, outcome: str) -> Section:
        """Come back after the body, tell the lab how it went, and take what was measured.

        ``outcome`` is ``passed``, ``failed`` or ``interrupted``. Raises nothing for what was
        found or could not be told: ``verdict`` says it. It takes at most the demand's
        ``report_timeout``, twice if captures come slowly, and a few seconds.
        """
        section, guide = visit.section, visit.guide
        section.outcome = outcome
        self.stop(visit)
        self._display.begin()
        now, stopped = time.monotonic(), section.stopped
        guide.leave(outcome, now, section.started, stopped or now, overdue=section.overdue)
        try:
            self._follow(visit)
            self._conclude(visit)
        finally:
            self._let_go(visit, outcome, owed=not guide.machine.acknowledged)
            if section.closing is None:
                section.closing = Closing()
                section.state = SectionState.UNREPORTED
                section.unreported_because = guide.machine.unreported or "it was interrupted"
            self._recorder.ended(section, guide.machine)
        return section

    @staticmethod
    def _conclude(visit: Visit) -> None:
        """Turn what the lab came to into what the author sees."""
        section, machine = visit.section, visit.guide.machine
        if not section.coordinated:
            section.closing = Closing()
        elif machine.closed is None:
            section.unreported_because = machine.unreported
            section.given_up = machine.given_up
            return
        else:
            section.closing = closing_of(machine.closed, visit.captures)
        section.state = SectionState.CLOSED

    def _fetch(self, visit: Visit) -> None:
        """Take the captures from the section's own queue, and the queue away afterwards."""
        closed = visit.guide.machine.closed
        if closed is None:
            return
        captures = visit.captures = Captures(visit.section.artifacts, closed.reports)
        if not captures.awaited or visit.contact is None:
            return
        link, queue = visit.contact.link, names.section_queue(self.settings.lab, visit.id)
        end = time.monotonic() + visit.demand.report_timeout
        try:
            link.declare(section_topology(self.settings.lab, visit.id, prefetch=CHUNK_PREFETCH))
            while captures.awaited and visit.contact.up and (left := end - time.monotonic()) > 0:
                self._display.show(visit.section, "reporting", captures.awaited, left=left)
                visit.contact.turn(min(TURN, left))
            if not captures.awaited:
                link.delete_queue(queue)
        except BrokerError as error:
            log.warning("captures of section %s: %s", visit.id, error)

    # ── withdraw ───────────────────────────────────────────────────────────────────────

    def withdraw(self, visit: Visit, reason: str) -> None:
        """Give a gathered section up between :meth:`gather` and :meth:`enter`; bounded."""
        self._drop(visit, reason)
        self._recorder.missed(visit.section, visit.guide.machine, KeyboardInterrupt(reason))

    def _drop(self, visit: Visit, reason: str) -> None:
        """Let go of everything, whatever state it is in; the lab is told if it can be."""
        guide = visit.guide
        guide.abandon(reason, time.monotonic())
        try:
            self._follow(visit)
        finally:
            self._let_go(visit, "interrupted", owed=not guide.machine.acknowledged)

    # ── following the guide ────────────────────────────────────────────────────────────

    def _follow(self, visit: Visit) -> None:  # noqa: C901, PLR0912 - a branch for each step
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
                    self._let_go(visit, outcome, owed=owed)
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
                self.settings.lab,
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
        visit.ticket = open_ticket(self._tickets, visit.facts(self.settings.lab, self.found.safe))
        if old is not None:
            old.abandon()  # its file has just been replaced

    def _fall_quiet(self, visit: Visit) -> None:
        """Close the connection and count what is open, all within the lead."""
        section, machine = visit.section, visit.guide.machine
        visit.copy()
        visit.close_contact()
        section.census.entry = self._census()
        if machine.go is not None:
            section.t0, section.deadline = machine.t0, machine.deadline
            section.lead = machine.go.t0 - machine.go.sent
            self._recorder.begun(section, machine)

    def _let_go(self, visit: Visit, outcome: str, *, owed: bool) -> None:
        """Close and open again what is held; the ticket goes, or is owed. Twice is once."""
        visit.close_contact()
        ticket, visit.ticket = visit.ticket, None
        if ticket is not None and not owed:
            ticket.remove()
        elif ticket is not None:
            ticket.abandon()
            self._owed.add(ticket, outcome)
        visit.unlock()

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
        where = "" if self._line is None else f"lab {self.settings.lab} on {self.found.safe}, "
        return f"{where}see gatherscatter doctor"

    def _census(self) -> Census:
        line = self._line
        return proc.take(None if line is None else (line.url.host, line.url.port))
