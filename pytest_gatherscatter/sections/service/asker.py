"""A person's short connection to a lab: ask the gatherer, hear the answer, go.

No machine stands behind it: one question, one answer, both bounded. The question is mandatory,
so that a lab without a gatherer says so at once, and it is asked again each second until the
answer is there.
"""

import os
import secrets
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

from pytest_gatherscatter.broker.dial import ACCESS_REFUSED
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import (
    Delivered,
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishReturned,
    Verdict,
)
from pytest_gatherscatter.broker.topology import reply_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import BrokerLost, BrokerRefused, MessageUnreadable, NoGatherer
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import STEERING, LeaveSection, Message
from pytest_gatherscatter.wire.names import (
    GATHERER_KEY,
    STEER_KEY,
    dead,
    direct_exchange,
    reply_key,
)

M = TypeVar("M", bound=Message)

CONNECT = 5.0
"""Seconds to reach the broker: a person waits, and a far host's name may be slow to resolve."""

AGAIN = 1.0
"""Seconds until an unanswered question is asked again, as everywhere in the protocol."""


class Asker:
    """A connection with an exclusive queue for answers; a context manager, one thread.

    Args:
        settings: for the lab's name and the ``handshake_timeout``, which bounds an answer.
        url: the broker's.
        events: keys on the event exchange to hear too.
        reconnect: come back by itself when the connection is lost; ``down`` says so meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        *,
        events: Iterable[str] = (),
        reconnect: bool = False,
    ) -> None:
        self.lab = settings.lab
        self.where = safe_url(url)
        self._patience = settings.handshake_timeout
        name = secrets.token_hex(8)
        self.key = reply_key(name)
        self.link = Link(
            url,
            reply_topology(self.lab, name, events),
            name=f"gatherscatter cli {os.getpid()}",
            connect_timeout=CONNECT,
            reconnect=reconnect,
        )
        self._reconnect = reconnect
        self._heard: deque[Message] = deque()
        self._returned: set[int] = set()
        self.down: str | None = None
        """Why the connection is lost, while it is."""
        self._refusal: str | None = None

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            BrokerError: unreachable, or it refuses; in one line.
        """
        self.link.open(CONNECT, retry=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, bounded."""
        self.link.close()

    def ask(self, question: Message, answer: type[M], *, timeout: float | None = None) -> M:
        """Ask the gatherer, and return the first answer of the kind ``answer``.

        Raises:
            NoGatherer: there is none, or it does not answer within ``timeout`` seconds.
            BrokerRefused: this login may not ask that.
            BrokerLost: the connection went away meanwhile.
        """
        patience = self._patience if timeout is None else timeout
        end = time.monotonic() + patience
        again = 0.0
        sent: set[int] = set()
        while (now := time.monotonic()) < end:
            if now >= again:
                sent.add(self.send(question))
                again = now + AGAIN
            self._turn(min(end, again) - now)
            if self._refusal is not None:
                cure = "'gatherscatter permissions' prints what each role needs"
                raise BrokerRefused(ACCESS_REFUSED, f"{self._refusal}; {cure}")
            if self.down is not None and not self._reconnect:
                raise BrokerLost(f"the connection to {self.where} is lost: {self.down}")
            if (found := self._find(question, answer)) is not None:
                return found
            if self.down is None and any(self.unheard(number) for number in sent):
                raise NoGatherer(self._nobody())
        raise NoGatherer(
            f"the gatherer of lab {self.lab!r} at {self.where} does not answer "
            f"within {patience:g} s"
        )

    def send(self, message: Message) -> int:
        """Send to the gatherer, with this asker's key for the answer; the number of the publish.

        What steers goes by the key for persons, and leaving too: it is in another's name.
        """
        return self.link.publish(
            direct_exchange(self.lab),
            STEER_KEY if isinstance(message, (*STEERING, LeaveSection)) else GATHERER_KEY,
            codec.encode(message),
            Properties(type=codec.type_of(message), reply_to=self.key),
            mandatory=True,
        )

    def listen(self, timeout: float) -> list[Message]:
        """Return what came in within at most ``timeout`` seconds, as soon as there is anything."""
        if not self._heard:
            self._turn(timeout)
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def unheard(self, number: int) -> bool:
        """Say whether the publish of this ``number`` found nobody; true once for each."""
        if number not in self._returned:
            return False
        self._returned.discard(number)
        return True

    def dead_letters(self) -> int:
        """Return how many messages lie in the lab's dead-letter queue."""
        depth = self.link.queue_depth(dead(self.lab))
        return 0 if depth is None else depth[0]

    def _find(self, question: Message, answer: type[M]) -> M | None:
        """Take the answer out of what was heard; one of another section answers another ask."""
        section = getattr(question, "section", None)
        for message in self._heard:
            if isinstance(message, answer) and getattr(message, "section", section) == section:
                self._heard.remove(message)
                return message
        return None

    def _nobody(self) -> str:
        return (
            f"no gatherer in lab {self.lab!r} at {self.where}; start one with "
            f"'gatherscatter gatherer'"
        )

    def _turn(self, timeout: float) -> None:
        for event in self.link.poll(max(0.0, timeout)):
            self._take(event)

    def _take(self, event: PortEvent) -> None:
        match event:
            case Delivered():
                self.link.settle(event.tag, Verdict.ACK)
                try:
                    self._heard.append(codec.decode(event.body, event.properties.type))
                except MessageUnreadable:
                    return  # of a newer party; the gatherer counts what nobody can read
            case PublishReturned(number, _):
                self._returned.add(number)
            case PortDown(reason):
                self.down = reason
                code, _, text = reason.partition(" ")
                if code == str(ACCESS_REFUSED):  # coming back would not help
                    self._refusal = text
            case PortUp():
                self.down = None
