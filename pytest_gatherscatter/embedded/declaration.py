"""What a vhost lets clients declare: exchanges, bindings and queues, and the end of each.

The calls of :class:`~pytest_gatherscatter.embedded.vhost.VHost` that change what is there; those
that move messages are in ``vhost.py`` itself. Each checks in RabbitMQ's order, so that a call
that is wrong twice is refused for the same reason.
"""

from collections.abc import Callable, Mapping

from pytest_gatherscatter.embedded.argument import QueueArguments
from pytest_gatherscatter.embedded.budget import Budget
from pytest_gatherscatter.embedded.directory import freeze, refuse_default, refuse_reserved
from pytest_gatherscatter.embedded.exchange import Binding, Destination
from pytest_gatherscatter.embedded.flow import Flow
from pytest_gatherscatter.embedded.queue import Channel, Queue
from pytest_gatherscatter.embedded.record import ChannelId, ConnectionId, Profile, QueueState
from pytest_gatherscatter.embedded.refusal import AmqpError, Code, deprecated, locked

NOTHING: Mapping[str, object] = {}


class Declaration(Flow):
    """What is declared and deleted; subclassed by the vhost, and by nobody else."""

    def __init__(self, profile: Profile, budget: Budget, name: Callable[[], str]) -> None:
        super().__init__(profile, budget)
        self._name = name

    # Exchanges and bindings

    def declare_exchange(  # noqa: PLR0913 - the protocol's own arguments
        self,
        name: str,
        kind: str = "direct",
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, object] = NOTHING,
    ) -> None:
        """Make an exchange, or see that it is there and equal.

        Raises:
            AmqpError: 403, 404 (passive), 406, 503 (3.10: no such type), 540.
        """
        self._directory.declare_exchange(
            name,
            kind,
            passive=passive,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=arguments,
        )

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange and its bindings, if it is there; AmqpError 403, 406."""
        self._directory.delete_exchange(name, if_unused=if_unused)

    def bind_exchange(
        self, destination: str, source: str, key: str, arguments: Mapping[str, object] = NOTHING
    ) -> None:
        """Lead messages from one exchange to another; AmqpError 403, 404."""
        self._directory.bind(
            Binding(source, Destination("exchange", destination), key, freeze(arguments))
        )

    def unbind_exchange(
        self, destination: str, source: str, key: str, arguments: Mapping[str, object] = NOTHING
    ) -> None:
        """Undo :meth:`bind_exchange`; what is not bound or not there is no error. AmqpError 403."""
        self._directory.unbind(
            Binding(source, Destination("exchange", destination), key, freeze(arguments))
        )

    def bind_queue(
        self,
        channel: ChannelId,
        queue: str,
        exchange: str,
        key: str,
        arguments: Mapping[str, object] = NOTHING,
    ) -> None:
        """Lead messages from an exchange to a queue; AmqpError 403, 404, 405.

        Neither a queue nor a key: the queue declared last, by its own name.
        """
        binding = self._binding(channel, queue, exchange, key, arguments)
        refuse_default(binding)
        self._directory.exchange(exchange)
        self._queue(channel, binding.destination.name)
        self._directory.bind(binding)

    def unbind_queue(
        self,
        channel: ChannelId,
        queue: str,
        exchange: str,
        key: str,
        arguments: Mapping[str, object] = NOTHING,
    ) -> None:
        """Undo :meth:`bind_queue`; what is not bound or not there is no error.

        Raises:
            AmqpError: 403, 404 (no name, and no queue declared before), 405.
        """
        binding = self._binding(channel, queue, exchange, key, arguments)
        if self._directory.bound(binding):
            self._queue(channel, binding.destination.name)
        self._directory.unbind(binding)

    def _binding(
        self,
        channel: ChannelId,
        queue: str,
        exchange: str,
        key: str,
        arguments: Mapping[str, object],
    ) -> Binding:
        name = self._meant(channel, queue)
        key = key if queue or key else name
        return Binding(exchange, Destination("queue", name), key, freeze(arguments))

    # Queues

    def declare_queue(  # noqa: PLR0913 - the protocol's own arguments
        self,
        channel: ChannelId,
        name: str,
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, object] = NOTHING,
        now: float,
    ) -> QueueState:
        """Make a queue, or see that it is there and equal; an empty name has one made.

        Raises:
            AmqpError: 403 (reserved name), 404 (passive), 405, 406, 540, 541 (what RabbitMQ
                4.3 does not permit any more).
        """
        asker = self._channels[channel]
        if passive:
            queue = self._directory.queue(name, asker.connection)
        else:
            refuse_reserved("queue", name)
            there = self._directory.queues.get(name)
            # RabbitMQ too takes an exclusive queue for a transient one, whatever is said.
            durable = durable and not exclusive
            owner = asker.connection.id if exclusive else None
            if there is None:
                queue = self._make(
                    asker,
                    name,
                    QueueArguments.parse(name, arguments, self._directory.profile),
                    durable=durable,
                    auto_delete=auto_delete,
                    owner=owner,
                    now=now,
                )
            elif there.owner != owner:
                raise locked(name)
            else:
                there.assert_equal(durable=durable, auto_delete=auto_delete, arguments=arguments)
                queue = there
        queue.used_at = now
        asker.last_queue = queue.name
        self._look_at([queue])
        self._work(now)
        return queue.state

    def _make(  # noqa: PLR0913 - the protocol's own arguments
        self,
        channel: Channel,
        name: str,
        arguments: QueueArguments,
        *,
        durable: bool,
        auto_delete: bool,
        owner: ConnectionId | None,
        now: float,
    ) -> Queue:
        if self._directory.profile is Profile.RABBITMQ_4_3 and not durable and owner is None:
            raise deprecated("transient_nonexcl_queues", "declare the queue durable or exclusive")
        queue = Queue(
            name or f"amq.gen-{self._name()}",
            arguments,
            durable=durable,
            auto_delete=auto_delete,
            owner=owner,
            now=now,
        )
        self._directory.add_queue(queue)
        if owner is not None:
            channel.connection.exclusive[queue.name] = None
        return queue

    def _queue(self, channel: ChannelId, name: str) -> Queue:
        return self._directory.queue(self._meant(channel, name), self._channels[channel].connection)

    def _meant(self, channel: ChannelId, name: str) -> str:
        """A queue's name; no name is that of the queue that the channel declared last."""
        name = name or self._channels[channel].last_queue
        if not name:
            raise AmqpError(Code.NOT_FOUND, "no previously declared queue")
        return name

    def purge_queue(self, channel: ChannelId, name: str) -> int:
        """Drop what is ready (not what is unsettled) and count it; AmqpError 404, 405."""
        queue = self._queue(channel, name)
        return self._empty(queue)

    def delete_queue(
        self,
        channel: ChannelId,
        name: str,
        *,
        if_unused: bool = False,
        if_empty: bool = False,
        now: float,
    ) -> int:
        """Delete a queue and count what was ready; a missing one counts 0. AmqpError 405, 406."""
        try:
            queue = self._queue(channel, name)
        except AmqpError as error:
            if error.code is Code.NOT_FOUND and name:
                return 0
            raise
        if if_empty and queue.ready:
            raise AmqpError(
                Code.PRECONDITION_FAILED, f"queue '{queue.name}' in vhost '/' not empty"
            )
        if if_unused and queue.consumers:
            raise AmqpError(Code.PRECONDITION_FAILED, f"queue '{queue.name}' in vhost '/' in use")
        dropped = self._delete(queue)
        self._work(now)
        return dropped
