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

What is decided stands in ``sections/workload/machine.py``; here it meets sockets, files and clocks.
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
    NoGatherer,
    NotGathered,
)
from pytest_gatherscatter.sections.census import Census
from pytest_gatherscatter.sections.section import (
    Closing,
    Demand,
    Section,
    SectionState,
    Waiting,
    error_of,
)
from pytest_gatherscatter.sections.service import benchlock, proc
from pytest_gatherscatter.sections.service.capture import Captures, folder_name
from pytest_gatherscatter.sections.service.display import Display
from pytest_gatherscatter.sections.service.line import TURN, Line
from pytest_gatherscatter.sections.service.memory import Memory
from pytest_gatherscatter.sections.service.owed import Owed
from pytest_gatherscatter.sections.service.ticket import open_ticket, ticket_directory
from pytest_gatherscatter.sections.service.visit import (
    Visit,
    closing_of,
    owner_line,
    sleep_until,
)
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.state import (
    ENDED,
    BodyEnded,
    GiveUp,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import names
from pytest_gatherscatter.wire.messages import SectionClosed

log = logging.getLogger(__name__)

LOCK_TURN = 0.05
"""Seconds between two looks at a bench's lock file while the connection is served."""

CLOCK_PATIENCE = 1.0
"""Seconds for which a gathered section waits for the gatherer's clock to be read: far over
five round trips. Without a reading it starts on the safe side of t0, that is later."""

INTERRUPT_SECONDS = 3.0
"""How long an interrupted test may take to tell the lab: a person waits for the prompt."""

REPORT_GRACE = 5.0
"""Seconds on top of ``report_timeout``, in which the gatherer, who keeps it, can say so."""

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
        visit = Visit(
            Section(demand=demand, id=section_id, artifacts=self.settings.artifacts / folder)
        )
        self._display.begin()
        try:
            self._gather(visit)
        except BaseException:
            self._drop(visit, "interrupted")
            raise
        visit.section.waited = time.monotonic() - visit.began
        return visit

    def _gather(self, visit: Visit) -> None:
        demand = visit.demand
        met = self._memory.met  # an answer that came too late counts from the next section on
        try:
            why = self._seek(visit)
        except NotGathered as error:
            # A veto or a broken monitor is news that no policy overrules.
            if type(error) is not NotGathered or demand.not_gathered != "run":
                raise
            self._go_alone(visit, error.text)
            return
        except BrokerError as error:
            if demand.no_gatherer != "run":
                raise
            why = str(error)
        if why is None:
            return
        policy = demand.no_gatherer or ("fail" if demand.demanding or met else "run")
        if policy != "run":
            raise NoGatherer(f"{why}: nobody could measure it" if demand.demanding else why)
        self._go_alone(visit, why)

    def _seek(self, visit: Visit) -> str | None:
        """Gather with the lab; returns why there is none to gather with."""
        memory, demand = self._memory, visit.demand
        if self._line is None:
            return self.found.why or "no broker is configured"
        now = time.monotonic()
        if (why := memory.absence(now, demanding=demand.demanding)) is not None:
            return why
        memory.token = max(memory.token, self._owed.highest_token())
        visit.machine = machine = Workload(
            demand,
            section=visit.id,
            owner=owner_line(),
            run=self._run,
            token=memory.token,
            met=memory.met,
            now=now,
        )
        patience = demand.gather_timeout if memory.met else demand.handshake_timeout
        why = self._line.first(visit, patience=patience, retry=memory.met or not memory.tried)
        if why is not None:
            memory.absent(why, time.monotonic())
            return why
        proc.addresses(self._line.url.host)  # looked up here: no name server inside the lead
        self._to_lab.wait(
            visit, lambda: machine.state is WorkloadState.GATHERED or machine.state in ENDED
        )
        memory.met = memory.met or machine.answered
        memory.token = max(memory.token, machine.token)
        if machine.state is WorkloadState.ALONE and not machine.absent:
            memory.absent(machine.alone_because, time.monotonic())
        elif machine.refusal is not None and machine.refusal.cause == NoGatherer.cause:
            memory.absent(machine.refusal.text, time.monotonic())
        elif machine.state is WorkloadState.ALONE:
            memory.empty(machine.alone_because, time.monotonic())
        else:
            memory.there()
        if machine.state is WorkloadState.ALONE:
            return machine.alone_because
        self._raise_refusal(machine)
        visit.section.coordinated = True
        visit.copy()
        return None

    def _go_alone(self, visit: Visit, why: str) -> None:
        """Let go of the lab, and take the bench on this host."""
        self._drop(visit, why)
        visit.machine = None
        visit.section.alone_because = why
        demand = visit.demand

        def shown(waited: float, holder: str) -> None:
            left = max(0.0, demand.queue_timeout - waited)
            self._display.show(visit.section, "locked", (holder,), waited=waited, left=left)

        visit.lock = benchlock.acquire(
            self.settings.lab,
            demand.bench,
            timeout=demand.queue_timeout,
            owner=f"{demand.test} of {owner_line()}",
            on_wait=shown,
            folder=self._locks,
        )

    # ── enter ──────────────────────────────────────────────────────────────────────────

    def enter(self, visit: Visit) -> Section:
        """Commit, and return at t0 or right after it: quiet, with the body to come.

        Raises:
            NotGathered, SectionVetoed, MonitorBroken: it fell apart before the start.
            BrokerError: as :meth:`gather`.
            OSError, SettingsInvalid: the ticket cannot be written.
        """
        section = visit.section
        if not section.coordinated:
            now = time.monotonic()
            section.t0 = now
            section.deadline = now + visit.demand.max_duration
            section.started = now
            section.state = SectionState.RUNNING
            return section
        try:
            self._commit(visit)
            self._fall_quiet(visit)
            if section.t0 is not None:
                sleep_until(section.t0)
                _start_in_time(section.t0, visit.demand.max_duration)
        except BaseException:
            if visit.lab.state is WorkloadState.GO:
                self.leave(visit, "interrupted")
            else:
                self._drop(visit, "interrupted")
            raise
        section.started = time.monotonic()
        section.state = SectionState.RUNNING
        return section

    def _commit(self, visit: Visit) -> None:
        machine = visit.lab
        began = time.monotonic()
        steady = (WorkloadState.GO, WorkloadState.GATHERED)
        while machine.state is not WorkloadState.GO:
            if machine.state is WorkloadState.GATHERED:
                if not self._prepared(visit, began):
                    self._to_lab.turn(visit, LOCK_TURN)
                elif visit.contact is not None:
                    visit.contact.tell(TicketSynced(machine.token, self._memory.needed))
                continue
            self._to_lab.wait(visit, lambda: machine.state in steady or machine.state in ENDED)
            self._raise_refusal(machine)
        visit.copy()

    def _prepared(self, visit: Visit, began: float) -> bool:
        """Say whether lock, clock and ticket are there; a lone section may hold the bench."""
        demand, machine = visit.demand, visit.lab
        waited = time.monotonic() - began
        if visit.lock is None:
            try:
                visit.lock = benchlock.acquire(
                    self.settings.lab,
                    demand.bench,
                    timeout=0.0,
                    owner=f"{demand.test} of {owner_line()}",
                    folder=self._locks,
                )
            except NotGathered as error:
                left = demand.gather_timeout - waited
                if left <= 0:
                    raise
                holder = error.text.partition(": ")[2] or "another process"
                self._display.show(visit.section, "locked", (holder,), waited=waited, left=left)
                return False
        if not machine.clock_settled and waited < CLOCK_PATIENCE:
            return False
        if visit.ticket is None or visit.ticket.content.facts.token != machine.token:
            old, visit.ticket = (
                visit.ticket,
                open_ticket(self._tickets, visit.facts(self.settings.lab, self.found.safe)),
            )
            if old is not None:
                old.abandon()  # its file has just been replaced
        return True

    def _fall_quiet(self, visit: Visit) -> None:
        """Close the connection and count what is open, all within the lead."""
        section, machine = visit.section, visit.lab
        visit.close_contact()
        section.census.entry = self._census()
        if machine.go is not None and machine.t0 is not None:
            section.t0, section.deadline = machine.t0, machine.deadline
            section.lead = machine.go.t0 - machine.go.sent
            # From the sending of Go, as the gatherer counts what its lead must cover.
            visit.needed = max(0.0, time.monotonic() - (section.t0 - section.lead))
            self._memory.note_needed(visit.needed)

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
        section = visit.section
        self.stop(visit)
        self._display.begin()
        try:
            if section.coordinated:
                self._report(visit, outcome)
            else:
                section.closing = Closing()
                section.state = SectionState.CLOSED
        finally:
            visit.close_contact()
            self._settle_ticket(visit, outcome)
            visit.unlock()
            if section.closing is None:
                section.closing = Closing()
                section.state = SectionState.UNREPORTED
                section.unreported_because = visit.lab.unreported or "it was interrupted"
        return section

    def _report(self, visit: Visit, outcome: str) -> None:
        section, machine = visit.section, visit.lab
        ended = BodyEnded(
            outcome,
            section.started,
            section.stopped,
            section.overdue,
            visit.needed,
        )
        visit.tell(ended)
        patience = visit.demand.report_timeout + REPORT_GRACE
        if outcome == "interrupted":
            patience = INTERRUPT_SECONDS
        end = time.monotonic() + patience
        why = "the gatherer did not answer"
        try:
            self._to_lab.wait(visit, lambda: machine.state in ENDED, end=end)
        except BrokerError as error:
            why = str(error)
        if machine.state not in ENDED:
            if visit.contact is None:
                why = "the broker could not be reached again"
            elif machine.state is WorkloadState.LEFT:
                why = "the gatherer never closed it"
            visit.tell(GiveUp(f"{why} in {patience:g} s"))
        if machine.closed is None:
            section.unreported_because = machine.unreported
            section.given_up = machine.given_up
            return
        if outcome != "interrupted":
            self._fetch(visit, machine.closed)
        section.closing = closing_of(machine.closed, visit.captures)
        section.state = SectionState.CLOSED

    def _fetch(self, visit: Visit, closed: SectionClosed) -> None:
        """Take the captures from the section's own queue, and the queue away afterwards."""
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

    def _drop(self, visit: Visit, reason: str) -> None:
        """Let go of everything, whatever state it is in; the lab is told if it can be."""
        machine, contact = visit.machine, visit.contact
        try:
            if machine is not None and contact is not None:
                contact.tell(GiveUp(reason))
                end = time.monotonic() + INTERRUPT_SECONDS
                while machine.owes_leave and contact.up and time.monotonic() < end:
                    contact.turn(LOCK_TURN)
        finally:
            visit.close_contact()
            self._settle_ticket(visit, "interrupted")
            visit.unlock()

    # ── what they share ────────────────────────────────────────────────────────────────

    def _settle_ticket(self, visit: Visit, outcome: str) -> None:
        """Take the ticket away if the lab knows that it is over; else it is owed."""
        ticket, visit.ticket = visit.ticket, None
        if ticket is None:
            return
        if visit.lab.acknowledged:
            ticket.remove()
        else:
            ticket.abandon()
            self._owed.add(ticket, outcome)

    @property
    def _to_lab(self) -> Line:
        """The line that a coordinated visit came by."""
        if self._line is None:
            raise RuntimeError("there is no broker")
        return self._line

    def _census(self) -> Census:
        line = self._line
        return proc.take(None if line is None else (line.url.host, line.url.port))

    @staticmethod
    def _raise_refusal(machine: Workload) -> None:
        if machine.refusal is not None:
            raise error_of(machine.refusal.cause, machine.refusal.text)


def _start_in_time(t0: float, max_duration: float) -> None:
    """Refuse to start a section whose time is over: its monitors have made safe by now.

    Raises:
        NotGathered: this process stood still (stopped, suspended, starved) from Go on.
    """
    late = time.monotonic() - t0
    if late >= max_duration:
        raise NotGathered(
            f"this process was held up until {late:.1f} s after t0, "
            f"and the section may last {max_duration:g} s: its body was not run"
        )
