"""What a small lab consists of between its parties, and the steps that lead from state to state.

Nothing of it is ever changed: what happens puts something new in its place, so that the states
of an exploration share all that did not move.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pytest_gatherscatter.sections.monitor.hookcall import CallHook
from pytest_gatherscatter.simulation.shelf import Frozen
from pytest_gatherscatter.wire.messages import Message


class Journal(tuple[Mapping[str, Any], ...]):
    """What the gatherer has on record."""

    __slots__ = ()


class Waiting(NamedTuple):
    """A hook that is to be called, and the number of the effect that asked for it."""

    effect: int
    call: CallHook


class Letter(NamedTuple):
    """A message in an inbox."""

    message: Message
    reply_to: str | None


class Step(NamedTuple):
    """Something that may happen: ``what`` to ``who``; ``of`` is whose message it is."""

    what: str
    who: str = ""
    of: str = ""

    def __str__(self) -> str:
        """Say it for a story."""
        return f"{self.what} {self.who} {self.of and 'from'} {self.of}".rstrip()


class State(NamedTuple):
    """A small lab as it stands: what is between the parties, and these."""

    rest: tuple[Any, ...]
    parts: Frozen


REST = (
    "now",
    "deaths",
    "died",
    "fresh",
    "stalls",
    "journal",
    "tickets",
    "locked",
    "letters",
    "wakes",
    "hooks",
    "keys",
    "lives",
    "over",
    "listeners",
)
"""What is between the parties, by the names of the attributes. All of it is never changed but
replaced, so that states may share it."""
