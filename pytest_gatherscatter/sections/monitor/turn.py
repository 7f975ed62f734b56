"""Whose turn it is: hooks run one at a time, so several sections wait for each other here."""

from pytest_gatherscatter.sections.monitor.arming import Arming, ArmingState
from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.sections.monitor.hookend import HookEnds
from pytest_gatherscatter.sections.monitor.presence import AGAIN
from pytest_gatherscatter.sections.monitor.station import Station

HOLD_WHILE_BUSY = 2.0
"""Seconds of a hold that tells "busy" or "preparing"; renewed every second, so one may be lost."""

QUIET_PREPARE = 0.5
"""Seconds that a prepare hook may take before it shows as a hold: most are faster, and a
gatherer takes silence of 2 s as stale."""

YIELD_AFTER = 5.0
"""Seconds after which an armed section yields to an older one that waits. Two sections on two
benches can each have half of the monitors that both need; the older one (by its token, which
is of the whole lab) gets them. Five seconds are more than a check and commit take (2 s)."""


_LOOKED_AT = frozenset({ArmingState.WAITING, ArmingState.HOLDING, ArmingState.PREPARING})


class Turns:
    """Prepares one section at a time, and tells the others why they wait."""

    def __init__(self, station: Station, ends: HookEnds) -> None:
        self.station = station
        self.ends = ends

    def look(self, arming: Arming, now: float) -> None:
        """Call prepare again after a hold; tell of a hook that takes long, or runs on for ever."""
        state = arming.life.state
        if state not in _LOOKED_AT:
            return
        match state:
            case ArmingState.WAITING if self.station.hooks.stuck:
                self.ends.broken(arming, self.station.hooks.stuck, now)
            case ArmingState.HOLDING if arming.until <= now:
                self._begin(arming, now)
            case ArmingState.PREPARING if arming.say_at is not None and arming.say_at <= now:
                self.station.voice.hold(arming, HOLD_WHILE_BUSY, "preparing")
                arming.say_at = now + AGAIN
            case _:
                pass

    def take_next(self, opened: list[Arming], now: float) -> None:
        """Prepare the oldest of the open ones that waits, if nothing else is on; tell the rest."""
        waits = ArmingState.WAITING
        waiting = [one for one in opened if one.life.state is waits]
        for arming in sorted(waiting, key=lambda one: one.info.token):
            other = next((other for other in self.station.open() if other.busy), None)
            if other is None:
                self._begin(arming, now)
                continue
            if arming.say_at is not None and arming.say_at <= now:
                self.station.voice.hold(arming, HOLD_WHILE_BUSY, _busy_with(other))
                arming.say_at = now + AGAIN
            if _must_yield(other, arming, now):
                self._yield(other, arming, now)

    def _begin(self, arming: Arming, now: float) -> None:
        self.station.to(arming, ArmingState.PREPARING, now)
        arming.touched = True
        arming.say_at = now + QUIET_PREPARE
        self.station.hooks.add(arming, Hook.PREPARE)

    def _yield(self, armed: Arming, older: Arming, now: float) -> None:
        """Disarm, and wait for the turn after ``older``."""
        armed.yielding = True
        armed.cause = "yielded"
        self.station.voice.hold(armed, HOLD_WHILE_BUSY, _busy_with(older))
        self.station.to(armed, ArmingState.ABORTING, now, why="yielded")
        self.station.hooks.add(armed, Hook.ABORTED)


def _busy_with(other: Arming) -> str:
    return f"busy with {other.info.name} on {other.info.bench}"


def _must_yield(armed: Arming, older: Arming, now: float) -> bool:
    """Say whether ``armed`` stands in the way of an older section for long enough."""
    return (
        armed.state is ArmingState.ARMED
        and older.info.token < armed.info.token
        and now - max(armed.life.since, armed.checked, older.life.since) >= YIELD_AFTER
    )
