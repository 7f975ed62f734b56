"""Which roles there are, and what a login that has some of them may do."""

from collections.abc import Iterable
from types import MappingProxyType

from pytest_gatherscatter.broker.permission import (
    graders,
    record,
    roundrobin,
    sections,
    slips,
    testfiles,
)
from pytest_gatherscatter.broker.permission.right import Rights, Roles

ROLES: Roles = MappingProxyType(
    {
        **sections.ROLES,
        **testfiles.ROLES,
        **slips.ROLES,
        **graders.ROLES,
        **record.ROLES,
        **roundrobin.ROLES,
    }
)
"""The rights of each role, by lab and, for who has an inbox of that name, by agents.

An observer looks (``status``, ``watch``, ``doctor``), an operator also steers (``hold``, ``reset``,
``leave``). An originator gives test files out, a worker (``--gs-worker``) and a listener have them
run by processes that have no connection of their own but in the sections of their tests, as a
workload. A dispatcher gives slips out, and asks for processors. A requester asks for
grades, and for examiners. A recorder writes down what ended. A balancer gives tasks out; who
stands behind one (an examiner, a processor, an echo worker) is balanced, too. A client asks
services, and for balancers.
"""


def rights(roles: Iterable[str], labs: Iterable[str], agents: Iterable[str] = ()) -> Rights:
    """Return the least rights of a login with all of ``roles`` in all of ``labs``.

    Args:
        roles: out of :data:`ROLES`.
        labs: the labs' names.
        agents: whose inboxes a monitor or processor may have; without any, those of all.
    """
    found = Rights()
    agents = tuple(agents)
    for lab in labs:
        for role in roles:
            found += ROLES[role](lab, agents)
    return found
