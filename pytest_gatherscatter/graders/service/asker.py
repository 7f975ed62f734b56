"""Asks for grades, and hears the answers: the connection of who waits for them."""

import contextlib
import secrets
import time
from collections import deque
from types import TracebackType
from typing import Self

import msgspec

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Properties
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology import grade_topology
from pytest_gatherscatter.errors import BrokerError
from pytest_gatherscatter.graders.asker import Ask, AskerMachine, Ended, Seen
from pytest_gatherscatter.machine import Run, Told
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.grading import (
    ExaminerSeen,
    GradeAnswer,
    GradeRequest,
    SeekExaminers,
)
from pytest_gatherscatter.wire.names import (
    EXAMINER_SOUGHT,
    event_exchange,
    grade_queue,
    grading_queue,
    suspects_queue,
)

CONNECT = 5.0
"""Seconds to reach the broker: a person waits."""

WINDOW = 64
"""Requests that are out at a time, unless somebody says otherwise: enough for all threads of a few
examiners, and few enough that what is never asked for any more is not much."""


class GradeAsker:
    """Asks for grades over one connection. One thread; a context manager that closes it.

    Args:
        lab: the lab's name.
        url: the broker's.
        window: how many requests are out at a time; the others wait here.
    """

    def __init__(self, lab: str, url: str, *, window: int = WINDOW) -> None:
        self._lab = lab
        self._asker = secrets.token_hex(8)
        self.machine = AskerMachine(self._asker, window=window)
        self._seconds: dict[str, float] = {}
        self._ended: deque[GradeAnswer] = deque()
        self._seen: dict[str, ExaminerSeen] = {}
        self._link = Link(
            url,
            grade_topology(lab, self._asker),
            name=f"gatherscatter grades {self._asker}",
            connect_timeout=CONNECT,
            reconnect=True,
        )
        pump = Pump(
            self.machine, self._link, lab, sender=self._asker, run=self._take, user=self._link.user
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

    def ask(self, request: GradeRequest, seconds: float) -> None:
        """Ask; it is answered by :meth:`poll`, also if nobody answers for so many seconds."""
        self._seconds[request.request] = seconds
        self._driver.tell(Told(Ask(request, seconds)))

    def poll(self, timeout: float) -> list[GradeAnswer]:
        """Return what has ended, after ``timeout`` seconds at the most: each request once."""
        if not self._ended:
            self._driver.turn(timeout)
        ended = list(self._ended)
        self._ended.clear()
        return [self._explained(one) for one in ended]

    def seek(self, seconds: float) -> tuple[ExaminerSeen, ...]:
        """Return the examiners of the lab that answer within so many seconds."""
        seek = SeekExaminers(asker=self._asker)
        self._link.publish(
            event_exchange(self._lab),
            EXAMINER_SOUGHT,
            codec.encode(seek),
            Properties(type=codec.type_of(seek)),
            mandatory=False,
        )
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._driver.turn(left)
        return tuple(sorted(self._seen.values(), key=lambda one: one.examiner))

    def depth(self, queue: str) -> tuple[int, int] | None:
        """Return ``(requests that wait, examiners)`` of a queue, ``None`` if there is none.

        Raises:
            BrokerError: nobody can say.
        """
        found = self._link.queue_depth(grading_queue(self._lab, queue))
        if found is None:
            return None
        suspects = self._link.queue_depth(suspects_queue(self._lab, queue))
        return found[0] + (0 if suspects is None else suspects[0]), found[1]

    def close(self) -> None:
        """Let go of the broker, bounded. A second call does nothing."""
        if self._link.up:
            with contextlib.suppress(BrokerError):  # it expires by itself
                self._link.delete_queue(grade_queue(self._lab, self._asker))
        self._link.close()

    def _take(self, effect: Run) -> None:
        match effect.command:
            case Ended(answer):
                self._ended.append(answer)
            case Seen(examiner):
                self._seen[examiner.examiner] = examiner
            case _:
                pass

    def _explained(self, answer: GradeAnswer) -> GradeAnswer:
        """Say of what nobody has answered who is there, and how much waits."""
        seconds = self._seconds.pop(answer.request, 0.0)
        if answer.outcome != "no-response":
            return answer
        text = (
            f"No response after {seconds:g} s from queue {answer.queue}: {self._why(answer.queue)}"
        )
        return msgspec.structs.replace(answer, text=text)

    def _why(self, queue: str) -> str:
        if not self._link.up:
            return "the broker is away"
        try:
            depth = self.depth(queue)
        except BrokerError as error:
            return str(error)
        if depth is None:
            return "there is no such queue any more"
        waiting, agents = depth
        return f"{agents} {'agent' if agents == 1 else 'agents'}, {waiting} waiting"
