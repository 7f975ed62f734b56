"""One connection to a broker over pika, with its channel: from dialling until nothing is left.

Its owner is told once how it came out, up or failed, and once more if it is lost afterwards. A
connection that was retired, by its owner or by its own end, tells nothing any more.

Declares and binds are sent without waiting for each answer (``nowait``); the last step of
set-up, a consume, is waited for. An error among them closes the channel and says which. What a
lab shares is looked for first, which needs no rights on the broker, and made where it is missing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker

from pytest_gatherscatter.broker.dial import (
    ACCESS_REFUSED,
    close,
    dial,
    explain,
    hang_up,
    refusal,
    words,
)
from pytest_gatherscatter.broker.intake import Intake
from pytest_gatherscatter.broker.loop import PIKA_BROKE, Loop
from pytest_gatherscatter.broker.outbox import Outbox
from pytest_gatherscatter.broker.port import PortEvent
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.broker.url import BrokerUrl
from pytest_gatherscatter.errors import (
    BrokerError,
    BrokerLost,
    BrokerRefused,
    BrokerUnreachable,
    SettingsInvalid,
)

NOT_FOUND = 404
"""What a broker answers who looks for something that is not there."""

CONFIRM_SECONDS = 60.0
"""After which a publish is looked for that waited for its confirm a look ago already. A broker that
confirms nothing holds up the acks that wait for it, and RabbitMQ takes their deliveries back after
30 minutes; one that is only slow, with its disk or its memory, answers within seconds."""

_NOT_MADE = (
    "the lab's exchanges are not there yet: start its gatherer first, or import what "
    "'gatherscatter permissions --definitions' prints"
)


class Owner(Struct, frozen=True):
    """Whom a connection tells what, in calls from the loop."""

    tell: Callable[[PortEvent], None]
    on_up: Callable[[], None]
    on_failed: Callable[[BrokerError], None]
    on_lost: Callable[[str], None]


class Connection:
    """A connection, its channel and what is consumed over it.

    Args:
        url: where the broker is.
        loop: it lives in the turns of this loop.
        topology: what is declared, bound and consumed before it counts as up.
        generation: of its channel, for the tags of deliveries.
        owner: whom it tells.
    """

    def __init__(
        self, url: BrokerUrl, loop: Loop, topology: Topology, generation: int, owner: Owner
    ) -> None:
        self.generation = generation
        self.connecting = True
        self.up = False
        self.gone = False
        """Whether nothing is left of it: no socket, no callback to come."""
        self.outbox: Outbox  # there, as the intake, from the channel on: hence while it is up
        self.intake: Intake
        self._url = url
        self._loop = loop
        self._topology = topology
        self._owner = owner
        self._retired = False
        self._dialled: Any = None
        self._connection: Any = None
        self._channel: Channel
        self._early: list[PortEvent] = []
        self._looks = topology.found() != topology
        """Whether what is shared is only looked for: until it was not found."""
        self._missed = False

    @property
    def product(self) -> str:
        """What the broker calls itself; empty before it has."""
        told = self._told()
        return " ".join(str(told[key]) for key in ("product", "version") if key in told)

    @property
    def instance(self) -> str:
        """Which start of a broker it is that forgets everything at its end; else empty."""
        return str(self._told().get("instance", ""))

    def _told(self) -> Mapping[str, Any]:
        """Return what the broker says of itself."""
        return getattr(self._connection, "server_properties", None) or {}

    # ── set-up, in callbacks ───────────────────────────────────────────────────────────

    def dial(self, *, name: str, heartbeat: int, seconds: float, patience: float) -> None:
        """Start to connect; it is up or has failed within ``seconds``.

        The last of several attempts has only what is left of the time: a person is told
        ``patience``, the whole of it.

        Raises:
            SettingsInvalid: a TLS file cannot be read; nothing was begun.
        """
        try:
            self._dialled = dial(
                self._url,
                loop=self._loop,
                name=name,
                heartbeat=heartbeat,
                seconds=seconds,
                on_done=self._on_connected,
            )
        except SettingsInvalid:
            self.gone = self._retired = True
            self.connecting = False
            raise
        except OSError as error:
            self.gone = True
            self._fail(BrokerUnreachable(self._url.safe, words(error)))
        else:
            silence = BrokerUnreachable(self._url.safe, f"no answer within {patience:g} s")
            self._loop.call_later(seconds, lambda: self._on_overtime(silence))

    def _on_connected(self, result: Any) -> None:  # noqa: ANN401 - a connection or an error
        if isinstance(result, BaseException):
            self.gone = True
            if not self._retired:
                self._fail(explain(self._url, result))
            return
        result.add_on_close_callback(self._on_closed)
        if self._retired:
            close(result)
            return
        self._connection = result
        result.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        if self._retired:
            return
        channel.add_on_close_callback(self._on_channel_closed)
        self._channel = channel
        self.outbox = Outbox(channel, self._tell)
        self.intake = Intake(channel, self.generation, self._tell)
        declare(channel, self._topology, look=self._looks)
        self.intake.consume(self._topology.consumers, self._on_ready)

    def _on_ready(self) -> None:
        if self._retired:
            return
        self.connecting, self.up = False, True
        self._dialled = None
        self._owner.on_up()
        early, self._early = self._early, []
        for event in early:
            self._owner.tell(event)
        self._watch(None)

    def _watch(self, oldest: int | None) -> None:
        """Give up a connection over which the ``oldest`` publish of the last look still waits."""
        if not self.up:
            return
        found = self.outbox.oldest
        if found is not None and found == oldest:
            self._lose(f"the broker confirms nothing for {CONFIRM_SECONDS:g} s")
        else:
            self._loop.call_later(CONFIRM_SECONDS, lambda: self._watch(found))

    def _on_overtime(self, error: BrokerError) -> None:
        if self.connecting:
            self._fail(error)

    def _tell(self, event: PortEvent) -> None:
        """Pass on what the channel tells; a delivery may come before the last consumer runs."""
        if self.up:
            self._owner.tell(event)
        elif self.connecting:
            self._early.append(event)

    # ── at run time ────────────────────────────────────────────────────────────────────

    def aside(self, work: Callable[[Channel], object]) -> list[Exception]:
        """Do ``work`` on a channel of its own: what is refused closes that one only.

        Returns:
            A list that takes, in some later turn, the reason why that channel is closed.

        Raises:
            BrokerLost: the connection breaks at this very moment.
        """
        ends: list[Exception] = []

        def opened(channel: Channel) -> None:
            channel.add_on_close_callback(lambda _, reason: ends.append(reason))
            work(channel)
            channel.close()  # its answer comes after that of all the work

        try:
            self._connection.channel(on_open_callback=opened)
        except PIKA_BROKE as error:
            raise BrokerLost(words(error)) from None
        return ends

    def restore(self, part: Topology) -> None:
        """Declare and consume what was deleted; if that is refused, the connection is lost."""
        if not self.up:
            return
        try:
            declare(self._channel, part)
            self.intake.consume(part.consumers, _nothing)
        except PIKA_BROKE:
            return  # it is about to end, which comes as an event

    # ── its end ────────────────────────────────────────────────────────────────────────

    def broke(self, reason: str) -> None:
        """Take an exception out of pika's inside as what it means: the connection is gone."""
        if self.connecting:
            self._fail(BrokerUnreachable(self._url.safe, reason))
        elif self.up:
            self._lose(reason)

    def retire(self) -> None:
        """Let go of it; what still comes of it is nobody's business. May be called twice."""
        self._retired = True
        self.connecting = self.up = False
        dialled, self._dialled = self._dialled, None
        connection, self._connection = self._connection, None
        if connection is not None:
            close(connection)
        elif dialled is not None:
            hang_up(dialled, self._loop)

    def _on_closed(self, _connection: object, reason: Exception) -> None:
        self.gone = True
        if self.connecting:
            self._fail(explain(self._url, reason))
        elif self.up:
            self._lose(words(reason))

    def _on_channel_closed(self, _channel: Channel, reason: Exception) -> None:
        # A connection that is lost tells its channels first: leave that to _on_closed.
        if not isinstance(reason, ChannelClosedByBroker):
            return
        if self.connecting and self._looks and reason.reply_code == NOT_FOUND:
            self._looks, self._missed = False, True
            self._connection.channel(on_open_callback=self._on_channel)
        elif self.connecting and self._missed and reason.reply_code == ACCESS_REFUSED:
            self._fail(BrokerRefused(reason.reply_code, f"{reason.reply_text}; {_NOT_MADE}"))
        elif self.connecting:
            self._fail(refusal(reason))
        elif self.up:
            self._lose(words(reason))

    def _fail(self, error: BrokerError) -> None:
        self.retire()
        self._owner.on_failed(error)

    def _lose(self, reason: str) -> None:
        self.retire()
        self._owner.on_lost(reason)


def declare(channel: Channel, topology: Topology, *, look: bool = False) -> None:
    """Send every declare and bind, in their order, without waiting for answers.

    With ``look``, what is shared is only looked for: 404 if it is not there.
    """
    for exchange in topology.exchanges:
        channel.exchange_declare(
            exchange.name,
            exchange.kind,
            durable=exchange.durable,
            passive=look and exchange.shared,
        )
    for queue in topology.queues:
        channel.queue_declare(
            queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            arguments=dict(queue.arguments),
            passive=look and queue.shared,
        )
    for binding in (topology.found() if look else topology).bindings:
        channel.queue_bind(binding.queue, binding.exchange, binding.key)


def _nothing() -> None:
    """Wait for nobody."""
