"""A supervisor as a process: its machine, a link, and a child for each worker."""

import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from importlib import metadata

from pytest_gatherscatter import __version__
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.testfiles import supervisor_topology
from pytest_gatherscatter.machine import Input, Run, Told
from pytest_gatherscatter.testfiles.child import AbortChild, EndChild, StartChild, TellChild
from pytest_gatherscatter.testfiles.service.birth import Born, spawned
from pytest_gatherscatter.testfiles.service.child import Child
from pytest_gatherscatter.testfiles.shell import Done, Leave, Say
from pytest_gatherscatter.testfiles.supervisor import SupervisorFacts, SupervisorMachine

log = logging.getLogger("gatherscatter.supervisor")

CONNECT = 30.0
"""Seconds that a broker may take to come up: it is often started by the same script."""

TURN = 0.2
"""Seconds between two looks at signals."""

JOIN = 1.0
"""Seconds for which the thread of a child that is over is waited for."""


def spawn_worker(_: str, order: bytes) -> tuple[Born, bytes]:
    """Start a worker in this environment, which has to be told ``order``; raises as spawned."""
    return spawned([sys.executable, "-m", "pytest_gatherscatter.plugin.worker"]), order


def pytest_version() -> str:
    """Return the version of the pytest that workers will run, which is not imported for that."""
    loaded = sys.modules.get("pytest")
    return metadata.version("pytest") if loaded is None else str(loaded.__version__)


class SupervisorService:
    """Holds workers for one job, in the calling thread and one for each child.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        slots: how many workers it can hold.
        job: the job that it is for; empty for the first that is offered.
        order: makes the first line that a child reads, of what it is started with.
        host: what it is called, without it the machine's name.
        bear: makes the process of a worker with this name and this first line; says what of the
            line it has still to be told.
        prepared: how many seconds it took to get ready, for the originator to show.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        lab: str,
        url: str,
        *,
        slots: int,
        order: Callable[[StartChild], bytes],
        job: str = "",
        host: str = "",
        bear: Callable[[str, bytes], tuple[Born, bytes]] = spawn_worker,
        prepared: float = 0.0,
    ) -> None:
        self.id = secrets.token_hex(8)
        self._order = order
        self._bear = bear
        self._children: dict[str, Child] = {}
        self._done: Done | None = None
        host = host or socket.gethostname()
        facts = SupervisorFacts(
            self.id, slots, host, os.getpid(), __version__, pytest_version(), prepared
        )
        self.machine = SupervisorMachine(facts, job=job)
        name = f"gatherscatter supervisor of {lab}"
        self._link = Link(url, supervisor_topology(lab, self.id), name=name, reconnect=True)
        pump = Pump(
            self.machine, self._link, lab, sender=self.id, run=self._run, user=self._link.user
        )
        self._driver = Driver(self._link, pump)

    def run(
        self,
        stop: Callable[[], bool],
        *,
        wait: float,
        retire: Callable[[], bool] = lambda: False,
    ) -> str:
        """Work until the job is over; returns why not all was done, empty if it was.

        ``wait`` is how many seconds it waits for a job. ``stop`` ends all at once, ``retire``
        lets the tests that run come to their end.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, at the first connection.
        """
        try:
            self._link.open(CONNECT, retry=True)
            until = time.monotonic() + wait
            left = retired = False
            while self._done is None:
                self._driver.turn(TURN)
                if left:
                    continue
                if stop():
                    left = self._leave("stopped in good order")
                elif not retired and retire():
                    retired = True
                    self._driver.post(Told(Leave("its listener ends", in_order=True)))
                elif not self.machine.joined and time.monotonic() >= until:
                    left = self._leave(f"no job came in {wait:g} s")
            return self._done.text
        finally:
            for child in self._children.values():
                child.end()
                child.join(JOIN)
            self._link.close()

    def _leave(self, text: str) -> bool:
        self._driver.post(Told(Leave(text)))
        return True

    def _run(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case StartChild(worker) as start:
                born, untold = self._bear(worker, self._order(start))
                live = start.terms.live
                self._children[worker] = Child(worker, born, untold, self._post, live=live)
            case TellChild(worker, command):
                self._children[worker].tell(command)
            case AbortChild(worker):
                self._children[worker].abort()
            case EndChild(worker):
                self._children[worker].end()
            case Say(text):
                log.info("%s", text)
            case Done() as done:
                self._done = done

    def _post(self, said: Input) -> None:
        self._driver.post(said)
