"""What all that clients declare may weigh: queues, exchanges, bindings, consumers, channels.

Messages have a limit of their own, past which publishers wait. Who declares cannot be made to
wait, so past this one it is refused, whatever it is that so much has been declared of: one sum
bounds the memory, where a limit for each kind would have to be far too small. RabbitMQ has a
limit for each kind; the codes and what they end are those.
"""

from collections.abc import Mapping

from pytest_gatherscatter.embedded.exchange import Binding
from pytest_gatherscatter.embedded.record import ConnectionId
from pytest_gatherscatter.embedded.refusal import AmqpError, Code

# Octets, measured on CPython 3.11 with the indexes that they stand in, and rounded up.
QUEUE = 2560
EXCHANGE = 1024
BINDING = 1024
WORD = 384
"""Each word of a topic exchange's pattern is a node of its trie."""
CONSUMER = 512
CHANNEL = 1024


class Budget:
    """A sum with a limit; None is no limit.

    What goes with a connection (its channels, consumers, exclusive queues) is that connection's,
    all else is everybody's. Each of these may have half of the sum, so that who fills its own
    leaves room for the others.
    """

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.spent = 0
        self.shares: dict[ConnectionId | None, int] = {}

    def take(
        self,
        size: int,
        what: str,
        owner: ConnectionId | None,
        code: Code = Code.PRECONDITION_FAILED,
    ) -> None:
        """Count something that is made; AmqpError with ``code`` when there is no room for it."""
        mine = self.shares.get(owner, 0) + size
        if self.most is not None and max(self.spent + size, 2 * mine) > self.most:
            whose = "all that is declared" if 2 * mine <= self.most else _WHOSE[owner is None]
            raise AmqpError(code, f"cannot {what}: there is no more room for {whose} in vhost '/'")
        self.spent += size
        self.shares[owner] = mine

    def give(self, size: int, owner: ConnectionId | None) -> None:
        """Count something that is gone."""
        self.spent -= size
        self.shares[owner] -= size
        if not self.shares[owner]:
            del self.shares[owner]


_WHOSE = ("what goes with one connection", "what goes with no connection")


def queue_size(name: str, arguments: Mapping[str, object]) -> int:
    """What a queue weighs, without its messages."""
    texts = (value for value in arguments.values() if isinstance(value, str))
    return QUEUE + len(name) + sum(map(len, texts))


def exchange_size(name: str) -> int:
    """What an exchange weighs, without its bindings."""
    return EXCHANGE + len(name)


def binding_size(binding: Binding) -> int:
    """What a binding weighs."""
    words = binding.key.count(".") + 1
    texts = sum(len(name) + len(value) for name, value in binding.arguments)
    return BINDING + words * WORD + len(binding.key) + texts


def consumer_size(tag: str) -> int:
    """What a consumer weighs, without what it holds."""
    return CONSUMER + len(tag)
