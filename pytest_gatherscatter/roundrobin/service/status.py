"""Asks the balancers of a lab who is in their tables."""

import secrets
import time
from typing import Self

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, PortDown, Properties, Verdict
from pytest_gatherscatter.broker.topology import reply_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import BrokerLost, MessageUnreadable
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.names import BALANCER_SOUGHT, event_exchange
from pytest_gatherscatter.wire.roundrobin import BalancerSeen, SeekBalancers

CONNECT = 5.0
"""Seconds to reach the broker: a person waits."""


class BalancerWatch:
    """A connection that asks all balancers; a context manager.

    Raises:
        BrokerUnreachable, LoginRefused, BrokerRefused: as they say, when it is entered.
    """

    def __init__(self, lab: str, url: str) -> None:
        self._lab, self._where = lab, safe_url(url)
        self._asker = secrets.token_hex(8)
        name = f"gatherscatter balancers {self._asker}"
        self._link = Link(url, reply_topology(lab, self._asker), name=name, connect_timeout=CONNECT)

    def __enter__(self) -> Self:
        """Connect."""
        self._link.open(CONNECT, retry=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the broker, bounded."""
        self._link.close()

    def look(self, seconds: float) -> tuple[BalancerSeen, ...]:
        """Return the balancers that answer within so many seconds, by their services.

        One that is the balancer of several services answers once.

        Raises:
            BrokerLost: the connection is gone.
        """
        seek = SeekBalancers(asker=self._asker)
        self._link.publish(
            event_exchange(self._lab),
            BALANCER_SOUGHT,
            codec.encode(seek),
            Properties(type=codec.type_of(seek)),
            mandatory=False,
        )
        seen: dict[str, BalancerSeen] = {}
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for event in self._link.poll(left):
                if isinstance(event, PortDown):
                    raise BrokerLost(f"the connection to {self._where} is lost: {event.reason}")
                if isinstance(event, Delivered):
                    self._link.settle(event.tag, Verdict.ACK)
                    try:
                        message = codec.decode(event.body, event.properties.type)
                    except MessageUnreadable:
                        continue  # of a newer party
                    if isinstance(message, BalancerSeen):
                        seen[message.balancer] = message
        return tuple(sorted(seen.values(), key=lambda one: [s.service for s in one.services]))
