"""The monitor's machine: arm when asked, start at t0, stop, report; make safe when in doubt.

One monitor may serve several benches. Its hooks run one at a time, so it takes one section at
a time and tells the others that it is busy, as a hold. What it knows of each section is an
``Arming`` (see ``arming.py`` for the states). Its parts: ``presence.py`` keeps it in the lab,
``hookline.py`` queues hook calls, ``voice.py`` speaks, ``delivery.py`` hands captures in. Three
rules keep it safe without a gatherer:

- The deadline that came with Go is enforced on this machine's own clock, link or no link.
- A fencing token lower than one already seen on the bench is refused; a higher one proves
  that whatever is still armed on that bench was given up, so it is disarmed first. What has
  begun is not: it ends by a word with its own token, or when its deadline has passed here.
- Once the prepare hook was called, ``stopped`` or ``aborted`` is called, whatever happens.
"""

from dataclasses import replace

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Effects,
    Exited,
    Failed,
    Input,
    Lifecycle,
    LinkDown,
    LinkUp,
    Received,
    Recovered,
    Returned,
    Told,
    Woken,
)
from pytest_gatherscatter.sections.hook import Hold, SectionInfo, Veto, clip
from pytest_gatherscatter.sections.monitor.arming import (
    ARMING_TABLE,
    ENDED,
    HANDING_IN,
    INSIDE,
    UNCOMMITTED,
    Arming,
    ArmingState,
)
from pytest_gatherscatter.sections.monitor.delivery import Delivery
from pytest_gatherscatter.sections.monitor.hookcall import (
    Broken,
    Collected,
    DiscardCaptures,
    Drain,
    Hook,
    HookEnded,
    HookReturned,
    QueueDeclared,
)
from pytest_gatherscatter.sections.monitor.hookline import HookLine
from pytest_gatherscatter.sections.monitor.presence import AGAIN, PROBES_AT_SECTION, Presence
from pytest_gatherscatter.sections.monitor.voice import Identity, Voice, fitting
from pytest_gatherscatter.sections.token import believable
from pytest_gatherscatter.wire.messages import (
    AgentAlive,
    AgentBroken,
    AgentHolding,
    AgentReady,
    AgentVetoed,
    CheckAlive,
    ClockReading,
    GathererStarted,
    JoinAccepted,
    JoinLab,
    Message,
    OpenSection,
    PrepareSection,
    ReportAccepted,
    SectionAborted,
    SectionGo,
    SectionStopped,
)

__all__ = ["Identity", "MonitorMachine"]

HOLD_WHILE_BUSY = 2.0
"""Seconds of a hold that tells "busy" or "preparing"; renewed every second, so one may be lost."""

QUIET_PREPARE = 0.5
"""Seconds that a prepare hook may take before it shows as a hold: most are faster, and a
gatherer takes silence of 2 s as stale."""

SHORTEST_HOLD = 0.1
"""Seconds before prepare is called again after a hold of 0: no spinning."""

STAY = 0.05
"""Seconds after t0 at which the end of the start hook is asked for: it does not wake anybody by
itself, so that a hundred agents of one host start together before any of them does more."""

REPORT_FOR = 600.0
"""Seconds for which a report is said: twenty default report timeouts, then nobody is left."""

YIELD_AFTER = 5.0
"""Seconds after which an armed section yields to an older one that waits. Two sections on two
benches can each have half of the monitors that both need; the older one (by its token, which
is of the whole lab) gets them. Five seconds are more than a check and commit take (2 s)."""

KEPT = 32
"""Ended sections on record, for late repetitions: a gatherer repeats only its latest."""


class MonitorMachine:
    """Decides for one monitor. ``hook_timeout`` is what each hook may take, in seconds.

    Commands of its ``Run`` effects and their results are those of ``hookcall.py``. Records
    are for the log only: a monitor's process that dies has lost what it measured.
    """

    def __init__(self, identity: Identity, *, hook_timeout: float = 30.0) -> None:
        self.identity = identity
        self.armings: dict[str, Arming] = {}
        self.left = False
        """Drained, and the gatherer was told if it could be."""
        self._effects = Effects()
        self._presence = Presence(self._effects, identity.name, self._join)
        self._voice = Voice(self._effects, identity, self._presence)
        self._delivery = Delivery(self._effects, identity.name)
        self._hooks = HookLine(self._effects, hook_timeout)
        self._tokens: dict[str, int] = {}
        self._wake_at: float | None = None
        self._drain_by: float | None = None
        self._drain_reason = ""
        self._leave_effect: int | None = None

    @property
    def presence(self) -> Presence:
        """How it stands with the gatherer, and its clock."""
        return self._presence

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input at local monotonic time ``now`` and say what is to be done."""
        match message:
            case Received(message=body):
                self._receive(body, now)
            case Exited(effect, result):
                self._exited(effect, result, now)
            case Confirmed() | Returned() | Failed():
                self._outcome(message, now)
            case LinkUp():
                self._link_up(now)
            case LinkDown(reason):
                self._presence.link_down()
                self._effects.record("cut-off", reason=reason)
            case Told(request):
                self._told(request, now)
            case Woken() | Recovered():
                self._wake_at = None
        self._advance(now)
        return self._effects.take()

    def _told(self, request: object, now: float) -> None:
        match request:
            case HookReturned():
                self._hooks.returned()
            case Drain(limit, reason) if self._drain_by is None:
                self._drain_by = now + limit
                self._drain_reason = reason
            case _:
                pass

    # ── what comes in ──────────────────────────────────────────────────────────────────

    def _receive(self, body: Message, now: float) -> None:
        match body:
            case PrepareSection() | CheckAlive() | SectionGo() | SectionStopped():
                self._coordinate(body, now)
            case SectionAborted(section=section, token=token, cause=cause):
                arming = self.armings.get(section)
                if arming is not None and token == arming.info.token:
                    self._abort(arming, cause, now)
            case ReportAccepted():
                self._accepted(body, now)
            case ClockReading():
                self._presence.reading(body, now=now)
            case JoinAccepted():
                if self._presence.accepted(body, now=now):
                    self._effects.record("joined", gatherer=body.gatherer)
            case GathererStarted():
                self._presence.greet(now=now)
            case _:
                self._effects.record("ignored", message=type(body).__name__)

    def _coordinate(
        self, body: PrepareSection | CheckAlive | SectionGo | SectionStopped, now: float
    ) -> None:
        match body:
            case PrepareSection():
                self._prepare(body, now)
            case CheckAlive():
                self._check(body, now)
            case SectionGo():
                self._go(body, now)
            case SectionStopped():
                self._stop(body, now)

    def _prepare(self, ask: PrepareSection, now: float) -> None:
        arming = self.armings.get(ask.section)
        if arming is None or ask.token > arming.info.token:
            # A higher token: it was given up (a new gatherer, a lost workload) and begins anew.
            self._prepare_new(ask, now)
        elif ask.token < arming.info.token:
            self._effects.record("ignored", message="PrepareSection", token=ask.token)
        elif arming.state in ENDED or arming.owes_report:
            self._voice.say(AgentBroken, ask, reason=f"it ended here: {arming.cause}")
        elif arming.state in UNCOMMITTED:
            self._presence.probe(PROBES_AT_SECTION, now=now)
            self._voice.repeat(arming, now=now)

    def _prepare_new(self, ask: PrepareSection, now: float) -> None:
        seen = self._tokens.get(ask.bench, -1)
        if ask.token <= seen:
            reason = f"token {ask.token} is refused: bench {ask.bench} has seen {seen}"
            self._effects.record("refused", section=ask.section, reason=reason)
            self._voice.say(AgentBroken, ask, reason=reason)
            self._presence.join(now=now)  # it carries the token that the gatherer has to pass
            return
        if self._drain_by is not None:
            reason = "leaving the lab"
            self._voice.say(AgentHolding, ask, reason=reason, seconds=HOLD_WHILE_BUSY)
            return
        if believable(ask.token):  # else it is obeyed, but rules no lower one out
            self._tokens[ask.bench] = ask.token
        for other in self._open():
            if other.info.bench == ask.bench and not _keeps(other, ask):
                self._abort(other, "superseded", now)
        info = SectionInfo(
            id=ask.section,
            name=ask.name,
            test=ask.test,
            bench=ask.bench,
            owner=ask.owner,
            token=ask.token,
            max_duration=ask.max_duration,
            required=ask.required,
        )
        what = f"section {info.id} at {self.identity.name}"
        life = Lifecycle(what, ArmingState.WAITING, ARMING_TABLE, now=now)
        former = self.armings.pop(info.id, None)
        if former is not None:  # its hooks and its report still have to come to their end
            self.armings[f"{info.id} {former.info.token}"] = former
        self.armings[info.id] = Arming(info, life, say_at=now)
        self._presence.probe(PROBES_AT_SECTION, now=now)
        self._forget()

    def _check(self, ask: CheckAlive, now: float) -> None:
        arming = self.armings.get(ask.section)
        armed = (
            arming is not None
            and arming.state is ArmingState.ARMED
            and arming.info.token == ask.token
        )
        if arming is not None and armed:
            arming.checked = now
        self._voice.say(AgentAlive, ask, armed=armed)

    def _go(self, go: SectionGo, now: float) -> None:
        arming = self.armings.get(go.section)
        if arming is None or go.token != arming.info.token or arming.state not in UNCOMMITTED:
            if arming is None or go.token != arming.info.token:
                self._effects.record("ignored", message="SectionGo", section=go.section)
            return
        if self.identity.name not in go.members:
            self._abort(arming, "left-out", now)
            return
        if arming.state is not ArmingState.ARMED:
            # Named a member without having said ready: the gatherer is to learn that.
            arming.owes_report = True
            self._abort(arming, "not-armed", now)
            return
        clock = self._presence.clock
        # It was sent in the past, so t0 is at most this far ahead, whatever the clocks say.
        t0 = now + go.t0 - go.sent
        if clock.known(go.gatherer):
            arming.offset, arming.bound = clock.offset(now), clock.bound(now)
            t0 = min(t0, clock.to_local(go.t0, now))
        arming.gatherer, arming.go = go.gatherer, go
        arming.go_sent = go.sent
        arming.info = replace(arming.info, t0=t0, deadline=t0 + go.deadline - go.t0)
        self._to(arming, ArmingState.STARTING, now)
        self._hooks.add(arming, Hook.STARTED)
        self._effects.wake(t0 + STAY)

    def _stop(self, stop: SectionStopped, now: float) -> None:
        arming = self.armings.get(stop.section)
        if arming is None or stop.token != arming.info.token:
            return
        if arming.state in INSIDE:
            self._presence.probe(PROBES_AT_SECTION, now=now)
            self._hooks.cancel_start(arming)
            self._to(arming, ArmingState.STOPPING, now)
            self._hooks.add(arming, Hook.STOPPED)
        elif arming.state in UNCOMMITTED:
            # The Go was missed: if this monitor counts as a member, its silence needs a word.
            arming.owes_report = arming.state is ArmingState.ARMED
            self._abort(arming, "missed", now)
        elif arming.state in {ArmingState.REPORTING, ArmingState.REPORTED}:
            self._voice.report(arming, now=now)

    def _accepted(self, accepted: ReportAccepted, now: float) -> None:
        for arming in self._open():
            if arming.info.id == accepted.section and arming.state is ArmingState.REPORTING:
                self._to(arming, ArmingState.REPORTED, now, why="fenced" * accepted.fenced)
                self._settle_captures(arming)
                break

    # ── links and outcomes ─────────────────────────────────────────────────────────────

    def _link_up(self, now: float) -> None:
        self._presence.link_up(now=now)
        for arming in self._open():
            if arming.state in HANDING_IN:
                arming.say_at = now
            elif arming.state in UNCOMMITTED:
                self._voice.repeat(arming, now=now)

    def _outcome(self, outcome: Confirmed | Returned | Failed, now: float) -> None:
        problem = ""
        if isinstance(outcome, Returned):
            self._presence.returned(outcome.effect)
            problem = "its queue is gone"
        if outcome.effect == self._leave_effect:
            self.left = True
        arming = self._delivery.outcome(
            outcome.effect, sent=isinstance(outcome, Confirmed), problem=problem, now=now
        )
        if arming is not None:
            self._delivered(arming, now)

    def _delivered(self, arming: Arming, now: float) -> None:
        """Look whether all captures of ``arming`` are out, or will never be."""
        if arming.state is ArmingState.SENDING and self._delivery.over(arming):
            self._to(arming, ArmingState.REPORTING, now)
            self._voice.report(arming, now=now)

    def _exited(self, effect: int, result: object, now: float) -> None:
        if isinstance(result, QueueDeclared):
            arming = self._delivery.declared(effect, result, now=now)
            if arming is not None:
                self._delivered(arming, now)
        elif isinstance(result, HookEnded):
            found = self._hooks.ended(effect, result)
            if found is not None:
                self._hook_ended(*found, result, now)

    # ── hooks ──────────────────────────────────────────────────────────────────────────

    def _hook_ended(self, arming: Arming, hook: Hook, ended: HookEnded, now: float) -> None:
        match hook:
            case Hook.PREPARE:
                if arming.state is ArmingState.PREPARING:
                    self._prepared(arming, ended, now)
            case Hook.STARTED:
                self._started(arming, ended, now)
            case Hook.OVERDUE:
                if isinstance(ended.answer, Broken):
                    arming.breaks(f"overdue: {ended.answer.reason}")
            case Hook.STOPPED:
                self._stopped(arming, ended, now)
            case Hook.ABORTED:
                if isinstance(ended.answer, Broken):
                    arming.breaks(f"aborted: {ended.answer.reason}")
                self._disarmed(arming, now)

    def _prepared(self, arming: Arming, ended: HookEnded, now: float) -> None:
        match ended.answer:
            case Hold(seconds, reason):
                arming.until = now + max(SHORTEST_HOLD, seconds)
                self._to(arming, ArmingState.HOLDING, now, why=reason)
                self._voice.hold(arming, seconds, reason)
            case Veto(reason):
                self._to(arming, ArmingState.VETOED, now, why=reason)
                self._voice.answer(arming, AgentVetoed, reason=clip(reason))
            case Broken(reason):
                self._break(arming, reason, now)
            case _:
                self._to(arming, ArmingState.ARMED, now)
                self._voice.answer(arming, AgentReady)

    def _break(self, arming: Arming, reason: str, now: float) -> None:
        self._to(arming, ArmingState.BROKEN, now, why=reason)
        self._voice.answer(arming, AgentBroken, reason=clip(reason))

    def _started(self, arming: Arming, ended: HookEnded, now: float) -> None:
        if arming.offset is not None:
            if ended.began is not None:
                arming.started = ended.began + arming.offset
            if ended.ready is not None:
                arming.needed = max(0.0, ended.ready + arming.offset - arming.go_sent)
        if isinstance(ended.answer, Broken):
            arming.breaks(f"started: {ended.answer.reason}")
        if arming.state is ArmingState.STARTING:
            self._to(arming, ArmingState.RUNNING, now)

    def _stopped(self, arming: Arming, ended: HookEnded, now: float) -> None:
        clock = self._presence.clock
        self._follow_clock(arming, now)
        if ended.began is not None:
            if clock.known(arming.gatherer):
                arming.stopped = clock.to_gatherer(ended.began, now)
                arming.bound = max(arming.bound or 0.0, clock.bound(now))
            elif arming.offset is not None:
                arming.stopped = ended.began + arming.offset
        match ended.answer:
            case Collected(findings, captures, problem):
                if problem:
                    arming.breaks(f"stopped: {problem}")
                arming.findings, lost = fitting(findings)
                if lost:
                    arming.breaks(f"{lost} findings do not fit into a report; attach a file")
                arming.captures = captures
            case Broken(reason):
                arming.breaks(f"stopped: {reason}")
            case _:
                pass
        if any(capture.data is not None for capture in arming.captures):
            self._to(arming, ArmingState.SENDING, now)
            self._delivery.begin(arming, now=now)
        else:
            self._to(arming, ArmingState.REPORTING, now)
            self._voice.report(arming, now=now)

    def _follow_clock(self, arming: Arming, now: float) -> None:
        """Tell the start on the clock of who will read it: a gatherer may come back on another."""
        reader = self._presence.gatherer
        if reader is None or reader == arming.gatherer or arming.offset is None:
            return
        clock = self._presence.clock
        if clock.known(reader):
            offset, arming.bound = clock.offset(now), clock.bound(now)
            if arming.started is not None:
                arming.bound = clock.bound(arming.started - arming.offset)
                arming.started += offset - arming.offset
            arming.offset = offset
        else:
            arming.started = arming.offset = arming.bound = None  # no figure beats a wrong one
        arming.gatherer = reader

    def _abort(self, arming: Arming, cause: str, now: float) -> None:
        """Disarm, whatever was going on; a section that is over already stays as it is."""
        if arming.yielding:
            arming.yielding = False
            arming.cause = cause
        if arming.state not in UNCOMMITTED | INSIDE:
            return
        arming.cause = cause
        arming.say_at = None
        self._hooks.cancel_start(arming)
        if not arming.touched:
            self._to(arming, ArmingState.ABORTED, now, why=cause)
            return
        self._to(arming, ArmingState.ABORTING, now, why=cause)
        self._hooks.add(arming, Hook.ABORTED)

    def _disarmed(self, arming: Arming, now: float) -> None:
        if arming.yielding:
            arming.yielding = arming.touched = False
            arming.cause = ""
            arming.say_at = now
            self._to(arming, ArmingState.WAITING, now)
        elif arming.owes_report:
            arming.breaks(f"never started: {arming.cause}")
            self._to(arming, ArmingState.REPORTING, now)
            self._voice.report(arming, now=now)
        else:
            self._to(arming, ArmingState.ABORTED, now)

    # ── what time brings ───────────────────────────────────────────────────────────────

    def _advance(self, now: float) -> None:
        """Do all that is due now, and ask to be woken for what is due next."""
        self._presence.tick(now=now)
        if self._drain_by is not None:
            self._drain(now)
        for arming in self._open():
            self._look_at(arming, now)
        self._take_next(now)
        self._hooks.advance()
        due = [self._presence.due(), self._drain_by if not self.left else None]
        due += [self._due(arming) for arming in self._open()]
        at = min((time for time in due if time is not None and time > now), default=None)
        if at is not None and (self._wake_at is None or at < self._wake_at):
            self._wake_at = at
            self._effects.wake(at)

    def _look_at(self, arming: Arming, now: float) -> None:
        state = arming.state
        if state is ArmingState.WAITING and self._hooks.stuck:
            self._break(arming, self._hooks.stuck, now)
        elif state is ArmingState.HOLDING and arming.until <= now:
            self._begin_prepare(arming, now)
        elif state is ArmingState.RUNNING and (arming.info.deadline or 0.0) <= now:
            arming.overdue = True
            self._to(arming, ArmingState.OVERDUE, now)
            self._hooks.add(arming, Hook.OVERDUE)
            if self._is_followed(arming):
                self._abort(arming, "superseded", now)
        elif state is ArmingState.REPORTING and arming.life.since + REPORT_FOR <= now:
            self._to(arming, ArmingState.REPORTED, now, why="nobody accepts it")
        elif arming.say_at is not None and arming.say_at <= now:
            if state is ArmingState.PREPARING:
                self._voice.hold(arming, HOLD_WHILE_BUSY, "preparing")
                arming.say_at = now + AGAIN
            elif state is ArmingState.REPORTING:
                self._voice.report(arming, now=now)
            elif state is ArmingState.SENDING and self._presence.linked:
                self._delivery.go_on(arming)

    def _is_followed(self, arming: Arming) -> bool:
        """Say whether a section with a higher token waits for the bench of this one."""
        return any(
            other.state is ArmingState.WAITING
            and other.info.bench == arming.info.bench
            and other.info.token > arming.info.token
            for other in self._open()
        )

    def _take_next(self, now: float) -> None:
        """Prepare the oldest section that waits, if nothing else is on; tell the rest why not."""
        waiting = [one for one in self._open() if one.state is ArmingState.WAITING]
        for arming in sorted(waiting, key=lambda one: one.info.token):
            other = next((other for other in self._open() if other.busy), None)
            if other is None:
                self._begin_prepare(arming, now)
                continue
            reason = f"busy with {other.info.name} on {other.info.bench}"
            if arming.say_at is not None and arming.say_at <= now:
                self._voice.hold(arming, HOLD_WHILE_BUSY, reason)
                arming.say_at = now + AGAIN
            if _must_yield(other, arming, now):
                self._yield(other, arming, now)

    def _yield(self, armed: Arming, older: Arming, now: float) -> None:
        """Disarm, and wait for the turn after ``older``."""
        armed.yielding = True
        armed.cause = "yielded"
        reason = f"busy with {older.info.name} on {older.info.bench}"
        self._voice.hold(armed, HOLD_WHILE_BUSY, reason)
        self._to(armed, ArmingState.ABORTING, now, why="yielded")
        self._hooks.add(armed, Hook.ABORTED)

    def _begin_prepare(self, arming: Arming, now: float) -> None:
        self._to(arming, ArmingState.PREPARING, now)
        arming.touched = True
        arming.say_at = now + QUIET_PREPARE
        self._hooks.add(arming, Hook.PREPARE)

    def _drain(self, now: float) -> None:
        late = self._drain_by is not None and self._drain_by <= now
        for arming in self._open():
            if arming.state in UNCOMMITTED or (late and arming.state in INSIDE):
                self._abort(arming, "leaving", now)
        # Past the limit only the hooks that make safe are waited for, each with its own limit.
        idle = self._hooks.idle
        done = (late and bool(self._hooks.stuck)) or (idle and (late or not self._open()))
        if done and self._leave_effect is None and not self.left:
            effect = self._presence.leave(self.identity.instance, self._drain_reason)
            self._leave_effect = effect
            self.left = effect is None

    @staticmethod
    def _due(arming: Arming) -> float | None:
        match arming.state:
            case ArmingState.HOLDING:
                return arming.until
            case ArmingState.RUNNING:
                return arming.info.deadline
            case _:
                return arming.say_at

    # ── what goes out ──────────────────────────────────────────────────────────────────

    def _join(self, bound: float | None) -> JoinLab:
        me = self.identity
        return JoinLab(
            agent=me.name,
            instance=me.instance,
            benches=me.benches,
            host=me.host,
            pid=me.pid,
            advisory=me.advisory,
            token=max(self._tokens.values(), default=0),
            bound=bound,
            open=tuple(self._open_section(arming) for arming in self._open())[-256:],
        )

    def _open_section(self, arming: Arming) -> OpenSection:
        info = arming.info
        started = arming.state not in UNCOMMITTED
        if self._presence.gatherer is not None or arming.state not in INSIDE:
            return OpenSection(section=info.id, token=info.token, started=started)
        return OpenSection(
            section=info.id,
            token=info.token,
            started=started,
            go=arming.go,
            name=info.name,
            test=info.test,
            owner=info.owner,
        )

    # ── keeping books ──────────────────────────────────────────────────────────────────

    def _to(self, arming: Arming, state: ArmingState, now: float, *, why: str = "") -> None:
        arming.life.to(state, now=now, why=why)
        facts = {"section": arming.info.id, "name": arming.info.name, "bench": arming.info.bench}
        self._effects.record(state.value, **facts, why=why)

    def _settle_captures(self, arming: Arming) -> None:
        if arming.captures:
            arming.captures = ()
            self._effects.run(DiscardCaptures(arming.info.id))

    def _open(self) -> list[Arming]:
        return [arming for arming in self.armings.values() if arming.state not in ENDED]

    def _forget(self) -> None:
        ended = [id_ for id_, arming in self.armings.items() if arming.state in ENDED]
        for id_ in ended[:-KEPT]:
            del self.armings[id_]


def _keeps(open_: Arming, ask: PrepareSection) -> bool:
    """Say whether a section stays as it is when one with a higher token asks for its bench.

    A body may be at work in what has begun, and a higher token alone is no proof of its end; in
    the same section it is, since its workload asks to begin anew.
    """
    begun = open_.state in {ArmingState.STARTING, ArmingState.RUNNING}
    return open_.state in HANDING_IN or (begun and open_.info.id != ask.section)


def _must_yield(armed: Arming, older: Arming, now: float) -> bool:
    """Say whether ``armed`` stands in the way of an older section for long enough."""
    return (
        armed.state is ArmingState.ARMED
        and older.info.token < armed.info.token
        and now - max(armed.life.since, armed.checked, older.life.since) >= YIELD_AFTER
    )
