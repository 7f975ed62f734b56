"""A processor as a process: its machine, a link, a journal, and a shell for each step."""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_gatherscatter import __version__
from pytest_gatherscatter.balanced import BalancedFacts, BalancedMachine, Leave, Pool
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.incumbent import outlast
from pytest_gatherscatter.broker.interrupt import held, strike
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.roundrobin import behind_balancer
from pytest_gatherscatter.broker.topology.slips import processor_topology
from pytest_gatherscatter.errors import JournalDamaged, JournalTaken, SettingsInvalid
from pytest_gatherscatter.host.directory import private, state_directory
from pytest_gatherscatter.journal import FileJournal
from pytest_gatherscatter.machine import Machine, Recovered, Run, Told
from pytest_gatherscatter.settings import Processes, ProcessorSettings
from pytest_gatherscatter.slips.order import BeginCommand, Done, Drain, EndCommand, Say, StoodStill
from pytest_gatherscatter.slips.processor import ProcessorFacts, ProcessorMachine
from pytest_gatherscatter.slips.repertoire import Repertoire
from pytest_gatherscatter.slips.service.program import ASKED, GIVEN_UP, Programs
from pytest_gatherscatter.wire.names import steps_key, steps_queue, waiting_queue

log = logging.getLogger("gatherscatter.processor")

TURN = 0.2
"""Seconds between two looks at signals."""

LAST = ASKED + GIVEN_UP + 5.0
"""Seconds after which a processor ends that was told to end what runs, handed on or not: a command
is gone by then, but there may be no broker. What is unsettled it gives to another one."""

LONG_JOURNAL = 2_000
"""Events after which the journal is folded, once more than half of them say nothing any more."""


class ProcessorService:
    """Runs steps in the calling thread, with one more thread for all of their commands.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        settings: the processor's.
        names: the processes that it serves.
        processes: what commands there are for them.

    Raises:
        SettingsInvalid: its directories belong to somebody else, or cannot be made.
        JournalTaken: a processor of this name runs on this host, for this lab.
        JournalDamaged, JournalUnwritable: as they say.
    """

    def __init__(
        self,
        lab: str,
        url: str,
        settings: ProcessorSettings,
        names: Sequence[str],
        processes: Processes,
    ) -> None:
        self._lab, self._settings, self._names = lab, settings, tuple(names)
        state = state_directory()
        self._logs = _given(settings.logs) if settings.logs else private(state / "slips")
        self._done = False
        facts = ProcessorFacts(
            processor=settings.name,
            host=os.uname().nodename,
            pid=os.getpid(),
            version=__version__,
            processes=self._names,
            slots=settings.slots,
            drain=settings.drain,
        )
        repertoire = Repertoire(processes, allow_shell=settings.allow_shell)
        self.machine = ProcessorMachine(facts, repertoire, now=time.monotonic())
        # A lab's name holds no dot: no two labs share a journal.
        path = self._path = state / "processor" / f"{lab}.{settings.name}" / "journal"
        try:
            self._journal = _FoldedJournal(path, self.machine.fold)
        except JournalTaken as error:
            problem = f"this host has a processor {settings.name!r} already ({error.owner})"
            raise SettingsInvalid("--name", f"{problem}; give this one another name") from None
        topology = processor_topology(lab, settings.name, self._names, settings.slots)
        machine: Machine = self.machine
        if settings.via_balancer:
            services = tuple(map(steps_key, self._names))
            topology = behind_balancer(topology, lab, settings.name, services, settings.slots)
            pools = (Pool(settings.name, services, settings.slots),)
            behind = BalancedFacts(
                settings.name, os.urandom(8).hex(), pools, host=facts.host, pid=facts.pid
            )
            machine = BalancedMachine(self.machine, behind)
        name = f"gatherscatter processor {settings.name}"
        try:
            self._link = Link(url, topology, name=name, reconnect=True)
        except BaseException:
            self._journal.close()
            raise
        pump = Pump(
            machine,
            self._link,
            lab,
            sender=os.urandom(8).hex(),  # of this life: message ids of two are never the same
            journal=self._journal,
            run=self._run,
            user=self._link.user,
        )
        self._driver = Driver(self._link, pump, still=Told(StoodStill()))
        self._programs = Programs(self._logs, self._driver.post)

    def run(self, stops: Callable[[], int]) -> None:
        """Serve until ``stops()`` is not 0; from 2 on what runs is ended and handed on.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, at the first connection.
            SettingsInvalid: another processor has the name.
            JournalDamaged: its journal is of something else.
        """
        try:
            self._recover()
            name, lab = self._settings.name, self._lab
            taken = f"lab {lab!r} has a processor {name!r} already; give this one another name"
            outlast(self._link, stops, taken)
            self._introduce()
            said, end = 0, math.inf
            with held():  # once for all turns: for each it would take a tenth of its time
                while not self._done and time.monotonic() < end:
                    self._driver.turn(TURN)
                    strike()
                    if not self._programs.alive:
                        raise RuntimeError("nobody looks after commands any more")
                    if (now := min(stops(), 2)) > said:
                        said = now
                        end = time.monotonic() + LAST + (self._settings.drain if now == 1 else 0.0)
                        self._drain(now=now > 1)
            if not self._done:
                log.error("not all slips could be handed on: the broker gives them to others")
        finally:
            self._programs.close()
            self._link.close()
            self._journal.close()

    def _recover(self) -> None:
        """Start from what is on record."""
        events = self._journal.read()
        try:
            self._driver.pump.feed(Recovered(events, time.time()), now=time.monotonic())
        except JournalDamaged as error:
            raise JournalDamaged(str(self._path), error.line, error.problem) from None

    def _introduce(self) -> None:
        settings = self._settings
        slots = "slot" if settings.slots == 1 else "slots"
        names = ", ".join(self._names)
        log.info(
            "%s processes %s with %d %s, logs in %s",
            *(settings.name, names, settings.slots, slots, self._logs),
        )
        if settings.allow_shell:
            log.warning(
                "allow_shell: WHOEVER MAY WRITE TO LAB %s RUNS ANY COMMAND HERE as user %s",
                *(self._lab, os.getuid()),
            )

    def _drain(self, *, now: bool) -> None:
        """Take nothing more; the machine does the rest.

        The waiting room, too, is for others now: what it is given back must not come here again.
        """
        queues = [steps_queue(self._lab, name) for name in self._names]
        if self._settings.via_balancer:
            self._driver.post(Told(Leave()))
            queues = []
        for queue in (*queues, waiting_queue(self._lab)):
            self._link.cancel_consumer(queue)
        log.info("ends what runs" if now else "takes no more; ends when what runs is over")
        self._driver.post(Told(Drain(now=now)))

    def _run(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case BeginCommand() as order:
                log.info("%s", order.title)
                self._programs.begin(effect.id, order)
            case EndCommand() as order:
                self._programs.end(order)
            case Say(text):
                log.info("%s", text)
            case Done():
                self._done = True


def _given(directory: Path) -> Path:
    """Make a directory that somebody named, and leave one that is there as it is.

    Raises:
        SettingsInvalid: it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid("logs", f"{directory}: {error.strerror}") from None
    return directory


class _FoldedJournal(FileJournal):
    """A journal that is folded when most of it is of slips that have long gone on."""

    def __init__(self, path: Path, fold: Callable[[], list[dict[str, object]]]) -> None:
        super().__init__(path)
        self._fold = fold
        self._fold_at = LONG_JOURNAL

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is durable when this returns."""
        super().append(event)
        if len(self) >= self._fold_at:
            self.snapshot(self._fold())
            self._fold_at = max(LONG_JOURNAL, 2 * len(self))
