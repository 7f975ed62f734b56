"""What the gatherer says of a section, and how it is obeyed: prepare, check, go, stop, abort."""

from dataclasses import replace

from pytest_gatherscatter.machine import Lifecycle
from pytest_gatherscatter.sections.hook import SectionInfo
from pytest_gatherscatter.sections.monitor.arming import (
    ARMING_TABLE,
    ENDED,
    HANDING_IN,
    INSIDE,
    UNCOMMITTED,
    Arming,
    ArmingState,
)
from pytest_gatherscatter.sections.monitor.ending import Ending
from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.sections.monitor.station import Station, former_key
from pytest_gatherscatter.sections.monitor.turn import HOLD_WHILE_BUSY
from pytest_gatherscatter.sections.token import believable
from pytest_gatherscatter.wire.messages import (
    AgentAlive,
    AgentBroken,
    AgentHolding,
    CheckAlive,
    PrepareSection,
    SectionAborted,
    SectionGo,
    SectionStopped,
)

STAY = 0.05
"""Seconds after t0 at which the end of the start hook is asked for: it does not wake anybody by
itself, so that a hundred agents of one host start together before any of them does more."""


class Orders:
    """Obeys the gatherer, or says why not."""

    def __init__(self, station: Station, ending: Ending) -> None:
        self.station = station
        self.ending = ending

    # ── before the start ───────────────────────────────────────────────────────────────

    def prepare(self, ask: PrepareSection, now: float) -> None:
        """Take a section that is new here; of a known one, say again what was said last."""
        station = self.station
        arming = station.armings.get(ask.section)
        if ask.bench not in station.identity.benches:
            # Meant for a former process of this name; benches that are made up are not kept.
            station.out.record("ignored", message="PrepareSection", bench=ask.bench)
        elif arming is None or ask.token > arming.info.token:
            # A higher token: it was given up (a new gatherer, a lost workload) and begins anew.
            self._prepare_new(ask, now)
        elif ask.token < arming.info.token:
            station.out.record("ignored", message="PrepareSection", token=ask.token)
        elif arming.state in ENDED or arming.owes_report:
            station.voice.say(AgentBroken, ask, reason=f"it ended here: {arming.cause}")
        elif arming.state in UNCOMMITTED:
            station.presence.probe(now=now)
            station.voice.repeat(arming, now=now)

    def _prepare_new(self, ask: PrepareSection, now: float) -> None:
        station = self.station
        seen = station.tokens.get(ask.bench, -1)
        if ask.token <= seen:
            reason = f"token {ask.token} is refused: bench {ask.bench} has seen {seen}"
            station.out.record("refused", section=ask.section, reason=reason)
            station.voice.say(AgentBroken, ask, reason=reason)
            station.presence.join(now=now)  # it carries the token that the gatherer has to pass
            return
        if station.draining:
            reason = "leaving the lab"
            station.voice.say(AgentHolding, ask, reason=reason, seconds=HOLD_WHILE_BUSY)
            return
        if believable(ask.token):  # else it is obeyed, but rules no lower one out
            station.tokens[ask.bench] = ask.token
        for other in station.open():
            if other.info.bench == ask.bench and not _keeps(other):
                self.ending.abort(other, "superseded", now)
        self._take(ask, now)

    def _take(self, ask: PrepareSection, now: float) -> None:
        """Put a section on record; it waits for its turn."""
        station = self.station
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
        what = f"section {info.id} at {station.identity.name}"
        life = Lifecycle(what, ArmingState.WAITING, ARMING_TABLE, now=now)
        former = station.armings.pop(info.id, None)
        if former is not None:  # its hooks and its report still have to come to their end
            station.armings[former_key(info.id, former.info.token)] = former
        station.armings[info.id] = Arming(info, life, say_at=now)
        station.presence.probe(now=now)
        station.forget()

    def check(self, ask: CheckAlive, now: float) -> None:
        """Say at once whether it is armed for this very section."""
        arming = self.station.find(ask.section, ask.token)
        armed = arming is not None and arming.state is ArmingState.ARMED
        if arming is not None and armed:
            arming.checked = now
        self.station.voice.say(AgentAlive, ask, armed=armed)

    # ── go and stop ────────────────────────────────────────────────────────────────────

    def go(self, go: SectionGo, now: float) -> None:
        """Start at t0 on our own clock, if it is armed and named a member."""
        station = self.station
        arming = station.find(go.section, go.token)
        if arming is None:
            station.out.record("ignored", message="SectionGo", section=go.section)
            return
        if arming.state not in UNCOMMITTED:
            return
        if station.identity.name not in go.members:
            self.ending.abort(arming, "left-out", now)
            return
        if arming.state is not ArmingState.ARMED:
            # Named a member without having said ready: the gatherer is to learn that.
            self.ending.never_started(arming, "not-armed", now)
            return
        clock = station.presence.clock
        # It was sent in the past, so t0 is at most this far ahead, whatever the clocks say.
        t0 = now + go.t0 - go.sent
        if clock.known(go.gatherer):
            arming.offset, arming.bound = clock.offset(now), clock.bound(now)
            t0 = min(t0, clock.to_local(go.t0, now))
            arming.bound = max(arming.bound, clock.bound(t0))
        arming.gatherer, arming.go = go.gatherer, go
        arming.go_sent = go.sent
        deadline = t0 + go.deadline - go.t0
        arming.info = replace(arming.info, t0=t0, deadline=deadline)
        if deadline <= now:
            self.ending.never_started(arming, "too-late", now)
            return
        station.to(arming, ArmingState.STARTING, now)
        station.hooks.add(arming, Hook.STARTED)
        station.out.wake(t0 + STAY)

    def stop(self, stop: SectionStopped, now: float) -> None:
        """Stop what is on and report it; say a report again that may be lost."""
        station = self.station
        arming = station.find(stop.section, stop.token)
        if arming is None:
            return
        if arming.state in INSIDE:
            station.presence.probe(now=now)
            station.hooks.cancel_start(arming)
            station.to(arming, ArmingState.STOPPING, now)
            station.hooks.add(arming, Hook.STOPPED)
        elif arming.state in UNCOMMITTED:
            # The Go was missed: if this monitor counts as a member, its silence needs a word.
            arming.owes_report = arming.state is ArmingState.ARMED
            self.ending.abort(arming, "missed", now)
        elif arming.state in {ArmingState.REPORTING, ArmingState.REPORTED}:
            station.voice.report(arming, now=now)

    def abort(self, abort: SectionAborted, now: float) -> None:
        """Disarm, if it is said of this very section."""
        arming = self.station.find(abort.section, abort.token)
        if arming is not None:
            self.ending.abort(arming, abort.cause, now)


def _keeps(open_: Arming) -> bool:
    """Say whether a section stays as it is when one with a higher token asks for its bench.

    A body may be at work in what has begun, and a higher token is no proof of its end, not even
    under the same id: no gatherer prepares a section again that it has committed, and one that
    does not know of the commit hears of it in our greeting, and answers with this very token.
    """
    begun = open_.state in {ArmingState.STARTING, ArmingState.RUNNING}
    return begun or open_.state in HANDING_IN
