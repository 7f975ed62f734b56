"""Who holds workers for jobs: the machine that speaks for them.

A supervisor takes one job at a time. It starts a child for each worker that the originator names,
hands it one file after the other, tells what it says, in order and until it was accepted, and
tells its death. It ends its children when the originator is gone: nobody would count what they
do. Files that a child has not begun are given back without asking it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Effects,
    Failed,
    Input,
    LinkUp,
    Received,
    Returned,
    Told,
)
from pytest_gatherscatter.testfiles.child import (
    AbortChild,
    Child,
    ChildGone,
    ChildSaid,
    EndChild,
    StartChild,
    TellChild,
)
from pytest_gatherscatter.testfiles.shell import Done, Leave, Say
from pytest_gatherscatter.wire import event as ev
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import JOB_SOUGHT, job_key

KEEPALIVE = 1.0
"""Seconds between two words to the originator while there is nothing else to say."""

SILENT = 15.0
"""Seconds without a word of the originator after which the children are ended: longer than it
waits itself before it gives a supervisor up."""

GONE = 5.0
"""Seconds after which an originator whose inbox is gone is taken for gone: a broker that was
restarted has it back by then."""

REPEAT = 3.0
"""Seconds after which events are said again that were not accepted."""

ABORT = 3.0
"""Seconds that a child which hangs may take to say where, before it is killed."""


class SupervisorFacts(Struct, frozen=True):
    """What a supervisor is told at its making: ``slots`` is how many workers it can hold."""

    supervisor: str
    slots: int
    host: str
    pid: int
    version: str
    pytest: str = ""
    prepared: float = 0.0


class SupervisorMachine:
    """The machine of one supervisor.

    Args:
        facts: what it tells about itself.
        job: the one job that it is for; without one, the first that is offered.
    """

    def __init__(self, facts: SupervisorFacts, *, job: str = "") -> None:
        self.id = facts.supervisor
        self.facts = facts
        self.job = job
        self.joined = False
        self.over = False
        self.children: dict[str, Child] = {}
        self._out = Effects()
        self._purposes: set[int] = set()
        self._heard = 0.0
        self._missing_since: float | None = None
        self._says_at = 0.0
        self._speaks = False
        """Whether a wake is asked for, to say what was heard."""
        self._limit = 0.0
        self._done = False
        self._left = ""
        self._retires = False
        self._take: dict[type[Message], Callable[[Any, float], None]] = {
            m.JobOffered: self._offered,
            m.JobJoined: self._have,
            m.JobRefused: self._refused,
            m.RunFile: self._granted,
            m.RunFiles: self._granted_all,
            m.BeginFile: self._begin,
            m.GiveBack: self._give_back,
            m.ToldAccepted: self._accepted,
            m.JobAlive: self._alive,
            m.JobOver: self._end,
        }

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(body):
                take = self._take.get(type(body))
                if take is not None and self._mine(body):
                    take(body, now)
            case LinkUp():
                self._link_up(now)
            case Told(ChildSaid() as said):
                self._said(said, now)
                if not self._speaks:  # once all is heard that children have said by now
                    self._speaks = True
                    self._out.wake(now)
                return self._out.take()
            case Told(ChildGone() as gone):
                self._gone(gone)
            case Told(Leave() as leave):
                self._leave(leave, now)
            case Returned(effect) if effect in self._purposes:
                self._purposes.discard(effect)
                self._missing_since = self._missing_since or now
            case Confirmed(effect) | Failed(effect):
                self._purposes.discard(effect)
            case _:
                pass
        self._go_on(now)
        return self._out.take()

    def _mine(self, body: Message) -> bool:
        if isinstance(body, m.JobOffered):
            return self.job in {"", body.job}
        return getattr(body, "job", None) == self.job

    # ── the job ────────────────────────────────────────────────────────────────────────

    def _link_up(self, now: float) -> None:
        """Ask for a job, or go on with the one there is."""
        if self.joined:
            self._join(now)
        else:
            self._out.publish(JOB_SOUGHT, m.SeekJob(supervisor=self.id))

    def _offered(self, message: m.JobOffered, now: float) -> None:
        if not self.joined:
            text = f"joins {message.originator}: {message.files} files of {message.root}"
            self._out.run(Say(text))
        self.job, self.joined = message.job, True
        self._join(now)

    def _join(self, now: float) -> None:
        """Join, or come back after a connection was lost, ours or the originator's: say it all."""
        self._hear(now)
        for child in self.children.values():
            child.sent = 0
        facts = self.facts
        join = m.JoinJob(
            job=self.job,
            supervisor=self.id,
            slots=facts.slots,
            host=facts.host,
            pid=facts.pid,
            version=facts.version,
            pytest=facts.pytest,
            prepared=facts.prepared,
        )
        self._to_job(join)

    def _hear(self, now: float) -> None:
        self._heard, self._missing_since = now, None

    def _to_job(self, message: Message) -> None:
        self._purposes.add(self._out.send(job_key(self.job), message))

    def _have(self, message: m.JobJoined, now: float) -> None:
        self._hear(now)
        worker = message.worker
        self._limit = message.terms.test_timeout
        if worker not in self.children and not self.over:
            self.children[worker] = Child(worker)
            self._out.run(StartChild(worker, message.terms, message.input))
            self._end_given_up()

    def _end_given_up(self) -> None:
        """End the oldest of more children than there are slots: nobody counts on them any more.

        So it is where we were given up, and have come back: what they run, others run by now.
        """
        living = [child for child in self.children.values() if not child.gone]
        for child in living[: max(0, len(living) - self.facts.slots)]:
            child.last = True
            child.said.clear()
            child.grants.clear()
            self._out.run(EndChild(child.worker))

    def _refused(self, message: m.JobRefused, now: float) -> None:
        self._abandoned(message.text, now)

    def _abandoned(self, why: str, _: float) -> None:
        """End all children: nobody counts what they do any more."""
        if not self.over or any(not child.gone for child in self.children.values()):
            self._left = self._left or why
        self.over = True
        for child in self.children.values():
            child.last = True
            child.said.clear()
            if not child.gone:
                self._out.run(EndChild(child.worker))

    def _leave(self, leave: Leave, now: float) -> None:
        """Go, and say so: what the children have not begun, or leave, is for others."""
        if self.joined and not self.over and leave.in_order:
            self._retires, self._left = True, leave.text
            self._end(m.JobOver(job=self.job, text=leave.text), now)
            return
        if self.joined and not (self.over and not self._retires):
            self._out.send(
                job_key(self.job), m.LeaveJob(job=self.job, supervisor=self.id, text=leave.text)
            )
        self._abandoned(leave.text, now)

    def _alive(self, _: m.JobAlive, now: float) -> None:
        self._hear(now)

    def _end(self, message: m.JobOver, now: float) -> None:
        """Let the children finish what runs, tear down, and tell."""
        self._hear(now)
        if self.over:
            return
        self.over = True
        for child in self.children.values():
            child.grants.clear()
            if not child.gone:
                self._out.run(TellChild(child.worker, message))

    # ── grants ─────────────────────────────────────────────────────────────────────────

    def _granted(self, message: m.RunFile, now: float) -> None:
        self._hear(now)
        child = self.children.get(message.worker)
        if child is None or child.gone or self.over or message.lease in child.seen:
            return
        child.seen.add(message.lease)
        child.grants.append(message)
        self._feed(child, now)

    def _granted_all(self, message: m.RunFiles, now: float) -> None:
        for lease, file in message.files:
            run = m.RunFile(job=message.job, worker=message.worker, lease=lease, file=file)
            self._granted(run, now)

    def _feed(self, child: Child, now: float) -> None:
        """Hand a child its next files."""
        for run in child.take_next(now):
            self._out.run(TellChild(child.worker, run))

    def _begin(self, message: m.BeginFile, now: float) -> None:
        self._hear(now)
        child = self.children.get(message.worker)
        if child is not None and not child.gone and message.lease in child.handed:
            self._out.run(TellChild(child.worker, message))

    def _give_back(self, message: m.GiveBack, now: float) -> None:
        self._hear(now)
        child = self.children.get(message.worker)
        if child is None or child.gone:
            return
        if message.lease in child.handed:
            self._out.run(TellChild(child.worker, message))
            return
        kept = deque(run for run in child.grants if run.lease != message.lease)
        if len(kept) < len(child.grants):
            child.grants = kept
            self._tell(child, ev.TestsGivenBack(lease=message.lease), 64)

    # ── what children say ──────────────────────────────────────────────────────────────

    def _said(self, said: ChildSaid, now: float) -> None:
        child = self.children.get(said.worker)
        if child is None or child.last:
            return
        event = said.event
        if isinstance(event, ev.WorkerPrinted):
            if (printed := child.prints(event, said.size)) is not None:
                self._tell(child, printed, said.size)
            return
        child.hear(event, now)
        # A file that is left in the middle is not finished: its lease goes on to others.
        if not (self._retires and isinstance(event, ev.FileFinished)):
            self._tell(child, event, said.size)
        match event:
            case ev.FileFinished(lease=lease) | ev.TestsGivenBack(lease=lease, tests=None):
                child.handed = [one for one in child.handed if one != lease]
                self._feed(child, now)
                child.finished.append(now)
            case _:
                pass
        child.last = isinstance(event, ev.WorkerEnded)

    def _gone(self, gone: ChildGone) -> None:
        child = self.children.get(gone.worker)
        if child is None or child.gone:
            return
        child.gone = True
        child.grants.clear()
        if not child.last:
            child.last = True
            died = gone.died
            if child.aborted is not None:
                what = f"hung for more than {self._limit:g} s"
                died = replace(died, how=f"{died.how}, for it {what}", hung=True)
            self._tell(child, died, 1024)

    def _tell(self, child: Child, event: ev.AnyEvent, size: int) -> None:
        child.said.append((event, size))

    def _accepted(self, message: m.ToldAccepted, now: float) -> None:
        self._hear(now)
        child = self.children.get(message.worker)
        if child is None:
            return
        for _ in range(min(max(0, message.number - child.accepted), len(child.said))):
            child.accept()

    def _speak(self, child: Child, now: float) -> None:
        for number, events in child.untold(now):
            told = m.WorkerTold(
                job=self.job,
                supervisor=self.id,
                worker=child.worker,
                number=number,
                events=events,
            )
            self._to_job(told)

    def _end_hung(self, child: Child, now: float) -> None:
        """End a child whose test takes too long; looked at with every keepalive."""
        if child.aborted is None:
            child.aborted = now
            self._out.run(AbortChild(child.worker))
        elif now - child.aborted >= ABORT:
            self._out.run(EndChild(child.worker))

    # ── going on ───────────────────────────────────────────────────────────────────────

    def _tell_all(self, now: float) -> None:
        for child in self.children.values():
            if child.hangs(self._limit, now):
                self._end_hung(child, now)
            if child.sent and now - child.sent_at >= REPEAT:
                child.sent = 0
            if child.sent < len(child.said):
                self._speak(child, now)

    def _go_on(self, now: float) -> None:
        if self._done:
            return
        self._speaks = False
        self._tell_all(now)
        if self.joined and now >= self._says_at:
            missing = self._missing_since
            if missing is not None and now - missing >= GONE:
                self._abandoned("the originator is gone", now)
            elif now - self._heard >= SILENT:
                self._abandoned(f"nothing was heard of the originator for {SILENT:g} s", now)
            elif not self.over or self.children:
                self._to_job(m.SupervisorAlive(job=self.job, supervisor=self.id))
            self._says_at = now + KEEPALIVE
            self._out.wake(self._says_at)
        nobody = self._missing_since is not None  # hears what is left to say
        quiet = all(child.gone and (nobody or not child.said) for child in self.children.values())
        if self.over and quiet:
            self._done = True
            self._out.run(Done(self._left))
