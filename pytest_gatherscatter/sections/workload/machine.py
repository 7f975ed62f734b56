"""One section at the workload's side: from asking to enter until the lab has closed it.

The machine asks, once and then every second, how things stand; so a lost answer, a restarted
gatherer and a new connection are all the same to it. Two rules make it safe:

- Before the gatherer has accepted, the section may fall back to running alone, and says so
  (``WithdrawSection``), lest it be gathered for nobody. Once accepted it never falls back.
- It goes only on a ``SectionGo`` that carries the token which it wrote on its ticket.

The shell around it (``service/workload.py``) connects, syncs the ticket, sleeps to t0 and
takes what :class:`Workload` shows in its attributes. Not thread-safe.
"""

from pytest_gatherscatter.errors import NoGatherer, NotGathered
from pytest_gatherscatter.machine import (
    Effect,
    Effects,
    Input,
    Lifecycle,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Told,
    Woken,
)
from pytest_gatherscatter.sections.demand import Demand
from pytest_gatherscatter.sections.workload.probing import Probing
from pytest_gatherscatter.sections.workload.state import (
    AFTER_GO,
    BEFORE_GO,
    ENDED,
    WORKLOAD_TABLE,
    AnswerTo,
    BodyEnded,
    GiveUp,
    KeepChunk,
    Refusal,
    TellOf,
    TicketSynced,
    WorkloadState,
)
from pytest_gatherscatter.wire import names
from pytest_gatherscatter.wire.messages import (
    MISSED_GO,
    UNKNOWN,
    ArtifactChunk,
    ClockReading,
    Hold,
    LeaveAccepted,
    LeaveSection,
    Message,
    SectionAborted,
    SectionAccepted,
    SectionClosed,
    SectionGathered,
    SectionGo,
    SectionRefused,
    SectionWaiting,
    WithdrawSection,
    WorkloadReady,
)

REPEAT = 1.0
"""Seconds between two questions: half of the default handshake, so that one may get lost."""

ABSENT_REPEAT = 0.25
"""Seconds between two questions while nobody has the gatherer's queue: such a question costs
the broker one return, and a gatherer that restarts is met soon."""

LEAST_SILENCE = 5.0
"""Seconds for which a gatherer that may be there may be silent, however short ``gather_timeout``
is: it answers each second and keeps that timeout itself, so that two equal deadlines would race
about which of them ends the section; five answers are not lost by chance."""

GRACE = 10.0
"""Seconds on top of all waits that the gatherer itself keeps, before a workload that is kept
waiting by a live gatherer gives up: its answers have their own way to go."""


_W = WorkloadState


class Workload:
    """The machine of one section.

    Args:
        demand: what is asked for.
        section: the section's id.
        owner: who asks, for others to read: ``user@host pid 42``.
        run: id of the run.
        token: the highest token that this host has on record.
        met: a gatherer was met in this run, so that its absence is a fault and no choice.
        now: seconds on the caller's monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - the facts of a section
        self,
        demand: Demand,
        *,
        section: str,
        owner: str,
        run: str,
        token: int = 0,
        met: bool = False,
        now: float,
    ) -> None:
        self.demand = demand
        self.section = section
        self.token = token
        self.members: tuple[str, ...] = ()
        self.waiting: SectionWaiting | None = None
        self.holds: dict[str, Hold] = {}
        self.absent = False
        self.go: SectionGo | None = None
        self.t0: float | None = None
        self.deadline: float | None = None
        self.refusal: Refusal | None = None
        self.acknowledged = False
        self.closed: SectionClosed | None = None
        self.unreported = ""
        self.given_up = False
        self.alone_because = ""
        self.answered = False
        self.told_of: set[str] = set()
        self._owner = owner
        self._run = run
        self._met = met
        self._life = Lifecycle(f"section {section}", _W.ENTERING, WORKLOAD_TABLE, now=now)
        self._effects = Effects()
        self._reply: str | None = None
        self._linked = False
        self._begun: float | None = None
        self._heard = now
        self._asked: set[int] = set()
        self._next_question = now
        self._ready: TicketSynced | None = None
        self._ended: BodyEnded | None = None
        self._probing = Probing(self._effects)
        self.clock = self._probing.clock

    @property
    def state(self) -> WorkloadState:
        """Where it stands."""
        return self._life.state

    @property
    def story(self) -> tuple[str, ...]:
        """Its recent transitions, for errors and logs."""
        return self._life.story

    @property
    def clock_settled(self) -> bool:
        """Whether the gatherer's clock was read, or nobody answers who could."""
        return self.clock.known() or not self._probing.under_way

    def patience(self, now: float) -> float:
        """Seconds until the silence of an absent gatherer ends the section."""
        return max(0.0, self._heard + self._longest_silence - now)

    @property
    def _longest_silence(self) -> float:
        """Seconds of silence that end it: less is needed where the broker says nobody is there."""
        limit = self.demand.gather_timeout
        return limit if self.absent else max(limit, LEAST_SILENCE)

    @property
    def owes_leave(self) -> bool:
        """Whether it ended before go, but perhaps after the commit, and nobody said yes yet."""
        early = self.state in {_W.REFUSED, _W.WITHDRAWN}
        return early and self._ended is not None and not self.acknowledged

    # ── in ─────────────────────────────────────────────────────────────────────────────

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input at local time ``now``; see :class:`machine.Machine`."""
        match message:
            case Received(message=ClockReading() as reading):
                self._probing.reading(reading, now)
                self.absent = False
            case Received(message=received):
                self._receive(received, now)
            case LinkUp():
                self._link_up(now)
            case LinkDown():
                self._linked = False
                self._probing.stop()
            case Returned(effect):
                self._returned(effect, now)
            case Told(request):
                self._told(request, now)
            case Woken():
                pass
        self._look(now)
        return self._effects.take()

    def _link_up(self, now: float) -> None:
        self._linked = True
        self.absent = False
        self._asked.clear()
        if self._begun is None:
            self._begun = self._heard = now
        if self.state in BEFORE_GO:
            self._probing.begin(self._reply, now)
        elif self.state in AFTER_GO:
            self._probing.begin_hastily(self._reply, now)
        self._next_question = now

    def _returned(self, effect: int, now: float) -> None:
        if effect not in self._asked:
            return
        self._asked.discard(effect)
        self.absent = True
        self._probing.stop()
        if self.state is _W.ENTERING and not self._met:
            self._alone("no gatherer in the lab", now)
        else:
            self._next_question = min(self._next_question, now + ABSENT_REPEAT)
            self._effects.wake(self._next_question)

    def _told(self, request: object, now: float) -> None:
        match request:
            case AnswerTo(key):
                self._reply = key
            case TicketSynced() if self.state is _W.GATHERED and request.token == self.token:
                self._ready = request
                self._life.to(_W.READY, now=now)
                self._next_question = now
            case BodyEnded() if self.state is _W.GO:
                self._ended = request
                self._heard = now
                self._life.to(_W.LEAVING, now=now, why=request.outcome)
                self._next_question = now
            case TellOf(section, token, outcome) if self._linked:
                self._to_gatherer(LeaveSection(section=section, token=token, outcome=outcome))
            case GiveUp(reason) if self.state in BEFORE_GO:
                self._let_go(reason, now)
                self._life.to(_W.WITHDRAWN, now=now, why=reason)
            case GiveUp(reason) if self.state in AFTER_GO:
                self._unreported(reason, now)
            case _:
                pass  # said twice, or overtaken by what the gatherer said meanwhile

    def _receive(self, message: Message, now: float) -> None:
        if getattr(message, "section", None) != self.section:
            if isinstance(message, LeaveAccepted):
                self.told_of.add(message.section)
            return  # a late answer to another section, or another section's Go
        if not isinstance(message, SectionGo | ArtifactChunk):
            self._hear(now)
        match message:
            case SectionAccepted() | SectionWaiting() | SectionGathered():
                self._progress(message, now)
            case SectionRefused(cause=cause, text=text) | SectionAborted(cause=cause, text=text):
                self._end(Refusal(cause, text), now)
            case SectionGo():
                self._take_go(message, now)
            case LeaveAccepted(known=known):
                self._leave_accepted(now, known=known)
            case SectionClosed() if self.state in AFTER_GO:
                self.acknowledged = True
                self.closed = message
                self._life.to(_W.CLOSED, now=now)
            case ArtifactChunk():
                self._effects.run(KeepChunk(message))
            case _:
                pass

    def _hear(self, now: float) -> None:
        if self.absent and self._linked and self.state in BEFORE_GO:
            self._probing.begin(self._reply, now)
        self.answered = True
        self.absent = False
        self._heard = now

    # ── towards go ─────────────────────────────────────────────────────────────────────

    def _progress(
        self, message: SectionAccepted | SectionWaiting | SectionGathered, now: float
    ) -> None:
        if self.state in {_W.ALONE, _W.WITHDRAWN}:
            # It came too late to count; the withdrawal may have been lost or overtaken.
            self._withdraw("runs alone" if self.state is _W.ALONE else "withdrawn")
            return
        if self.state not in BEFORE_GO:
            return
        match message:
            case SectionAccepted():
                self._accepted(message, now)
            case SectionWaiting():
                self.waiting = message
                self.holds |= {hold.agent: hold for hold in message.holds}
                if self.state is not _W.ACCEPTED:
                    self._life.to(_W.ACCEPTED, now=now, why=message.state)
            case SectionGathered(token=token, members=members):
                again = token == self.token and self.state in {_W.GATHERED, _W.READY}
                self.token, self.members = token, members
                if not again:
                    self._life.to(_W.GATHERED, now=now)
                    if self._linked:
                        self._probing.refresh(self._reply, now)

    def _accepted(self, message: SectionAccepted, now: float) -> None:
        self.token = max(self.token, message.token)
        if self.clock.known() and not self.clock.known(message.gatherer):
            self.clock.forget()  # it restarted: what was read was another clock
            self._probing.begin(self._reply, now)
        if self.state is _W.ENTERING:
            self._life.to(_W.ACCEPTED, now=now)

    def _take_go(self, go: SectionGo, now: float) -> None:
        if self._ready is None or go.token != self._ready.token:
            return  # not what is on the ticket: a section of this id that is no more
        if self.state not in BEFORE_GO:
            return
        self._hear(now)
        # Were the way here instant, t0 would be this far ahead: never earlier than the truth.
        latest = now + (go.t0 - go.sent)
        self.go, self.members, self.token = go, go.members, go.token
        self.t0 = (
            min(latest, self.clock.to_local(go.t0, now))
            if self.clock.known(go.gatherer)
            else latest
        )
        self.deadline = self.t0 + (go.deadline - go.t0)
        if self.state is _W.ENTERING:  # a redelivery that outran every answer
            self._life.to(_W.ACCEPTED, now=now)
        self._life.to(_W.GO, now=now)

    def _end(self, refusal: Refusal, now: float) -> None:
        if refusal.cause == UNKNOWN and self.state in BEFORE_GO:
            # A gatherer that was started anew: ask again. A Go for the ticket still counts.
            if self.state is not _W.ACCEPTED:
                self._life.to(_W.ACCEPTED, now=now, why=refusal.cause)
            self._next_question = now
            return
        if refusal.cause == MISSED_GO:
            # Said of an open section: if it waits here it has to leave; if not, it was wrong.
            if self.state in BEFORE_GO:
                self._refuse(refusal, now)
            return
        self.acknowledged = True
        if self.state in BEFORE_GO:
            self.refusal = refusal
            self._life.to(_W.REFUSED, now=now, why=refusal.cause)
        elif self.state in AFTER_GO:
            self.given_up = True
            self._unreported(f"the lab gave it up: {refusal.text or refusal.cause}", now)

    def _alone(self, why: str, now: float) -> None:
        self.alone_because = why
        self._withdraw("runs alone")
        self._life.to(_W.ALONE, now=now, why=why)

    def _let_go(self, reason: str, now: float) -> None:
        """Take the question back.

        Once the commit was asked for it may have happened, and only leaving ends that; a
        gatherer that did not commit takes it for a withdrawal. Either way it answers.
        """
        if self._ready is None:
            self._withdraw(reason)
        else:
            self._ended = BodyEnded("interrupted", None, None)
            self._next_question = now

    def _withdraw(self, reason: str) -> None:
        if self._linked:
            self._effects.send(
                names.GATHERER_KEY,
                WithdrawSection(section=self.section, reason=reason[:4096]),
                reply_to=self._reply,
            )

    # ── after it ───────────────────────────────────────────────────────────────────────

    def _leave_accepted(self, now: float, *, known: bool) -> None:
        if self.state in BEFORE_GO or self.state is _W.GO:
            return
        self.acknowledged = True
        if self.state not in AFTER_GO:
            return
        if not known:
            self._unreported("the gatherer has no record of the section", now)
        elif self.state is _W.LEAVING:
            self._life.to(_W.LEFT, now=now)

    def _unreported(self, why: str, now: float) -> None:
        self.unreported = why
        self._life.to(_W.UNREPORTED, now=now, why=why)

    # ── asking ─────────────────────────────────────────────────────────────────────────

    def _look(self, now: float) -> None:
        """Keep the deadlines, ask what is due, and wake up for the next."""
        if self.state in BEFORE_GO and self._begun is not None:
            self._give_up_in_time(now, self._begun)
        idle = self.state is _W.GO or (self.state in ENDED and not self.owes_leave)
        if idle or not self._linked:
            if self.state in BEFORE_GO and self._begun is not None:
                self._effects.wake(now + REPEAT)
            return
        if self.state is _W.LEAVING and self._probing.awaited(now):
            return
        if now >= self._next_question:
            self._ask(now)
            self._next_question = now + REPEAT
            self._effects.wake(self._next_question)

    def _give_up_in_time(self, now: float, begun: float) -> None:
        demand, silent = self.demand, now - self._heard
        if self.state is _W.ENTERING and not self._met:
            if now - begun >= demand.handshake_timeout:
                self._alone(f"no gatherer answered in {demand.handshake_timeout:g} s", now)
            else:
                self._effects.wake(begun + demand.handshake_timeout)
        elif silent >= self._longest_silence:
            cause = (NoGatherer if self.state is _W.ENTERING else NotGathered).cause
            text = f"the gatherer went away and did not come back in {self._longest_silence:g} s"
            self._refuse(Refusal(cause, text), now)
        elif self.state is _W.READY and now - self._life.since >= self._longest_silence:
            # A live gatherer commits, or says for whom it waits again.
            text = f"all were ready, and no go came in {self._longest_silence:g} s"
            self._refuse(Refusal(NotGathered.cause, text), now)
        elif now - begun >= self._longest:
            text = f"nothing came of it in {self._longest:g} s"
            self._refuse(Refusal(NotGathered.cause, text), now)

    def _refuse(self, refusal: Refusal, now: float) -> None:
        """End it from this side: the gatherer is told, and has to say yes."""
        self._let_go(refusal.text, now)
        self.refusal = refusal
        self._life.to(_W.REFUSED, now=now, why=refusal.cause)

    @property
    def _longest(self) -> float:
        demand = self.demand
        return demand.queue_timeout + demand.gather_timeout + demand.hold_limit + GRACE

    def _ask(self, now: float) -> None:
        match self.state:
            case _W.ENTERING | _W.ACCEPTED | _W.GATHERED:
                self._enter()
            case _W.READY:
                if now - self._heard > 2 * REPEAT:
                    self._enter()  # perhaps it restarted and knows nothing of us
                self._commit()
            case _:
                self._leave(now)

    def _to_gatherer(self, message: Message) -> None:
        self._asked.add(
            self._effects.send(names.GATHERER_KEY, message, reply_to=self._reply, ttl=10 * REPEAT)
        )

    def _enter(self) -> None:
        self._to_gatherer(
            self.demand.question(self.section, owner=self._owner, run=self._run, token=self.token)
        )

    def _commit(self) -> None:
        if self._ready is not None:
            self._to_gatherer(
                WorkloadReady(
                    section=self.section, token=self._ready.token, needed=self._ready.needed
                )
            )

    def _leave(self, now: float) -> None:
        ended = self._ended
        if ended is None:
            return
        known = self.clock.known()
        # The clock may have been read long after the start: the bound is that of then.
        times = [time for time in (ended.started, ended.stopped) if time is not None]
        self._to_gatherer(
            LeaveSection(
                section=self.section,
                token=self.token,
                outcome=ended.outcome,
                started=self._there(ended.started, now) if known else None,
                stopped=self._there(ended.stopped, now) if known else None,
                bound=max(map(self.clock.bound, times)) if known and times else None,
                needed=ended.needed,
                overdue=ended.overdue,
            )
        )

    def _there(self, local: float | None, now: float) -> float | None:
        return None if local is None else self.clock.to_gatherer(local, now)
