"""A listener as a process: its machine, a link, and a process for each job that it does."""

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from threading import Thread

from pytest_gatherscatter import __version__
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.testfiles import listener_topology
from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.host.directory import private, state_directory
from pytest_gatherscatter.host.process import machine_id
from pytest_gatherscatter.machine import Run, Told
from pytest_gatherscatter.settings import ListenerSettings
from pytest_gatherscatter.testfiles.clip import Clip
from pytest_gatherscatter.testfiles.duty import DutySaid, EndDuty, RetireDuty, StartDuty
from pytest_gatherscatter.testfiles.listener import Drain, ListenerFacts, ListenerMachine
from pytest_gatherscatter.testfiles.order import RETIRE, DutyOrder, DutyOver, line, word
from pytest_gatherscatter.testfiles.service.program import how_it_ended
from pytest_gatherscatter.testfiles.service.workspace import prune
from pytest_gatherscatter.testfiles.shell import Done, Say
from pytest_gatherscatter.testfiles.workspace import SyncLimits

log = logging.getLogger("gatherscatter.listener")

CONNECT = 30.0
"""Seconds that a broker may take to come up: it is often started by the same script."""

TURN = 0.2
"""Seconds between two looks at signals."""

JOIN = 5.0
"""Seconds for which a process that has to end is waited for."""


class DutyProcess:
    """The process of one job. ``post`` is called from the thread that reads what it says."""

    def __init__(self, order: DutyOrder, url: str, post: Callable[[Told], None]) -> None:
        self._job = order.offer.job
        self._post = post
        self._stderr = Clip()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_gatherscatter.testfiles.service.duty"],
            env=os.environ | {"GATHERSCATTER_BROKER": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the listener, which ends it
        )
        self._tell(line(order))
        self._threads = (
            Thread(target=self._read, name=f"job {self._job}", daemon=True),
            Thread(target=self._read_errors, name=f"job {self._job} errors", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def retire(self) -> None:
        """Let the tests that run be the last ones."""
        self._tell(RETIRE)

    def end(self, *, kill: bool = False) -> None:
        """Let it end now, in its own way or without asking."""
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if kill:
            self._process.kill()  # not its number, which may be another's once it was waited for

    def close(self) -> None:
        """See it off: it has a moment to end in its own way."""
        self.end()
        self._threads[0].join(JOIN)
        self.end(kill=True)
        for thread in self._threads:
            thread.join(JOIN)

    def _tell(self, said: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(said)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        over: DutyOver | None = None
        for said in self._process.stdout:
            try:
                heard = word(said)
            except MessageUnreadable as error:
                over = DutyOver(text=f"its process said: {error}", failed=True)
                break
            if isinstance(heard, DutyOver):
                over = heard
            else:
                self._post(Told(DutySaid(self._job, heard)))
        self._process.stdout.close()
        try:
            status = self._process.wait(JOIN)
        except subprocess.TimeoutExpired:
            self.end(kill=True)
            status = self._process.wait()
        if over is None:
            self._threads[1].join(JOIN)
            text = f"its process ended: {how_it_ended(status)}"
            over = DutyOver(text=text, failed=True, stderr=self._stderr.text())
        self._post(Told(DutySaid(self._job, over)))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - asked for above
        for said in self._process.stderr:
            self._stderr.add(said)
            log.info("job %s: %s", self._job, said.decode(errors="replace").rstrip())
        self._process.stderr.close()


class ListenerService:
    """Listens in the calling thread, with two threads for each job that it does.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        settings: slots, workspaces, and what is allowed.

    Raises:
        SettingsInvalid: the workspaces belong to somebody else, or cannot be made.
    """

    def __init__(self, lab: str, url: str, settings: ListenerSettings) -> None:
        self._lab, self._url, self._settings = lab, url, settings
        self._workspaces = private(settings.workspaces or state_directory() / "workspaces")
        prune(self._workspaces, settings.keep)
        self._duties: dict[str, DutyProcess] = {}
        self._done = False
        facts = ListenerFacts(
            listener=secrets.token_hex(8),
            host=settings.name,
            pid=os.getpid(),
            version=__version__,
            slots=settings.slots,
            job_slots=settings.job_slots,
            labels=settings.labels,
            drain=settings.drain,
        )
        self.machine = ListenerMachine(facts, _load, now=time.monotonic())
        topology = listener_topology(lab, facts.listener)
        name = f"gatherscatter listener {settings.name}"
        self._link = Link(url, topology, name=name, reconnect=True)
        pump = Pump(
            self.machine,
            self._link,
            lab,
            sender=facts.listener,
            run=self._run,
            user=self._link.user,
        )
        self._driver = Driver(self._link, pump)

    def run(self, stops: Callable[[], int]) -> None:
        """Listen until ``stops()`` is not 0; from 2 on nothing is waited for.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, at the first connection.
        """
        try:
            self._link.open(CONNECT, retry=True)
            settings = self._settings
            slots = "slot" if settings.slots == 1 else "slots"
            log.info(
                "%s listens with %d %s, workspaces in %s",
                *(settings.name, settings.slots, slots, self._workspaces),
            )
            said = 0
            while not self._done:
                self._driver.turn(TURN)
                if (now := min(stops(), 2)) > said:
                    said = now
                    self._driver.post(Told(Drain(now=now > 1)))
        finally:
            for duty in self._duties.values():
                duty.end()  # all at once, then each is waited for
            for duty in self._duties.values():
                duty.close()
            self._link.close()

    def _run(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case StartDuty(offer, slots):
                order = self._order(StartDuty(offer, slots))
                try:
                    self._duties[offer.job] = DutyProcess(order, self._url, self._driver.post)
                except OSError as error:
                    text = f"its process cannot be started: {error}"
                    over = DutyOver(text=text, failed=True)
                    self._driver.post(Told(DutySaid(offer.job, over)))
            case RetireDuty(job):
                self._duties[job].retire()
            case EndDuty(job, kill):
                self._duties[job].end(kill=kill)
            case Say(text):
                log.info("%s", text)
            case Done():
                self._done = True
        for job in self._duties.keys() - self.machine.duties.keys():
            self._duties.pop(job).close()

    def _order(self, start: StartDuty) -> DutyOrder:
        settings = self._settings
        return DutyOrder(
            lab=self._lab,
            offer=start.offer,
            slots=start.slots,
            host=settings.name,
            machine=machine_id(),
            workspaces=str(self._workspaces),
            sources=settings.sources,
            sync_plugins=settings.sync_plugins,
            fresh=settings.fresh,
            keep=settings.keep,
            limits=SyncLimits(
                settings.connect_timeout, settings.silence_timeout, settings.sync_timeout
            ),
        )


def _load() -> float:
    try:
        return os.getloadavg()[0]
    except OSError:  # a system that does not count it
        return 0.0
