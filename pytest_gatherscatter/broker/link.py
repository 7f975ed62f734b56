"""One connection to a broker, over pika, and all that a party does with it.

A :class:`Link` turns pika's callbacks into the events of ``port.py`` and is driven by
whoever calls :meth:`Link.poll`: it makes no thread, and nothing happens between calls. So a
party that is quiet is really quiet, and a party that does not poll for two heartbeats is
taken for dead, as it should be. What is inside, from the wire upwards:

- ``loop.py`` waits on sockets, and nothing else does; ``dial.py`` makes a connection, and
  says in words why it was not made.
- ``connection.py`` is one connection with its channel: what leaves over it and is confirmed
  is in ``outbox.py``, what comes and is settled in ``intake.py``.
- ``upkeep.py`` replaces a connection by the next one, when ``comeback.py`` says so.

What pika is given leaves with the next ``poll`` (or ``close``), since its sockets are written
by its loop. Every message is persistent: on exclusive queues that costs nothing, and on
durable ones a slip or an artifact must outlive the broker's restart.

Only :meth:`Link.wake` and :meth:`Link.cancel` may be called from another thread.
"""

import os
import weakref
from collections.abc import Callable, Sized
from typing import Any, Self

from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient

from pytest_gatherscatter.broker.connection import declare
from pytest_gatherscatter.broker.dial import refusal, words
from pytest_gatherscatter.broker.interrupt import interruptible
from pytest_gatherscatter.broker.port import (
    PortEvent,
    Properties,
    PublishReturned,
    Tag,
    Verdict,
)
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.broker.upkeep import Upkeep
from pytest_gatherscatter.broker.url import BrokerUrl, parse
from pytest_gatherscatter.errors import BrokerError, BrokerLost, BrokerRefused, NameTaken

HEARTBEAT = 5
"""Seconds. RabbitMQ drops a silent peer after three misses, so a dead owner's name is free
again within about 15 s; shorter ones drop parties that are only busy."""

ANSWER_SECONDS = 5.0
"""How long a declare or delete at run time may take."""


class Link:
    """A connection, its channel and its topology; implements ``port.Port``.

    Args:
        url: an AMQP URL (see ``url.py``) or one that is taken apart already.
        topology: what is declared, bound and consumed before the link counts as up.
        name: shown in the broker's list of connections.
        heartbeat: seconds; the broker may not ask for longer.
        connect_timeout: seconds for one attempt, from the first packet to the last consume.
        reconnect: come back from a lost connection, inside ``poll``.

    Raises:
        SettingsInvalid: the URL is none.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the connection
        self,
        url: str | BrokerUrl,
        topology: Topology,
        *,
        name: str,
        heartbeat: int = HEARTBEAT,
        connect_timeout: float = 5.0,
        reconnect: bool = False,
    ) -> None:
        self.url = parse(url) if isinstance(url, str) else url
        self.name = name
        self._number = 0
        self._woken = False
        self._upkeep = Upkeep(
            self.url,
            topology,
            name=name,
            heartbeat=heartbeat,
            connect_timeout=connect_timeout,
            reconnect=reconnect,
        )
        _links.add(self)

    # ── state ──────────────────────────────────────────────────────────────────────────

    @property
    def up(self) -> bool:
        """Whether the link is connected, declared and consuming."""
        return self._upkeep.connection is not None

    @property
    def generation(self) -> int:
        """How often it has been up; a delivery's tag says in which generation it came."""
        return self._upkeep.generation

    @property
    def topology(self) -> Topology:
        """What is declared and consumed; one that is set counts when it comes back."""
        return self._upkeep.topology

    @topology.setter
    def topology(self, topology: Topology) -> None:
        self._upkeep.topology = topology

    @property
    def user(self) -> str | None:
        """The login that the broker vouches for in ``user_id``; ``None`` if it is not known."""
        return self.url.login

    @property
    def trouble(self) -> BrokerError | None:
        """Why the last attempt that is over failed to connect, while the link is down."""
        return self._upkeep.failure

    @property
    def unconfirmed(self) -> int:
        """How many publishes have no outcome yet."""
        connection = self._upkeep.connection
        return 0 if connection is None else connection.outbox.unconfirmed

    @property
    def product(self) -> str:
        """What the broker calls itself, such as ``RabbitMQ 3.10.8``; empty while down."""
        connection = self._upkeep.connection
        return "" if connection is None else connection.product

    @property
    def instance(self) -> str:
        """Another one for each start of the embedded broker that answered; empty of RabbitMQ."""
        return self._upkeep.instance

    # ── opening and turning ────────────────────────────────────────────────────────────

    @interruptible
    def open(self, deadline_seconds: float, *, retry: bool = False) -> None:
        """Connect, declare and consume; ``PortUp`` is the first event afterwards.

        With ``retry``, the whole is tried again until the deadline while nobody answers;
        what the broker refuses, it would refuse again, and is raised at once.

        Raises:
            BrokerUnreachable: nobody answered within ``deadline_seconds``, or ``cancel``.
            LoginRefused: user, password, certificate or vhost.
            NameTaken: somebody else owns an exclusive queue of the topology.
            BrokerRefused: the broker refuses a declare, bind or consume.
            SettingsInvalid: a TLS file cannot be read.
        """
        self._upkeep.open(deadline_seconds, retry=retry)

    def cancel(self) -> None:
        """End an ``open`` that is under way, and every later one. Any thread may call it."""
        self._upkeep.cancel()

    @interruptible
    def poll(self, timeout: float) -> list[PortEvent]:
        """Send what waits, and return what happened; wait at most ``timeout`` seconds for it.

        An empty list means that the time is over, or that somebody called ``wake``. A lost
        connection is a ``PortDown`` among the events.

        Raises:
            BrokerError: with ``reconnect``, the broker now refuses what it once took.
        """
        upkeep = self._upkeep
        upkeep.spin(
            lambda: bool(upkeep.events) or self._woken or upkeep.refused is not None, timeout
        )
        self._woken = False
        events = list(upkeep.events)
        upkeep.events.clear()
        if not events and upkeep.refused is not None:
            refused, upkeep.refused = upkeep.refused, None
            raise refused
        return events

    def wake(self) -> None:
        """Let a ``poll`` that waits, or the next one, return at once. Any thread may call it."""
        self._woken = True
        self._upkeep.wake()

    # ── the port ───────────────────────────────────────────────────────────────────────

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> int:
        """Publish with a confirm; see ``Port.publish``. It leaves with the next ``poll``."""
        self._number += 1
        connection = self._upkeep.connection
        if connection is None:
            self._upkeep.events.append(PublishReturned(self._number, self._upkeep.down_reason))
        else:
            connection.outbox.publish(self._number, exchange, key, body, properties, mandatory)
        return self._number

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Settle a delivery; one of a lost channel, or settled already, is ignored."""
        connection = self._upkeep.connection
        if connection is not None:
            connection.intake.settle(tag, verdict)

    # ── at run time ────────────────────────────────────────────────────────────────────

    @interruptible
    def declare(self, topology: Topology) -> None:
        """Add to the topology of a link that is up, and wait until the broker has it.

        Raises:
            BrokerLost: not connected, or no answer in time.
            NameTaken, BrokerRefused: as ``open``; the link stays as it was.
        """
        joined = self.topology + topology
        self._aside(lambda channel: declare(channel, topology))
        connection = self._upkeep.connection
        if connection is not None:
            fresh = [c for c in topology.consumers if not connection.intake.consumes(c.queue)]
            ready: list[bool] = []
            if fresh:
                connection.intake.consume(fresh, lambda: ready.append(True))
                self._await(ready, "no answer to a consume")
        self.topology = joined

    def cancel_consumer(self, queue: str) -> None:
        """Take no more deliveries from ``queue``; those that come all the same are put back."""
        self.topology = self.topology.without_consumer(queue)
        connection = self._upkeep.connection
        if connection is not None:
            connection.intake.cancel(queue)

    @interruptible
    def delete_queue(self, queue: str) -> None:
        """Delete ``queue`` with all that is in it; one that is not there is no error.

        Raises:
            BrokerLost: not connected, or no answer in time.
            BrokerRefused: it is somebody else's.
        """
        self.cancel_consumer(queue)
        self.topology = self.topology.without_queue(queue)
        self._aside(lambda channel: channel.queue_delete(queue))

    @interruptible
    def queue_depth(self, queue: str) -> tuple[int, int] | None:
        """Return ``(messages ready, consumers)`` of ``queue``, ``None`` if there is none.

        Raises:
            BrokerLost: not connected, or no answer in time.
            NameTaken: the queue is exclusive to another connection, hence there.
            BrokerRefused: without the right to look.
        """
        found: list[tuple[int, int]] = []

        def note(frame: Any) -> None:  # noqa: ANN401 - pika's own
            found.append((frame.method.message_count, frame.method.consumer_count))

        try:
            self._aside(lambda channel: channel.queue_declare(queue, passive=True, callback=note))
        except NameTaken:
            raise
        except BrokerRefused as error:
            if error.code == 404:  # noqa: PLR2004 - AMQP's NOT_FOUND
                return None
            raise
        return found[0]

    def _aside(self, work: Callable[[Channel], object]) -> None:
        """Do ``work`` on a channel of its own: what is refused closes that one only."""
        connection = self._upkeep.connection
        if connection is None:
            raise BrokerLost(f"not connected: {self._upkeep.down_reason}")
        ends = connection.aside(work)
        self._await(ends, "no answer")
        if isinstance(ends[0], ChannelClosedByBroker):
            raise refusal(ends[0])
        if not isinstance(ends[0], ChannelClosedByClient):
            raise BrokerLost(words(ends[0]))

    def _await(self, answers: Sized, silence: str) -> None:
        """Wait until there is anything in ``answers``."""
        self._upkeep.spin(lambda: bool(len(answers)) or not self.up, ANSWER_SECONDS)
        if not len(answers):
            raise BrokerLost(silence if self.up else self._upkeep.down_reason)

    # ── closing ────────────────────────────────────────────────────────────────────────

    @interruptible
    def close(self, timeout: float = 2.0) -> None:
        """Send what waits, take what outcomes still come, and let go of everything.

        Over within ``timeout`` seconds, whatever the broker does; then no descriptor and no
        thread is left. May be called twice; ``open`` may follow. Events that came on the way
        are still returned by ``poll``.
        """
        self._upkeep.close(timeout)

    def __enter__(self) -> Self:
        """Return the link itself, open or not."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the link."""
        self.close()


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _forget_all() -> None:
    for link in list(_links):
        link._upkeep.forget()  # noqa: SLF001 - the hook of this class


os.register_at_fork(after_in_child=_forget_all)
