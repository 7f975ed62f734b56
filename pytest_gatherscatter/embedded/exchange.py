"""Exchanges: who gets a message by its routing key.

Each kind has an index of its own, so that a publish does not read every binding. All of them
keep insertion order (dicts, never sets of strings): the simulation must replay exactly.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct, field


class Destination(NamedTuple):
    """Where a binding leads: ``kind`` is ``queue`` or ``exchange``."""

    kind: str
    name: str


class Binding(NamedTuple):
    """One binding; two that differ only in their arguments are two."""

    source: str
    destination: Destination
    key: str
    arguments: tuple[tuple[str, str], ...] = ()


class Index(Protocol):
    """The bindings of one exchange, by what a publish asks."""

    def add(self, key: str, destination: Destination) -> None:
        """Take one more binding; the same pair may come again with other arguments."""

    def discard(self, key: str, destination: Destination) -> None:
        """Forget one binding that was added."""

    def match(self, key: str) -> Sequence[Destination]:
        """Who gets a message with this key; a destination may come more than once."""


class _Bag(dict[Destination, int]):
    """Destinations, counted: several bindings may lead to one of them."""

    def put(self, destination: Destination) -> None:
        self[destination] = self.get(destination, 0) + 1

    def take(self, destination: Destination) -> None:
        left = self[destination] - 1
        if left:
            self[destination] = left
        else:
            del self[destination]


class DirectIndex:
    """Equal keys."""

    def __init__(self) -> None:
        self._keys: dict[str, _Bag] = {}

    def add(self, key: str, destination: Destination) -> None:
        """Take a binding, see :class:`Index`."""
        self._keys.setdefault(key, _Bag()).put(destination)

    def discard(self, key: str, destination: Destination) -> None:
        """Forget a binding, see :class:`Index`."""
        bag = self._keys[key]
        bag.take(destination)
        if not bag:
            del self._keys[key]

    def match(self, key: str) -> Sequence[Destination]:
        """Who gets it, see :class:`Index`."""
        return tuple(self._keys.get(key, ()))


class FanoutIndex:
    """Everybody."""

    def __init__(self) -> None:
        self._bag = _Bag()

    def add(self, key: str, destination: Destination) -> None:  # noqa: ARG002 - Index
        """Take a binding, see :class:`Index`."""
        self._bag.put(destination)

    def discard(self, key: str, destination: Destination) -> None:  # noqa: ARG002 - Index
        """Forget a binding, see :class:`Index`."""
        self._bag.take(destination)

    def match(self, key: str) -> Sequence[Destination]:  # noqa: ARG002 - Index
        """Who gets it, see :class:`Index`."""
        return tuple(self._bag)


MOST_KNOWN = 16_384
"""Keys and their destinations that all topic exchanges keep, in sum: a lab's are few and come again
and again, a stranger's may not."""


class Known:
    """Where the keys led that were asked for, over all topic exchanges of one vhost.

    An exchange knows its own by its ``age``, a new one whenever they may lead elsewhere; what is
    of an age that is past goes when there is no room any more, as all else does.
    """

    def __init__(self, room: int = MOST_KNOWN) -> None:
        self._most = self._room = room
        self._found: dict[tuple[object, str], tuple[Destination, ...]] = {}

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._found)

    def get(self, age: object, key: str) -> tuple[Destination, ...] | None:
        """Where a key leads; None if that is not known."""
        return self._found.get((age, key))

    def keep(self, age: object, key: str, found: tuple[Destination, ...]) -> None:
        """Know where a key leads."""
        self._room -= 1 + len(found)
        if self._room < 0:
            self._found.clear()
            self._room = self._most
        else:
            self._found[age, key] = found

    def drop(self, age: object, key: str) -> None:
        """Know it no more."""
        found = self._found.pop((age, key), None)
        if found is not None:
            self._room += 1 + len(found)


class _Node(Struct):
    """One word of the patterns that share the words before it."""

    children: dict[str, "_Node"] = field(default_factory=dict)
    bag: _Bag = field(default_factory=_Bag)


class TopicIndex:
    """Patterns of words: ``*`` is one word, ``#`` is any number of them.

    The patterns form a trie, and a key walks it as a set of nodes, a step for each word. So
    the work is bounded by words times reachable nodes: trying each ``#`` at each length in
    turn would take exponential time on ``#.#.#.#`` and give one client a lever.
    """

    def __init__(self, known: Known) -> None:
        self._root = _Node()
        self._known = known
        self._age = object()

    def add(self, key: str, destination: Destination) -> None:
        """Take a binding, see :class:`Index`."""
        self._changed(key)
        node = self._root
        for word in _words(key):
            node = node.children.setdefault(word, _Node())
        node.bag.put(destination)

    def discard(self, key: str, destination: Destination) -> None:
        """Forget a binding, see :class:`Index`."""
        self._changed(key)
        path = [self._root]
        words = _words(key)
        for word in words:
            path.append(path[-1].children[word])
        path[-1].bag.take(destination)
        for parent, word, node in zip(
            reversed(path[:-1]), reversed(words), reversed(path[1:]), strict=True
        ):
            if node.bag or node.children:
                break
            del parent.children[word]

    def match(self, key: str) -> Sequence[Destination]:
        """Who gets it, see :class:`Index`."""
        found = self._known.get(self._age, key)
        if found is None:
            found = tuple(self._walk(key))
            self._known.keep(self._age, key, found)
        return found

    def _changed(self, pattern: str) -> None:
        """Forget what is not known any more: a pattern without wildcards is one key."""
        if "*" in pattern or "#" in pattern:
            self._age = object()
        else:
            self._known.drop(self._age, pattern)

    def _walk(self, key: str) -> Iterator[Destination]:
        nodes = _closed([(self._root, False)])
        for word in _words(key):
            after: list[tuple[_Node, bool]] = []
            for node, loops in nodes:
                if loops:
                    after.append((node, True))
                # A key's own "#" or "*" is a word like any other, matched by wildcards only.
                if word not in {"*", "#"} and (child := node.children.get(word)) is not None:
                    after.append((child, False))
                if (child := node.children.get("*")) is not None:
                    after.append((child, False))
            nodes = _closed(after)
        for node, _ in nodes:
            yield from node.bag


def _words(key: str) -> list[str]:
    # No key has no word, though "." has two: RabbitMQ counts so, and "*" needs one.
    return key.split(".") if key else []


def _closed(nodes: list[tuple[_Node, bool]]) -> list[tuple[_Node, bool]]:
    """The nodes and all that ``#`` reaches from them with no word; each once, in order."""
    seen: set[int] = set()
    found = []
    stack = nodes[::-1]
    while stack:
        node, loops = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        found.append((node, loops))
        if (child := node.children.get("#")) is not None:
            stack.append((child, True))
    return found


INDEXES: Mapping[str, Callable[[Known], Index]] = {
    "direct": lambda _: DirectIndex(),
    "fanout": lambda _: FanoutIndex(),
    "topic": TopicIndex,
}


class Exchange:
    """An exchange and the bindings that start at it."""

    def __init__(  # noqa: PLR0913 - the protocol's own arguments
        self,
        name: str,
        kind: str,
        known: Known,
        *,
        durable: bool,
        auto_delete: bool = False,
        internal: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.bindings: dict[Binding, None] = {}
        self._index: Index = INDEXES[kind](known)

    def add(self, binding: Binding) -> None:
        """Take a binding; a second time changes nothing, as the protocol wants."""
        if binding not in self.bindings:
            self.bindings[binding] = None
            self._index.add(binding.key, binding.destination)

    def discard(self, binding: Binding) -> bool:
        """Forget a binding; False when there was none."""
        if binding not in self.bindings:
            return False
        del self.bindings[binding]
        self._index.discard(binding.key, binding.destination)
        return True

    def match(self, key: str) -> Sequence[Destination]:
        """Destinations of a message with this key; one may come more than once."""
        return self._index.match(key)
