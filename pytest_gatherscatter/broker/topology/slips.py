"""What processors declare, and who gives slips out."""

from collections.abc import Iterable

from pytest_gatherscatter.broker.topology import (
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

SLIP_QUEUE_SECONDS = 3600
"""How long the queue of who gave out a slip stays without it: far longer than any way back."""

ROOM_PREFETCH = 10_000
"""Slips that may wait in one processor's hand: of 10 KiB each that is 100 MiB. Those behind them
wait in the queue until some have left."""


def processor_topology(lab: str, name: str, processes: Iterable[str], slots: int) -> Topology:
    """Build a processor's: its inbox, the work queues of its ``processes``, the waiting room.

    Of each work queue it takes as many slips as it has ``slots``. The waiting room is consumed by
    all processors, and the broker gives it to one of them at a time.
    """
    direct, events, dead = names.direct_exchange(lab), names.event_exchange(lab), names.dead(lab)
    keys = [(direct, names.processor_key(name))]
    wishes = [names.slip_event(what, "*") for what in ("cancel", "over")]
    questions = [names.SLIP_CHECK, names.STEP_SOUGHT, names.PROCESSOR_SOUGHT]
    keys += [(events, key) for key in wishes + questions]
    work = work_queues(
        lab, ((names.steps_queue(lab, one), names.steps_key(one), slots) for one in processes)
    )
    waiting = names.waiting_queue(lab)
    room = Topology(
        queues=(
            Queue(
                waiting,
                durable=True,
                arguments={"x-dead-letter-exchange": dead, "x-single-active-consumer": True},
            ),
        ),
        bindings=(Binding(waiting, direct, names.WAITING_KEY),),
        consumers=(Consumer(waiting, ROOM_PREFETCH),),
    )
    return lab_topology(lab) + own_inbox(lab, names.processor_queue(lab, name), keys) + work + room


def slip_watcher_topology(lab: str, asker: str, events: Iterable[str] = ()) -> Topology:
    """Build that of who asks for processors: the exclusive queue of their answers, and events."""
    keys = [(names.direct_exchange(lab), names.slip_key(asker))]
    keys += [(names.event_exchange(lab), key) for key in events]
    return lab_topology(lab) + own_inbox(lab, names.reply_queue(lab, asker), keys)


def asker_topology(lab: str, asker: str, slip: str) -> Topology:
    """Build that of who gives out a slip: a queue that outlives its connection, with its events."""
    keys = [(names.direct_exchange(lab), names.slip_key(asker))]
    events = (names.slip_event(what, slip) for what in ("begun", "moved", "ended", "over"))
    keys += [(names.event_exchange(lab), event) for event in events]
    queue = names.slip_queue(lab, asker)
    return lab_topology(lab) + lasting_queue(lab, queue, keys, seconds=SLIP_QUEUE_SECONDS)
