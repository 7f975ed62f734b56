"""The connection of who asks and waits for the answers: an asking machine, a link, their loop."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self

from pytest_gatherscatter.asking import AnswerT, Ask, AskingMachine, Ended, RequestT
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.errors import BrokerError
from pytest_gatherscatter.machine import Run, Told

CONNECT = 5.0
"""Seconds to reach the broker: a person waits."""


FRESH = 1.0
"""Seconds for which it is known how a queue stands."""


class Inquiry(Generic[RequestT, AnswerT]):
    """Asks over one connection. One thread; a context manager that closes it.

    Args:
        lab: the lab's name.
        url: the broker's.
        machine: sees that every request ends once.
        topology: the queue of the answers.
        queue: its name; it is deleted at the end.
        asker: the id of who asks.
        name: shown in the broker's list of connections.
    """

    def __init__(  # noqa: PLR0913 - what a connection and its machine need
        self,
        lab: str,
        url: str,
        machine: AskingMachine[RequestT, AnswerT],
        topology: Topology,
        *,
        queue: str,
        asker: str,
        name: str,
    ) -> None:
        self._lab = lab
        self._queue = queue
        self.machine = machine
        self._seconds: dict[str, float] = {}
        self._ended: deque[AnswerT] = deque()
        self._reasons: dict[str, tuple[float, str]] = {}
        """When was asked how a queue stands, and what was to be said of it."""
        self._link = Link(url, topology, name=name, connect_timeout=CONNECT, reconnect=True)
        pump = Pump(
            machine,
            self._link,
            lab,
            sender=asker,
            run=self._take,
            user=self._link.user,
            broker=lambda: self._link.instance,
        )
        self._driver = Driver(self._link, pump)

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
        """
        self._link.open(CONNECT, retry=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of the broker; what has not ended is not waited for."""
        self.close()

    @property
    def left(self) -> int:
        """How many requests have not ended, or were not told of yet."""
        return self.machine.left + len(self._ended)

    def ask(self, request: RequestT, seconds: float) -> None:
        """Ask; it is answered by :meth:`poll`, also if nobody answers for so many seconds."""
        self._seconds[self.machine.id_of(request)] = seconds
        self._driver.tell(Told(Ask(request, seconds)))

    def poll(self, timeout: float) -> list[AnswerT]:
        """Return what has ended, after ``timeout`` seconds at the most: each request once."""
        if not self._ended:
            self._driver.turn(timeout)
        ended = list(self._ended)
        self._ended.clear()
        return [
            self._explained(one, self._seconds.pop(self.machine.id_of(one), 0.0)) for one in ended
        ]

    def close(self) -> None:
        """Let go of the broker, bounded. A second call does nothing."""
        if self._link.up:
            with contextlib.suppress(BrokerError):  # it expires by itself
                self._link.delete_queue(self._queue)
        self._link.close()

    def _take(self, effect: Run) -> None:
        match effect.command:
            case Ended(answer):
                self._ended.append(answer)
            case command:
                self._note(command)

    def _note(self, command: object) -> None:
        """Take what else the machine has to say."""

    def _explained(self, answer: AnswerT, seconds: float) -> AnswerT:
        """Say more of an answer that nobody gave within so many seconds."""
        del seconds
        return answer

    def _why(self, queue: str, depth: Callable[[], tuple[int, int] | None], who: str) -> str:
        """Say why nobody has answered, by ``(waiting, consumers)``; ``who`` these are.

        Of one queue it is asked once a second: many requests may end at once, and a broker that
        takes nothing, as in an alarm, is waited for each time.
        """
        at, text = self._reasons.get(queue, (-FRESH, ""))
        if time.monotonic() >= at + FRESH:
            text = self._reason(depth, who)
            self._reasons[queue] = (time.monotonic(), text)
        return text

    def _reason(self, depth: Callable[[], tuple[int, int] | None], who: str) -> str:
        if not self._link.up:
            return "the broker is away"
        try:
            found = depth()
        except BrokerError as error:
            return str(error)
        if found is None:
            return "there is no such queue any more"
        waiting, consumers = found
        return f"{consumers} {who if consumers == 1 else who + 's'}, {waiting} waiting"
