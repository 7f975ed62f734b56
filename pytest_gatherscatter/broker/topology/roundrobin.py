"""What the parties of the round robin declare: clients, workers with and without a balancer.

A service is meant by the key of its queue: ``service.echo``, ``grading.waveform``, ``steps.flash``.
All of them declare that queue alike, and as examiners and processors do: whoever comes first makes
it, and from then on clients find it, whether somebody consumes it or not.
"""

from collections.abc import Iterable

from pytest_gatherscatter.broker.topology import (
    INBOX_PREFETCH,
    MOST_PREFETCH,
    Binding,
    Consumer,
    Queue,
    Topology,
    lab_topology,
    lasting_queue,
    own_inbox,
    work_queues,
)
from pytest_gatherscatter.wire import names

CLIENT_QUEUE_SECONDS = 600
"""How long a client's queue stays without it: a lost connection is back before."""

SLIPS_AT_BALANCER = 256
"""Slips that wait at a balancer: each carries all that was done with it, and may have 1 MiB."""

KNOWN_PREFETCH = 8
"""Messages of which workers are known: there is one, and another one while it is replaced."""


def client_topology(lab: str, client: str) -> Topology:
    """Build a client's: a queue that outlives its connection, as of slips and of grades."""
    queue = names.client_queue(lab, client)
    keys = ((names.direct_exchange(lab), names.client_key(client)),)
    return lab_topology(lab) + lasting_queue(lab, queue, keys, seconds=CLIENT_QUEUE_SECONDS)


def service_topology(lab: str, services: Iterable[str], slots: int) -> Topology:
    """Build that of a worker without a balancer: of each service as many tasks as it has slots."""
    return _services(lab, services, slots)


def balanced_topology(lab: str, address: str, services: Iterable[str], slots: int) -> Topology:
    """Build that of workers behind a balancer: the inbox on which they are given tasks.

    All ``slots`` may be full while others hand something back, so it takes more than them. The
    services' queues are made and not consumed.
    """
    services = tuple(services)
    queue = names.balanced_queue(lab, address)
    keys = [(names.direct_exchange(lab), names.balanced_key(address))]
    keys += [(names.event_exchange(lab), names.balancer_event("started", one)) for one in services]
    prefetch = min(slots + INBOX_PREFETCH, MOST_PREFETCH)
    return _services(lab, services) + own_inbox(lab, queue, keys, prefetch)


def behind_balancer(
    topology: Topology, lab: str, address: str, services: Iterable[str], slots: int
) -> Topology:
    """Put who declares ``topology`` behind balancers: of these services it consumes no queue."""
    services = tuple(services)
    for service in services:
        topology = topology.without_consumer(names.service_queue(lab, service))
    return topology + balanced_topology(lab, address, services, slots)


def balancer_topology(lab: str, services: Iterable[str]) -> Topology:
    """Build a balancer's: of each service its inbox, its queue alone, and which workers it knew.

    Owning the inbox is being the balancer of that service: a second one is refused.
    """
    services = tuple(services)
    direct, dead = names.direct_exchange(lab), names.dead(lab)
    whole = _services(lab, services)
    for service in services:
        prefetch = SLIPS_AT_BALANCER if service.startswith("steps.") else MOST_PREFETCH
        known = names.known_queue(lab, service)
        whole += own_inbox(
            lab,
            names.balancer_queue(lab, service),
            (
                (direct, names.balancer_key(service)),
                (names.event_exchange(lab), names.BALANCER_SOUGHT),
            ),
        )
        whole += Topology(
            queues=(Queue(known, durable=True, arguments={"x-dead-letter-exchange": dead}),),
            bindings=(Binding(known, direct, names.known_key(service)),),
            consumers=(
                Consumer(names.service_queue(lab, service), prefetch, exclusive=True),
                Consumer(known, KNOWN_PREFETCH, exclusive=True),
            ),
        )
    return whole


def _services(lab: str, services: Iterable[str], prefetch: int | None = None) -> Topology:
    """Build the lab, and the queues of services, whose names are the keys they are bound with."""
    queues = ((names.service_queue(lab, service), service, prefetch) for service in services)
    return lab_topology(lab) + work_queues(lab, queues)
