"""The least rights of each role on RabbitMQ, as patterns; nothing here does I/O.

RabbitMQ looks at a login three times: may it *configure* (make and delete) this exchange or
queue, *write* to it (publish; bind a queue), *read* from it (consume; bind to an exchange); and
for the two topic exchanges of a lab, with which keys it may publish and bind. So nobody but the
gatherer can say go, because nobody else may publish with ``section.go.…``, and an agent hears
what is for itself, because it may bind no other ``agent.…`` key.

What stands inside a message RabbitMQ does not weigh. So what persons steer with has a key of its
own, which the operator's role has alone; and the gatherer lets a section be spoken for only by the
login that entered it. But whoever may write to the gatherer may call itself any agent.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.wire import names

NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"
ID = "[0-9a-f]+"
EVERYTHING = ".*"

Alternatives = tuple[str, ...]


def _joined(one: Alternatives, two: Alternatives) -> Alternatives:
    return tuple(dict.fromkeys((*one, *two)))


def _joined_keys(
    one: Mapping[str, Alternatives], two: Mapping[str, Alternatives]
) -> dict[str, Alternatives]:
    return {
        exchange: _joined(one.get(exchange, ()), two.get(exchange, ()))
        for exchange in dict.fromkeys((*one, *two))
    }


@dataclass(frozen=True, slots=True)
class Rights:
    """What one login may do; each pattern is one of several, and means the whole name.

    ``says`` and ``hears`` hold, by topic exchange, the keys to publish and to bind with.
    """

    configure: Alternatives = ()
    write: Alternatives = ()
    read: Alternatives = ()
    says: Mapping[str, Alternatives] = field(default_factory=dict)
    hears: Mapping[str, Alternatives] = field(default_factory=dict)

    def __add__(self, other: "Rights") -> "Rights":
        """Whoever has several roles, or is in several labs, has the rights of all."""
        return Rights(
            _joined(self.configure, other.configure),
            _joined(self.write, other.write),
            _joined(self.read, other.read),
            _joined_keys(self.says, other.says),
            _joined_keys(self.hears, other.hears),
        )

    @property
    def exchanges(self) -> Alternatives:
        """The topic exchanges whose keys are limited."""
        return tuple(dict.fromkeys((*self.says, *self.hears)))


def pattern(alternatives: Alternatives) -> str:
    """Write alternatives as one expression of RabbitMQ's; of none, one that fits nothing."""
    if not alternatives:
        return "^$"  # what RabbitMQ takes for nothing: no name is empty
    if EVERYTHING in alternatives:
        return EVERYTHING
    return f"^({'|'.join(alternatives)})$"


def _queue(make: Callable[[str, str], str], lab: str, what: str) -> str:
    """The pattern of a queue whose name ends with ``what``, a pattern too."""
    return re.escape(make(lab, "")) + what


def _key(make: Callable[[str], str], what: str) -> str:
    return re.escape(make("")) + what


def _events(make: Callable[[str, str], str], *kinds: str) -> Alternatives:
    """The patterns of events of these kinds, whatever they are about."""
    return tuple(re.escape(make(kind, "")) + NAME for kind in kinds)


def _asker(lab: str) -> Rights:
    """What everybody needs: a queue for answers, the gatherer's ear, and the dead letters.

    To declare a queue with a dead-letter exchange takes the right to read the one and to write
    to the other.
    """
    direct, dead = re.escape(names.direct_exchange(lab)), re.escape(names.dead(lab))
    reply = _queue(names.reply_queue, lab, ID)
    return Rights(
        configure=(reply,),
        write=(direct, dead, reply),
        read=(direct, reply),
        says={names.direct_exchange(lab): (names.GATHERER_KEY,)},
        hears={names.direct_exchange(lab): (_key(names.reply_key, ID),)},
    )


def _watching(lab: str, keys: Alternatives) -> Rights:
    """The events with these keys."""
    exchange = names.event_exchange(lab)
    return Rights(read=(re.escape(exchange),), says={exchange: ()}, hears={exchange: keys})


def _captures(lab: str) -> Rights:
    """The queues of sections, through which captures go."""
    queue = _queue(names.section_queue, lab, ID)
    return Rights(
        configure=(queue,),
        write=(queue,),
        read=(queue,),
        hears={names.direct_exchange(lab): (_key(names.section_key, ID),)},
    )


def _gatherer(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    shared = tuple(re.escape(name) for name in (events, direct, names.dead(lab)))
    inbox = re.escape(names.gatherer_queue(lab))
    event_keys = (
        re.escape(names.GATHERER_STARTED),
        *_events(names.section_event, "go", "stopped", "aborted", "changed"),
        *_events(names.agent_event, "joined", "left"),
    )
    return _asker(lab) + Rights(
        configure=(*shared, inbox),
        write=(*shared, inbox),
        read=(*shared[1:], inbox),
        says={
            direct: (_key(names.agent_key, NAME), _key(names.reply_key, ID)),
            events: event_keys,
        },
        hears={direct: (names.GATHERER_KEY, re.escape(names.STEER_KEY)), events: ()},
    )


def _monitor(lab: str, agents: Iterable[str]) -> Rights:
    direct = names.direct_exchange(lab)
    mine = tuple(re.escape(agent) for agent in agents) or (NAME,)
    inboxes = tuple(_queue(names.agent_queue, lab, one) for one in mine)
    heard = (
        re.escape(names.GATHERER_STARTED),
        *_events(names.section_event, "go", "stopped", "aborted"),
    )
    return (
        _asker(lab)
        + _captures(lab)
        + _watching(lab, heard)
        + Rights(
            configure=inboxes,
            write=inboxes,
            read=inboxes,
            says={direct: (_key(names.section_key, ID),)},
            hears={direct: tuple(_key(names.agent_key, one) for one in mine)},
        )
    )


def _workload(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events = names.event_exchange(lab)
    steps = tuple(re.escape(names.step_event(what, "")) + ID for what in ("progressed", "finished"))
    told = Rights(write=(re.escape(events),), says={events: steps})
    return _asker(lab) + _captures(lab) + _watching(lab, _events(names.section_event, "go")) + told


def _observer(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    return _asker(lab) + _watching(lab, (EVERYTHING,))


def _operator(lab: str, agents: Iterable[str]) -> Rights:
    steers = Rights(says={names.direct_exchange(lab): (re.escape(names.STEER_KEY),)})
    return _observer(lab, agents) + steers


def _originator(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inbox = _queue(names.job_queue, lab, ID)
    return _asker(lab) + Rights(
        configure=(inbox,),
        write=(inbox, re.escape(events)),
        read=(inbox, re.escape(events)),
        says={
            direct: (_key(names.supervisor_key, ID),),
            events: (
                re.escape(names.job_event("offered", "")) + ID,
                re.escape(names.job_event("finished", "")) + ID,
                re.escape(names.LISTENER_SOUGHT),
            ),
        },
        hears={
            direct: (_key(names.job_key, ID), _key(names.ping_key, ID)),
            events: (re.escape(names.JOB_SOUGHT),),
        },
    )


def _worker(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inbox = _queue(names.supervisor_queue, lab, ID)
    return _asker(lab) + Rights(
        configure=(inbox,),
        write=(inbox, re.escape(events)),
        read=(inbox, re.escape(events)),
        says={
            direct: (_key(names.job_key, ID),),
            events: (re.escape(names.JOB_SOUGHT),),
        },
        hears={
            direct: (_key(names.supervisor_key, ID),),
            # It hears of every job, and so binds with the wildcard itself.
            events: (re.escape(names.job_event("offered", "*")),),
        },
    )


def _listener(lab: str, agents: Iterable[str]) -> Rights:
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    answers = Rights(
        says={direct: (_key(names.ping_key, ID),)},
        hears={events: (re.escape(names.LISTENER_SOUGHT),)},
    )
    return _worker(lab, agents) + answers


def _processor(lab: str, agents: Iterable[str]) -> Rights:
    mine = tuple(re.escape(agent) for agent in agents) or (NAME,)
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inboxes = tuple(_queue(names.processor_queue, lab, one) for one in mine)
    steps, room = _queue(names.steps_queue, lab, NAME), re.escape(names.waiting_queue(lab))
    queues = (*inboxes, steps, room)
    said = tuple(
        re.escape(names.slip_event(what, "")) + ID for what in ("begun", "moved", "ended", "over")
    )
    # It hears of every slip, and so binds with the wildcard itself.
    heard = [names.slip_event(what, "*") for what in ("cancel", "over")]
    heard += [names.SLIP_CHECK, names.STEP_SOUGHT, names.PROCESSOR_SOUGHT]
    return _asker(lab) + Rights(
        configure=queues,
        write=(*queues, re.escape(events)),
        read=(*queues, re.escape(events)),
        says={
            direct: (
                _key(names.steps_key, NAME),
                re.escape(names.WAITING_KEY),
                _key(names.processor_key, NAME),
                _key(names.slip_key, ID),
            ),
            events: (*said, re.escape(names.STEP_SOUGHT)),
        },
        hears={
            direct: (
                *(_key(names.processor_key, one) for one in mine),
                _key(names.steps_key, NAME),
                re.escape(names.WAITING_KEY),
            ),
            events: tuple(map(re.escape, heard)),
        },
    )


def _dispatcher(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    queue = _queue(names.slip_queue, lab, ID)
    heard = ("begun", "moved", "ended", "over")
    return _asker(lab) + Rights(
        configure=(queue,),
        write=(queue, re.escape(events)),
        read=(queue, re.escape(events)),
        says={
            direct: (_key(names.steps_key, NAME), re.escape(names.WAITING_KEY)),
            events: (
                re.escape(names.slip_event("cancel", "")) + ID,
                re.escape(names.slip_event("over", "")) + ID,
                re.escape(names.SLIP_CHECK),
                re.escape(names.PROCESSOR_SOUGHT),
            ),
        },
        hears={
            direct: (_key(names.slip_key, ID),),
            events: tuple(re.escape(names.slip_event(what, "")) + ID for what in heard),
        },
    )


def _examiner(lab: str, agents: Iterable[str]) -> Rights:
    mine = tuple(re.escape(agent) for agent in agents) or (NAME,)
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    inboxes = tuple(_queue(names.examiner_queue, lab, one) for one in mine)
    work = tuple(_queue(make, lab, NAME) for make in (names.grading_queue, names.suspects_queue))
    keys = tuple(_key(make, NAME) for make in (names.grading_key, names.suspects_key))
    queues = (*inboxes, *work)
    return _asker(lab) + Rights(
        configure=queues,
        write=(*queues, re.escape(events)),
        read=(*queues, re.escape(events)),
        says={
            direct: (*keys, _key(names.grade_key, ID)),
            events: _events(names.grading_event, "answered"),
        },
        hears={direct: keys, events: (re.escape(names.EXAMINER_SOUGHT),)},
    )


def _requester(lab: str, agents: Iterable[str]) -> Rights:
    del agents
    events, direct = names.event_exchange(lab), names.direct_exchange(lab)
    queue = _queue(names.grade_queue, lab, ID)
    return _asker(lab) + Rights(
        configure=(queue,),
        write=(queue, re.escape(events)),
        read=(queue,),
        says={
            direct: (_key(names.grading_key, NAME),),
            events: (re.escape(names.EXAMINER_SOUGHT),),
        },
        hears={direct: (_key(names.grade_key, ID),)},
    )


def _recorder(lab: str, agents: Iterable[str]) -> Rights:
    """It says nothing to anybody, but for what it sets aside."""
    mine = tuple(re.escape(agent) for agent in agents) or (NAME,)
    queues = tuple(_queue(names.record_queue, lab, one) for one in mine)
    # It hears of all that ended, and so binds with the wildcards themselves.
    return _watching(lab, tuple(map(re.escape, names.recorded_events()))) + Rights(
        configure=queues, write=(*queues, re.escape(names.dead(lab))), read=queues
    )


ROLES: Mapping[str, Callable[[str, Iterable[str]], Rights]] = MappingProxyType(
    {
        "gatherer": _gatherer,
        "monitor": _monitor,
        "workload": _workload,
        "observer": _observer,
        "operator": _operator,
        "originator": _originator,
        "worker": _worker,
        "listener": _listener,
        "processor": _processor,
        "dispatcher": _dispatcher,
        "examiner": _examiner,
        "requester": _requester,
        "recorder": _recorder,
    }
)
"""The rights of each role, by lab and, for who has an inbox of that name, by agents.

An observer looks (``status``, ``watch``, ``doctor``), an operator also steers (``hold``, ``reset``,
``leave``). An originator gives test files out, a worker (``--gs-worker``) and a listener have them
run by processes that have no connection of their own but in the sections of their tests, as a
workload. A dispatcher gives slips out, and asks for processors. A requester asks for
grades, and for examiners. A recorder writes down what ended.
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


def definitions(user: str, vhost: str, given: Rights, labs: Iterable[str]) -> dict[str, Any]:
    """Write rights as ``rabbitmqctl import_definitions`` reads them, with what the labs share.

    The user must be there: a definition of it would have to hold its password.
    """
    shared = [lab_topology(lab) for lab in labs]
    return {
        "permissions": [
            {
                "user": user,
                "vhost": vhost,
                "configure": pattern(given.configure),
                "write": pattern(given.write),
                "read": pattern(given.read),
            }
        ],
        "topic_permissions": [
            {
                "user": user,
                "vhost": vhost,
                "exchange": exchange,
                "write": pattern(given.says.get(exchange, ())),
                "read": pattern(given.hears.get(exchange, ())),
            }
            for exchange in given.exchanges
        ],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.kind,
                "durable": exchange.durable,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for topology in shared
            for exchange in topology.exchanges
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": queue.durable,
                "auto_delete": queue.auto_delete,
                "arguments": dict(queue.arguments),
            }
            for topology in shared
            for queue in topology.queues
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for topology in shared
            for binding in topology.bindings
        ],
    }
