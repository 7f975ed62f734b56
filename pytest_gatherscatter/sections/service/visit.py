"""One section on its way through the shell: what it holds open, and how that is let go."""

import getpass
import os
import socket
import time

from pytest_gatherscatter.machine import LinkDown, Told
from pytest_gatherscatter.sections.section import Closing, Report, Section
from pytest_gatherscatter.sections.service.benchlock import BenchLock
from pytest_gatherscatter.sections.service.capture import Captures
from pytest_gatherscatter.sections.service.contact import Contact
from pytest_gatherscatter.sections.service.ticket import SectionFacts, Ticket
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.wire.messages import MemberReport, SectionClosed

UNKNOWN_BOUND = 1e9
"""The bound on a ticket whose clock offset was never measured: it says nothing."""


class Visit:
    """One section on its way, made by ``Workloads.gather``; ``section`` is the author's view."""

    def __init__(self, section: Section, guide: Guide) -> None:
        self.section = section
        self.guide = guide
        self.demand = section.demand
        self.id = section.id
        self.began = time.monotonic()
        self.contact: Contact | None = None
        self.lock: BenchLock | None = None
        self.ticket: Ticket | None = None
        self.captures: Captures | None = None

    @property
    def coordinated(self) -> bool:
        """Whether a gatherer gathers it; false if it runs alone."""
        return self.section.coordinated

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self.contact is not None and self.contact.up

    def turn(self, seconds: float) -> None:
        """Let things happen on the connection for at most ``seconds``."""
        if self.contact is not None:
            self.contact.turn(seconds)

    def tell(self, request: object) -> None:
        """Tell the machine; without a connection it says what is to be said after the next."""
        if self.contact is not None:
            self.contact.tell(request)
        else:
            self.guide.machine.handle(Told(request), now=time.monotonic())

    def close_contact(self) -> None:
        """Close the connection, if there is one; bounded."""
        contact, self.contact = self.contact, None
        if contact is not None:
            contact.close()
            self.guide.machine.handle(LinkDown("closed"), now=time.monotonic())

    def unlock(self) -> None:
        """Open the bench of this host."""
        lock, self.lock = self.lock, None
        if lock is not None:
            lock.close()

    def copy(self) -> None:
        """Copy what the machine knows into the author's view."""
        section, machine = self.section, self.guide.machine
        section.token, section.members = machine.token, machine.members
        section.holds = tuple(machine.holds.values())

    def facts(self, lab: str, broker: str) -> SectionFacts:
        """What goes on the ticket; ``broker`` holds no password."""
        demand, machine, now = self.demand, self.guide.machine, time.monotonic()
        known = machine.clock.known()
        return SectionFacts(
            section=self.id,
            lab=lab,
            bench=demand.bench,
            token=machine.token,
            test=demand.test,
            clock_offset=machine.clock.offset(now) if known else 0.0,
            clock_bound=machine.clock.bound(now) if known else UNKNOWN_BOUND,
            broker=broker,
            max_duration=demand.max_duration,
        )


def owner_line() -> str:
    """Name this process for those who wait behind it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, in a container
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def sleep_until(t0: float) -> None:
    """Return at ``t0`` on the monotonic clock or right after it, never before."""
    while (left := t0 - time.monotonic()) > 0:
        time.sleep(left)


def closing_of(closed: SectionClosed, captures: Captures | None) -> Closing:
    """Turn what the lab says into what the author sees: times after t0, captures with paths."""

    def after(time_there: float | None) -> float | None:
        return None if time_there is None else time_there - closed.t0

    def report(member: MemberReport) -> Report:
        return Report(
            agent=member.agent,
            required=member.required,
            reported=member.reported,
            started=after(member.started),
            stopped=after(member.stopped),
            bound=member.bound,
            finding_list=member.findings,
            artifacts=() if captures is None else captures.of(member.agent),
            cause=member.cause,
            text=member.text,
        )

    return Closing(
        reports=tuple(report(member) for member in closed.reports),
        skew=closed.skew,
        skew_bound=closed.skew_bound,
        fenced=closed.fenced,
        cause=closed.cause,
        text=closed.text,
    )
