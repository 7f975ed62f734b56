"""How a link comes up, comes back and ends: one connection after another, over one loop.

A lost connection is an event, not an exception. Who wants it comes back inside the turns of
the loop: the topology is declared again, and ``PortUp`` says the new generation.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from pytest_gatherscatter.broker.comeback import FIRST_WAIT, Comeback, waits
from pytest_gatherscatter.broker.connection import Connection, Owner
from pytest_gatherscatter.broker.dial import words
from pytest_gatherscatter.broker.loop import Loop
from pytest_gatherscatter.broker.port import ConsumeCancelled, PortDown, PortEvent, PortUp
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.broker.url import BrokerUrl
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerUnreachable,
    LoginRefused,
    SettingsInvalid,
)

log = logging.getLogger(__name__)

_IMPOSTOR = "but authenticated user was"
"""What RabbitMQ says to who publishes in another's name."""

CUT_SECONDS = 0.2
"""How long pika may take to see that a stream has been cut: it sees it in its next turn."""


class Upkeep:
    """Keeps one link up; the arguments are those of ``link.Link``.

    Only :meth:`wake` and :meth:`cancel` may be called from another thread.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the connection
        self,
        url: BrokerUrl,
        topology: Topology,
        *,
        name: str,
        heartbeat: int,
        connect_timeout: float,
        reconnect: bool,
    ) -> None:
        self.url = url
        self.topology = topology
        self.generation = 0
        self.instance = ""
        """Which start of the embedded broker was there last; see ``Link.instance``."""
        self._name = name
        self._heartbeat = heartbeat
        self._connect_timeout = connect_timeout
        self._reconnect = reconnect
        self._cancelled = False
        self._owner = Owner(self._tell, self._on_up, self._on_failed, self._on_lost)
        self._reset("not connected")

    def _reset(self, reason: str) -> None:
        """Know of no connection."""
        self.loop: Loop | None = None
        self.down_reason = reason
        self.failure: BrokerError | None = None
        """Why the last attempt that is over failed to connect, while there is no connection."""
        self.refused: BrokerError | None = None
        """Why there is no use in coming back, until somebody took note of it."""
        self.events: deque[PortEvent] = deque()
        self._connection: Connection | None = None
        self._alive: list[Connection] = []
        self._opening = False
        self._comeback = Comeback(self._heartbeat)

    @property
    def connection(self) -> Connection | None:
        """The connection that is up, if one is."""
        connection = self._connection
        return connection if connection is not None and connection.up else None

    @property
    def _connecting(self) -> bool:
        return self._connection is not None and self._connection.connecting

    # ── opening ────────────────────────────────────────────────────────────────────────

    def open(self, deadline_seconds: float, *, retry: bool) -> None:
        """Connect, declare and consume; see ``Link.open``."""
        end = time.monotonic() + deadline_seconds
        self._opening = True
        try:
            try:
                self._try(end, min(self._connect_timeout, deadline_seconds))
            except BrokerUnreachable:
                if not retry or self._cancelled:
                    raise
                self._try_again(end, deadline_seconds)
        finally:
            self._opening = False
            if self.connection is None:
                self.close(timeout=0.5)

    def cancel(self) -> None:
        """End an ``open`` that is under way, and every later one."""
        self._cancelled = True
        self.wake()

    def _try(self, end: float, patience: float | None = None) -> None:
        """Make one attempt, over by ``end``; ``patience`` is what all attempts have together."""
        if self.connection is not None:
            return
        self.failure = None
        self._begin(max(0.05, min(self._connect_timeout, end - time.monotonic())), patience)
        # The attempt has a timer of its own; the second more is for what pika leaves behind.
        self.spin(lambda: not self._connecting or self._cancelled, self._connect_timeout + 1.0)
        if self._cancelled:
            raise BrokerUnreachable(self.url.safe, "cancelled")
        if self.connection is None:
            raise self.failure or BrokerUnreachable(self.url.safe, "no answer")

    def _try_again(self, end: float, patience: float) -> None:
        """Repeat attempts until one succeeds, is refused, or ``end`` has come."""
        # Costs 40 ms and more to import, which an open that succeeds at once need not pay.
        import tenacity  # noqa: PLC0415

        def nap(seconds: float) -> None:
            left = min(seconds, end - time.monotonic())
            if self.loop is None:  # a host without sockets has nothing to turn meanwhile
                time.sleep(max(0.0, left))
            self.spin(lambda: self._cancelled, left)

        nap(FIRST_WAIT)
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, BrokerUnreachable) and not self._cancelled
            ),
            wait=waits(),
            stop=lambda _: time.monotonic() >= end,
            sleep=nap,
            reraise=True,
        )(self._try, end, patience)

    def _begin(self, seconds: float, patience: float | None = None) -> None:
        """Start an attempt that ends within ``seconds``, in callbacks.

        Raises:
            BrokerUnreachable: this host gives no sockets; nothing was begun.
        """
        if self.loop is None:
            try:
                self.loop = Loop(self._on_broken)
            except OSError as error:  # no descriptors, or a network without even a loopback
                reason = f"this host opens no socket: {words(error)}"
                raise BrokerUnreachable(self.url.safe, reason) from None
        if self._connection is not None:
            self._connection.retire()  # an open takes over from an attempt to come back
        connection = Connection(
            self.url, self.loop, self.topology, self.generation + 1, self._owner
        )
        self._connection = connection
        self._alive = [one for one in self._alive if not one.gone] + [connection]
        connection.dial(
            name=self._name,
            heartbeat=self._heartbeat,
            seconds=seconds,
            patience=patience or seconds,
        )

    # ── what a connection tells ────────────────────────────────────────────────────────

    def _tell(self, event: PortEvent) -> None:
        if not isinstance(event, ConsumeCancelled):
            self.events.append(event)
        elif self._reconnect and self.loop is not None:
            # Who comes back after a loss would be deaf for ever. What it has in hand it keeps.
            log.warning(
                "queue %s was deleted, and is made again; what lay in it is lost", event.queue
            )
            self.loop.call_later(0.0, partial(self._restore, event.queue))
        else:
            self.topology = self.topology.without_queue(event.queue)
            self.events.append(event)

    def _restore(self, queue: str) -> None:
        if self.connection is not None:
            self.connection.restore(self.topology.only_queue(queue))

    def _on_up(self) -> None:
        self.failure = None
        self.generation += 1
        self._comeback.up(time.monotonic())
        if self.connection is not None:
            self.instance = self.connection.instance
        self.events.append(PortUp(self.generation))

    def _on_failed(self, error: BrokerError) -> None:
        self.failure = error
        self.down_reason = str(error)
        if self._reconnect and not self._opening:
            if self._comeback.is_final(error, time.monotonic()):
                self.refused = error
            else:
                self._schedule()

    def _on_lost(self, reason: str) -> None:
        self.down_reason = reason
        self._comeback.lost(time.monotonic())
        self.events.append(PortDown(reason))
        if self.url.certified and _IMPOSTOR in reason:
            cure = "the URL's user must be the certificate's name, or left out"
            self.refused = LoginRefused(self.url.safe, f"{reason}; {cure}")
        elif self._reconnect:
            self._schedule()

    def _on_broken(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.broke(reason)

    def _schedule(self) -> None:
        """Plan the next attempt to come back."""
        if self.loop is not None:
            self.loop.call_later(self._comeback.wait(), self._come_back)

    def _come_back(self) -> None:
        if self.connection is None and not (self._connecting or self._cancelled or self._opening):
            try:
                self._begin(self._connect_timeout)
            except SettingsInvalid as error:  # a TLS file has gone
                self.refused = BrokerUnreachable(self.url.safe, str(error))

    # ── turning and closing ────────────────────────────────────────────────────────────

    def spin(self, done: Callable[[], bool], seconds: float) -> bool:
        """Let things happen until ``done()`` or ``seconds`` have passed; at least one turn."""
        return done() if self.loop is None else self.loop.spin(done, seconds)

    def wake(self) -> None:
        """Let a spin look at once whether it is done."""
        loop = self.loop
        if loop is not None:
            loop.wake()

    def close(self, timeout: float) -> None:
        """Send what waits and let go of everything; see ``Link.close``."""
        loop = self.loop
        if loop is None:
            return
        end = time.monotonic() + timeout
        reconnect, self._reconnect = self._reconnect, False
        try:
            if self.connection is not None:
                self.spin(self._all_told, timeout / 2)
            self._retire()
            self._await_nothing(end - time.monotonic())
        finally:
            self._retire()
            if not self._nothing_left():
                loop.cut()
                self._await_nothing(CUT_SECONDS)
            loop.end()
            self.loop = None
            self._alive.clear()
            self._reconnect = reconnect

    def _all_told(self) -> bool:
        """Whether every publish has its outcome."""
        return self.connection is None or not self.connection.outbox.unconfirmed

    def _retire(self) -> None:
        self.down_reason = "closed"
        if self._connection is not None:
            self._connection.retire()
            self._connection = None

    def _nothing_left(self) -> bool:
        return all(connection.gone for connection in self._alive)

    def _await_nothing(self, seconds: float) -> None:
        if not self._nothing_left():
            self.spin(self._nothing_left, seconds)

    def forget(self) -> None:
        """In a forked child: know nothing of the parent's connection any more."""
        if self.loop is not None:
            self.loop.forsake()
            _forgotten.extend(self._alive)
        self._reset("this process is a fork")


_forgotten: list[Connection] = []
"""As ``loop.py`` keeps the loops: what is not collected says and closes nothing."""
