"""The rights of who takes part in sections, looks at them, or steers."""

import re
from collections.abc import Iterable

from pytest_gatherscatter.broker.permission.right import (
    EVERYTHING,
    ID,
    NAME,
    Rights,
    Roles,
    asker,
    event_patterns,
    key_pattern,
    own,
    queue_pattern,
    watching,
)
from pytest_gatherscatter.wire import names


def _captures(lab: str) -> Rights:
    """The queues of sections, through which captures go."""
    queue = queue_pattern(names.section_queue, lab, ID)
    return Rights(
        configure=(queue,),
        write=(queue,),
        read=(queue,),
        hears={names.direct_exchange(lab): (key_pattern(names.section_key, ID),)},
    )


def _gatherer(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    shared = tuple(re.escape(name) for name in (events, direct, names.dead(lab)))
    inbox = re.escape(names.gatherer_queue(lab))
    event_keys = (
        re.escape(names.GATHERER_STARTED),
        *event_patterns(names.section_event, "go", "stopped", "aborted", "changed"),
        *event_patterns(names.agent_event, "joined", "left"),
    )
    return asker(lab) + Rights(
        configure=(*shared, inbox),
        write=(*shared, inbox),
        read=(*shared[1:], inbox),
        says={
            direct: (key_pattern(names.agent_key, NAME), key_pattern(names.reply_key, ID)),
            events: event_keys,
        },
        hears={direct: (names.GATHERER_KEY, re.escape(names.STEER_KEY)), events: ()},
    )


def _monitor(lab: str, agents: Iterable[str]) -> Rights:
    direct = names.direct_exchange(lab)
    mine = own(agents)
    inboxes = tuple(queue_pattern(names.agent_queue, lab, one) for one in mine)
    heard = (
        re.escape(names.GATHERER_STARTED),
        *event_patterns(names.section_event, "go", "stopped", "aborted"),
    )
    return (
        asker(lab)
        + _captures(lab)
        + watching(lab, heard)
        + Rights(
            configure=inboxes,
            write=inboxes,
            read=inboxes,
            says={direct: (key_pattern(names.section_key, ID),)},
            hears={direct: tuple(key_pattern(names.agent_key, one) for one in mine)},
        )
    )


def _workload(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events = names.event_exchange(lab)
    steps = tuple(re.escape(names.step_event(what, "")) + ID for what in ("progressed", "finished"))
    told = Rights(write=(re.escape(events),), says={events: steps})
    return (
        asker(lab)
        + _captures(lab)
        + watching(lab, event_patterns(names.section_event, "go"))
        + told
    )


def _observer(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    return asker(lab) + watching(lab, (EVERYTHING,))


def _operator(lab: str, agents: Iterable[str]) -> Rights:
    steers = Rights(says={names.direct_exchange(lab): (re.escape(names.STEER_KEY),)})
    return _observer(lab, agents) + steers


ROLES: Roles = {
    "gatherer": _gatherer,
    "monitor": _monitor,
    "workload": _workload,
    "observer": _observer,
    "operator": _operator,
}
