"""Events that go on record: said again where they got lost with a connection.

Most events are for who watches just now, and what is said next makes up for one that is lost. What
came of something is said once, and nobody asks again: it is kept until the broker has it. Pure.
"""

from typing import TypeAlias

from pytest_gatherscatter.machine import Confirmed, Effects, Failed, Returned
from pytest_gatherscatter.wire.message import Message

MOST = 10_000
"""Events that are kept while there is no connection: minutes of the fastest graders."""

_Said: TypeAlias = tuple[str, Message]


class Telling:
    """Says events; part of a machine, which tells it what became of them.

    Args:
        out: collects the machine's effects.
    """

    def __init__(self, out: Effects) -> None:
        self._out = out
        self._under_way: dict[int, _Said] = {}
        self._lost: list[_Said] = []

    def say(self, key: str, message: Message) -> None:
        """Publish an event."""
        self._under_way[self._out.publish(key, message)] = (key, message)

    def outcome(self, message: Confirmed | Returned | Failed) -> bool:
        """Take what became of a publish; say whether it was one of these."""
        said = self._under_way.pop(message.effect, None)
        if said is not None and isinstance(message, Failed) and len(self._lost) < MOST:
            self._lost.append(said)
        return said is not None

    def again(self) -> None:
        """Say what got lost, now that there is a connection."""
        lost, self._lost = self._lost, []
        for key, message in lost:
            self.say(key, message)
