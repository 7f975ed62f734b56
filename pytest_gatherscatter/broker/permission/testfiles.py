"""The rights of who gives test files out, and of who has them run."""

import re
from collections.abc import Iterable

from pytest_gatherscatter.broker.permission.right import (
    ID,
    Rights,
    Roles,
    asker,
    key_pattern,
    queue_pattern,
)
from pytest_gatherscatter.wire import names


def _originator(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inbox = queue_pattern(names.job_queue, lab, ID)
    return asker(lab) + Rights(
        configure=(inbox,),
        write=(inbox, re.escape(events)),
        read=(inbox, re.escape(events)),
        says={
            direct: (key_pattern(names.supervisor_key, ID),),
            events: (
                re.escape(names.job_event("offered", "")) + ID,
                re.escape(names.job_event("finished", "")) + ID,
                re.escape(names.LISTENER_SOUGHT),
            ),
        },
        hears={
            direct: (key_pattern(names.job_key, ID), key_pattern(names.ping_key, ID)),
            events: (re.escape(names.JOB_SOUGHT),),
        },
    )


def _worker(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inbox = queue_pattern(names.supervisor_queue, lab, ID)
    return asker(lab) + Rights(
        configure=(inbox,),
        write=(inbox, re.escape(events)),
        read=(inbox, re.escape(events)),
        says={
            direct: (key_pattern(names.job_key, ID),),
            events: (re.escape(names.JOB_SOUGHT),),
        },
        hears={
            direct: (key_pattern(names.supervisor_key, ID),),
            # It hears of every job, and so binds with the wildcard itself.
            events: (re.escape(names.job_event("offered", "*")),),
        },
    )


def _listener(lab: str, agents: Iterable[str]) -> Rights:
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    answers = Rights(
        says={direct: (key_pattern(names.ping_key, ID),)},
        hears={events: (re.escape(names.LISTENER_SOUGHT),)},
    )
    return _worker(lab, agents) + answers


ROLES: Roles = {
    "originator": _originator,
    "worker": _worker,
    "listener": _listener,
}
