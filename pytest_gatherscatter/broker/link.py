"""One connection to a broker, over pika; with ``dial.py`` the only module that knows pika.

A :class:`Link` turns pika's callbacks into the events of ``port.py`` and is driven by
whoever calls :meth:`Link.poll`: it makes no thread, and nothing happens between calls. So a
party that is quiet is really quiet, and a party that does not poll for two heartbeats is
taken for dead, as it should be.

How it is done, and why so:

- Declares and binds are sent without waiting for each answer (``nowait``); the last step of
  set-up, a consume, is waited for. An error among them closes the channel and says which.
- Publishes are confirmed, each outcome an event. What pika is given leaves with the next
  ``poll`` (or ``close``), since its sockets are written by its loop.
- Every message is persistent: on exclusive queues that costs nothing, and on durable ones a
  slip or an artifact must outlive the broker's restart.
- A lost connection is an event, not an exception. With ``reconnect`` the link comes back
  inside ``poll``; its topology is declared again, and ``PortUp`` says the new generation.

Only :meth:`Link.wake` and :meth:`Link.cancel` may be called from another thread.
"""

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import pika
from pika.channel import Channel
from pika.exceptions import (
    ChannelClosedByBroker,
    ChannelClosedByClient,
)

from pytest_gatherscatter.broker.dial import (
    FIRST_WAIT,
    PIKA_BROKE,
    Loop,
    close,
    dial,
    explain,
    hang_up,
    refusal,
    waits,
    words,
)
from pytest_gatherscatter.broker.port import (
    NO_ROUTE,
    ConsumeCancelled,
    Delivered,
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishConfirmed,
    PublishReturned,
    Tag,
    Verdict,
)
from pytest_gatherscatter.broker.topology import Consumer, Topology
from pytest_gatherscatter.broker.url import BrokerUrl, parse
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerLost,
    BrokerRefused,
    BrokerUnreachable,
    NameTaken,
    SettingsInvalid,
)

HEARTBEAT = 5
"""Seconds. RabbitMQ drops a silent peer after three misses, so a dead owner's name is free
again within about 15 s; shorter ones drop parties that are only busy."""

NAME_TAKEN_HEARTBEATS = 4
"""How long a returning link asks again for its own name: the broker may not know yet that
the lost connection is dead (three misses, and one for luck)."""

STEADY_SECONDS = 5.0
"""A connection that lived shorter does not count as success for the waits: what broke it (a
refused publish, say) may break the next one too, and must not turn into a busy loop."""

ANSWER_SECONDS = 5.0
"""How long a declare or delete at run time may take."""


@dataclass(slots=True)
class _Open:
    """A publish without an outcome; ``letter`` is how a return is known again."""

    number: int
    letter: tuple[str, str, str | None, bytes] | None


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
        self.generation = 0
        self.topology = topology
        self._heartbeat = heartbeat
        self._connect_timeout = connect_timeout
        self._reconnect = reconnect
        self._cancelled = False
        self._number = 0
        self._reset()
        _links.add(self)

    def _reset(self) -> None:
        """Know of no connection."""
        self._loop: Loop | None = None
        self._dialled: Any = None
        self._connection: Any = None
        self._channel: Channel | None = None
        self._connecting = False
        self._up = False
        self._opening = False
        self._attempt = 0
        self._alive: set[int] = set()
        self._tries = 0
        self._up_since = self._down_since = 0.0
        self._down_reason = "not connected"
        self._failure: BrokerError | None = None
        self._refused: BrokerError | None = None
        self._events: deque[PortEvent] = deque()
        self._early: list[PortEvent] = []
        self._woken = False
        self._tags: dict[str, str] = {}
        self._published = 0
        self._open: dict[int, _Open] = {}
        self._unsettled: set[int] = set()

    # ── state ──────────────────────────────────────────────────────────────────────────

    @property
    def up(self) -> bool:
        """Whether the link is connected, declared and consuming."""
        return self._up

    @property
    def user(self) -> str | None:
        """The login that the broker vouches for in ``user_id``; ``None`` with EXTERNAL."""
        return None if self.url.external else self.url.user or "guest"

    @property
    def trouble(self) -> BrokerError | None:
        """Why the last attempt that is over failed to connect, while the link is down."""
        return self._failure

    @property
    def unconfirmed(self) -> int:
        """How many publishes have no outcome yet."""
        return len(self._open)

    @property
    def product(self) -> str:
        """What the broker calls itself, such as ``RabbitMQ 3.10.8``; empty while down."""
        told = getattr(self._connection, "server_properties", None) or {}
        return " ".join(str(told[key]) for key in ("product", "version") if key in told)

    # ── opening ────────────────────────────────────────────────────────────────────────

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
        end = time.monotonic() + deadline_seconds
        self._opening = True
        try:
            try:
                self._try(end)
            except BrokerUnreachable:
                if not retry or self._cancelled:
                    raise
                self._try_again(end, deadline_seconds)
        finally:
            self._opening = False
            if not self._up:
                self.close(timeout=0.5)

    def cancel(self) -> None:
        """End an ``open`` that is under way, and every later one. Any thread may call it."""
        self._cancelled = True
        self.wake()

    def _try(self, end: float, patience: float | None = None) -> None:
        """Make one attempt, over by ``end``; ``patience`` is what all attempts have together."""
        if self._up:
            return
        self._failure = None
        self._begin(max(0.05, min(self._connect_timeout, end - time.monotonic())), patience)
        # The attempt has a timer of its own; the second more is for what pika leaves behind.
        self._spin(lambda: not self._connecting or self._cancelled, self._connect_timeout + 1.0)
        if self._cancelled:
            raise BrokerUnreachable(self.url.safe, "cancelled")
        if not self._up:
            raise self._failure or BrokerUnreachable(self.url.safe, "no answer")

    def _try_again(self, end: float, patience: float) -> None:
        """Repeat attempts until one succeeds, is refused, or ``end`` has come."""
        # Costs 40 ms and more to import, which an open that succeeds at once need not pay.
        import tenacity  # noqa: PLC0415

        def nap(seconds: float) -> None:
            self._spin(lambda: self._cancelled, min(seconds, end - time.monotonic()))

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

        The last of several attempts has only what is left of the time: a person is told
        ``patience``, the whole of it.
        """
        if self._loop is None:
            self._loop = Loop()
            self._loop.activate_poller()
        if self._connecting:
            self._retire()  # an open takes over from an attempt to come back
        self._attempt += 1
        self._connecting = True
        attempt = self._attempt
        try:
            self._alive.add(attempt)
            self._dialled = dial(
                self.url,
                loop=self._loop,
                name=self.name,
                heartbeat=self._heartbeat,
                seconds=seconds,
                on_done=partial(self._on_connected, attempt),
            )
        except SettingsInvalid:
            self._alive.discard(attempt)
            self._connecting = False
            raise
        except OSError as error:
            self._alive.discard(attempt)
            self._fail(BrokerUnreachable(self.url.safe, words(error)))
        else:
            self._loop.call_later(seconds, partial(self._on_overtime, attempt, patience or seconds))

    # ── set-up, in callbacks ───────────────────────────────────────────────────────────

    def _on_connected(self, attempt: int, result: Any) -> None:  # noqa: ANN401 - or an error
        if isinstance(result, BaseException):
            self._alive.discard(attempt)
            if attempt == self._attempt:
                self._fail(explain(self.url, result))
            return
        result.add_on_close_callback(partial(self._on_closed, attempt))
        if attempt != self._attempt:
            close(result)
            return
        self._connection = result
        result.channel(on_open_callback=partial(self._on_channel, attempt))

    def _on_channel(self, attempt: int, channel: Channel) -> None:
        if attempt != self._attempt:
            return
        self._channel = channel
        self.generation += 1
        self._published = 0
        self._tags = {}
        channel.add_on_close_callback(partial(self._on_channel_closed, attempt))
        channel.add_on_cancel_callback(self._on_cancelled)
        channel.add_on_return_callback(self._on_returned)
        channel.confirm_delivery(self._on_outcome)
        _declare(channel, self.topology)
        self._consume(channel, self.topology.consumers, partial(self._on_ready, attempt))

    def _consume(
        self, channel: Channel, consumers: Sequence[Consumer], ready: Callable[[], None]
    ) -> None:
        """Consume each queue under its own prefetch; call ``ready`` when the last one runs."""
        if not consumers:
            # Something that is answered, so that what was declared before it is known good.
            channel.basic_qos(prefetch_count=1, callback=lambda _: ready())
            return
        # pika sends one consume at a time, so the last answer is the last consumer's.
        ordered = sorted(consumers, key=lambda consumer: consumer.prefetch)
        prefetch = None
        for consumer in ordered:
            if consumer.prefetch != prefetch:
                prefetch = consumer.prefetch  # holds for all consumers that follow
                channel.basic_qos(prefetch_count=prefetch)
            then = ready if consumer is ordered[-1] else _nothing
            tag = channel.basic_consume(
                consumer.queue,
                partial(self._on_message, self.generation, consumer.queue),
                exclusive=consumer.exclusive,
                callback=partial(_call, then),
            )
            self._tags[tag] = consumer.queue

    def _on_ready(self, attempt: int) -> None:
        if attempt != self._attempt:
            return
        self._connecting, self._up, self._failure = False, True, None
        self._up_since = time.monotonic()
        self._dialled = None
        self._events.append(PortUp(self.generation))
        self._events.extend(self._early)
        self._early.clear()

    def _on_overtime(self, attempt: int, seconds: float) -> None:
        if attempt == self._attempt and self._connecting:
            self._fail(BrokerUnreachable(self.url.safe, f"no answer within {seconds:g} s"))

    # ── losing ─────────────────────────────────────────────────────────────────────────

    def _on_closed(self, attempt: int, _connection: object, reason: Exception) -> None:
        self._alive.discard(attempt)
        if attempt != self._attempt:
            return
        if self._connecting:
            self._fail(explain(self.url, reason))
        elif self._up:
            self._lose(words(reason))

    def _on_channel_closed(self, attempt: int, _channel: Channel, reason: Exception) -> None:
        # A connection that is lost tells its channels first: leave that to _on_closed.
        if attempt != self._attempt or not isinstance(reason, ChannelClosedByBroker):
            return
        if self._connecting:
            self._fail(refusal(reason))
        elif self._up:
            self._lose(words(reason))

    def _fail(self, error: BrokerError) -> None:
        """End the attempt under way."""
        self._connecting = False
        self._failure = error
        self._down_reason = str(error)
        self._retire()
        if self._reconnect and not self._opening:
            self._schedule(error)

    def _lose(self, reason: str) -> None:
        """Take the loss of a connection that was up."""
        self._up = False
        self._down_reason = reason
        self._down_since = time.monotonic()
        if self._down_since - self._up_since > STEADY_SECONDS:
            self._tries = 0
        self._retire()
        self._events.append(PortDown(reason))
        if self._reconnect:
            self._schedule(None)

    def _retire(self) -> None:
        """Let go of connection and attempt; what still comes of them is nobody's business."""
        self._attempt += 1
        self._open.clear()
        self._unsettled.clear()
        self._early.clear()
        self._tags = {}
        self._channel = None
        attempt, self._dialled = self._dialled, None
        connection, self._connection = self._connection, None
        if connection is not None:
            close(connection)
        elif attempt is not None and self._loop is not None:
            hang_up(attempt, self._loop)

    def _schedule(self, error: BrokerError | None) -> None:
        """Plan the next attempt to come back, or see that it would be refused again."""
        if isinstance(error, NameTaken):
            patience = NAME_TAKEN_HEARTBEATS * self._heartbeat
            final = time.monotonic() - self._down_since > patience
        else:
            final = error is not None and not isinstance(error, BrokerUnreachable)
        if final or self._loop is None:
            self._refused = error
            return
        import tenacity  # noqa: PLC0415 - as in _try_again

        self._tries += 1
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = self._tries
        self._loop.call_later(waits()(state), self._come_back)

    def _come_back(self) -> None:
        if not (self._up or self._connecting or self._cancelled or self._opening):
            try:
                self._begin(self._connect_timeout)
            except SettingsInvalid as error:  # a TLS file has gone
                self._refused = BrokerUnreachable(self.url.safe, str(error))

    # ── the loop ───────────────────────────────────────────────────────────────────────

    def _spin(self, done: Callable[[], bool], seconds: float) -> bool:
        """Run pika's loop until ``done()`` or ``seconds`` have passed; at least once round."""
        loop = self._loop
        if loop is None:
            return done()
        if done():
            seconds = 0.0
        end = time.monotonic() + seconds
        timer = loop.call_later(max(0.0, seconds), _nothing)
        try:
            while True:
                try:
                    loop.poll()
                    loop.process_timeouts()
                except PIKA_BROKE as error:
                    self._broken(error)
                if done():
                    return True
                if time.monotonic() >= end:
                    return False
        finally:
            loop.remove_timeout(timer)

    def _broken(self, error: Exception) -> None:
        """Take an exception out of pika's inside as what it means: the connection is gone."""
        reason = f"{type(error).__name__}: {error}"
        if self._connecting:
            self._fail(BrokerUnreachable(self.url.safe, reason))
        elif self._up:
            self._lose(reason)
        if self._loop is not None:
            self._loop.cut()

    def poll(self, timeout: float) -> list[PortEvent]:
        """Send what waits, and return what happened; wait at most ``timeout`` seconds for it.

        An empty list means that the time is over, or that somebody called ``wake``. A lost
        connection is a ``PortDown`` among the events.

        Raises:
            BrokerError: with ``reconnect``, the broker now refuses what it once took.
        """
        self._spin(lambda: bool(self._events) or self._woken or self._refused is not None, timeout)
        self._woken = False
        events = list(self._events)
        self._events.clear()
        if not events and self._refused is not None:
            refused, self._refused = self._refused, None
            raise refused
        return events

    def wake(self) -> None:
        """Let a ``poll`` that waits, or the next one, return at once. Any thread may call it."""
        self._woken = True
        loop = self._loop
        if loop is not None:
            loop.add_callback_threadsafe(_nothing)

    # ── the port ───────────────────────────────────────────────────────────────────────

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> int:
        """Publish with a confirm; see ``Port.publish``. It leaves with the next ``poll``."""
        self._number += 1
        if not self._up or self._channel is None:
            self._events.append(PublishReturned(self._number, self._down_reason))
            return self._number
        try:
            self._channel.basic_publish(
                exchange, key, body, _to_pika(properties), mandatory=mandatory
            )
        except PIKA_BROKE as error:
            self._events.append(PublishReturned(self._number, words(error)))
            return self._number
        self._published += 1
        letter = (exchange, key, properties.message_id, body) if mandatory else None
        self._open[self._published] = _Open(self._number, letter)
        return self._number

    def settle(self, tag: Tag, verdict: Verdict) -> None:
        """Settle a delivery; one of a lost channel, or settled already, is ignored."""
        if self._channel is None or tag.generation != self.generation:
            return
        if tag.number not in self._unsettled:
            return  # settling twice would close the channel (406)
        self._unsettled.discard(tag.number)
        with suppress(*PIKA_BROKE):  # the loss itself comes as an event
            if verdict is Verdict.ACK:
                self._channel.basic_ack(tag.number)
            else:
                self._channel.basic_reject(tag.number, requeue=verdict is Verdict.REQUEUE)

    def _on_message(
        self,
        generation: int,
        queue: str,
        _channel: Channel,
        method: Any,  # noqa: ANN401 - pika's own
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        if generation != self.generation:
            return
        self._unsettled.add(method.delivery_tag)
        event = Delivered(
            tag=Tag(generation, method.delivery_tag),
            queue=queue,
            exchange=_text(method.exchange) or "",
            key=_text(method.routing_key) or "",
            properties=_from_pika(properties),
            body=body,
            redelivered=bool(method.redelivered),
        )
        (self._events if self._up else self._early).append(event)

    def _on_outcome(self, frame: Any) -> None:  # noqa: ANN401 - pika's own
        """Take an Ack or Nack of publishes, one or all up to its tag."""
        method = frame.method
        refused = isinstance(method, pika.spec.Basic.Nack)
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._open if tag <= method.delivery_tag]
        for tag in tags:
            entry = self._open.pop(tag, None)
            if entry is None:
                continue  # returned before
            self._events.append(
                PublishReturned(entry.number, "the broker refused it")
                if refused
                else PublishConfirmed(entry.number)
            )

    def _on_returned(
        self,
        _channel: Channel,
        method: Any,  # noqa: ANN401 - pika's own
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        """Take a return, which carries no tag: it is the oldest equal letter still open."""
        letter = (method.exchange, method.routing_key, properties.message_id, body)
        for tag, entry in self._open.items():
            if entry.letter == letter:
                del self._open[tag]
                self._events.append(PublishReturned(entry.number, method.reply_text or NO_ROUTE))
                return

    def _on_cancelled(self, frame: Any) -> None:  # noqa: ANN401 - pika's own
        queue = self._tags.pop(frame.method.consumer_tag, None)
        if queue is not None:
            self.topology = self.topology.without_queue(queue)
            self._events.append(ConsumeCancelled(queue))

    # ── at run time ────────────────────────────────────────────────────────────────────

    def declare(self, topology: Topology) -> None:
        """Add to the topology of a link that is up, and wait until the broker has it.

        Raises:
            BrokerLost: not connected, or no answer in time.
            NameTaken, BrokerRefused: as ``open``; the link stays as it was.
        """
        joined = self.topology + topology
        self._aside(partial(_declare, topology=topology))
        fresh = [c for c in topology.consumers if c.queue not in self._tags.values()]
        ready: list[bool] = []
        if fresh and self._channel is not None:
            self._consume(self._channel, fresh, lambda: ready.append(True))
            self._spin(lambda: bool(ready) or not self._up, ANSWER_SECONDS)
            if not ready:
                raise BrokerLost(self._down_reason if not self._up else "no answer to a consume")
        self.topology = joined

    def cancel_consumer(self, queue: str) -> None:
        """Take no more deliveries from ``queue``; those that come all the same are put back."""
        self.topology = self.topology.without_consumer(queue)
        for tag in [tag for tag, name in self._tags.items() if name == queue]:
            del self._tags[tag]
            if self._channel is not None:
                with suppress(*PIKA_BROKE):
                    self._channel.basic_cancel(tag)

    def delete_queue(self, queue: str) -> None:
        """Delete ``queue`` with all that is in it; one that is not there is no error.

        Raises:
            BrokerLost: not connected, or no answer in time.
            BrokerRefused: it is somebody else's.
        """
        self.cancel_consumer(queue)
        self.topology = self.topology.without_queue(queue)
        self._aside(lambda channel: channel.queue_delete(queue))

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
        connection = self._connection
        if not self._up or connection is None:
            raise BrokerLost(f"not connected: {self._down_reason}")
        ends: list[Exception] = []

        def opened(channel: Channel) -> None:
            channel.add_on_close_callback(lambda _, reason: ends.append(reason))
            work(channel)
            channel.close()  # its answer comes after that of all the work

        try:
            connection.channel(on_open_callback=opened)
        except PIKA_BROKE as error:
            raise BrokerLost(words(error)) from None
        self._spin(lambda: bool(ends) or not self._up, ANSWER_SECONDS)
        if not ends:
            raise BrokerLost(self._down_reason if not self._up else "no answer")
        if isinstance(ends[0], ChannelClosedByBroker):
            raise refusal(ends[0])
        if not isinstance(ends[0], ChannelClosedByClient):
            raise BrokerLost(words(ends[0]))

    # ── closing ────────────────────────────────────────────────────────────────────────

    def close(self, timeout: float = 2.0) -> None:
        """Send what waits, take what outcomes still come, and let go of everything.

        Over within ``timeout`` seconds, whatever the broker does; then no descriptor and no
        thread is left. May be called twice; ``open`` may follow. Events that came on the way
        are still returned by ``poll``.
        """
        loop = self._loop
        if loop is None:
            return
        end = time.monotonic() + timeout
        reconnect, self._reconnect = self._reconnect, False
        if self._up:
            self._spin(lambda: not self._open or not self._up, timeout / 2)
        self._up = self._connecting = False
        self._down_reason = "closed"
        self._retire()
        if not self._gone(end - time.monotonic()):
            loop.cut()
            self._gone(0.2)  # a stream that has ended is seen in the next turn
        loop.deactivate_poller()
        loop.close()
        self._loop = None
        self._alive.clear()
        self._reconnect = reconnect

    def _gone(self, seconds: float) -> bool:
        """Wait until no connection is left."""
        return not self._alive or self._spin(lambda: not self._alive, seconds)

    def __enter__(self) -> Self:
        """Return the link itself, open or not."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the link."""
        self.close()

    def _forget(self) -> None:
        """In a forked child: let go of the parent's connection without a word to the broker.

        The sockets are replaced, not closed: closed ones would keep the number that pika's
        objects close again later, and copies left open would hide the parent's death from
        the broker.
        """
        loop = self._loop
        if loop is not None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for fd in loop.sockets:
                os.dup2(nowhere, fd, inheritable=False)
            os.close(nowhere)
            _forgotten.append((loop, self._connection, self._dialled))
        self._reset()
        self._down_reason = "this process is a fork"


_links: weakref.WeakSet[Link] = weakref.WeakSet()
_forgotten: list[object] = []
"""What a fork left behind, kept so that nothing is collected, hence nothing said or closed."""


def _forget_all() -> None:
    for link in list(_links):
        link._forget()  # noqa: SLF001 - the hook of this class


os.register_at_fork(after_in_child=_forget_all)


def _nothing() -> None:
    """Only wake the loop."""


def _call(this: Callable[[], None], _frame: object) -> None:
    """Call ``this`` when pika has an answer, whatever the answer says."""
    this()


def _declare(channel: Channel, topology: Topology) -> None:
    """Send every declare and bind, in their order, without waiting for answers."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, exchange.kind, durable=exchange.durable)
    for queue in topology.queues:
        channel.queue_declare(
            queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            arguments=dict(queue.arguments),
        )
    for binding in topology.bindings:
        channel.queue_bind(binding.queue, binding.exchange, binding.key)


def _text(value: object) -> str | None:
    """Return a short string as text; pika gives bytes where it is not UTF-8."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _to_pika(properties: Properties) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        type=properties.type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        user_id=properties.user_id,
        expiration=None if properties.ttl is None else str(max(0, round(properties.ttl * 1000))),
        headers=dict(properties.headers) or None,
    )


def _from_pika(properties: pika.BasicProperties) -> Properties:
    """Take over what the product uses; a stranger's headers may hold anything."""
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    expiration = _text(properties.expiration)
    return Properties(
        type=_text(properties.type),
        message_id=_text(properties.message_id),
        correlation_id=_text(properties.correlation_id),
        reply_to=_text(properties.reply_to),
        user_id=_text(properties.user_id),
        ttl=int(expiration) / 1000 if expiration and expiration.isdecimal() else None,
        headers={
            key: value
            for key, value in headers.items()
            if isinstance(key, str) and isinstance(value, str | int)
        },
    )
