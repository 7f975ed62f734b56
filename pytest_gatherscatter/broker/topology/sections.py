"""What the parties of sections declare: gatherer, agents, and the queues of captures."""

from collections.abc import Iterable

from pytest_gatherscatter.broker.topology import (
    Binding,
    Consumer,
    Queue,
    Topology,
    lab_topology,
    own_inbox,
)
from pytest_gatherscatter.wire import names

SECTION_QUEUE_SECONDS = 3600
"""How long an unused queue of artifacts stays: the hand-in ends in ``report_timeout`` (30 s),
and an hour leaves a restarted gatherer time to come for what it missed."""


def gatherer_topology(lab: str) -> Topology:
    """Build the gatherer's: the exclusive inbox whose absence is told at once.

    It sees to what the lab shares each time, so that what somebody deleted comes back. It hears
    of agents that join or leave only by requests: events are for those who watch.
    """
    direct = names.direct_exchange(lab)
    keys = ((direct, names.GATHERER_KEY), (direct, names.STEER_KEY))
    return lab_topology(lab, shared=False) + own_inbox(lab, names.gatherer_queue(lab), keys)


def agent_topology(lab: str, name: str, benches: Iterable[str]) -> Topology:
    """Build an agent's: its exclusive inbox, with the events of its ``benches``."""
    events = names.event_exchange(lab)
    keys = [(names.direct_exchange(lab), names.agent_key(name)), (events, names.GATHERER_STARTED)]
    keys += [(events, key) for bench in benches for key in names.bench_events(bench)]
    return lab_topology(lab) + own_inbox(lab, names.agent_queue(lab, name), keys)


def section_topology(lab: str, section: str, *, prefetch: int | None = None) -> Topology:
    """Build the durable queue of a section's artifacts, consumed if ``prefetch`` is given.

    The lab's exchanges are not in it: whoever declares this has joined the lab already.
    """
    queue = names.section_queue(lab, section)
    return Topology(
        queues=(
            Queue(
                queue,
                durable=True,
                arguments={
                    "x-expires": SECTION_QUEUE_SECONDS * 1000,
                    "x-dead-letter-exchange": names.dead(lab),
                },
            ),
        ),
        bindings=(Binding(queue, names.direct_exchange(lab), names.section_key(section)),),
        consumers=() if prefetch is None else (Consumer(queue, prefetch),),
    )
