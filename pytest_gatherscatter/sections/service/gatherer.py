"""The gatherer as a process: its machine, a link, a journal, and lines that tell its story."""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_gatherscatter import __version__
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import HEARTBEAT, Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.sections import gatherer_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerUnreachable,
    GathererPresent,
    JournalDamaged,
    NameTaken,
    NoGatherer,
)
from pytest_gatherscatter.host.process import clock_id
from pytest_gatherscatter.journal import FileJournal, Journal, MemoryJournal
from pytest_gatherscatter.machine import Effect, Input, Publish, Recovered, Send
from pytest_gatherscatter.sections.gatherer import Gatherer, GathererFacts
from pytest_gatherscatter.sections.gatherer.ending import GONE
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.result import facts
from pytest_gatherscatter.sections.gatherer.state import ENDED, GATHERS, SectionState
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.sections.service.chronicle import Chronicle
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import messages as m

log = logging.getLogger("gatherscatter.gatherer")

CONNECT = 30.0
"""Seconds that a broker may take to come up before its gatherer gives up on it: both are often
started by the same script."""

ATTEMPT = 2.0
"""Seconds of one try to connect, so that a signal is heard between two."""

PATIENCE = 4 * HEARTBEAT
"""Seconds for which a silent owner of the gatherer's name is waited for: the broker needs
three missed heartbeats to see that a power-cycled gatherer is dead, and one for luck."""

RETELL = 15.0
"""Seconds until the log says once more that the same wait goes on."""

WAITING = frozenset({SectionState.ENTERED, SectionState.QUEUED}) | GATHERS
"""States of a section that is on its way in, in one of which its owner is told."""

LONG_JOURNAL = 2_000
"""Events after which the journal is folded into a snapshot."""

LARGE_JOURNAL = 16 * 1024 * 1024
"""Bytes after which it is folded too: large labs have large answers."""


class GathererService:
    """Runs a lab's gatherer in the calling thread.

    Args:
        settings: the lab's name and its waits.
        url: the broker's URL.
        required: agents without which no section starts.
        state_dir: where decisions are journalled; without one they live as long as this.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        *,
        required: frozenset[str] = frozenset(),
        state_dir: Path | None = None,
    ) -> None:
        self.lab = settings.lab
        self._settings = settings
        self._url = url
        self._state_dir = state_dir
        self._chronicle = Chronicle(settings.lab, state_dir)
        self.machine = Gatherer(
            GathererFacts(
                clock=clock_id(),
                host=socket.gethostname(),
                pid=os.getpid(),
                version=__version__,
                required=required,
                stale_after=settings.stale_after,
            )
        )

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` is true; a lost broker is waited for.

        Raises:
            GathererPresent: another gatherer of this lab answers, now or after a lost connection.
            NameTaken: something owns the gatherer's queue and neither answers nor goes away.
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
            JournalDamaged, JournalTaken, JournalUnwritable: the state directory is unusable.
        """
        journal = self._journal()
        link = Link(
            self._url,
            gatherer_topology(self.lab),
            name=f"gatherscatter gatherer of {self.lab}",
            reconnect=True,
        )
        try:
            pump = Pump(
                _Narrator(self.machine, self._chronicle),
                link,
                self.lab,
                sender=os.urandom(8).hex(),
                journal=journal,
                user=link.user,
            )
            self._recover(pump, journal)
            if not self._open(link, stop):
                return
            log.info("gatherer of lab %s on %s", self.lab, safe_url(self._url))
            needed = ", ".join(sorted(self.machine.lab.facts.required)) or "nobody in particular"
            log.info("every section needs: %s", needed)
            driver = Driver(link, pump)
            while not stop():
                self._turn(driver, link)
                if len(journal) > LONG_JOURNAL or journal.size > LARGE_JOURNAL:
                    journal.snapshot(self.machine.snapshot())
            log.info("the gatherer ended")
        finally:
            link.close()
            journal.close()

    def _journal(self) -> Journal:
        if self._state_dir is None:
            return MemoryJournal()
        path = self._state_dir / self._journal_name
        return _TimedJournal(path, self.machine.lab.lead.note_sync, self._chronicle)

    @property
    def _journal_name(self) -> str:
        return f"gatherer-{self.lab}.journal"

    def _recover(self, pump: Pump, journal: Journal) -> None:
        """Start from what is on record; of another version's events nothing can be known."""
        try:
            pump.feed(Recovered(journal.read(), wall=time.time()), now=time.monotonic())
        except JournalDamaged as error:
            path = (self._state_dir or Path()) / self._journal_name
            raise JournalDamaged(str(path), error.line, error.problem) from None
        for event in journal.read():  # what a crash kept out of the history stands there
            self._chronicle.tell(event)
        for section in self.machine.lab.sections.values():
            if section.state in ENDED:
                self._chronicle.tell({"what": "ended", **facts(section)})
        journal.snapshot(self.machine.snapshot())

    def _open(self, link: Link, stop: Callable[[], bool]) -> bool:
        """Take the gatherer's queue, unless ``stop`` comes first: owning it is being gatherer."""
        begun = time.monotonic()
        taken: float | None = None
        told = False
        while not stop():
            try:
                link.open(ATTEMPT, retry=True)
            except NameTaken:
                taken = time.monotonic() if taken is None else taken
                self._ask_incumbent()
                if time.monotonic() - taken > PATIENCE:
                    raise
                words = "a silent connection still has the gatherer's name: waiting for it"
                time.sleep(0.5)
            except BrokerUnreachable as error:
                if time.monotonic() - begun > CONNECT and taken is None:
                    raise
                words = f"{error}; trying again for {CONNECT:g} s"
            else:
                return True
            if not told:
                log.info("%s", words)
                told = True
        return False

    def _turn(self, driver: Driver, link: Link) -> None:
        """Go on for a moment, and see whether another one took the name while we were away.

        The broker gives it away when this process was stopped or cut off for three heartbeats.
        """
        was_taken = isinstance(link.trouble, NameTaken)
        try:
            driver.turn(0.2)
        except NameTaken:
            self._ask_incumbent()
            raise
        if isinstance(link.trouble, NameTaken) and not was_taken:
            self._ask_incumbent()

    def _ask_incumbent(self) -> None:
        """Raise ``GathererPresent`` if whoever owns the name answers."""
        try:
            with Asker(self._settings, self._url) as asker:
                status = asker.ask(m.AskStatus(), m.LabStatus)
        except (BrokerError, NoGatherer):
            return
        who = f"pid {status.pid} on {status.host}, up {status.uptime:.0f} s"
        raise GathererPresent(self.lab, who)


class _TimedJournal(FileJournal):
    """A journal that tells what each sync took, since the lead must cover the commit's.

    What it has is told to the chronicle too, which outlives a snapshot.
    """

    def __init__(self, path: Path, took: Callable[[float], None], chronicle: Chronicle) -> None:
        super().__init__(path)
        self._took = took
        self._chronicle = chronicle

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is durable when this returns."""
        began = time.monotonic()
        super().append(event)
        self._chronicle.tell(event)
        self._took(time.monotonic() - began)


class _Narrator:
    """The machine, with a line of log for everything that a person would want to know.

    A section has a line when somebody asks for it, when all are gathered, at go, and at its
    end; what lies between, and every other change of state, is for those who debug.
    """

    def __init__(self, machine: Gatherer, chronicle: Chronicle) -> None:
        self._machine = machine
        self._chronicle = chronicle
        self._waits: dict[str, tuple[object, float]] = {}
        self._known: set[str] = set()

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        effects = self._machine.handle(message, now=now)
        for effect in effects:
            if isinstance(effect, Publish | Send):
                self._narrate(effect.message, now)
        return effects

    def _narrate(self, message: m.Message, now: float) -> None:
        match message:
            case m.AgentJoined(agent=agent, benches=benches):
                log.info("%s joined (bench %s)", agent, ", ".join(benches))
            case m.AgentLeft(agent=agent, reason=reason):
                log.info("%s is gone: %s", agent, reason)
            case m.SectionChanged():
                self._narrate_change(message)
            case m.SectionWaiting():
                self._narrate_waiting(message, now)

    def _narrate_change(self, change: m.SectionChanged) -> None:
        """Say how a section stands, in the words for that state."""
        section = self._machine.lab.sections.get(change.section)
        what = f"{change.name} on {change.bench}"
        log.debug("%s is %s%s", what, change.state, change.text and f" ({change.text})")
        if section is None:
            return
        self._introduce(section)
        level, text = story_of(section, change.text)
        if text:
            log.log(level, "%s: %s", what, text)
        if section.state in ENDED:
            self._chronicle.tell({"what": "ended", **facts(section)})
            self._waits.pop(change.section, None)
            self._known.discard(change.section)

    def _introduce(self, section: SectionRecord) -> None:
        """Say who asks for which bench, once."""
        if section.id not in self._known and section.state in WAITING:
            self._known.add(section.id)
            log.info("%s asks for bench %s", self._machine.lab.whose(section), section.bench)

    def _narrate_waiting(self, message: m.SectionWaiting, now: float) -> None:
        """Say for whom a section waits when that changes, and now and then."""
        who = (message.awaited, tuple((hold.agent, hold.reason) for hold in message.holds))
        told, at = self._waits.get(message.section, (None, 0.0))
        section = self._machine.lab.sections.get(message.section)
        if section is None or not any(who) or (told == who and now - at < RETELL):
            return
        self._waits[message.section] = (who, now)
        self._introduce(section)
        what = f"{section.entered.name} on {section.bench}"
        if message.awaited:
            names = ", ".join(message.awaited)
            verb = "queued behind" if message.state == "queued" else "waiting for"
            log.info("%s: %s %s, %.0f s at the most", what, verb, names, message.left)
        for hold in message.holds:
            one = section.participants.get(hold.agent)
            limit = section.entered.hold_limit
            if message.state == "queued":
                limit = message.left
            elif one is not None and one.hold_since is not None:
                limit = max(0.0, one.hold_since + limit - now)
            reason = hold.reason or "no reason given"
            log.info("%s: %s holds: %s, %.0f s at the most", what, hold.agent, reason, limit)


def story_of(section: SectionRecord, why: str) -> tuple[int, str]:  # noqa: PLR0911 - one for each
    """Say what a section's new state means to people, and how loud; nothing if nothing."""
    state = section.state
    if state is SectionState.GATHERED:
        return logging.INFO, f"gathered: {', '.join(section.ready()) or 'nobody takes part'}"
    if state is SectionState.GATHERING and why:
        return logging.INFO, f"gathers again: {why}"
    if state is SectionState.COMMITTED:
        lead = (section.t0 - section.sent) * 1000
        return logging.INFO, f"go in {lead:.0f} ms (token {section.token})"
    if state is SectionState.OVERDUE:
        return logging.WARNING, "overdue: its monitors make safe, the bench stays closed"
    if state is SectionState.CLOSED:
        return _end_of(section)
    if state is SectionState.ABORTED:
        level = logging.INFO if section.cause in {"withdrawn", GONE} else logging.WARNING
        return level, f"given up, {section.cause}: {section.text}"
    return logging.DEBUG, ""


def _end_of(section: SectionRecord) -> tuple[int, str]:
    """Say how a section ended: how it went, how long it took, who reported, what is wrong."""
    closed = section.close()
    left = section.left
    outcome, took = "ended", section.left_at - section.t0
    if left is not None:
        outcome = left.outcome
        if left.started is not None and left.stopped is not None:
            took = left.stopped - left.started
    words = [f"over: {outcome} after {max(0.0, took):.2f} s"]
    reported = [report.agent for report in closed.reports if report.reported]
    if closed.reports:
        words.append(f"reports of {', '.join(reported) or 'nobody'}")
    problems = [
        f"{report.agent} {report.cause}" + (f" ({report.text})" if report.text else "")
        for report in closed.reports
        if report.cause
    ]
    words += problems
    words += [f"came too late: {word}" for word in closed.fenced]
    return logging.WARNING if problems else logging.INFO, "; ".join(words)
