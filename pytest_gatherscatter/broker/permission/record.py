"""The rights of who writes down what ended."""

import re
from collections.abc import Iterable

from pytest_gatherscatter.broker.permission.right import (
    Rights,
    Roles,
    own,
    queue_pattern,
    watching,
)
from pytest_gatherscatter.wire import names


def _recorder(lab: str, agents: Iterable[str]) -> Rights:
    """It says nothing to anybody, but for what it sets aside."""
    mine = own(agents)
    queues = tuple(queue_pattern(names.record_queue, lab, one) for one in mine)
    # It hears of all that ended, and so binds with the wildcards themselves.
    return watching(lab, tuple(map(re.escape, names.recorded_events()))) + Rights(
        configure=queues, write=(*queues, re.escape(names.dead(lab))), read=queues
    )


ROLES: Roles = {
    "recorder": _recorder,
}
