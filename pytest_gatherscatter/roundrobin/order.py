"""What the machine of a balancer asks of the process around it, and is told by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pytest_gatherscatter.roundrobin.table import Worker

Choice: TypeAlias = Callable[[str, str, Sequence[Worker]], str | None]
"""A policy: of a service, an affinity and those with a free slot (least recently used first) it
returns the name of one of these, or None for the first."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing more (``Told``); with ``at_once`` do not wait for what workers have."""

    at_once: bool = False


@dataclass(frozen=True, slots=True)
class StoodStill:
    """This process stood still (``Told``): that nothing was heard of others says nothing."""


@dataclass(frozen=True, slots=True)
class Done:
    """It has drained (a ``Run``): ``left`` tasks were with workers, the broker has them."""

    left: int


@dataclass(frozen=True, slots=True)
class Say:
    """A word for the log (a ``Run``)."""

    text: str
    wrong: bool = False
