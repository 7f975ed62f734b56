"""A client of services: see :mod:`pytest_gatherscatter.asking`.

A task that is tracked (TRACKEXEC) ends with its answer, any other (EXEC) when the broker has it.
"""

from dataclasses import dataclass
from typing import Literal

from pytest_gatherscatter.asking import AskingMachine
from pytest_gatherscatter.wire.message import Message
from pytest_gatherscatter.wire.names import client_key, service_key
from pytest_gatherscatter.wire.roundrobin import Execute, Executed, Working


@dataclass(frozen=True, slots=True)
class StillWorking:
    """A task's worker has said that it is at it (a ``Run``); its deadline stays as it is."""

    word: Working


class ClientMachine(AskingMachine[Execute, Executed]):
    """See the module. ``client`` is its id, and the end of its key."""

    def __init__(self, client: str, *, window: int) -> None:
        super().__init__(client_key(client), window=window)

    def id_of(self, message: Execute | Executed) -> str:
        """Return the id that a task and its answer share."""
        return message.task

    def _route(self, request: Execute) -> str:
        return service_key(request.service)

    def _hear(self, message: Message) -> Executed | None:
        match message:
            case Executed():
                return message
            case Working() if message.task in self._open:
                self._out.run(StillWorking(message))
        return None

    def _own(self, request: Execute, outcome: Literal["refused", "no-response"]) -> Executed:
        service = request.service
        text = f"there is no service {service}: nobody has ever served it here"
        return Executed(
            task=request.task,
            service=service,
            outcome=outcome,
            text=text if outcome == "refused" else "",
        )

    def _repeats(self, request: Execute) -> bool:
        return request.rerun

    def _enough(self, request: Execute) -> Executed | None:
        if request.tracked:
            return None
        return Executed(task=request.task, service=request.service, outcome="done")
