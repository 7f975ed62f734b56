"""What is said about a section, and what all of it comes to."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from pytest_gatherscatter.sections.audit.claim import Key

ROUNDING = 1e-6
"""Seconds by which sums of times may differ: what floats of an uptime of years can say."""


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """Something about a section: what was looked at, and what was seen."""

    section: str
    check: str
    text: str


@dataclass(slots=True)
class Audit:
    """What came of it; ``sections`` counts those that were looked at.

    A **contradiction** is two things on record that cannot both be true. What the records do not
    let anybody decide is **open**, with the reason. Everything else is confirmed.
    """

    sections: int = 0
    contradictions: list[Remark] = field(default_factory=list)
    open: list[Remark] = field(default_factory=list)


Said: TypeAlias = Iterator[Remark]


def saying(key: Key) -> Callable[[str, str], Remark]:
    """Return what makes remarks about one section."""
    return lambda check, text: Remark(key[1], check, text)


def names(agents: Iterable[str]) -> str:
    """Name agents in a line."""
    return ", ".join(sorted(agents)) or "nobody"
