"""What examiners declare, and who asks for grades."""

from collections.abc import Mapping

from pytest_gatherscatter.broker.topology import (
    Topology,
    lab_topology,
    lasting_queue,
    own_inbox,
    work_queues,
)
from pytest_gatherscatter.wire import names

GRADE_QUEUE_SECONDS = 600
"""How long the queue of who asked for grades stays without it: a lost connection is back before."""


def examiner_topology(lab: str, name: str, threads: Mapping[str, int]) -> Topology:
    """Build an examiner's: its inbox, and its work queues with the threads that serve each.

    Of each work queue it takes as many requests as it has threads for it, of its suspects one.
    """
    found: list[tuple[str, str, int | None]] = []
    for queue, prefetch in threads.items():
        found.append((names.grading_queue(lab, queue), names.grading_key(queue), prefetch))
        found.append((names.suspects_queue(lab, queue), names.suspects_key(queue), 1))
    work = work_queues(lab, found)
    sought = ((names.event_exchange(lab), names.EXAMINER_SOUGHT),)
    return lab_topology(lab) + own_inbox(lab, names.examiner_queue(lab, name), sought) + work


def grade_topology(lab: str, asker: str) -> Topology:
    """Build that of who asks for grades: a queue that outlives its connection, as of slips."""
    queue = names.grade_queue(lab, asker)
    keys = ((names.direct_exchange(lab), names.grade_key(asker)),)
    return lab_topology(lab) + lasting_queue(lab, queue, keys, seconds=GRADE_QUEUE_SECONDS)
