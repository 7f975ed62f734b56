"""A recorder as a process: its machine, a link, and the thread that writes.

The thread that calls :meth:`RecorderService.run` talks to the broker, and to nobody else:
heartbeats go on however long a database takes.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.incumbent import outlast
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.record import (
    RECORD_EVENTS,
    RECORD_PREFETCH,
    recorder_topology,
)
from pytest_gatherscatter.errors import BrokerError
from pytest_gatherscatter.machine import Exited, Recovered, Run, Told
from pytest_gatherscatter.record.order import Done, Drain, NotWritten, Say, Write
from pytest_gatherscatter.record.recorder import RecorderMachine
from pytest_gatherscatter.record.service.database import Database
from pytest_gatherscatter.recordsetting import RecorderSettings
from pytest_gatherscatter.wire.names import record_queue

log = logging.getLogger("gatherscatter.recorder")

TURN = 0.2
"""Seconds between two looks at signals."""

CLOCK = 60.0
"""Seconds between two looks at the world's clock, and two lines on what was recorded."""

LAST = 15.0
"""Seconds that a transaction may take which is under way at the end."""


class RecorderService:
    """Records until it is told to end.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        settings: the recorder's.
        database: where it writes, made already.
    """

    def __init__(self, lab: str, url: str, settings: RecorderSettings, database: Database) -> None:
        self._lab, self._settings, self._database = lab, settings, database
        self._queue = record_queue(lab, settings.name)
        self._done: Done | None = None
        self._told = 0
        self._work: SimpleQueue[tuple[int, Write] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._write, name="database")
        self.stuck = False
        """Whether its thread still writes, though it has ended."""
        self.machine = RecorderMachine(lab, patience=settings.patience)
        name = f"gatherscatter recorder {settings.name}"
        self._link = Link(url, recorder_topology(lab, settings.name), name=name, reconnect=True)
        sender = os.urandom(8).hex()
        pump = Pump(
            self.machine, self._link, lab, sender=sender, run=self._run, user=self._link.user
        )
        self._driver = Driver(self._link, pump)

    def run(self, stops: Callable[[], bool]) -> str:
        """Record until ``stops()`` is true, or the database has failed for too long.

        Returns:
            Why it ended; empty if it was told to.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, at the first connection.
            SettingsInvalid: another recorder has the name.
        """
        try:
            self._look_at_the_clock()
            name, lab = self._settings.name, self._lab
            taken = f"lab {lab!r} has a recorder {name!r} already"
            cure = "a second one needs another name, and another database"
            outlast(self._link, stops, f"{taken}; {cure}")
            self.thread.start()
            self._introduce()
            self._serve(stops)
        finally:
            self._link.close()
            self.stuck = self._join()
        return self._done.failure if self._done is not None else "a transaction did not end"

    def _serve(self, stops: Callable[[], bool]) -> None:
        end: float | None = None
        clock_at = time.monotonic() + CLOCK
        while self._done is None and (end is None or time.monotonic() < end):
            self._driver.turn(TURN)
            now = time.monotonic()
            if now >= clock_at:
                clock_at = now + CLOCK
                self._look_at_the_clock()
                self._tell()
            if end is None and stops():
                end = now + LAST
                self._link.cancel_consumer(self._queue)
                self._driver.post(Told(Drain()))
        self._tell()

    def _look_at_the_clock(self) -> None:
        self._driver.pump.feed(Recovered((), time.time()), now=time.monotonic())

    def _introduce(self) -> None:
        log.info(
            "recorder %s of lab %s writes to %s",
            *(self._settings.name, self._lab, self._database.name),
        )
        depth: tuple[int, int] | None = None
        with contextlib.suppress(BrokerError):  # lost just now: it comes back
            depth = self._link.queue_depth(self._queue)  # without what came in hand at once
        if depth is not None and depth[0]:
            log.info("%d more events wait in its queue", depth[0])
            if depth[0] >= RECORD_EVENTS - RECORD_PREFETCH:
                log.warning("its queue was full: events were lost, the oldest ones")

    def _tell(self) -> None:
        """Say how much was recorded since it was said last."""
        count = self.machine.fresh
        if count != self._told:
            log.info("%d more on record, %d since the start", count - self._told, count)
            self._told = count

    # ── the thread that writes ─────────────────────────────────────────────────────────

    def _write(self) -> None:
        while (order := self._work.get()) is not None:
            effect, write = order
            try:
                result = self._database.write(write.entries)
            except Exception as error:  # noqa: BLE001 - a driver's own: as any other failure of it
                result = NotWritten(f"{type(error).__name__}: {error}"[:300])
            self._driver.post(Exited(effect, result))

    def _join(self) -> bool:
        """Wait for the thread; say whether it has not come back."""
        if not self.thread.ident:
            return False
        self._work.put(None)
        self.thread.join(1.0)
        return self.thread.is_alive()

    def _run(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case Write() as write:
                self._work.put((effect.id, write))
            case Say(text, wrong):
                log.log(logging.WARNING if wrong else logging.INFO, "%s", text)
            case Done() as done:
                self._done = done
