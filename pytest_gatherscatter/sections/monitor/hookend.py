"""How the ends of hooks are judged, and what was measured by them."""

from pytest_gatherscatter.sections.clock import DRIFT
from pytest_gatherscatter.sections.hook import Hold, Veto, clip
from pytest_gatherscatter.sections.monitor.arming import Arming, ArmingState
from pytest_gatherscatter.sections.monitor.ending import Ending
from pytest_gatherscatter.sections.monitor.hookcall import Broken, Collected, Hook, HookEnded
from pytest_gatherscatter.sections.monitor.station import Station
from pytest_gatherscatter.sections.monitor.voice import fitting
from pytest_gatherscatter.wire.messages import AgentBroken, AgentReady, AgentVetoed

SHORTEST_HOLD = 0.1
"""Seconds before prepare is called again after a hold of 0: no spinning."""


class HookEnds:
    """Reads what a hook answered, and when it was called."""

    def __init__(self, station: Station, ending: Ending) -> None:
        self.station = station
        self.ending = ending

    def ended(self, effect: int, result: HookEnded, now: float) -> None:
        """Judge the end of a call; one that is not under way means nothing."""
        found = self.station.hooks.ended(effect, result)
        if found is None:
            return
        arming, hook = found
        match hook:
            case Hook.PREPARE:
                if arming.state is ArmingState.PREPARING:
                    self._prepared(arming, result, now)
            case Hook.STARTED:
                self._started(arming, result, now)
            case Hook.OVERDUE:
                if isinstance(result.answer, Broken):
                    arming.breaks(f"overdue: {result.answer.reason}")
            case Hook.STOPPED:
                self._stopped(arming, result, now)
            case Hook.ABORTED:
                if isinstance(result.answer, Broken):
                    arming.breaks(f"aborted: {result.answer.reason}")
                self.ending.disarmed(arming, now)

    # ── before the start ───────────────────────────────────────────────────────────────

    def _prepared(self, arming: Arming, ended: HookEnded, now: float) -> None:
        station = self.station
        match ended.answer:
            case Hold(seconds, reason):
                arming.until = now + max(SHORTEST_HOLD, seconds)
                station.to(arming, ArmingState.HOLDING, now, why=reason)
                station.voice.hold(arming, seconds, reason)
            case Veto(reason):
                station.to(arming, ArmingState.VETOED, now, why=reason)
                station.voice.answer(arming, AgentVetoed, reason=clip(reason))
            case Broken(reason):
                self.broken(arming, reason, now)
            case _:
                station.to(arming, ArmingState.ARMED, now)
                station.voice.answer(arming, AgentReady)

    def broken(self, arming: Arming, reason: str, now: float) -> None:
        """It cannot be prepared, since a hook broke: this one, or one that still runs on."""
        self.station.to(arming, ArmingState.BROKEN, now, why=reason)
        self.station.voice.answer(arming, AgentBroken, reason=clip(reason))

    # ── start and stop ─────────────────────────────────────────────────────────────────

    def _started(self, arming: Arming, ended: HookEnded, now: float) -> None:
        if arming.state is ArmingState.STARTING and ended.began is None and ended.answer is None:
            # This process stood still until the deadline was over: a start would never end.
            self.ending.never_started(arming, "too-late", now)
            return
        if arming.offset is not None:
            if ended.began is not None:
                self._age(arming, ended.began)
                arming.started = ended.began + arming.offset
            if ended.ready is not None:
                arming.needed = max(0.0, ended.ready + arming.offset - arming.go_sent)
        if isinstance(ended.answer, Broken):
            arming.breaks(f"started: {ended.answer.reason}")
        if arming.state is ArmingState.STARTING:
            self.station.to(arming, ArmingState.RUNNING, now)

    def _stopped(self, arming: Arming, ended: HookEnded, now: float) -> None:
        clock = self.station.presence.clock
        self._follow_clock(arming, now)
        if ended.began is not None:
            if clock.known(arming.gatherer):
                arming.stopped = clock.to_gatherer(ended.began, now)
                arming.bound = max(arming.bound or 0.0, clock.bound(now))
            elif arming.offset is not None:
                self._age(arming, ended.began)
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
        self.ending.hand_in(arming, now)

    @staticmethod
    def _age(arming: Arming, at: float) -> None:
        """Widen the bound from t0 to local time ``at``: who was frozen starts seconds after it."""
        if arming.bound is not None and arming.info.t0 is not None:
            arming.bound += DRIFT * max(0.0, at - arming.info.t0)

    def _follow_clock(self, arming: Arming, now: float) -> None:
        """Tell the start on the clock of who will read it: a gatherer may come back on another."""
        presence = self.station.presence
        reader, clock = presence.gatherer, presence.clock
        if reader is None or reader == arming.gatherer or arming.offset is None:
            return
        if clock.known(reader):
            offset, arming.bound = clock.offset(now), clock.bound(now)
            if arming.started is not None:
                arming.bound = clock.bound(arming.started - arming.offset)
                arming.started += offset - arming.offset
            arming.offset = offset
        else:
            arming.started = arming.offset = arming.bound = None  # no figure beats a wrong one
        arming.gatherer = reader
