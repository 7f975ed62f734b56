"""Topologies: what each party declares, and that RabbitMQ 4.3 would take all of it."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module

import pytest

from pytest_gatherscatter.broker import topology
from pytest_gatherscatter.broker.topology import (
    Binding,
    Consumer,
    Exchange,
    Queue,
    Topology,
    lab_topology,
    observer_topology,
    reply_topology,
)
from pytest_gatherscatter.broker.topology.graders import examiner_topology
from pytest_gatherscatter.broker.topology.roundrobin import balanced_topology, balancer_topology
from pytest_gatherscatter.broker.topology.sections import (
    agent_topology,
    gatherer_topology,
    section_topology,
)
from pytest_gatherscatter.broker.topology.slips import processor_topology
from pytest_gatherscatter.wire import names

SAMPLES: dict[str, object] = {
    "name": "scope",
    "benches": ["b1", "b2"],
    "events": ["section.go.b1"],
    "processes": ["cut"],
    "slots": 2,
    "threads": {"waveform": 3},
    "services": ["service.echo", "grading.waveform", "steps.cut"],
    "prefetch": 4,
}
"""What parties are called, by the parameter that takes it; any other is an identifier."""

ROOMS = [
    import_module(f"{topology.__name__}.{one.name}")
    for one in pkgutil.iter_modules(topology.__path__)
]

MAKERS: dict[str, Callable[..., Topology]] = {
    name.removesuffix("_topology"): made
    for module in (topology, *ROOMS)
    for name, made in vars(module).items()
    if name.endswith("_topology")
}
"""All that there are, so that none can be forgotten here."""


def made(name: str, samples: Mapping[str, object], identifier: str) -> Topology:
    """One party's topology, in a lab ``x`` unless the samples name another."""
    wanted = inspect.signature(MAKERS[name]).parameters
    given = {"lab": "x", **samples}
    return MAKERS[name](
        **{
            key: given.get(key, identifier if found.default is found.empty else found.default)
            for key, found in wanted.items()
        }
    )


every = pytest.mark.parametrize("name", MAKERS)

REFUSED_BY_4_3 = {"x-queue-mode", "x-max-priority", "x-queue-master-locator"}


@every
def test_nothing_that_rabbitmq_4_3_refuses(name: str) -> None:
    """Every queue is durable or exclusive, of no deprecated mode, and never bound to nothing."""
    topology = made(name, SAMPLES, "0123abcd")
    assert topology.queues
    for queue in topology.queues:
        assert queue.durable != queue.exclusive
        assert not queue.auto_delete
        assert not REFUSED_BY_4_3 & set(queue.arguments)
    for exchange in topology.exchanges:
        assert exchange.durable
        assert exchange.kind in {"topic", "fanout", "direct"}


@every
def test_bindings_and_consumers_name_what_is_declared(name: str) -> None:
    """Whoever joined the lab can declare each topology: it refers to nothing unknown."""
    topology = lab_topology("x") + made(name, SAMPLES, "0123abcd")
    exchanges = {exchange.name for exchange in topology.exchanges}
    queues = {queue.name for queue in topology.queues}
    assert {binding.exchange for binding in topology.bindings} <= exchanges
    assert {binding.queue for binding in topology.bindings} <= queues
    assert {consumer.queue for consumer in topology.consumers} <= queues


@every
def test_no_name_is_longer_than_a_short_string(name: str) -> None:
    """AMQP names and keys fit in 255 bytes, with the longest names that people may give."""
    longest = "n" * 64
    people: dict[str, object] = {
        "lab": longest,
        "name": longest,
        "benches": [longest],
        "processes": [longest],
    }
    people["threads"] = {longest: 1}
    people["services"] = [f"{kind}.{longest}" for kind in ("service", "grading", "steps")]
    topology = made(name, SAMPLES | people, "f" * 32)
    for text in (
        *(queue.name for queue in topology.queues),
        *(binding.key for binding in topology.bindings),
    ):
        assert len(text.encode()) <= 255


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "transient"),
        ({"durable": True, "arguments": {"x-queue-mode": "lazy"}}, "x-queue-mode"),
        ({"durable": True, "arguments": {"x-queue-version": 1}}, "x-queue-version"),
        ({"exclusive": True, "arguments": {"x-queue-type": "quorum"}}, "quorum"),
    ],
)
def test_a_refused_queue_cannot_be_made(
    arguments: dict[str, bool | dict[str, str | int]], word: str
) -> None:
    """What 4.3 refuses is refused here, by name, before anything is sent."""
    with pytest.raises(ValueError, match=word):
        Queue("q", **arguments)  # type: ignore[arg-type]


def test_a_queue_needs_a_name() -> None:
    """A name that the server gives would be another one after a reconnect."""
    with pytest.raises(ValueError, match="name"):
        Queue("", exclusive=True)


@pytest.mark.parametrize("prefetch", [0, -1, 65536])
def test_a_prefetch_is_bounded(prefetch: int) -> None:
    """Zero would mean everything that the queue holds at once."""
    with pytest.raises(ValueError, match="prefetch"):
        Consumer("q", prefetch)


def test_joining_keeps_each_thing_once() -> None:
    """Two rooms on one link declare the lab once."""
    both = gatherer_topology("x") + reply_topology("x", "0123abcd")
    assert len(both.exchanges) == 3
    assert len({queue.name for queue in both.queues}) == len(both.queues) == 3
    assert both + both == both


def test_joining_refuses_what_the_broker_would_refuse() -> None:
    """One name described in two ways would be a 406 at the broker, and later."""
    with pytest.raises(ValueError, match="two ways"):
        Topology(exchanges=(Exchange("e"),)) + Topology(exchanges=(Exchange("e", kind="fanout"),))
    queue = Topology(queues=(Queue("q", exclusive=True),))
    with pytest.raises(ValueError, match="two ways"):
        queue + Topology(queues=(Queue("q", durable=True),))
    with pytest.raises(ValueError, match="two ways"):
        Topology(consumers=(Consumer("q", 1),)) + Topology(consumers=(Consumer("q", 2),))


def test_the_observer_hears_events_only() -> None:
    """An observer on the direct exchange would make an absent gatherer routable."""
    queue = names.reply_queue("x", "0123abcd")
    mine = [b for b in observer_topology("x", "0123abcd").bindings if b.queue == queue]
    assert mine == [Binding(queue, "gs.x", "#")]


def test_an_agent_hears_its_benches_and_its_own_name() -> None:
    """Two benches, no other one, and no request that is meant for somebody else."""
    queue = names.agent_queue("x", "scope")
    mine = {
        (b.exchange, b.key)
        for b in agent_topology("x", "scope", ["b1", "b2", "b1"]).bindings
        if b.queue == queue
    }
    assert ("gs.x.to", "agent.scope") in mine
    assert ("gs.x", "section.go.b1") in mine
    assert ("gs.x", "section.go.b2") in mine
    assert {key for exchange, key in mine if exchange == "gs.x.to"} == {"agent.scope"}


def test_dead_letters_are_bounded() -> None:
    """The dead queue has a length and an age, and its own letters cannot die again."""
    (dead,) = lab_topology("x").queues
    assert dead.arguments == {"x-max-length": 10_000, "x-message-ttl": 7 * 24 * 3600 * 1000}


def test_taking_a_queue_out() -> None:
    """A consumer or a whole queue can be taken out again, and nothing else goes with it."""
    whole = gatherer_topology("x") + section_topology("x", "0123abcd", prefetch=4)
    name = names.section_queue("x", "0123abcd")
    quiet = whole.without_consumer(name)
    assert name in {queue.name for queue in quiet.queues}
    assert quiet.consumers == gatherer_topology("x").consumers
    assert whole.without_queue(name) == gatherer_topology("x")


def test_a_service_is_declared_as_by_who_serves_it_alone() -> None:
    """A balancer, and workers behind it, may stand before an examiner and a processor."""
    services = ["grading.waveform", "steps.cut"]
    alone = examiner_topology("x", "scope", {"waveform": 3})
    alone += processor_topology("x", "bench", ["cut"], 2)
    theirs = balanced_topology("x", "0123abcd", services, 10)
    whole = theirs + balancer_topology("x", services)  # a queue in two ways would be refused here
    for queue in ("gs.x.grading.waveform", "gs.x.steps.cut"):
        (declared,) = alone.only_queue(queue).queues
        for other in (theirs, whole):
            assert other.only_queue(queue).queues == (declared,)
            assert set(other.only_queue(queue).bindings) == set(alone.only_queue(queue).bindings)


def test_a_balancer_has_its_queues_for_itself() -> None:
    """Nobody else consumes a service, or reads who was known; clients find it with no worker."""
    services = ["service.echo", "steps.cut"]
    prefetch = {
        one.queue: (one.prefetch, one.exclusive)
        for one in balancer_topology("x", services).consumers
    }
    assert prefetch == {
        "gs.x.service.echo": (65535, True),
        "gs.x.steps.cut": (256, True),
        **dict.fromkeys(("gs.x.known.service.echo", "gs.x.known.steps.cut"), (8, True)),
        **dict.fromkeys(("gs.x.balancer.service.echo", "gs.x.balancer.steps.cut"), (256, False)),
    }
    workers = balanced_topology("x", "0123abcd", services, 65_000)
    assert workers.consumers == (Consumer("gs.x.balanced.0123abcd", 65_256),)
    assert {"gs.x.service.echo", "gs.x.steps.cut"} <= {queue.name for queue in workers.queues}
