"""Asks who listens in a lab, and waits a moment for the answers."""

import os
import secrets
import time

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, PortDown, Properties, Verdict
from pytest_gatherscatter.broker.topology.testfiles import ping_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import BrokerLost, MessageUnreadable
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.names import LISTENER_SOUGHT, event_exchange
from pytest_gatherscatter.wire.testfiles import ListenerSeen, SeekListeners

CONNECT = 5.0
"""Seconds to reach the broker: a person waits."""


def listeners(lab: str, url: str, wait: float) -> list[ListenerSeen]:
    """Return the listeners of a lab that answer within ``wait`` seconds, by name.

    Raises:
        BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
        BrokerLost: the connection went away meanwhile.
    """
    asker = secrets.token_hex(8)
    found: dict[str, ListenerSeen] = {}
    name = f"gatherscatter ping {os.getpid()}"
    link = Link(url, ping_topology(lab, asker), name=name, connect_timeout=CONNECT)
    link.open(CONNECT, retry=False)
    try:
        question = SeekListeners(asker=asker)
        link.publish(
            event_exchange(lab),
            LISTENER_SOUGHT,
            codec.encode(question),
            Properties(type=codec.type_of(question)),
            mandatory=False,
        )
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            for event in link.poll(left):
                if isinstance(event, PortDown):
                    raise BrokerLost(f"the connection to {safe_url(url)} is lost: {event.reason}")
                if isinstance(event, Delivered):
                    link.settle(event.tag, Verdict.ACK)
                    _take(event, found)
    finally:
        link.close()
    return sorted(found.values(), key=lambda one: (one.host, one.pid))


def _take(event: Delivered, found: dict[str, ListenerSeen]) -> None:
    try:
        seen = codec.decode(event.body, event.properties.type)
    except MessageUnreadable:
        return  # of a newer party
    if isinstance(seen, ListenerSeen):
        found[seen.listener] = seen
