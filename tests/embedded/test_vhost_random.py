"""The pure broker under any sequence of calls: nothing lost, nothing doubled, no rule broken."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_gatherscatter.embedded.record import Deliver, Message, Outcome
from pytest_gatherscatter.embedded.refusal import AmqpError
from pytest_gatherscatter.embedded.vhost import VHost

PLAIN = "plain"
QUEUES: dict[str, dict[str, object]] = {
    PLAIN: {},
    "single": {"x-single-active-consumer": True},
    "short": {"x-max-length": 3, "x-dead-letter-exchange": "graves"},
    "timed": {"x-message-ttl": 2000, "x-dead-letter-exchange": "graves"},
    "rented": {"x-expires": 5000},
    "dead": {},
}
CONNECTIONS = ("a", "b", "c")
connections = st.sampled_from(CONNECTIONS)
names = st.sampled_from(sorted(QUEUES))


class AnyCalls(RuleBasedStateMachine):
    """Three clients do anything; a naive model follows the messages of the plain queue."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.vhost = VHost()
        self.numbers = 0
        # The model of the plain queue: every body in exactly one of these places.
        self.waiting: set[bytes] = set()
        self.held: dict[tuple[str, int], bytes] = {}
        self.done: set[bytes] = set()
        # Deliveries of the other queues, so that they can be settled too.
        self.others: set[tuple[str, int]] = set()

    @initialize()
    def start(self) -> None:
        """Connect everybody and declare everything."""
        self.vhost.declare_exchange("graves", "fanout")
        self.vhost.declare_exchange("topic", "topic")
        for connection in CONNECTIONS:
            self.connect(connection)
        for name in QUEUES:
            self.declare(name)
        self.vhost.bind_queue("a", "dead", "graves", "")

    def connect(self, connection: str) -> None:
        """One connection with one channel of the same id."""
        self.vhost.connect(connection, connection)
        self.vhost.open_channel(connection, connection)

    def declare(self, name: str) -> None:
        """Declare one of the queues."""
        self.vhost.declare_queue("a", name, durable=True, arguments=QUEUES[name], now=self.now)

    def collect(self) -> None:
        """Follow what was delivered."""
        for output in self.vhost.drain():
            if not isinstance(output, Deliver):
                continue
            self.take(str(output.channel), output.delivery_tag, output.queue, output.message.body)

    def take(self, channel: str, tag: int, queue: str, body: bytes) -> None:
        """One delivery: of the plain queue it must have been waiting."""
        if queue == PLAIN:
            assert body in self.waiting, "delivered twice, or never published"
            self.waiting.discard(body)
            self.held[channel, tag] = body
        else:
            self.others.add((channel, tag))

    @rule(connection=connections, name=names, mandatory=st.booleans())
    def publish(self, connection: str, name: str, mandatory: bool) -> None:  # noqa: FBT001
        """Publish a body that is not like any other."""
        self.numbers += 1
        body = b"%d" % self.numbers
        outcome = self.vhost.publish(
            connection, Message("", name, body), mandatory=mandatory, now=self.now
        )
        if name == PLAIN:
            assert outcome is Outcome.QUEUED
            self.waiting.add(body)
        self.collect()

    @rule(connection=connections, name=names, prefetch=st.integers(0, 3), tag=st.integers(0, 2))
    def consume(self, connection: str, name: str, prefetch: int, tag: int) -> None:
        """Start a consumer, or be refused."""
        self.vhost.qos(connection, prefetch)
        try:
            self.vhost.consume(connection, name, f"t{tag}", now=self.now)
        except AmqpError as error:
            assert error.code in {404, 530}  # noqa: PT017 - only these may come
        self.collect()

    @rule(connection=connections, tag=st.integers(0, 2))
    def cancel(self, connection: str, tag: int) -> None:
        """End a consumer."""
        self.vhost.cancel(connection, f"t{tag}", now=self.now)
        self.collect()

    @rule(connection=connections, name=names)
    def get(self, connection: str, name: str) -> None:
        """Take one by hand."""
        try:
            got = self.vhost.get(connection, name, now=self.now)
        except AmqpError as error:
            assert (error.code, name) == (404, "rented")  # noqa: PT017 - it had expired
            return
        if got is not None:
            self.take(connection, got.delivery_tag, name, got.message.body)
        self.collect()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), what=st.sampled_from(["ack", "requeue", "dead"]))
    def settle(self, data: Any, what: str) -> None:  # noqa: ANN401
        """Settle one delivery of the plain queue."""
        channel, tag = data.draw(st.sampled_from(sorted(self.held)))
        body = self.held.pop((channel, tag))
        if what == "ack":
            self.vhost.ack(channel, tag, now=self.now)
            self.done.add(body)
        elif what == "requeue":
            self.waiting.add(body)
            self.vhost.nack(channel, tag, now=self.now)
        else:
            self.vhost.nack(channel, tag, requeue=False, now=self.now)
            self.done.add(body)
        self.collect()

    @precondition(lambda self: self.others)
    @rule(data=st.data(), requeue=st.booleans())
    def settle_other(self, data: Any, requeue: bool) -> None:  # noqa: ANN401, FBT001
        """Settle one delivery of another queue."""
        channel, tag = data.draw(st.sampled_from(sorted(self.others)))
        self.others.discard((channel, tag))
        self.vhost.nack(channel, tag, requeue=requeue, now=self.now)
        self.collect()

    @rule(connection=connections)
    def die(self, connection: str) -> None:
        """Lose a connection and come again: what it held waits again."""
        lost = [key for key in self.held if key[0] == connection]
        self.waiting.update(self.held.pop(key) for key in lost)
        self.others = {key for key in self.others if key[0] != connection}
        self.vhost.disconnect(connection, now=self.now)
        self.collect()
        self.connect(connection)

    @rule(connection=connections)
    def stall(self, connection: str) -> None:
        """A client stops reading."""
        self.vhost.pause(connection)

    @rule(connection=connections)
    def read(self, connection: str) -> None:
        """A client reads again."""
        self.vhost.resume(connection, now=self.now)
        self.collect()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.5, 6.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass, in the steps that the vhost asks for."""
        until = self.now + seconds
        while (at := self.vhost.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.vhost.expire(self.now)
        self.now = until
        self.collect()

    @rule()
    def declare_again(self) -> None:
        """The rented queue may have expired."""
        self.declare("rented")
        self.collect()

    @invariant()
    def all_is_well(self) -> None:
        """Every invariant of the vhost holds and the plain queue holds what the model says."""
        assert self.vhost.problems(self.now) == []
        if self.numbers:
            assert self.vhost.queue_state(PLAIN).messages == len(self.waiting)


AnyCalls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyCalls = AnyCalls.TestCase
