"""What the parties of a job of test files declare: originator, supervisors, listeners."""

from pytest_gatherscatter.broker.topology import (
    Binding,
    Topology,
    lab_topology,
    own_inbox,
)
from pytest_gatherscatter.wire import names


def job_topology(lab: str, job: str) -> Topology:
    """Build the originator's of a job: its exclusive inbox, whose absence ends the workers."""
    keys = (
        (names.direct_exchange(lab), names.job_key(job)),
        (names.event_exchange(lab), names.JOB_SOUGHT),
    )
    return lab_topology(lab) + own_inbox(lab, names.job_queue(lab, job), keys)


def supervisor_topology(lab: str, supervisor: str) -> Topology:
    """Build a supervisor's: its exclusive inbox, with every job that is offered."""
    keys = (
        (names.direct_exchange(lab), names.supervisor_key(supervisor)),
        (names.event_exchange(lab), names.job_event("offered", "*")),
    )
    return lab_topology(lab) + own_inbox(lab, names.supervisor_queue(lab, supervisor), keys)


def listener_topology(lab: str, listener: str) -> Topology:
    """Build a listener's: a supervisor's, that also hears who asks for listeners."""
    queue = names.supervisor_queue(lab, listener)
    sought = Binding(queue, names.event_exchange(lab), names.LISTENER_SOUGHT)
    return supervisor_topology(lab, listener) + Topology(bindings=(sought,))


def ping_topology(lab: str, asker: str) -> Topology:
    """Build that of who asks for listeners: the exclusive queue of their answers."""
    keys = ((names.direct_exchange(lab), names.ping_key(asker)),)
    return lab_topology(lab) + own_inbox(lab, names.reply_queue(lab, asker), keys)
