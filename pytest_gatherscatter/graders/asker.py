"""Who asks for grades: see :mod:`pytest_gatherscatter.asking`."""

from dataclasses import dataclass
from typing import Literal

from pytest_gatherscatter.asking import AskingMachine
from pytest_gatherscatter.wire.grading import ExaminerSeen, GradeAnswer, GradeRequest
from pytest_gatherscatter.wire.message import Message
from pytest_gatherscatter.wire.names import grade_key, grading_key


@dataclass(frozen=True, slots=True)
class Seen:
    """An examiner has answered (a ``Run``)."""

    examiner: ExaminerSeen


class AskerMachine(AskingMachine[GradeRequest, GradeAnswer]):
    """See the module. ``asker`` is its id, and the end of its key."""

    def __init__(self, asker: str, *, window: int) -> None:
        super().__init__(grade_key(asker), window=window)

    def id_of(self, message: GradeRequest | GradeAnswer) -> str:
        """Return the id that a request and its answer share."""
        return message.request

    def _route(self, request: GradeRequest) -> str:
        return grading_key(request.queue)

    def _hear(self, message: Message) -> GradeAnswer | None:
        match message:
            case GradeAnswer():
                return message
            case ExaminerSeen():
                self._out.run(Seen(message))
        return None

    def _repeats(self, request: GradeRequest) -> bool:
        del request
        return True

    def _own(
        self, request: GradeRequest, outcome: Literal["refused", "no-response"]
    ) -> GradeAnswer:
        queue = request.queue
        text = f"there is no queue {queue}: nobody has ever served it here"
        return GradeAnswer(
            request=request.request,
            queue=queue,
            outcome=outcome,
            text=text if outcome == "refused" else "",
        )
