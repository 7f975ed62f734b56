"""Asks who processes steps in a lab, how much waits for them, and for the end of a slip."""

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, PortDown, Properties, Verdict
from pytest_gatherscatter.broker.topology.slips import slip_watcher_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import BrokerLost, MessageUnreadable
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import (
    PROCESSOR_SOUGHT,
    event_exchange,
    slip_event,
    steps_queue,
    waiting_queue,
)
from pytest_gatherscatter.wire.slips import CancelSlip, ProcessorSeen, SeekProcessors, SlipOver

CONNECT = 5.0
"""Seconds to reach the broker: a person waits."""

AGAIN = 1.0
"""Seconds until a wish is said again: who has the slip may just have got it."""


@dataclass(frozen=True, slots=True)
class SlipStatus:
    """Who is there, and how many slips lie in each queue that there is, the waiting room last."""

    processors: tuple[ProcessorSeen, ...]
    depths: dict[str, int]
    waiting: int


class _Person:
    """A short connection that asks all, and hears what comes back."""

    def __init__(self, lab: str, url: str, events: Iterable[str] = ()) -> None:
        self.lab = lab
        self.asker = secrets.token_hex(8)
        self._where = safe_url(url)
        topology = slip_watcher_topology(lab, self.asker, events)
        name = f"gatherscatter slips {os.getpid()}"
        self.link = Link(url, topology, name=name, connect_timeout=CONNECT)

    def ask(self, key: str, message: Message) -> None:
        """Say something to all."""
        properties = Properties(type=codec.type_of(message))
        body = codec.encode(message)
        self.link.publish(event_exchange(self.lab), key, body, properties, mandatory=False)

    def listen(self, seconds: float) -> Iterator[Message]:
        """Yield what comes within ``seconds``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for event in self.link.poll(left):
                if isinstance(event, PortDown):
                    raise BrokerLost(f"the connection to {self._where} is lost: {event.reason}")
                if isinstance(event, Delivered):
                    self.link.settle(event.tag, Verdict.ACK)
                    try:
                        yield codec.decode(event.body, event.properties.type)
                    except MessageUnreadable:
                        continue  # of a newer party


@contextmanager
def _person(lab: str, url: str, events: Iterable[str] = ()) -> Iterator[_Person]:
    person = _Person(lab, url, events)
    person.link.open(CONNECT, retry=False)
    try:
        yield person
    finally:
        person.link.close()


def look(lab: str, url: str, wait: float, known: Iterable[str] = ()) -> SlipStatus:
    """Return the processors that answer within ``wait`` seconds, and how much waits.

    ``known`` are processes whose queues are looked at though nobody may serve them.

    Raises:
        BrokerUnreachable, LoginRefused, BrokerRefused, BrokerLost: as they say.
    """
    with _person(lab, url) as person:
        person.ask(PROCESSOR_SOUGHT, SeekProcessors(asker=person.asker))
        seen = {one.processor: one for one in person.listen(wait) if isinstance(one, ProcessorSeen)}
        processors = tuple(sorted(seen.values(), key=lambda one: one.processor))
        names = {*known, *(name for one in processors for name in one.processes)}
        depths = {}
        for name in sorted(names):
            depth = person.link.queue_depth(steps_queue(lab, name))
            if depth is not None:
                depths[name] = depth[0]
        room = person.link.queue_depth(waiting_queue(lab))
        waiting = sum(one.waiting for one in processors) + (0 if room is None else room[0])
        return SlipStatus(processors, depths, waiting)


def cancel(lab: str, url: str, slip: str, *, who: str, wait: float) -> SlipOver | None:
    """Wish the end of a slip, until somebody says that it is over; ``None`` if nobody does.

    Raises:
        BrokerUnreachable, LoginRefused, BrokerRefused, BrokerLost: as they say.
    """
    end = time.monotonic() + wait
    with _person(lab, url, [slip_event("over", slip)]) as person:
        while (left := end - time.monotonic()) > 0:
            person.ask(slip_event("cancel", slip), CancelSlip(slip=slip, who=who))
            for message in person.listen(min(AGAIN, left)):
                if isinstance(message, SlipOver):
                    return message
    return None
