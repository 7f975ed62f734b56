"""One connection of a section to its lab: a link, a pump and a queue for the answers.

A section has two of them, one before the quiet time and one after it, and more when a
connection breaks. Each has a reply queue of a new name: the broker may not know yet that the
owner of the old one is gone, and would refuse the name for some heartbeats.
"""

import secrets
import time
from collections.abc import Callable
from typing import Self

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology import reply_topology
from pytest_gatherscatter.broker.url import BrokerUrl
from pytest_gatherscatter.machine import Run, Told
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.sections.workload.state import AnswerTo
from pytest_gatherscatter.wire import names

CLOSE_SECONDS = 1.0
"""How long a close may take, whatever the broker does: a good one takes a millisecond, and the
longest lead is half a second."""


class Contact:
    """A machine's connection, open from :meth:`open` on. One thread at a time may use it."""

    def __init__(self, link: Link, driver: Driver) -> None:
        self.link = link
        self._driver = driver

    @classmethod
    def open(  # noqa: PLR0913 - where, who, how long, and what for
        cls,
        url: BrokerUrl,
        lab: str,
        machine: Workload,
        *,
        bench: str | None,
        seconds: float,
        retry: bool,
        run: Callable[[Run], None],
    ) -> Self:
        """Connect within ``seconds``; with a ``bench``, hear its Go.

        Raises:
            BrokerError: what :meth:`Link.open` raises; nothing is left open then.
        """
        reply = secrets.token_hex(8)
        events = () if bench is None else (names.section_event("go", bench),)
        link = Link(
            url,
            reply_topology(lab, reply, events),
            name=f"gatherscatter section {machine.section}",
            connect_timeout=max(0.1, seconds),
        )
        link.open(seconds, retry=retry)
        pump = Pump(machine, link, lab, sender=reply, user=link.user, run=run)
        pump.feed(Told(AnswerTo(names.reply_key(reply))), now=time.monotonic())
        return cls(link, Driver(link, pump))

    @property
    def up(self) -> bool:
        """Whether it is connected still."""
        return self.link.up

    def tell(self, request: object) -> None:
        """Tell the machine something; what it sends leaves with the next turn."""
        self._driver.tell(Told(request))

    def turn(self, seconds: float) -> None:
        """Let things happen for at most ``seconds``; returns as soon as something did."""
        self._driver.turn(seconds)

    def close(self) -> None:
        """Send what waits and leave no descriptor; bounded."""
        self.link.close(timeout=CLOSE_SECONDS)
