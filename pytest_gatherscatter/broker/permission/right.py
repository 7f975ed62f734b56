"""What rights are, and of which patterns they are made."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pytest_gatherscatter.wire import names

NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"
ID = "[0-9a-f]+"
EVERYTHING = ".*"

Alternatives: TypeAlias = tuple[str, ...]


def _joined(one: Alternatives, two: Alternatives) -> Alternatives:
    return tuple(dict.fromkeys((*one, *two)))


def _joined_keys(
    one: Mapping[str, Alternatives], two: Mapping[str, Alternatives]
) -> dict[str, Alternatives]:
    return {
        exchange: _joined(one.get(exchange, ()), two.get(exchange, ()))
        for exchange in dict.fromkeys((*one, *two))
    }


@dataclass(frozen=True, slots=True)
class Rights:
    """What one login may do; each pattern is one of several, and means the whole name.

    ``says`` and ``hears`` hold, by topic exchange, the keys to publish and to bind with.
    """

    configure: Alternatives = ()
    write: Alternatives = ()
    read: Alternatives = ()
    says: Mapping[str, Alternatives] = field(default_factory=dict)
    hears: Mapping[str, Alternatives] = field(default_factory=dict)

    def __add__(self, other: "Rights") -> "Rights":
        """Whoever has several roles, or is in several labs, has the rights of all."""
        return Rights(
            _joined(self.configure, other.configure),
            _joined(self.write, other.write),
            _joined(self.read, other.read),
            _joined_keys(self.says, other.says),
            _joined_keys(self.hears, other.hears),
        )

    @property
    def exchanges(self) -> Alternatives:
        """The topic exchanges whose keys are limited."""
        return tuple(dict.fromkeys((*self.says, *self.hears)))


Roles: TypeAlias = Mapping[str, Callable[[str, Iterable[str]], Rights]]
"""The rights of roles, by lab and, for who has an inbox of that name, by agents."""


def pattern(alternatives: Alternatives) -> str:
    """Write alternatives as one expression of RabbitMQ's; of none, one that fits nothing."""
    if not alternatives:
        return "^$"  # what RabbitMQ takes for nothing: no name is empty
    if EVERYTHING in alternatives:
        return EVERYTHING
    return f"^({'|'.join(alternatives)})$"


def queue_pattern(make: Callable[[str, str], str], lab: str, what: str) -> str:
    """The pattern of a queue whose name ends with ``what``, a pattern too."""
    return re.escape(make(lab, "")) + what


def key_pattern(make: Callable[[str], str], what: str) -> str:
    """The pattern of a key that ends with ``what``, a pattern too."""
    return re.escape(make("")) + what


def own(agents: Iterable[str]) -> Alternatives:
    """The patterns of names that are one's own: of ``agents``, or of all if there are none."""
    return tuple(re.escape(agent) for agent in agents) or (NAME,)


def event_patterns(make: Callable[[str, str], str], *kinds: str) -> Alternatives:
    """The patterns of events of these kinds, whatever they are about."""
    return tuple(re.escape(make(kind, "")) + NAME for kind in kinds)


def asker(lab: str) -> Rights:
    """What everybody needs: a queue for answers, the gatherer's ear, and the dead letters.

    To declare a queue with a dead-letter exchange takes the right to read the one and to write
    to the other.
    """
    direct, dead = re.escape(names.direct_exchange(lab)), re.escape(names.dead(lab))
    reply = queue_pattern(names.reply_queue, lab, ID)
    return Rights(
        configure=(reply,),
        write=(direct, dead, reply),
        read=(direct, reply),
        says={names.direct_exchange(lab): (names.GATHERER_KEY,)},
        hears={names.direct_exchange(lab): (key_pattern(names.reply_key, ID),)},
    )


def watching(lab: str, keys: Alternatives) -> Rights:
    """The events with these keys."""
    exchange = names.event_exchange(lab)
    return Rights(read=(re.escape(exchange),), says={exchange: ()}, hears={exchange: keys})
