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
in ``sections/workload/guide.py``; ``follower.py`` does it, with sockets, files and clocks.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.host.process import clock_id
from pytest_gatherscatter.sections.section import (
    Closing,
    Demand,
    Section,
    SectionState,
    Waiting,
)
from pytest_gatherscatter.sections.service.capture import folder_name
from pytest_gatherscatter.sections.service.display import Display
from pytest_gatherscatter.sections.service.follower import Follower
from pytest_gatherscatter.sections.service.line import Line
from pytest_gatherscatter.sections.service.owed import Owed
from pytest_gatherscatter.sections.service.recorder import Recorder
from pytest_gatherscatter.sections.service.ticket import ticket_directory
from pytest_gatherscatter.sections.service.visit import Visit, closing_of, owner_line
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.sections.workload.memory import Memory
from pytest_gatherscatter.settings import Settings


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
        self._memory = Memory()
        folder = tickets or ticket_directory()
        self._owed = Owed(settings.lab, folder)
        self._recorder = Recorder(
            settings.artifacts, lab=settings.lab, run=run, owner=owner_line(), notes=self.notes
        )
        line: Line | None = None
        if found.url is not None:
            url = parse(found.url)
            line = Line(url, settings.lab, self._display, self._owed, self.notes)
        self._follower = Follower(
            settings.lab,
            found.safe,
            line,
            self._display,
            owed=self._owed,
            recorder=self._recorder,
            tickets=folder,
            locks=locks,
        )

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
            self._follower.follow(visit)
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
        if self.found.url is None:
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
            self._follower.follow(visit)
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
            section.census.exit = self._follower.census()

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
            self._follower.follow(visit)
            self._conclude(visit)
        finally:
            self._follower.let_go(visit, outcome, owed=not guide.machine.acknowledged)
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
            self._follower.follow(visit)
        finally:
            self._follower.let_go(visit, "interrupted", owed=not guide.machine.acknowledged)
