"""Decode, handle, perform, settle: how a machine meets a broker. Read this first.

::

    PortEvent ─ decode ─▶ Input ─▶ machine.handle ─▶ effects ─ perform ─▶ Port, journal, runner
                                      ▲                            │
                                      └──── what became of each ───┘

The pump has no clock, no thread and no I/O of its own: it is given a port, a journal and a
runner. The production loop around it is ``drive.Driver``; the simulation has another, with
the same pump, in virtual time.

Its promises: a body that cannot be read goes to the dead letters with the reason, and so
does a delivery on which a machine breaks; records are synced before what follows them; a
delivery is acked only when everything that came of it has its outcome. A message that cannot
be encoded (too large, not text) is the failure of that one publish, never of its step.
"""

import heapq
import logging
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Protocol

from msgspec import Struct

from pytest_gatherscatter.broker.port import (
    NO_ROUTE,
    ConsumeCancelled,
    Delivered,
    Port,
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishConfirmed,
    PublishReturned,
    Tag,
    Verdict,
)
from pytest_gatherscatter.errors import JournalUnwritable, MessageUnreadable
from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Failed,
    Input,
    Keep,
    LinkDown,
    LinkUp,
    Machine,
    Publish,
    Received,
    Record,
    Returned,
    Run,
    Send,
    Settle,
    Unreadable,
    Wake,
    Woken,
)
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import dead, direct_exchange, event_exchange

log = logging.getLogger(__name__)

_ACK = Verdict.ACK  # at hand: a member of an Enum is found in ten times the time of a name

DEAD_BODY = 4 * 1024
"""Bytes of an unreadable body that are kept: enough to see what it was. The lab keeps up to
10,000 of them, and a flood shall not cost the broker more than 40 MiB."""


LONGEST_ID = 32
"""Characters of an id that programs make; what else is called a task may be anybody's text."""


class Journal(Protocol):
    """Where records go. A failure to write is let out: nobody may go on without it."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; it is durable when this returns."""


def _correlation(message: Message) -> str | None:
    """Return the id that an answer has too: of a section, a request or a task of a client."""
    for name in ("section", "request", "task"):
        id_ = getattr(message, name, None)
        if id_ and isinstance(id_, str) and len(id_) <= LONGEST_ID:
            return id_
    return None


def _leave(_: object) -> None:
    """Do nothing: what nobody keeps, or does."""


class _Step(Struct):
    """What one input led to, until every publish of it has its outcome."""

    delivery: int | None
    waiting: int = 0
    unsaid: list[Failed] = []


class Pump:
    """Drives one machine over one port. Not thread-safe: one thread owns it.

    Args:
        machine: what decides.
        port: what publishes and settles.
        lab: the lab's name, for the exchanges.
        sender: a random id of this process; message ids grow from it.
        journal: where ``Record`` goes; without one, records are dropped.
        run: starts what a ``Run`` asks for and returns at once; its end comes through
            ``feed(Exited(...))``.
        user: the login, so that the broker vouches for it in ``user_id``.
        strict: let a machine's exception out instead of dead-lettering (simulation, tests).
        decode: reads a body; who plays many parties may read each once for all of them.
        broker: says which start of a broker it is; see ``LinkUp``.
    """

    def __init__(  # noqa: PLR0913 - the parts that a pump joins
        self,
        machine: Machine,
        port: Port,
        lab: str,
        *,
        sender: str,
        journal: Journal | None = None,
        run: Callable[[Run], None] | None = None,
        user: str | None = None,
        strict: bool = False,
        decode: Callable[[bytes, str | None], Message] = codec.decode,
        broker: Callable[[], str] = str,
    ) -> None:
        self.machine = machine
        self._port = port
        self._direct = direct_exchange(lab)
        self._events = event_exchange(lab)
        self._dead = dead(lab)
        self._sender = sender
        self._append = _leave if journal is None else journal.append
        self._run = run or _leave
        self._user = user
        self._strict = strict
        self._decode = decode
        self._broker = broker
        self._deliveries: dict[int, Tag] = {}
        self._numbers = count(1)
        self._publishes: dict[int, tuple[int | None, _Step]] = {}
        self._wakes: list[float] = []
        self.next_wake: float | None = None
        """When the machine wants to be woken next, on the machine's clock."""

    # ── in ─────────────────────────────────────────────────────────────────────────────

    def take(self, event: PortEvent, *, now: float) -> None:
        """Take what the port says happened."""
        match event:  # the most frequent first
            case PublishConfirmed():
                self._outcome(event.number, now, "")
            case Delivered():
                self._deliver(event, now)
            case PublishReturned(number, reason):
                self._outcome(number, now, reason or "returned")
            case PortUp():
                self.feed(LinkUp(self._broker()), now=now)
            case PortDown(reason):
                self._lost(reason, now)
            case ConsumeCancelled(queue):
                self.feed(LinkDown(f"queue {queue} is gone"), now=now)

    def feed(self, message: Input, *, now: float) -> None:
        """Give the machine an input that no delivery stands behind."""
        self._handle(message, None, now)

    def wake_due(self, *, now: float) -> bool:
        """Feed ``Woken`` once if any wake is due; say whether it was."""
        wakes = self._wakes
        if not wakes or wakes[0] > now:
            return False
        while wakes and wakes[0] <= now:
            heapq.heappop(wakes)
        self.next_wake = wakes[0] if wakes else None
        self._handle(Woken(), None, now)
        return True

    @property
    def unconfirmed(self) -> int:
        """How many publishes have no outcome yet."""
        return len(self._publishes)

    # ── through the machine ────────────────────────────────────────────────────────────

    def _deliver(self, event: Delivered, now: float) -> None:
        delivery = next(self._numbers)
        self._deliveries[delivery] = event.tag
        try:
            message = self._decode(event.body, event.properties.type)
        except MessageUnreadable as error:
            self._bury(delivery, event, error.reason, now)
            return
        received = Received(
            message,
            delivery,
            reply_to=event.properties.reply_to,
            user=event.properties.user_id,
            redelivered=event.redelivered,
            key=event.key,
            id=event.properties.message_id or "",
            sent=event.properties.timestamp,
        )
        try:
            self._handle(received, delivery, now)
        except JournalUnwritable:
            raise
        except MessageUnreadable as error:
            self._bury(delivery, event, error.reason, now)
        except Exception as error:
            if self._strict:
                raise
            # A machine that breaks on a message would break on it again: set it aside.
            log.exception("%s broke on %s", type(self.machine).__name__, type(message).__name__)
            self._bury(delivery, event, f"{type(error).__name__}: {error}"[:500], now)

    def _handle(self, message: Input, delivery: int | None, now: float) -> None:
        step = _Step(delivery)
        for effect in self.machine.handle(message, now=now):
            self._perform(effect, step)
        if step.delivery is not None and not step.waiting:
            self._settle(step.delivery, _ACK)
        for failed in step.unsaid:
            self._handle(failed, None, now)

    def _perform(self, effect: Effect, step: _Step) -> None:
        match effect:  # the most frequent first
            case Send():
                self._publish(effect, step, self._direct, effect.reply_to, effect.ttl)
            case Wake():
                heapq.heappush(self._wakes, effect.at)
                self.next_wake = self._wakes[0]
            case Publish():
                self._publish(effect, step, self._events, None, None)
            case Record():
                self._append(effect.event)
            case Run():
                self._run(effect)
            case Settle():
                if effect.verdict is Verdict.DEAD:
                    log.warning("set aside: %s", effect.reason)
                self._settle(effect.delivery, effect.verdict)
            case Keep():
                # A machine keeps what it was just given; else a step before this one broke.
                if effect.delivery == step.delivery:
                    step.delivery = None

    def _publish(
        self,
        effect: Send | Publish,
        step: _Step,
        exchange: str,
        reply_to: str | None,
        ttl: float | None,
    ) -> None:
        message = effect.message
        try:
            body = codec.encode(message)
        except MessageUnreadable as error:
            if self._strict:
                raise
            # The rest of the step must be done all the same: the machine has counted on it.
            log.error("cannot be said to %s: %s", effect.key, error.reason)  # noqa: TRY400 - one line
            step.unsaid.append(Failed(effect.id, error.reason))
            return
        properties = Properties(
            type=codec.type_of(message),
            message_id=f"{self._sender}-{effect.id}",
            correlation_id=_correlation(message),
            reply_to=reply_to,
            user_id=self._user,
            ttl=ttl,
        )
        mandatory = exchange == self._direct
        number = self._port.publish(exchange, effect.key, body, properties, mandatory=mandatory)
        self._publishes[number] = (effect.id, step)
        step.waiting += 1

    # ── out ────────────────────────────────────────────────────────────────────────────

    def _outcome(self, number: int, now: float, reason: str) -> None:
        effect, step = self._publishes.pop(number, (None, None))
        if step is None:
            return
        step.waiting -= 1
        if step.delivery is not None and not step.waiting:
            self._settle(step.delivery, _ACK)
        if effect is None:
            return
        if not reason:
            self._handle(Confirmed(effect), None, now)
        elif reason == NO_ROUTE:
            self._handle(Returned(effect), None, now)
        else:
            self._handle(Failed(effect, reason), None, now)

    def _lost(self, reason: str, now: float) -> None:
        lost = [effect for effect, _ in self._publishes.values() if effect is not None]
        self._publishes.clear()
        self._deliveries.clear()  # the broker will deliver them again
        for effect in lost:
            self._handle(Failed(effect, reason), None, now)
        self._handle(LinkDown(reason), None, now)

    def _settle(self, delivery: int, verdict: Verdict) -> None:
        tag = self._deliveries.pop(delivery, None)
        if tag is not None:
            self._port.settle(tag, verdict)

    def _bury(self, delivery: int, event: Delivered, reason: str, now: float) -> None:
        """Publish a copy with the reason to the dead letters, then ack the original.

        A plain reject would dead-letter too, but could not say why.
        """
        log.warning("dead letter from %s: %s", event.queue, reason)
        step = _Step(delivery)
        number = self._port.publish(
            self._dead,
            event.key,
            event.body[:DEAD_BODY],
            Properties(
                type=event.properties.type,
                message_id=event.properties.message_id,
                correlation_id=event.properties.correlation_id,
                headers={"gs-reason": reason, "gs-queue": event.queue},
            ),
            mandatory=False,
        )
        self._publishes[number] = (None, step)
        step.waiting += 1
        unreadable = Unreadable(
            reason, event.properties.reply_to, event.properties.correlation_id, event.queue
        )
        self._handle(unreadable, None, now)
