"""A listener: the machine that hears of jobs, has slots, and keeps a queue of what waits for them.

It does no job itself: a *duty* is a process for one job (its workspace, its callbacks, its
workers), so that the listener always answers, however busy its host is. A job waits in the order
of its arrival, takes the slots that are free, and gives them back when its duty is over. The
originator hears of it all the while (:class:`ListenerTold`), and that its answer stays away is how
the listener knows that a job is over which still waits, or whose files are still coming.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Effects,
    Failed,
    Input,
    Lifecycle,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Told,
)
from pytest_gatherscatter.testfiles.duty import (
    DUTY_TABLE,
    RUNNING,
    Duty,
    DutySaid,
    DutyState,
    EndDuty,
    RetireDuty,
    StartDuty,
)
from pytest_gatherscatter.testfiles.order import DutyOver, DutyStep
from pytest_gatherscatter.testfiles.shell import Done, Say
from pytest_gatherscatter.testfiles.supervisor import GONE
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import JOB_SOUGHT, job_key, ping_key

MOST_QUEUED = 64
"""Jobs that wait: far more than a lab's people start, a bound on what a flood can make one keep.
Who was turned away is asked for again when there is room."""

REMEMBERED = 256
"""Jobs that failed here and are not tried again, should they be offered again."""

TELL = 2.0
"""Seconds between two words to the originators of the jobs that it has."""

END_GRACE = 10.0
"""Seconds that a duty which is to end now may take, until it is killed."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Whoever started the listener wants it to end, perhaps ``now`` (``Told``)."""

    now: bool = False


@dataclass(frozen=True, slots=True)
class ListenerFacts:
    """What a listener is told at its making.

    ``job_slots`` is how many slots one job may take, 0 for all. ``drain`` is for how many seconds
    running tests may go on once it is to end.
    """

    listener: str
    host: str
    pid: int
    version: str
    slots: int
    job_slots: int = 0
    labels: frozenset[str] = frozenset()
    drain: float = 60.0


class ListenerMachine:
    """The machine of one listener.

    Args:
        facts: what it tells about itself, and may do.
        load: returns the host's load, of the last minute.
        now: when it began.
    """

    def __init__(self, facts: ListenerFacts, load: Callable[[], float], *, now: float) -> None:
        self.facts = facts
        self.duties: dict[str, Duty] = {}
        """The jobs that it has, in the order of their arrival."""
        self._load = load
        self._began = now
        self._out = Effects()
        self._linked = False
        self._tells_at = now
        self._draining = False
        self._done = False
        self._turned_away = False
        self._failed: deque[str] = deque(maxlen=REMEMBERED)
        self._purposes: dict[int, str] = {}
        """Which job a publish was about."""
        self._last_words: dict[int, str] = {}
        """Which failed job's end a publish tells."""
        self._take: dict[type[Message], Callable[[Any, float], None]] = {
            m.JobOffered: self._offered,
            m.JobAlive: self._alive,
            m.JobOver: self._over,
            m.SeekListeners: self._sought,
        }

    @property
    def free(self) -> int:
        """Slots that no job has."""
        return self.facts.slots - sum(one.slots for one in self._running())

    def _running(self) -> list[Duty]:
        return [one for one in self.duties.values() if one.state in RUNNING]

    def _queued(self) -> list[Duty]:
        return [one for one in self.duties.values() if one.state is DutyState.QUEUED]

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(body):
                take = self._take.get(type(body))
                if take is not None:
                    take(body, now)
            case LinkUp():
                self._linked, self._tells_at = True, now
                self._seek()
            case LinkDown():
                self._linked = False
            case Told(DutySaid(job, word)):
                self._said(job, word, now)
            case Told(Drain(at_once)):
                self._drain(now, at_once=at_once)
            case Returned(effect):
                self._returned(effect, now)
            case Confirmed(effect):
                self._purposes.pop(effect, None)
                self.duties.pop(self._last_words.pop(effect, ""), None)
            case Failed(effect):  # said again when the link is there
                self._purposes.pop(effect, None)
                self._last_words.pop(effect, None)
            case _:
                pass
        self._go_on(now)
        return self._out.take()

    # ── jobs come, wait, and are over ──────────────────────────────────────────────────

    def _seek(self) -> None:
        """Ask for the jobs that run already: a late listener helps, too."""
        if not self._draining:
            self._turned_away = False
            self._out.publish(JOB_SOUGHT, m.SeekJob(supervisor=self.facts.listener))

    def _offered(self, offer: m.JobOffered, now: float) -> None:
        source, job = offer.source, offer.job
        if source is None or self._draining or job in self.duties or job in self._failed:
            return
        if not self.facts.labels.issuperset(source.labels):
            return
        if len(self._queued()) >= MOST_QUEUED:
            self._turned_away = True
            return
        life = Lifecycle(f"job {job}", DutyState.QUEUED, DUTY_TABLE, now=now)
        self.duties[job] = Duty(offer, life)
        files = "1 file" if offer.files == 1 else f"{offer.files} files"
        self._say(job, f"{files} of {offer.originator}")
        self._tells_at = now

    def _alive(self, message: m.JobAlive, _: float) -> None:
        duty = self.duties.get(message.job)
        if duty is not None:
            duty.missing_since = None

    def _over(self, message: m.JobOver, now: float) -> None:
        duty = self.duties.get(message.job)
        if duty is not None:
            self._give_up(duty, message.text or "the job is over", now)

    def _give_up(self, duty: Duty, why: str, now: float) -> None:
        """Forget a job that waits, end one that is prepared; workers hear it for themselves."""
        if duty.state is DutyState.QUEUED:
            self._say(duty.job, f"{why}; it was waiting")
            del self.duties[duty.job]
        elif duty.state is DutyState.PREPARING:
            self._say(duty.job, f"{why}; it was being prepared")
            self._end(duty, now)

    def _returned(self, effect: int, now: float) -> None:
        self.duties.pop(self._last_words.pop(effect, ""), None)  # nobody is left to be told
        duty = self.duties.get(self._purposes.pop(effect, ""))
        if duty is not None and duty.missing_since is None:
            duty.missing_since = now
            self._out.wake(now + GONE)

    # ── what duties say ────────────────────────────────────────────────────────────────

    def _said(self, job: str, word: DutyStep | DutyOver, now: float) -> None:
        duty = self.duties.get(job)
        if duty is None:
            return
        if isinstance(word, DutyStep):
            duty.text = word.text
            self._say(job, word.text)
            if word.working and duty.state is DutyState.PREPARING:
                duty.life.to(DutyState.WORKING, now=now)
                self._tells_at = now
            return
        self._say(job, word.text or "done")
        if word.failed and duty.state in {DutyState.PREPARING, DutyState.WORKING}:
            self._failed.append(job)
            duty.failure, duty.slots = word, 0
            duty.life.to(DutyState.FAILED, now=now)
            self._tells_at = now
        else:
            del self.duties[job]

    # ── its own end ────────────────────────────────────────────────────────────────────

    def _drain(self, now: float, *, at_once: bool) -> None:
        if not self._draining:
            self._draining = True
            for duty in self._queued():
                del self.duties[duty.job]
            if self._running():
                text = f"ends when the tests that run are over, in {self.facts.drain:g} s at most"
                self._out.run(Say(text))
        for duty in self._running():
            if at_once or duty.state is DutyState.PREPARING:
                self._end(duty, now)
            elif duty.state is DutyState.WORKING:
                duty.life.to(DutyState.RETIRING, now=now)
                duty.until = now + self.facts.drain
                self._out.wake(duty.until)
                self._out.run(RetireDuty(duty.job))

    def _end(self, duty: Duty, now: float) -> None:
        if duty.state is DutyState.LEAVING:
            return
        duty.life.to(DutyState.LEAVING, now=now)
        duty.until = now + END_GRACE
        self._out.wake(duty.until)
        self._out.run(EndDuty(duty.job))

    # ── going on ───────────────────────────────────────────────────────────────────────

    def _go_on(self, now: float) -> None:
        self._look_at_deadlines(now)
        self._start(now)
        if self._turned_away and len(self._queued()) < MOST_QUEUED and self._linked:
            self._seek()
        self._tell(now)
        waits = self._running() or (self._linked and self.duties)  # the latter to tell a failure
        if self._draining and not self._done and not waits:
            self._done = True
            self._out.run(Done())

    def _look_at_deadlines(self, now: float) -> None:
        for duty in list(self.duties.values()):
            if duty.missing_since is not None and now - duty.missing_since >= GONE:
                self._give_up(duty, "its originator is gone", now)
            if duty.until is not None and now >= duty.until:
                duty.until = None
                if duty.state is DutyState.RETIRING:
                    self._end(duty, now)
                else:
                    self._out.run(EndDuty(duty.job, kill=True))

    def _start(self, now: float) -> None:
        """Start who has waited longest, with the slots that are free."""
        for duty in self._queued():
            free = self.free
            if free <= 0:
                return
            duty.slots = min(free, self.facts.job_slots or self.facts.slots)
            duty.life.to(DutyState.PREPARING, now=now)
            self._out.run(StartDuty(duty.offer, duty.slots))

    def _tell(self, now: float) -> None:
        """Tell the originators that their jobs are known here, and how far they are."""
        if not self.duties or not self._linked or now < self._tells_at:
            return
        self._tells_at = now + TELL
        self._out.wake(self._tells_at)
        for duty in self.duties.values():
            if duty.state in {DutyState.RETIRING, DutyState.LEAVING}:
                continue
            failure = duty.failure or DutyOver(text=duty.text)
            told = m.ListenerTold(
                job=duty.job,
                listener=self.facts.listener,
                host=self.facts.host,
                state=duty.state.value,
                slots=duty.slots,
                text=failure.text[:4096],
                stdout=failure.stdout[-65_536:],
                stderr=failure.stderr[-65_536:],
            )
            purposes = self._purposes if duty.failure is None else self._last_words
            purposes[self._out.send(job_key(duty.job), told)] = duty.job

    def _sought(self, message: m.SeekListeners, now: float) -> None:
        queued = self._queued()
        facts = self.facts
        seen = m.ListenerSeen(
            listener=facts.listener,
            host=facts.host,
            pid=facts.pid,
            version=facts.version,
            slots=facts.slots,
            free=self.free,
            load=self._load(),
            labels=tuple(sorted(facts.labels)),
            jobs=tuple(
                m.ListenerJob(
                    job=one.job,
                    originator=one.offer.originator,
                    state=one.state.value,
                    slots=one.slots,
                    seconds=max(0.0, now - one.life.since),
                )
                for one in [*self._running(), *queued]
            ),
            waiting=len(queued),
            up=max(0.0, now - self._began),
            draining=self._draining,
        )
        self._out.send(ping_key(message.asker), seen)

    def _say(self, job: str, text: str) -> None:
        self._out.run(Say(f"job {job}: {text}"))
