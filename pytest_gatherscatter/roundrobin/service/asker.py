"""A client of services: has commands executed, and hears the answers."""

import secrets
import time

import msgspec
from msgspec import Raw

from pytest_gatherscatter.broker.inquiry import Inquiry
from pytest_gatherscatter.broker.topology.roundrobin import client_topology
from pytest_gatherscatter.roundrobin.asker import ClientMachine, StillWorking
from pytest_gatherscatter.wire.names import client_queue, service_key, service_queue
from pytest_gatherscatter.wire.roundrobin import Execute, Executed, Working

WINDOW = 64
"""Tasks that are out at a time, unless somebody says otherwise: enough for all slots of a few
workers, and few enough that what is never asked for any more is not much."""


class Client(Inquiry[Execute, Executed]):
    """Has tasks executed over one connection. One thread; a context manager that closes it.

    Args:
        lab: the lab's name.
        url: the broker's.
        window: how many tasks are out at a time; the others wait here.
    """

    def __init__(self, lab: str, url: str, *, window: int = WINDOW) -> None:
        client = secrets.token_hex(8)
        self.working: dict[str, Working] = {}
        """By id, tasks that have not ended and of which their workers say that they are at them."""
        super().__init__(
            lab,
            url,
            ClientMachine(client, window=window),
            client_topology(lab, client),
            queue=client_queue(lab, client),
            asker=client,
            name=f"gatherscatter client {client}",
        )

    def execute(  # noqa: PLR0913 - what there is to say of a task
        self,
        service: str,
        command: str,
        payload: object,
        seconds: float,
        *,
        tracked: bool = True,
        rerun: bool = False,
        affinity: str = "",
    ) -> str:
        """Have a command executed within so many seconds, and return the task's id.

        :meth:`poll` returns its answer. Without ``tracked`` that says only that the broker has it.
        With ``rerun`` it may run twice, and does if its worker dies.
        """
        now = time.time()
        task = Execute(
            task=secrets.token_hex(8),
            service=service,
            command=command,
            payload=Raw(msgspec.json.encode(payload)),
            created=now,
            deadline=now + seconds,
            tracked=tracked,
            rerun=rerun,
            affinity=affinity,
        )
        self.ask(task, seconds)
        return task.task

    def depth(self, service: str) -> tuple[int, int] | None:
        """Return ``(tasks that wait, consumers)`` of a service, ``None`` if there is none.

        Raises:
            BrokerError: nobody can say.
        """
        return self._link.queue_depth(service_queue(self._lab, service_key(service)))

    def _note(self, command: object) -> None:
        if isinstance(command, StillWorking):
            self.working[command.word.task] = command.word

    def _explained(self, answer: Executed, seconds: float) -> Executed:
        """Say of what nobody has answered who is there, and how much waits."""
        word = self.working.pop(answer.task, None)
        if answer.outcome != "no-response":
            return answer
        why = self._why(answer.service, lambda: self.depth(answer.service), "consumer")
        text = f"No response after {seconds:g} s from service {answer.service}: {why}"
        if word is not None:
            text += f"; {word.worker} was at it after {word.took:.1f} s"
        return msgspec.structs.replace(answer, text=text)
