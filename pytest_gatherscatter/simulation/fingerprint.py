"""What makes two states of a small lab the same: all that decides, and nothing that counts.

Four kinds of things differ from way to way and decide nothing, or not by themselves:

- *Times* count from now if they lie ahead, or if somebody counts how long ago they were (``AGES``).
  Of all others only the order counts, over the whole lab: whether what is reported is what was
  seen.
- *Tokens* count by their order, and by how far they are apart while that is little.
- *Words for people*, numbers of effects and recent stories decide nothing.
- *What nobody reads any more* (``LIVE``): of a section that is committed nobody asks again when it
  was entered. Compilers call that a dead variable; Bozga, Fernandez and Ghirvu reset such before
  they compare states.

Each part of a lab is looked at by itself, and once: most parts did not move in the last step.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import count
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, NamedTuple

from pytest_gatherscatter.machine import Effects, Lifecycle
from pytest_gatherscatter.sections.clock import GathererClock
from pytest_gatherscatter.sections.gatherer import Gatherer
from pytest_gatherscatter.sections.gatherer.lead import Lead
from pytest_gatherscatter.sections.gatherer.state import ENDED
from pytest_gatherscatter.sections.monitor.drain import Draining
from pytest_gatherscatter.sections.monitor.hookline import HookLine
from pytest_gatherscatter.sections.monitor.machine import MonitorMachine
from pytest_gatherscatter.simulation.promise import RefusesLowerOnly
from pytest_gatherscatter.simulation.relevance import AGES, FORGOTTEN, LIVE, WHETHER
from pytest_gatherscatter.simulation.shelf import Shelf
from pytest_gatherscatter.simulation.smalllab import GATHERER, SmallLab
from pytest_gatherscatter.simulation.smallrun import section_of
from pytest_gatherscatter.simulation.smallstate import Journal, Waiting

MOST_KNOWN = 100_000
"""Parts whose print is remembered before all are forgotten."""

TIMES = (500_000.0, 1_000_000_000.0)
"""Between these a number is a time on the lab's clock; below a duration, above a wall clock's."""

TOKENS = 1_000_000
"""From here on a whole number is a token: a gatherer without a journal begins with the wall
clock's milliseconds. Only tokens are that large."""

APART = 9
"""Tokens that are farther apart than this are just apart: so many are not given out in a life."""

DIGITS = 3
"""Digits of a time: the shortest waits are of some hundredths."""

_SKIPPED = (Effects, count, MethodType, FunctionType, BuiltinMethodType, type, Draining)


class Print(NamedTuple):
    """What counts of a part: a digest of all that is said plainly, times and tokens apart."""

    plain: bytes
    times: tuple[float, ...]
    tokens: tuple[int, ...]


class Fingerprints:
    """Takes the fingerprints of a lab's states; what it has seen of parts it does not forget."""

    def __init__(self) -> None:
        self._plain: dict[object, bytes] = {}
        self._known: dict[tuple[bytes, float, frozenset[str]], Print] = {}
        self._shared: dict[int, tuple[object, float, frozenset[str], Print]] = {}
        self._named: dict[bytes, frozenset[str]] = {}

    def of(self, lab: SmallLab) -> bytes:
        """Return a digest that is equal for equal states."""
        return self._digest(lab.now, self.parts(lab))

    def parts(self, lab: SmallLab) -> list[Print]:
        """Return the prints of all parts, and of what is between them."""
        now, shelf = lab.now, lab.shelf
        lab.freeze()
        over = self._over(lab)
        prints = [self._part(shelf, shelf.bytes_of(name), now, over) for name in shelf.names]
        prints.append(self._plainly(lab))
        every = sorted(lab.letters.items())
        prints += [self._once(letters, now, over) for _, letters in every]
        prints += [self._once(lab.hooks[name], now, over) for name in lab.monitors]
        prints += [self._once(what, now, over) for what in (lab.journal, lab.tickets)]
        return prints

    def same(self, shelf: Shelf, one: bytes, other: bytes, now: float) -> bool:
        """Say whether two states of a part are the same, though they may be frozen otherwise."""
        nothing: frozenset[str] = frozenset()
        prints = (self._part(shelf, each, now, nothing) for each in (one, other))
        return one is other or next(prints) == next(prints)

    def _part(self, shelf: Shelf, frozen: bytes, now: float, over: frozenset[str]) -> Print:
        key = frozen, now, over
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = self._print(shelf.thaw(frozen), now, over)
        return known

    def _plainly(self, lab: SmallLab) -> Print:
        """Take the print of what is between the parties and has neither times nor tokens."""
        plain = (
            *(lab.deaths, lab.stalls, lab.locked, tuple(lab.lives.values())),
            *map(tuple, map(sorted, (lab.died, lab.fresh, lab.over, lab.listeners))),
            *map(tuple, map(sorted, (lab.keys.items(), lab.letters))),
        )
        return Print(self._short(plain), (), ())

    def _once(self, thing: Any, now: float, over: frozenset[str]) -> Print:  # noqa: ANN401
        """Take the print of something that is never changed, and that states share."""
        known = self._shared.get(id(thing))
        if known is None or known[0] is not thing or known[1:3] != (now, over):
            if len(self._shared) >= MOST_KNOWN:
                self._shared.clear()
            known = self._shared[id(thing)] = thing, now, over, self._print(thing, now, over)
        return known[3]

    def _over(self, lab: SmallLab) -> frozenset[str]:
        """Name the sections that nobody has open, and nobody can speak of any more."""
        every = {_section(run, life) for run in lab.runs for life in (1, 2)}
        named = {_section(run, lab.lives[run]) for run in lab.runs if run not in lab.over}
        named.update(lab.tickets, _committed(lab.journal))
        for letters in lab.letters.values():
            for letter in letters:
                named.add(getattr(letter.message, "section", ""))
                named.update(one.section for one in getattr(letter.message, "open", ()))
        for name in (GATHERER, *lab.monitors):
            frozen = lab.shelf.bytes_of(name)
            if frozen not in self._named:
                if len(self._named) >= MOST_KNOWN:
                    self._named.clear()
                self._named[frozen] = _open_at(lab.shelf.thaw(frozen))
            named |= self._named[frozen]
        return frozenset(every - named)

    def _digest(self, now: float, prints: list[Print]) -> bytes:
        plain = [one.plain for one in prints]
        times = _ranks([now, *(at for one in prints for at in one.times)])
        tokens = _gaps([token for one in prints for token in one.tokens])
        return _digest((plain, times, tokens))

    def _print(self, part: object, now: float, over: frozenset[str]) -> Print:
        walk = _Walk(now, over)
        plain = walk.of(part)
        return Print(self._short(plain), tuple(walk.times), tuple(walk.tokens))

    def _short(self, plain: object) -> bytes:
        """Return the digest of something; many parts come to the same."""
        digest = self._plain.get(plain)
        if digest is None:
            if len(self._plain) >= MOST_KNOWN:
                self._plain.clear()
            digest = self._plain[plain] = _digest(plain)
        return digest


def _digest(plain: object) -> bytes:
    return hashlib.blake2b(repr(plain).encode(), digest_size=12).digest()


def _ranks(times: list[float]) -> list[int]:
    places = {at: place for place, at in enumerate(sorted(set(times)))}
    return [places[at] for at in times]


def _gaps(tokens: list[int]) -> list[int]:
    place, before, places = 0, 0, {}
    for token in sorted(set(tokens)):
        place += min(token - before, APART)
        places[token], before = place, token
    return [places[token] for token in tokens]


def _section(run: str, life: int) -> str:
    return section_of(run, abs(life))


def _committed(journal: Journal) -> set[str]:
    """Name the sections that a gatherer would find open if it came back."""
    told: dict[str, set[str]] = {"committed": set(), "closed": set(), "aborted": set()}
    for event in journal:
        told.get(event["what"], set()).add(event.get("section", ""))
    return told["committed"] - told["closed"] - told["aborted"]


def _open_at(machine: object) -> frozenset[str]:
    """Name the sections that have not come to their end at a gatherer or a monitor."""
    if isinstance(machine, Gatherer):
        every = machine.lab.sections.values()
        return frozenset(one.id for one in every if one.state not in ENDED)
    if isinstance(machine, MonitorMachine):
        return frozenset(one.info.id for one in machine.station.open())
    return frozenset()


class _Walk:
    """One walk over a part, in an order that does not hang on the way there."""

    def __init__(self, now: float, over: frozenset[str]) -> None:
        self.now = now
        self.over = over
        self.times: list[float] = []
        self.tokens: list[int] = []
        self.met: dict[int, int] = {}

    def of(self, thing: Any) -> object:  # noqa: ANN401 - anything, each kind in its way
        kind = type(thing)
        walker = _WALKERS.get(kind)
        if walker is None:
            walker = _WALKERS[kind] = _walker(kind)
        return walker(self, thing)

    def attribute(self, name: str, thing: object) -> object:
        """Look at an attribute, as its name says."""
        if name in WHETHER:
            return bool(thing) if isinstance(thing, str) else thing is not None
        if name in AGES and isinstance(thing, float):
            return ("age", max(-AGES[name], round(thing - self.now, DIGITS)) + 0.0)
        return self.of(thing)


def _same(_: _Walk, thing: object) -> object:
    return thing


def _nothing(_: _Walk, __: object) -> None:
    return None


def _string(walk: _Walk, text: str) -> object:
    """Take a word as it is; a key of a section that began anew has a token in it."""
    if text in walk.over:
        return "over"
    section, space, token = text.partition(" ")
    if space and token.isdigit():
        return (section, _whole(walk, int(token)))
    return text


def _whole(walk: _Walk, number: int) -> object:
    if number < TOKENS:
        return number
    walk.tokens.append(number)
    return "token"


def _number(walk: _Walk, number: float) -> object:
    least, most = TIMES
    if not least < number < most:
        return round(number, DIGITS) + 0.0  # never minus zero
    if number > walk.now:
        return ("in", round(number - walk.now, DIGITS))
    walk.times.append(number)
    return "past"


def _row(walk: _Walk, things: Iterable[Any]) -> object:
    return tuple([walk.of(one) for one in things])


def _bag(walk: _Walk, things: Iterable[Any]) -> object:
    return tuple([walk.of(one) for one in sorted(things, key=_order) if not _is_over(walk, one)])


def _mapping(walk: _Walk, things: Mapping[Any, Any]) -> object:
    found = []
    for key in sorted(things, key=_order):
        if key not in FORGOTTEN and not _is_over(walk, key):
            value = things[key]
            plain = walk.attribute(key, value) if isinstance(key, str) else walk.of(value)
            found.append((walk.of(key), plain))
    return tuple(found)


def _is_over(walk: _Walk, key: object) -> bool:
    """Say whether something is kept under the name of a section that is over."""
    if isinstance(key, str):
        return key in walk.over or key.partition(" ")[0] in walk.over
    return isinstance(key, tuple) and any(one in walk.over for one in key if type(one) is str)


def _order(thing: object) -> str:
    return repr(thing)


def _enum(_: _Walk, thing: Enum) -> object:
    return thing.value


def _life(walk: _Walk, life: Lifecycle[Any]) -> object:
    return ("life", life.state.value, walk.attribute("since", life.since))


def _clock(_: _Walk, clock: GathererClock) -> object:
    return ("clock", clock.gatherer, clock.known())


def _line(walk: _Walk, line: HookLine) -> object:
    calls = [*line._waiting]  # noqa: SLF001 - a line shows nothing
    if line._current is not None:  # noqa: SLF001 - as above
        calls.append(line._current[1:])  # noqa: SLF001 - as above
    told = [(one.info.id, one.info.token, hook) for one, hook in calls]
    return ("line", len(line._waiting), walk.of(told), bool(line.stuck))  # noqa: SLF001 - as above


def _lead(_: _Walk, lead: Lead) -> object:
    return ("lead", round(lead.seconds(), DIGITS))


def _refusals(walk: _Walk, rule: RefusesLowerOnly) -> object:
    """Of what a monitor was asked for, of sections that are over the highest token will do."""
    found = []
    for party, asked in sorted(rule._heard.items()):  # noqa: SLF001 - a rule shows nothing
        told: dict[str, int] = {}
        for one in asked:
            section = "over" if one.section in walk.over else one.section
            told[section] = max(one.token, told.get(section, 0))
        found.append((party, walk.of(told)))
    return tuple(found)


def _journal(walk: _Walk, events: Journal) -> object:
    """Of what is on record of sections that are over, the highest token will do."""
    told = [event for event in events if event.get("section") not in walk.over]
    highest = max((event.get("token", 0) for event in events), default=0)
    return (bool(events), walk.of(highest), *[walk.of(event) for event in told])


def _hook(walk: _Walk, waiting: Waiting) -> object:
    return walk.of(waiting.call)


_WALKERS: dict[type, Callable[[_Walk, Any], object]] = {
    str: _string,
    int: _whole,
    bool: _same,
    bytes: _same,
    type(None): _same,
    float: _number,
    list: _row,
    tuple: _row,
    deque: _row,
    set: _bag,
    frozenset: _bag,
    dict: _mapping,
    Lifecycle: _life,
    GathererClock: _clock,
    HookLine: _line,
    Lead: _lead,
    Journal: _journal,
    Waiting: _hook,
    RefusesLowerOnly: _refusals,
}


def _walker(kind: type) -> Callable[[_Walk, Any], object]:
    """Make the walker of a kind that is met for the first time."""
    if issubclass(kind, _SKIPPED):
        return _nothing
    if issubclass(kind, Enum):
        return _enum
    if issubclass(kind, tuple):
        return _row
    if issubclass(kind, dict):
        return _mapping
    slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    fields = tuple(sorted({*slots, *getattr(kind, "__struct_fields__", ())} - FORGOTTEN))
    live, name = LIVE.get(kind), kind.__name__
    frozen = getattr(kind, "__dataclass_params__", None)
    is_value = hasattr(kind, "__struct_fields__") or (frozen is not None and frozen.frozen)

    def walk_object(walk: _Walk, thing: object) -> object:
        if not is_value:  # of which it does not matter whether it is one or two that are equal
            number = walk.met.get(id(thing))
            if number is not None:
                return ("see", number)
            walk.met[id(thing)] = len(walk.met)
        if live is not None:
            names = live(thing)
        else:
            names = (*fields, *sorted(set(getattr(thing, "__dict__", ())) - FORGOTTEN))
        parts = [walk.attribute(one, getattr(thing, one, None)) for one in names]
        return (name, names, *parts)

    return walk_object
