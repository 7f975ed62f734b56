"""What is declared: exchanges, queues and bindings, and who may touch them. No messages.

Every rule of declaring, binding and routing is here, so that ``vhost.py`` is left with what
moves: messages, consumers and time.
"""

from collections.abc import Mapping

from pytest_gatherscatter.embedded.budget import (
    Budget,
    binding_size,
    exchange_size,
    queue_size,
)
from pytest_gatherscatter.embedded.exchange import (
    INDEXES,
    Binding,
    Destination,
    Exchange,
    Known,
)
from pytest_gatherscatter.embedded.queue import Connection, Queue
from pytest_gatherscatter.embedded.record import ConnectionId, Profile
from pytest_gatherscatter.embedded.refusal import (
    AmqpError,
    Code,
    flag,
    locked,
    not_found,
    unequal,
    unsupported,
)

RESERVED = "amq."


class Directory:
    """Exchanges and queues by name, and bindings by where they lead."""

    def __init__(self, profile: Profile, budget: Budget) -> None:
        self.profile = profile
        self.budget = budget
        self._known = Known()
        self.exchanges: dict[str, Exchange] = {
            name: Exchange(name, kind, self._known, durable=True)
            for name, kind in (
                ("", "direct"),
                ("amq.direct", "direct"),
                ("amq.fanout", "fanout"),
                ("amq.topic", "topic"),
            )
        }
        self.queues: dict[str, Queue] = {}
        self._leading: dict[Destination, dict[Binding, None]] = {}

    # Exchanges

    def exchange(self, name: str) -> Exchange:
        """The exchange of this name; AmqpError 404."""
        try:
            return self.exchanges[name]
        except KeyError:
            raise not_found("exchange", name) from None

    def declare_exchange(  # noqa: PLR0913 - the protocol's own arguments
        self,
        name: str,
        kind: str,
        *,
        passive: bool,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Mapping[str, object],
    ) -> None:
        """Make an exchange, or see that it is there and equal.

        Raises:
            AmqpError: 403, 404 (passive), 406, 503 (3.10: no such type), 540.
        """
        if not name:
            raise _default_exchange()
        if passive:
            self.exchange(name)
            return
        if kind == "headers":
            raise unsupported("headers")
        if kind.startswith("x-"):
            raise unsupported("exchange type plugin")
        if kind not in INDEXES:
            # Since 4.0 it costs the channel only.
            older = self.profile is Profile.RABBITMQ_3_10
            code = Code.COMMAND_INVALID if older else Code.PRECONDITION_FAILED
            raise AmqpError(code, f"unknown exchange type '{kind}'")
        if "alternate-exchange" in arguments:
            raise unsupported("alternate-exchange")
        there = self.exchanges.get(name)
        if there is None:
            refuse_reserved("exchange", name)
            self.budget.take(exchange_size(name), f"declare exchange '{name}'", None)
            self.exchanges[name] = Exchange(
                name,
                kind,
                self._known,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
            )
            return
        for argument, received, current in (
            ("type", kind, there.kind),
            ("durable", durable, there.durable),
            ("auto_delete", auto_delete, there.auto_delete),
            ("internal", internal, there.internal),
        ):
            if received != current:
                raise unequal("exchange", name, argument, flag(received), flag(current))

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange if it is there; AmqpError 403, 406."""
        if not name:
            raise _default_exchange()
        if name.startswith(RESERVED):
            raise AmqpError(
                Code.ACCESS_REFUSED,
                f"deletion of system exchange '{name}' in vhost '/' not allowed",
            )
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise AmqpError(Code.PRECONDITION_FAILED, f"exchange '{name}' in vhost '/' in use")
        self._remove_exchange(exchange)

    def _remove_exchange(self, exchange: Exchange) -> None:
        del self.exchanges[exchange.name]
        self.budget.give(exchange_size(exchange.name), None)
        for binding in list(exchange.bindings):
            self._discard(exchange, binding)
            self._forget(binding)
        self.forget_destination(Destination("exchange", exchange.name))

    # Queues

    def queue(self, name: str, connection: Connection) -> Queue:
        """The queue of this name if the connection may touch it; AmqpError 404, 405."""
        queue = self.queues.get(name)
        if queue is None:
            raise not_found("queue", name)
        if queue.owner is not None and queue.owner != connection.id:
            raise locked(name)
        return queue

    def add_queue(self, queue: Queue) -> None:
        """Take a new queue; AmqpError 406 when there is no room for it."""
        size = queue_size(queue.name, queue.arguments.raw)
        self.budget.take(size, f"declare queue '{queue.name}'", queue.owner)
        self.queues[queue.name] = queue

    def remove_queue(self, queue: Queue) -> None:
        """Forget a queue and all that leads to it."""
        self.forget_destination(Destination("queue", queue.name))
        del self.queues[queue.name]
        self.budget.give(queue_size(queue.name, queue.arguments.raw), queue.owner)

    # Bindings

    def bind(self, binding: Binding) -> None:
        """Bind; a queue is there and may be touched. AmqpError 403, 404, 406 (no room for it)."""
        refuse_default(binding)
        source = self.exchange(binding.source)
        if binding.destination.kind == "exchange":
            self.exchange(binding.destination.name)
        if binding in source.bindings:
            return
        what = f"bind to exchange '{binding.source}'"
        self.budget.take(binding_size(binding), what, self.owner(binding))
        source.add(binding)
        self._leading.setdefault(binding.destination, {})[binding] = None

    def unbind(self, binding: Binding) -> None:
        """Unbind; what is not bound, or not there at all, is no error, as on RabbitMQ. 403."""
        refuse_default(binding)
        exchange = self.exchanges.get(binding.source)
        if exchange is not None and self._discard(exchange, binding):
            self._forget(binding)
            self._delete_if_unused(exchange)

    def bound(self, binding: Binding) -> bool:
        """Whether this binding is there."""
        exchange = self.exchanges.get(binding.source)
        return exchange is not None and binding in exchange.bindings

    def forget_destination(self, destination: Destination) -> None:
        """Drop every binding that leads to something that is gone."""
        for binding in self._leading.pop(destination, {}):
            exchange = self.exchanges[binding.source]
            self._discard(exchange, binding)
            self._delete_if_unused(exchange)

    def _discard(self, exchange: Exchange, binding: Binding) -> bool:
        there = exchange.discard(binding)
        if there:
            self.budget.give(binding_size(binding), self.owner(binding))
        return there

    def owner(self, binding: Binding) -> ConnectionId | None:
        """With which connection a binding goes: it goes with its queue."""
        kind, name = binding.destination
        return self.queues[name].owner if kind == "queue" else None

    def _forget(self, binding: Binding) -> None:
        leading = self._leading.get(binding.destination)
        if leading is not None:
            leading.pop(binding, None)
            if not leading:
                del self._leading[binding.destination]

    def _delete_if_unused(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.bindings and exchange.name in self.exchanges:
            self._remove_exchange(exchange)

    # Routing

    def route(self, exchange: str, key: str) -> list[Queue]:
        """The queues that get a message, each once; a missing exchange routes nowhere."""
        if not exchange:
            queue = self.queues.get(key)
            return [] if queue is None else [queue]
        source = self.exchanges.get(exchange)
        if source is None:
            return []
        matches = source.match(key)
        if len(matches) == 1 and matches[0].kind == "queue":  # as nearly always
            return [self.queues[matches[0].name]]
        found: dict[str, Queue] = {}
        seen = {exchange}
        todo = [matches]
        while todo:
            for kind, name in todo.pop():
                if kind == "queue":
                    found[name] = self.queues[name]
                elif name not in seen:
                    seen.add(name)
                    if (onward := self.exchanges.get(name)) is not None:
                        todo.append(onward.match(key))
        return list(found.values())

    def problems(self) -> list[str]:
        """What contradicts itself in here; empty when all is well."""
        found = []
        for destination, bindings in self._leading.items():
            kind, name = destination
            if name not in (self.queues if kind == "queue" else self.exchanges):
                found.append(f"bindings lead to a missing {kind} {name!r}")
            found.extend(
                f"{binding} is unknown to its exchange"
                for binding in bindings
                if binding.source not in self.exchanges
                or binding not in self.exchanges[binding.source].bindings
            )
        found.extend(
            f"{binding} is known to its exchange only"
            for exchange in self.exchanges.values()
            for binding in exchange.bindings
            if binding not in self._leading.get(binding.destination, {})
        )
        return found


def freeze(arguments: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """A binding's arguments as something that can be compared and hashed."""
    return tuple(sorted((name, repr(value)) for name, value in arguments.items()))


def _default_exchange() -> AmqpError:
    return AmqpError(Code.ACCESS_REFUSED, "operation not permitted on the default exchange")


def refuse_default(binding: Binding) -> None:
    """AmqpError 403 for a binding of the default exchange."""
    if not binding.source or binding.destination == ("exchange", ""):
        raise _default_exchange()


def refuse_reserved(kind: str, name: str) -> None:
    """AmqpError 403 for a name of the broker's own, chosen by a client."""
    if name.startswith(RESERVED):
        raise AmqpError(
            Code.ACCESS_REFUSED, f"{kind} name '{name}' contains reserved prefix '{RESERVED}*'"
        )
