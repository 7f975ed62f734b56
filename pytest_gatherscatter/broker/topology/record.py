"""What a recorder declares."""

from pytest_gatherscatter.broker.topology import (
    Binding,
    Consumer,
    Queue,
    Topology,
    lab_topology,
)
from pytest_gatherscatter.wire import names

RECORD_SECONDS = 28 * 24 * 3600
"""How long a recorder's queue stays without it: four weeks, longer than most people are away."""

RECORD_EVENTS = 100_000
"""Events that wait for a recorder; of more the oldest are lost, and nobody is held up by it."""

RECORD_BYTES = 256 * 1024 * 1024
"""Bytes of them: what a lab's broker can spare, and 2.6 KiB for each of the most events."""

RECORD_PREFETCH = 200
"""Events in a recorder's hand: of the largest ones 200 MiB, and enough for one transaction."""


def recorder_topology(lab: str, name: str) -> Topology:
    """Build a recorder's: a durable queue of what ended, which waits for it while it is away.

    It is bounded, and drops its oldest rather than refuse new ones: who says that something ended
    is not to be held up. One recorder consumes it, lest each of two had the half.
    """
    queue, events = names.record_queue(lab, name), names.event_exchange(lab)
    arguments: dict[str, str | int] = {
        "x-expires": RECORD_SECONDS * 1000,
        "x-max-length": RECORD_EVENTS,
        "x-max-length-bytes": RECORD_BYTES,
    }
    return lab_topology(lab) + Topology(
        queues=(Queue(queue, durable=True, arguments=arguments),),
        bindings=tuple(Binding(queue, events, key) for key in names.recorded_events()),
        consumers=(Consumer(queue, RECORD_PREFETCH, exclusive=True),),
    )
