"""The monitor's machine: which input goes where, and what is due.

One monitor may serve several benches. Its hooks run one at a time, so it takes one section at
a time and tells the others that it is busy, as a hold. Three rules keep it safe without a
gatherer:

- The deadline that came with Go is enforced on this machine's own clock, link or no link.
- A fencing token lower than one already seen on the bench is refused; a higher one proves
  that whatever is still armed on that bench was given up, so it is disarmed first. What has
  begun is not: it ends by a word with its own token, or when its deadline has passed here.
- Once the prepare hook was called, ``stopped`` or ``aborted`` is called, whatever happens.
"""

from collections.abc import Callable
from typing import Any

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Exited,
    Failed,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Recovered,
    Returned,
    Told,
    Woken,
)
from pytest_gatherscatter.sections.monitor.arming import (
    ENDED,
    HANDING_IN,
    UNCOMMITTED,
    Arming,
    ArmingState,
)
from pytest_gatherscatter.sections.monitor.drain import Draining
from pytest_gatherscatter.sections.monitor.ending import Ending
from pytest_gatherscatter.sections.monitor.hookcall import (
    Drain,
    HookEnded,
    HookReturned,
    QueueDeclared,
)
from pytest_gatherscatter.sections.monitor.hookend import HookEnds
from pytest_gatherscatter.sections.monitor.order import Orders
from pytest_gatherscatter.sections.monitor.presence import Presence
from pytest_gatherscatter.sections.monitor.station import Station
from pytest_gatherscatter.sections.monitor.turn import Turns
from pytest_gatherscatter.sections.monitor.voice import Identity
from pytest_gatherscatter.wire import messages as m

__all__ = ["Identity", "MonitorMachine"]


class MonitorMachine:
    """Decides for one monitor. ``hook_timeout`` is what each hook may take, in seconds.

    Commands of its ``Run`` effects and their results are those of ``hookcall.py``. Records
    are for the log only: a monitor's process that dies has lost what it measured.
    """

    def __init__(self, identity: Identity, *, hook_timeout: float = 30.0) -> None:
        self.identity = identity
        self.station = Station(identity, hook_timeout=hook_timeout)
        self._ending = Ending(self.station)
        self._ends = HookEnds(self.station, self._ending)
        self._turns = Turns(self.station, self._ends)
        self._orders = Orders(self.station, self._ending)
        self._draining = Draining(self.station, self._ending)
        self._wake_at: float | None = None
        self._take: dict[type[m.Message], Callable[[Any, float], None]] = {
            m.PrepareSection: self._orders.prepare,
            m.CheckAlive: self._orders.check,
            m.SectionGo: self._orders.go,
            m.SectionStopped: self._orders.stop,
            m.SectionAborted: self._orders.abort,
            m.ReportAccepted: self._ending.accepted,
            m.ClockReading: self._read_clock,
            m.JoinAccepted: self._joined,
            m.GathererStarted: self._greet,
        }

    @property
    def presence(self) -> Presence:
        """How it stands with the gatherer, and its clock."""
        return self.station.presence

    @property
    def armings(self) -> dict[str, Arming]:
        """Its sections, by id."""
        return self.station.armings

    @property
    def left(self) -> bool:
        """Whether it is drained, and the gatherer was told if it could be."""
        return self._draining.left

    # ── what comes in ──────────────────────────────────────────────────────────────────

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input at local monotonic time ``now`` and say what is to be done."""
        match message:  # the most frequent first
            case Confirmed() | Returned() | Failed():
                self._outcome(message, now)
            case Received():
                self._receive(message.message, now)
            case Woken() | Recovered():
                self._wake_at = None
            case Exited(effect, QueueDeclared() as result):
                self._ending.declared(effect, result, now)
            case Exited(effect, HookEnded() as result):
                self._ends.ended(effect, result, now)
            case LinkUp():
                self._link_up(now)
            case LinkDown(reason):
                self.presence.link_down()
                self.station.out.record("cut-off", reason=reason)
            case Told(request):
                self._told(request, now)
            case _:
                pass
        self._advance(now)
        return self.station.out.take()

    def _receive(self, body: m.Message, now: float) -> None:
        take = self._take.get(type(body))
        if take is None:
            self.station.out.record("ignored", message=type(body).__name__)
        else:
            take(body, now)

    def _told(self, request: object, now: float) -> None:
        match request:
            case HookReturned():
                self.station.hooks.returned()
            case Drain():
                self._draining.begin(request, now)
            case _:
                pass

    def _link_up(self, now: float) -> None:
        self.presence.link_up(now=now)
        for arming in self.station.open():
            if arming.state in HANDING_IN:
                arming.say_at = now
            elif arming.state in UNCOMMITTED:
                self.station.voice.repeat(arming, now=now)

    def _outcome(self, outcome: Confirmed | Returned | Failed, now: float) -> None:
        problem = ""
        if isinstance(outcome, Returned):
            if self.presence.returned(outcome.effect):
                self.station.out.record("no-gatherer")
            problem = "its queue is gone"
        self._draining.outcome(outcome.effect)
        sent = isinstance(outcome, Confirmed)
        self._ending.sent(outcome.effect, sent=sent, problem=problem, now=now)

    def _read_clock(self, reading: m.ClockReading, now: float) -> None:
        self.presence.reading(reading, now=now)

    def _joined(self, accepted: m.JoinAccepted, now: float) -> None:
        if self.presence.accepted(accepted, now=now):
            self.station.out.record("joined", gatherer=accepted.gatherer)

    def _greet(self, _: m.GathererStarted, now: float) -> None:
        self.presence.greet(now=now)

    # ── what time brings ───────────────────────────────────────────────────────────────

    def _advance(self, now: float) -> None:
        """Do all that is due now, and ask to be woken for what is due next."""
        station, presence = self.station, self.station.presence
        presence.tick(now=now)
        if station.draining:
            self._draining.advance(now)
        if opened := station.open():
            for arming in opened:
                self._turns.look(arming, now)
                self._ending.look(arming, now)
            self._turns.take_next(opened, now)
        station.hooks.advance()
        due = [presence.due()]
        if station.draining:
            due.append(self._draining.due())
        if opened:
            due += [_due(arming) for arming in opened if arming.life.state not in ENDED]
        at = self._wake_at
        for time in due:
            if time is not None and time > now and (at is None or time < at):
                at = time
        if at is not None and at != self._wake_at:
            self._wake_at = at
            station.out.wake(at)


def _due(arming: Arming) -> float | None:
    match arming.state:
        case ArmingState.HOLDING:
            return arming.until
        case ArmingState.RUNNING:
            return arming.info.deadline
        case _:
            return arming.say_at
