"""The same random commands on the embedded broker and on RabbitMQ: all that is heard is compared.

Replies with every number in them, refusals word for word, confirms, returns, deliveries with
their tags, marks and stories, cancellations, and after each step what waits in every queue.
``GS_DIFFERENTIAL_EXAMPLES`` is how many stories there are.
"""

import itertools
import logging
import os
import secrets
import time
from typing import Any, ClassVar

import pytest
from brokerplay import EXCHANGES, PAUSE, SEATS, TTL, Lab
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

PATIENCE = 10.0
"""How long a broker may take to say what the other has said already."""

EXAMPLES = int(os.environ.get("GS_DIFFERENTIAL_EXAMPLES", "8"))
NOT_MANDATORY = False
REQUEUE = True

seats = st.integers(0, SEATS - 1)
exchanges = st.sampled_from(sorted(EXCHANGES))
keys = st.sampled_from(["a", "a.b", "a.b.c", "b", ""])
patterns = st.sampled_from(["#", "*", "a.*", "a.#", "*.b", "#.c", "a", "a.b"])
ways = st.sampled_from(["ack", "requeue", "reject"])
places = st.integers(0, 5)
# A story is about a few queues, else too little happens in each.
KIN = [
    ("plain",),
    ("short", "short.dead"),
    ("strict",),
    ("stricter",),
    ("heavy",),
    ("timed", "timed.dead"),
    ("single",),
    ("passing",),
]
queues = st.integers(0, 11)
rarely = st.integers(0, 4).map(lambda number: number == 0)


def same(command: object, embedded: object, rabbitmq: object) -> None:
    """Fail with both answers when they differ."""
    assert embedded == rabbitmq, f"{command}\n  embedded: {embedded}\n  rabbitmq: {rabbitmq}"


class Twins(RuleBasedStateMachine):
    """One laboratory on each broker."""

    urls: ClassVar[tuple[str, str]]
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        name = f"d{secrets.token_hex(3)}.{next(self.numbers)}"
        self.labs = [Lab(url, name) for url in self.urls]
        self.queues: list[str] = []

    @initialize(
        kin=st.lists(st.sampled_from(KIN), min_size=1, max_size=3, unique=True),
        consumers=st.lists(st.tuples(seats, queues, st.integers(1, 3)), max_size=4),
    )
    def choose(self, kin: list[tuple[str, ...]], consumers: list[tuple[int, int, int]]) -> None:
        """Say what the story is about, and who consumes from its beginning."""
        self.queues = [queue for names in kin for queue in names]
        for number, queue, prefetch in consumers:
            self.start(number, queue, prefetch, flags=(False, False))
            self.play("publish", number, self.named(queue), NOT_MANDATORY, None)

    def named(self, queue: int) -> str:
        """One of the queues that the story is about."""
        return self.queues[queue % len(self.queues)]

    def teardown(self) -> None:
        """Hear the last of it, and leave nothing behind."""
        try:
            self.compare("the end", 0)
        finally:
            for lab in self.labs:
                lab.end()

    def play(self, what: str, number: int, *arguments: Any) -> None:  # noqa: ANN401
        """Play a command on both, and compare the answers and what came of it."""
        command = (what, number, *arguments)
        embedded, rabbitmq = (lab.play(*command) for lab in self.labs)
        same(command, embedded, rabbitmq)
        if "timed" in self.queues:
            # What has died into it dies again, and must not meet the next command.
            time.sleep(PAUSE)
        self.compare(command, number)

    def compare(self, command: object, number: int) -> None:
        """Compare what everybody has heard; the one who is behind may have a moment more."""
        embedded, rabbitmq = (lab.settle(number) for lab in self.labs)
        end = time.monotonic() + PATIENCE
        while embedded[1:] != rabbitmq[1:] and time.monotonic() < end:
            time.sleep(0.01)
            embedded, rabbitmq = (lab.settle(number) for lab in self.labs)
        same(command, embedded[1], rabbitmq[1])
        for one, other in zip(embedded[2], rabbitmq[2], strict=True):
            same(command, one, other)

    @property
    def lab(self) -> Lab:
        """Either of them: they have heard the same."""
        return self.labs[0]

    @rule(number=seats, queue=queues, mandatory=st.booleans(), expires=rarely)
    def publish(self, number: int, queue: int, *, mandatory: bool, expires: bool) -> None:
        """To a queue by its name."""
        self.play("publish", number, self.named(queue), mandatory, TTL if expires else None)

    @rule(number=seats, queue=queues, count=st.integers(2, 4))
    def publish_some(self, number: int, queue: int, count: int) -> None:
        """Several to one queue."""
        for _ in range(count):
            self.play("publish", number, self.named(queue), NOT_MANDATORY, None)

    @precondition(lambda self: any(seat.consumers for seat in self.lab.seats))
    @rule(data=st.data(), number=seats, count=st.integers(1, 4))
    def feed(self, data: Any, number: int, count: int) -> None:  # noqa: ANN401
        """Publish to somebody who consumes."""
        names = sorted({seat.queue for seat in self.lab.seats if seat.queue is not None})
        name = data.draw(st.sampled_from(names))
        for _ in range(count):
            self.play("publish", number, name, NOT_MANDATORY, None)

    @rule(number=seats, exchange=exchanges, key=keys, mandatory=st.booleans())
    def route(self, number: int, exchange: str, key: str, *, mandatory: bool) -> None:
        """Through an exchange."""
        self.play("route", number, exchange, key, mandatory)

    @rule(number=seats, queue=queues, exchange=exchanges, key=patterns, undo=rarely)
    def bind(self, number: int, queue: int, exchange: str, key: str, *, undo: bool) -> None:
        """Bind a queue, or undo it."""
        self.play("unbind" if undo else "bind", number, self.named(queue), exchange, key)

    @rule(number=seats, ends=st.tuples(exchanges, exchanges), key=patterns, undo=rarely)
    def chain(self, number: int, ends: tuple[str, str], key: str, *, undo: bool) -> None:
        """Bind an exchange to an exchange, or undo it."""
        self.play("unchain" if undo else "chain", number, *ends, key)

    @rule(number=seats, queue=queues, no_ack=rarely)
    def get(self, number: int, queue: int, *, no_ack: bool) -> None:
        """Take one message."""
        self.play("get", number, self.named(queue), no_ack)

    @rule(number=seats, queue=queues, prefetch=st.integers(0, 3), flags=st.tuples(rarely, rarely))
    def consume(self, number: int, queue: int, prefetch: int, flags: tuple[bool, bool]) -> None:
        """Start a consumer."""
        self.start(number, queue, prefetch, flags)

    def start(self, number: int, queue: int, prefetch: int, flags: tuple[bool, bool]) -> None:
        """Start a consumer, of the queue that the channel consumes already if it does."""
        name = self.lab.seats[number].queue or self.named(queue)
        self.play("consume", number, name, *flags, prefetch)

    @precondition(lambda self: any(seat.consumers for seat in self.lab.seats))
    @rule(data=st.data(), place=places)
    def cancel(self, data: Any, place: int) -> None:  # noqa: ANN401
        """End a consumer."""
        numbers = [i for i, seat in enumerate(self.lab.seats) if seat.consumers]
        self.play("cancel", data.draw(st.sampled_from(numbers)), place)

    @precondition(lambda self: any(seat.held for seat in self.lab.seats))
    @rule(data=st.data(), place=places, how=ways, multiple=st.booleans())
    def settle(self, data: Any, place: int, how: str, *, multiple: bool) -> None:  # noqa: ANN401
        """Settle a delivery, or all up to it."""
        numbers = [i for i, seat in enumerate(self.lab.seats) if seat.held]
        self.play("settle", data.draw(st.sampled_from(numbers)), place, how, multiple)

    @precondition(lambda self: any(seat.held for seat in self.lab.seats))
    @rule(data=st.data(), how=st.sampled_from(["ack", "requeue", "reject", "recover"]))
    def settle_all(self, data: Any, how: str) -> None:  # noqa: ANN401
        """Settle all that a channel holds."""
        numbers = [i for i, seat in enumerate(self.lab.seats) if seat.held]
        number = data.draw(st.sampled_from(numbers))
        if how == "recover":
            self.play("recover", number, REQUEUE)
        else:
            self.play("settle_all", number, how)

    @rule(
        number=seats,
        queue=queues,
        what=st.sampled_from(["declare", "purge", "declare_otherwise", "own", "delete"]),
        flags=st.sampled_from([(False, True), (True, False), (True, True), (False, False)]),
    )
    def ask(self, number: int, queue: int, what: str, flags: tuple[bool, bool]) -> None:
        """Ask for what may be refused; what was deleted is declared again."""
        if what == "delete":
            self.play(what, number, self.named(queue), *flags)
            self.play("declare", number, self.named(queue))
        else:
            self.play(what, number, *([] if what == "own" else [self.named(queue)]))

    @rule(number=seats, how=st.sampled_from(["leave", "die", "recover", "settle_unknown"]))
    def end(self, number: int, how: str) -> None:
        """Close a channel or a connection, or ask for what ends it."""
        more: dict[str, list[Any]] = {"recover": [not REQUEUE], "settle_unknown": ["ack"]}
        if how in {"leave", "settle_unknown"} or self.certain(number):
            self.play(how, number, *more.get(how, []))

    def certain(self, number: int) -> bool:
        """Whether it is certain what the end of a seat's connection leads to."""
        return self.lab.certain_death(self.lab.seats[number].connection)


@pytest.mark.timeout(60 * EXAMPLES)
def test_both_brokers_give_the_same_answers(
    twin_urls: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Any story of three connections with two channels each."""
    caplog.set_level(logging.CRITICAL, "pika")
    Twins.urls = twin_urls
    run_state_machine_as_test(
        Twins,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            # Shrinking plays hundreds of laboratories on a real broker.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
