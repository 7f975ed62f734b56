"""The messages of the round robin: tasks of clients, and what workers and a balancer say.

Clients know nothing of it: they send to the queue of a service, and hear from whoever did it. Times
are Unix times.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Raw, field

from pytest_gatherscatter.wire.grading import Wall
from pytest_gatherscatter.wire.message import Age, Count, Id, Label, Message, Name, Part, Pid, Text
from pytest_gatherscatter.wire.names import SERVICE_PATTERN

MOST_SERVICES = 256
"""Services of a worker: as many as an examiner may have graders."""

MOST_SLOTS = 10_000
"""Slots of a worker: what it runs is named in one message."""

MOST_KNOWN = 8_000
"""Workers that one message names: of 100 bytes each it has room for more."""

Service: TypeAlias = Annotated[str, Meta(pattern=SERVICE_PATTERN)]
"""The key of a service's queue: ``service.echo``, ``grading.waveform``, ``steps.flash``."""

TaskId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
"""The message id of what a client sent: the broker delivers it with the same one again."""

Slots: TypeAlias = Annotated[int, Meta(ge=1, le=MOST_SLOTS)]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Tasks: TypeAlias = Annotated[tuple[TaskId, ...], Meta(max_length=2 * MOST_SLOTS)]

ExecuteOutcome: TypeAlias = Literal[
    "done", "failed", "busy", "expired", "worker-lost", "undecodable", "refused", "no-response"
]
"""How a task ended. ``busy``: too many wait already. ``expired``: its deadline had passed before
anybody had a free slot. ``worker-lost``: whoever ran it died, and it may not run twice. Two are the
client's own: ``refused``: there is no such queue; ``no-response``: nobody has answered in time."""

TaskVerdict: TypeAlias = Literal["done", "dead", "back"]
"""What becomes of a task's message: it is done with, it is for the dead letters, or the worker had
no room for it after all."""


# ── round robin: tasks ────────────────────────────────────────────────────────────────


class Execute(Message, frozen=True, kw_only=True):
    """Client → the queue of a service: do this; ``tracked``: and answer (TRACKEXEC, else EXEC).

    ``rerun``: it may run twice, and does when its worker dies. ``affinity`` is what tasks have in
    common that are best run by one worker. Redelivered: a worker that knows the id does not begin
    it again.
    """

    task: Id
    service: Name
    command: Name
    deadline: Wall
    created: Wall = 0.0
    payload: Raw = field(default_factory=lambda: Raw(b"null"))
    tracked: bool = False
    rerun: bool = False
    affinity: Label = ""


class Executed(Message, frozen=True, kw_only=True):
    """Worker (or a balancer that has none) → client: how a task ended. The first one counts.

    ``waited`` and ``took`` are seconds before its worker had it, and at the worker.
    """

    task: Id
    service: Name
    outcome: ExecuteOutcome
    text: Text = ""
    payload: Raw = field(default_factory=lambda: Raw(b"null"))
    worker: Label = ""
    host: Label = ""
    waited: Age = 0.0
    took: Age = 0.0


class Working(Message, frozen=True, kw_only=True):
    """Worker → client: a tracked task is received, and still worked on (TRACKADDRESS)."""

    task: Id
    worker: Label
    took: Age = 0.0


# ── round robin: workers ──────────────────────────────────────────────────────────────


class Register(Message, frozen=True, kw_only=True):
    """Worker → balancer of a service: give me as many tasks at a time as I have slots.

    ``address`` ends the key of its inbox. ``instance`` is of its process, and ``epoch`` counts its
    connections. ``running`` are tasks that it has; ``adrift`` are those whose message went with a
    connection: it runs them, and wants them given again; ``done`` are those whose Increment may not
    have been heard. ``heard`` is the balancer whose start it answers: it has then read all that an
    earlier one gave it. ``leaving``: it wants nothing new. Redelivered, or of an earlier epoch:
    changes nothing.
    """

    worker: Name
    address: Name
    service: Service
    services: Annotated[tuple[Service, ...], Meta(max_length=MOST_SERVICES)]
    slots: Slots
    instance: Id
    epoch: Number
    heard: Label = ""
    running: Tasks = ()
    adrift: Tasks = ()
    done: Tasks = ()
    leaving: bool = False
    host: Label = ""
    pid: Pid = 0


class Registered(Message, frozen=True, kw_only=True):
    """Balancer → worker: you are in the table. Answered each time."""

    worker: Name
    service: Service
    balancer: Id
    epoch: Number


class Deregister(Message, frozen=True, kw_only=True):
    """Worker → balancer: give me nothing more. Of one that is not known: logged."""

    worker: Name
    service: Service
    instance: Id


class Increment(Message, frozen=True, kw_only=True):
    """Worker → balancer: a task has ended, its slot is free.

    ``number`` counts a worker's for this service: said again until the balancer has heard it.
    Redelivered: a slot is freed once for each task.
    """

    worker: Name
    service: Service
    instance: Id
    number: Number
    task: TaskId
    verdict: TaskVerdict = "done"
    reason: Label = ""


class WorkerAlive(Message, frozen=True, kw_only=True):
    """Worker → balancer: I live, and run these. Answered only if it is not in the table."""

    worker: Name
    address: Name
    service: Service
    instance: Id
    epoch: Number
    running: Tasks = ()


class WorkerUnknown(Message, frozen=True, kw_only=True):
    """Balancer → worker: you are not in the table, register."""

    worker: Name
    service: Service


class IncrementsHeard(Message, frozen=True, kw_only=True):
    """Balancer → worker: all up to ``number`` need not be said again."""

    worker: Name
    service: Service
    number: Number


class Assign(Message, frozen=True, kw_only=True):
    """Balancer → worker: a client's message, as it came in.

    ``type`` and ``body`` are its AMQP type and body, ``sender`` its login. ``redelivered``:
    somebody may have begun it. Meant for one process and one connection of it: any other ignores
    it, for the balancer gives it to somebody else. Redelivered itself, or again: a worker that runs
    the task ignores it.
    """

    task: TaskId
    worker: Name
    service: Service
    instance: Id
    epoch: Number
    type: Label
    body: Raw
    reply_to: Label = ""
    sender: Label = ""
    redelivered: bool = False


class BalancerStarted(Message, frozen=True, kw_only=True):
    """Balancer → all workers of a service: tell me who you are, and what you run."""

    balancer: Id
    service: Service


class WorkerKnown(Part, frozen=True, kw_only=True):
    """A worker's process that may have tasks."""

    worker: Name
    instance: Id


class WorkersKnown(Message, frozen=True, kw_only=True):
    """Balancer → whoever follows it: these may have tasks. One message, kept in a queue.

    Redelivered: to the next balancer. It knows by it whether all have told it what they run.
    ``more``: there are others, for which there was no room.
    """

    service: Service
    balancer: Id
    revision: Number
    workers: Annotated[tuple[WorkerKnown, ...], Meta(max_length=MOST_KNOWN)] = ()
    more: bool = False


# ── round robin: questions ────────────────────────────────────────────────────────────


class SeekBalancers(Message, frozen=True, kw_only=True):
    """Person → all balancers: who is in your tables? Answered each time."""

    asker: Id


class WorkerSeen(Part, frozen=True, kw_only=True):
    """A worker in a balancer's table; ``silent`` is for how many seconds.

    ``given`` and ``done`` count since it was registered.
    """

    worker: Name
    host: Label
    pid: Pid
    services: tuple[Service, ...]
    slots: Count
    free: Count
    epoch: Number
    given: Annotated[int, Meta(ge=0)] = 0
    done: Annotated[int, Meta(ge=0)] = 0
    silent: Age = 0.0
    leaving: bool = False


class ServiceSeen(Part, frozen=True, kw_only=True):
    """A service of a balancer: what waits, and what it came to since the balancer was started."""

    service: Service
    backlog: Annotated[int, Meta(ge=0)] = 0
    given: Annotated[int, Meta(ge=0)] = 0
    done: Annotated[int, Meta(ge=0)] = 0
    busy: Annotated[int, Meta(ge=0)] = 0
    expired: Annotated[int, Meta(ge=0)] = 0
    lost: Annotated[int, Meta(ge=0)] = 0


class BalancerSeen(Message, frozen=True, kw_only=True):
    """Balancer → who sought it: its services and its table, least recently used first.

    ``more`` is how many workers it has that did not fit.
    """

    balancer: Label
    host: Label
    pid: Pid
    version: Label
    policy: Label
    services: tuple[ServiceSeen, ...]
    workers: Annotated[tuple[WorkerSeen, ...], Meta(max_length=1000)] = ()
    more: Count = 0
    up: Age = 0.0
    settling: bool = False
    draining: bool = False


BalancingMessage: TypeAlias = (
    Execute
    | Executed
    | Working
    | Register
    | Registered
    | Deregister
    | Increment
    | WorkerAlive
    | WorkerUnknown
    | IncrementsHeard
    | Assign
    | BalancerStarted
    | WorkersKnown
    | SeekBalancers
    | BalancerSeen
)
"""Every message of the round robin."""
