"""The rights of examiners, and of who asks for grades."""

import re
from collections.abc import Iterable

from pytest_gatherscatter.broker.permission.right import (
    ID,
    NAME,
    Rights,
    Roles,
    asker,
    event_patterns,
    key_pattern,
    own,
    queue_pattern,
)
from pytest_gatherscatter.wire import names


def _examiner(lab: str, agents: Iterable[str]) -> Rights:
    mine = own(agents)
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inboxes = tuple(queue_pattern(names.examiner_queue, lab, one) for one in mine)
    work = tuple(
        queue_pattern(make, lab, NAME) for make in (names.grading_queue, names.suspects_queue)
    )
    keys = tuple(key_pattern(make, NAME) for make in (names.grading_key, names.suspects_key))
    queues = (*inboxes, *work)
    return asker(lab) + Rights(
        configure=queues,
        write=(*queues, re.escape(events)),
        read=(*queues, re.escape(events)),
        says={
            direct: (*keys, key_pattern(names.grade_key, ID)),
            events: event_patterns(names.grading_event, "answered"),
        },
        hears={direct: keys, events: (re.escape(names.EXAMINER_SOUGHT),)},
    )


def _requester(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    queue = queue_pattern(names.grade_queue, lab, ID)
    return asker(lab) + Rights(
        configure=(queue,),
        write=(queue, re.escape(events)),
        read=(queue,),
        says={
            direct: (key_pattern(names.grading_key, NAME),),
            events: (re.escape(names.EXAMINER_SOUGHT),),
        },
        hears={direct: (key_pattern(names.grade_key, ID),)},
    )


ROLES: Roles = {
    "examiner": _examiner,
    "requester": _requester,
}
