"""The rights of balancers, of workers behind one, and of clients of services."""

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

SERVICE = rf"(service|grading|steps)\.{NAME}"


def _balancer(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    makes = (names.balancer_queue, names.known_queue, names.service_queue)
    queues = tuple(queue_pattern(make, lab, SERVICE) for make in makes)
    return asker(lab) + Rights(
        configure=queues,
        write=(*queues, re.escape(events)),
        read=(*queues, re.escape(events)),
        says={
            direct: (
                key_pattern(names.balanced_key, NAME),
                key_pattern(names.known_key, SERVICE),
                SERVICE,
                key_pattern(names.reply_key, ID),
                key_pattern(names.client_key, ID),
                key_pattern(names.grade_key, ID),
            ),
            events: (re.escape(names.balancer_event("started", "")) + SERVICE,),
        },
        hears={
            direct: (
                key_pattern(names.balancer_key, SERVICE),
                key_pattern(names.known_key, SERVICE),
                SERVICE,
            ),
            events: (re.escape(names.BALANCER_SOUGHT),),
        },
    )


def _balanced(lab: str, agents: Iterable[str]) -> Rights:
    mine = own(agents)
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inboxes = tuple(queue_pattern(names.balanced_queue, lab, one) for one in mine)
    return asker(lab) + Rights(
        configure=inboxes,
        write=inboxes,
        read=(*inboxes, re.escape(events)),
        says={direct: (key_pattern(names.balancer_key, SERVICE),), events: ()},
        hears={
            direct: tuple(key_pattern(names.balanced_key, one) for one in mine),
            events: (re.escape(names.balancer_event("started", "")) + SERVICE,),
        },
    )


def _echo(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    direct = names.direct_exchange(lab)
    queue = queue_pattern(names.service_queue, lab, key_pattern(names.service_key, NAME))
    key = key_pattern(names.service_key, NAME)
    return asker(lab) + Rights(
        configure=(queue,),
        write=(queue,),
        read=(queue,),
        says={direct: (key_pattern(names.client_key, ID),)},
        hears={direct: (key,)},
    )


def _client(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    queue = queue_pattern(names.client_queue, lab, ID)
    return asker(lab) + Rights(
        configure=(queue,),
        write=(queue, re.escape(events)),
        read=(queue,),
        says={
            direct: (key_pattern(names.service_key, NAME),),
            events: (re.escape(names.BALANCER_SOUGHT),),
        },
        hears={direct: (key_pattern(names.client_key, ID),)},
    )


ROLES: Roles = {
    "balancer": _balancer,
    "balanced": _balanced,
    "echo": _echo,
    "client": _client,
}
