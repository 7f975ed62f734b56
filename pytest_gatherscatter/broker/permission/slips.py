"""The rights of processors, and of who gives slips out."""

import re
from collections.abc import Iterable

from pytest_gatherscatter.broker.permission.right import (
    ID,
    NAME,
    Rights,
    Roles,
    asker,
    key_pattern,
    own,
    queue_pattern,
)
from pytest_gatherscatter.wire import names


def _processor(lab: str, agents: Iterable[str]) -> Rights:
    mine = own(agents)
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inboxes = tuple(queue_pattern(names.processor_queue, lab, one) for one in mine)
    steps, room = queue_pattern(names.steps_queue, lab, NAME), re.escape(names.waiting_queue(lab))
    queues = (*inboxes, steps, room)
    said = tuple(
        re.escape(names.slip_event(what, "")) + ID for what in ("begun", "moved", "ended", "over")
    )
    # It hears of every slip, and so binds with the wildcard itself.
    heard = [names.slip_event(what, "*") for what in ("cancel", "over")]
    heard += [names.SLIP_CHECK, names.STEP_SOUGHT, names.PROCESSOR_SOUGHT]
    return asker(lab) + Rights(
        configure=queues,
        write=(*queues, re.escape(events)),
        read=(*queues, re.escape(events)),
        says={
            direct: (
                key_pattern(names.steps_key, NAME),
                re.escape(names.WAITING_KEY),
                key_pattern(names.processor_key, NAME),
                key_pattern(names.slip_key, ID),
            ),
            events: (*said, re.escape(names.STEP_SOUGHT)),
        },
        hears={
            direct: (
                *(key_pattern(names.processor_key, one) for one in mine),
                key_pattern(names.steps_key, NAME),
                re.escape(names.WAITING_KEY),
            ),
            events: tuple(map(re.escape, heard)),
        },
    )


def _dispatcher(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    queue = queue_pattern(names.slip_queue, lab, ID)
    heard = ("begun", "moved", "ended", "over")
    return asker(lab) + Rights(
        configure=(queue,),
        write=(queue, re.escape(events)),
        read=(queue, re.escape(events)),
        says={
            direct: (key_pattern(names.steps_key, NAME), re.escape(names.WAITING_KEY)),
            events: (
                re.escape(names.slip_event("cancel", "")) + ID,
                re.escape(names.slip_event("over", "")) + ID,
                re.escape(names.SLIP_CHECK),
                re.escape(names.PROCESSOR_SOUGHT),
            ),
        },
        hears={
            direct: (key_pattern(names.slip_key, ID),),
            events: tuple(re.escape(names.slip_event(what, "")) + ID for what in heard),
        },
    )


ROLES: Roles = {
    "processor": _processor,
    "dispatcher": _dispatcher,
}
