"""Asks for grades, and hears the answers: the connection of who waits for them."""

import secrets
import time

import msgspec

from pytest_gatherscatter.broker.inquiry import Inquiry
from pytest_gatherscatter.broker.port import Properties
from pytest_gatherscatter.broker.topology.graders import grade_topology
from pytest_gatherscatter.graders.asker import AskerMachine, Seen
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

WINDOW = 64
"""Requests that are out at a time, unless somebody says otherwise: enough for all threads of a few
examiners, and few enough that what is never asked for any more is not much."""


class GradeAsker(Inquiry[GradeRequest, GradeAnswer]):
    """Asks for grades over one connection. One thread; a context manager that closes it.

    Args:
        lab: the lab's name.
        url: the broker's.
        window: how many requests are out at a time; the others wait here.
    """

    def __init__(self, lab: str, url: str, *, window: int = WINDOW) -> None:
        self._asker = secrets.token_hex(8)
        self._seen: dict[str, ExaminerSeen] = {}
        super().__init__(
            lab,
            url,
            AskerMachine(self._asker, window=window),
            grade_topology(lab, self._asker),
            queue=grade_queue(lab, self._asker),
            asker=self._asker,
            name=f"gatherscatter grades {self._asker}",
        )

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

    def _note(self, command: object) -> None:
        if isinstance(command, Seen):
            self._seen[command.examiner.examiner] = command.examiner

    def _explained(self, answer: GradeAnswer, seconds: float) -> GradeAnswer:
        """Say of what nobody has answered who is there, and how much waits."""
        if answer.outcome != "no-response":
            return answer
        why = self._why(answer.queue, lambda: self.depth(answer.queue), "agent")
        text = f"No response after {seconds:g} s from queue {answer.queue}: {why}"
        return msgspec.structs.replace(answer, text=text)
