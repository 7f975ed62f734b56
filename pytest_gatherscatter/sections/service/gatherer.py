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
from pytest_gatherscatter.broker.topology import gatherer_topology
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerLost,
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
from pytest_gatherscatter.sections.gatherer.state import ENDED
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import gatherer_queue

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

ENDED_WORDS = frozenset(state.value for state in ENDED)

LONG_JOURNAL = 2_000
"""Events after which the journal is folded into a snapshot."""


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
            GathererPresent: another gatherer of this lab answers.
            NameTaken: something owns the gatherer's queue and neither answers nor goes away.
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
            BrokerLost: somebody deleted the gatherer's queue: nobody could reach it any more.
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
                _Narrator(self.machine),
                link,
                self.lab,
                sender=os.urandom(8).hex(),
                journal=journal,
                user=link.user,
            )
            self._recover(pump, journal)
            self._open(link, stop)
            driver = Driver(link, pump)
            while not stop():
                driver.turn(0.2)
                self._check_inbox(link)
                if len(journal) > LONG_JOURNAL:
                    journal.snapshot(self.machine.snapshot())
        finally:
            link.close()
            journal.close()

    def _journal(self) -> Journal:
        if self._state_dir is None:
            return MemoryJournal()
        return _TimedJournal(self._state_dir / self._journal_name, self.machine.lab.lead.note_sync)

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
        journal.snapshot(self.machine.snapshot())

    def _open(self, link: Link, stop: Callable[[], bool]) -> None:
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
                return
            if not told:
                log.info("%s", words)
                told = True

    def _check_inbox(self, link: Link) -> None:
        """See that the queue is there: its end is told by the broker, and never comes back."""
        inbox = gatherer_queue(self.lab)
        if all(queue.name != inbox for queue in link.topology.queues):
            raise BrokerLost(
                f"somebody deleted {inbox}, by which the gatherer is reached; start it again"
            )

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
    """A journal that tells what each sync took, since the lead must cover the commit's."""

    def __init__(self, path: Path, took: Callable[[float], None]) -> None:
        super().__init__(path)
        self._took = took

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is durable when this returns."""
        began = time.monotonic()
        super().append(event)
        self._took(time.monotonic() - began)


class _Narrator:
    """The machine, with a line of log for everything that a person would want to know."""

    def __init__(self, machine: Gatherer) -> None:
        self._machine = machine
        self._waits: dict[str, tuple[object, float]] = {}

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
            case m.SectionChanged(name=name, bench=bench, state=state, text=text):
                log.info("%s on bench %s: %s%s", name, bench, state, text and f" ({text})")
                if state in ENDED_WORDS:
                    self._waits.pop(message.section, None)
            case m.SectionWaiting():
                self._narrate_waiting(message, now)

    def _narrate_waiting(self, message: m.SectionWaiting, now: float) -> None:
        """Say for whom a section waits when that changes, and now and then."""
        who = (message.awaited, tuple((hold.agent, hold.reason) for hold in message.holds))
        told, at = self._waits.get(message.section, (None, 0.0))
        if not any(who) or (told == who and now - at < RETELL):
            return
        self._waits[message.section] = (who, now)
        holds = [f"{hold.agent} (holds: {hold.reason})" for hold in message.holds]
        names = ", ".join([*message.awaited, *holds])
        log.info("waiting for %s, %.0f s at the most", names, message.left)
