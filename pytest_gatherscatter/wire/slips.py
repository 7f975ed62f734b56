"""The messages of routing slips: a slip carries its own steps from queue to queue.

A *slip* is immutable; who has run a step makes the next one of it, with an *attempt* more in its
progress, and hands that on. Nobody keeps a list of slips: the truth about one is the message that
is on its way. Times in it are Unix times of the host that ran the step.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pytest_gatherscatter.wire.messages import (
    Age,
    Count,
    Id,
    Label,
    Message,
    Name,
    Part,
    Pid,
    Seconds,
    Text,
)

MOST_STEPS = 200
"""Steps in a slip, those added on the way included: with its progress it fits into a message."""

Number: TypeAlias = Annotated[int, Meta(ge=1, le=2**53 - 1)]
"""Of a step in its slip. Steps added on the way are numbered below the one that added them."""

Param: TypeAlias = Annotated[str, Meta(max_length=4096)]
Params: TypeAlias = Annotated[dict[Name, Param], Meta(max_length=100)]

StepTail: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""The last of what a command wrote; all of it is in the log file of its host."""

OnFailure: TypeAlias = Literal["stop", "continue", "compensate"]

Status: TypeAlias = Literal[
    "done", "failed", "timed-out", "interrupted", "cancelled", "expired", "refused", "unserved"
]
"""How an attempt ended. ``interrupted``: its processor died in it, so nobody knows how far it came.
``refused``: no command was started, since the processor does not know it or its parameters.
``expired``: the slip's deadline had passed. ``unserved``: there was no queue for it."""

Outcome: TypeAlias = Literal["done", "failed", "cancelled", "expired"]


class Step(Part, frozen=True, kw_only=True):
    """One step: ``command`` names a template of the ``process`` that serves its queue.

    ``params`` go before the slip's own. ``shell`` is a command line instead of a template, for
    processors that allow it. ``timeout`` in seconds. A failure is tried again ``retries`` times,
    after ``backoff`` seconds that double each time. ``rerun``: it may be begun again where a
    processor died in it. ``after`` names the steps that must be over; ``None`` is all before it.
    ``compensate`` is the command that undoes it. A ``mandatory`` step stands at the end and is run
    whatever has failed.
    """

    number: Number
    process: Name
    command: Name | None = None
    shell: Text = ""
    params: Params = field(default_factory=dict)
    timeout: Seconds = 3600.0
    on_failure: OnFailure = "stop"
    retries: Count = 0
    backoff: Seconds = 0.0
    rerun: bool = False
    after: Annotated[tuple[Number, ...], Meta(max_length=MOST_STEPS)] | None = None
    compensate: Name | None = None
    mandatory: bool = False


class Attempt(Part, frozen=True, kw_only=True):
    """An entry in a slip's progress: an attempt at a step, or at ``compensating`` it, is over.

    With ``final`` the step is over too. ``exit_status`` or ``signal`` (its name) say how the
    command ended, if it was started. ``stdout_tail`` and ``stderr_tail`` are its last output,
    ``log`` is the file on ``host`` that has all of it.
    """

    number: Number
    attempt: Count
    status: Status
    final: bool = True
    compensating: bool = False
    started: float = 0.0
    ended: float = 0.0
    exit_status: int | None = None
    signal: Label = ""
    host: Label = ""
    processor: Label = ""
    text: Text = ""
    stdout_tail: StepTail = ""
    stderr_tail: StepTail = ""
    log: Text = ""


class Slip(Part, frozen=True, kw_only=True):
    """A routing slip. The next step is the first without a final entry in ``progress``.

    ``reply_to`` is the key on which its end is told, empty for nobody. ``deadline`` is Unix time.
    ``route_wait`` is for how many seconds a step may find no queue before it is ``unserved``.
    ``cancelled`` says by whom, if it was.
    """

    id: Id
    name: Label
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MOST_STEPS)]
    progress: Annotated[tuple[Attempt, ...], Meta(max_length=100 * MOST_STEPS)] = ()
    params: Params = field(default_factory=dict)
    reply_to: Label = ""
    owner: Label = ""
    created: float = 0.0
    deadline: float | None = None
    route_wait: Seconds = 30.0
    cancelled: Label = ""


class Task(Part, frozen=True, kw_only=True):
    """An attempt that is to be made: of a step, or of what compensates it."""

    number: Number
    attempt: Count
    compensating: bool = False


# ── routing slips: on their way ───────────────────────────────────────────────────────


class RunStep(Message, frozen=True, kw_only=True):
    """Whoever has the slip → the queue of the step's process: make this attempt.

    ``doubt``: somebody died with the slip in hand, and may have handed it on; it is looked for
    before anything is begun. Redelivered: as with doubt.
    """

    slip: Slip
    task: Task
    doubt: bool = False


class KeepSlip(Message, frozen=True, kw_only=True):
    """Whoever has the slip → the waiting room: keep it, and see to it.

    ``why`` it waits: ``parallel``: its steps are begun and joined in the room; ``launched`` are
    those that have gone out, ``task`` is the one that this copy comes back from. ``elsewhere``:
    ``task`` was begun by ``processor``, if that is known, and is interrupted if nobody has it any
    more. ``returned``: it is over, of a processor that has not the slip itself any more; this is
    how it went. ``doubt``: ``task`` begins if nobody has, or had, another copy. ``retry``: ``task``
    is due in ``seconds``. ``unrouted``: ``task`` found no queue; it may for ``seconds`` yet.
    ``unheard``: it is over, and who gave it out was not there to hear it; it is said again for
    ``seconds``. What is returned with ``doubt`` may have been handed on, too.
    Redelivered: the room has changed hands.
    """

    slip: Slip
    why: Literal["parallel", "elsewhere", "returned", "doubt", "retry", "unrouted", "unheard"]
    task: Task | None = None
    launched: Annotated[tuple[Task, ...], Meta(max_length=MOST_STEPS)] = ()
    processor: Label = ""
    seconds: Seconds = 0.0
    doubt: bool = False


class SlipOver(Message, frozen=True, kw_only=True):
    """Who ended the slip → whoever gave it out and all who watch: nothing of it will be run again.

    Redelivered, or said by two: the first counts.
    """

    slip: Slip
    outcome: Outcome


# ── routing slips: questions ──────────────────────────────────────────────────────────


class SeekStep(Message, frozen=True, kw_only=True):
    """The waiting room → all processors: who has this attempt, or has come further?"""

    slip: Id
    task: Task
    asker: Name


class StepSeen(Message, frozen=True, kw_only=True):
    """Processor → the waiting room, answering each time it has anything to say.

    ``running``: it runs here. ``ahead``: it was handed on, or a later step is or was here.
    ``unbegun``: it was here and never begun. ``dropped``: it was
    begun here, in an earlier life of the processor or while its connection was lost, and its slip
    was not handed on for all it knows; if it had ended, ``end`` says how, with the steps that were
    ``added``.
    """

    slip: Id
    task: Task
    processor: Name
    standing: Literal["running", "ahead", "unbegun", "dropped"]
    end: Attempt | None = None
    added: Annotated[tuple[Step, ...], Meta(max_length=MOST_STEPS)] = ()


class CheckSlip(Message, frozen=True, kw_only=True):
    """Who gives out a slip → all processors: would you run its steps, and with what command line?

    Answered by each that serves a process of it.
    """

    slip: Slip
    asker: Id


class StepChecked(Part, frozen=True, kw_only=True):
    """A step as one processor would run it: its command ``line``, or why it is ``refused``."""

    number: Number
    line: Text = ""
    refused: Text = ""
    compensating: bool = False


class SlipChecked(Message, frozen=True, kw_only=True):
    """Processor → asker."""

    slip: Id
    processor: Name
    host: Label
    steps: Annotated[tuple[StepChecked, ...], Meta(max_length=2 * MOST_STEPS)]


class CancelSlip(Message, frozen=True, kw_only=True):
    """Who gave it out or a person → all: end the step that runs, and begin no other.

    What a step's policy says of a failure is done. Redelivered: nothing more.
    """

    slip: Id
    who: Label


class SeekProcessors(Message, frozen=True, kw_only=True):
    """Person → all processors: who is there? Answered each time."""

    asker: Id


class ProcessorSeen(Message, frozen=True, kw_only=True):
    """Processor → person: ``running`` are the tasks that it is at, ``slip 2 write (12 s)``.

    ``waiting`` is how many slips are kept in the waiting room, if that is here.
    """

    processor: Name
    host: Label
    pid: Pid
    version: Label
    processes: tuple[Name, ...]
    slots: Count
    free: Count
    running: tuple[Label, ...] = ()
    waiting: Count = 0
    up: Age = 0.0
    draining: bool = False


# ── routing slips: events ─────────────────────────────────────────────────────────────


class SlipStepBegun(Message, frozen=True, kw_only=True):
    """Processor → all: an attempt was begun; ``command`` is its name, never its line."""

    slip: Id
    name: Label
    task: Task
    process: Name
    command: Label
    processor: Name
    host: Label


class SlipStepMoved(Message, frozen=True, kw_only=True):
    """Processor → all: a command said how far it is, from 0 to 1."""

    slip: Id
    task: Task
    share: Annotated[float, Meta(ge=0, le=1)]
    text: Label = ""


class SlipStepEnded(Message, frozen=True, kw_only=True):
    """Processor or waiting room → all: an attempt is over. The same one said again counts once."""

    slip: Id
    name: Label
    attempt: Attempt


SlipMessage: TypeAlias = (
    RunStep
    | KeepSlip
    | SlipOver
    | SeekStep
    | StepSeen
    | CheckSlip
    | SlipChecked
    | CancelSlip
    | SeekProcessors
    | ProcessorSeen
    | SlipStepBegun
    | SlipStepMoved
    | SlipStepEnded
)
"""Every message of routing slips."""
