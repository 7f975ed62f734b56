"""How a section ends here: captures handed in and reported, or disarmed; overdue before that."""

from pytest_gatherscatter.sections.monitor.arming import INSIDE, UNCOMMITTED, Arming, ArmingState
from pytest_gatherscatter.sections.monitor.delivery import Delivery
from pytest_gatherscatter.sections.monitor.hookcall import DiscardCaptures, Hook, QueueDeclared
from pytest_gatherscatter.sections.monitor.station import Station
from pytest_gatherscatter.wire.messages import ReportAccepted

REPORT_FOR = 600.0
"""Seconds for which a report is said: twenty default report timeouts, then nobody is left."""


_LOOKED_AT = frozenset({ArmingState.RUNNING, ArmingState.REPORTING, ArmingState.SENDING})


class Ending:
    """Making safe, disarming, handing in, reporting."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.delivery = Delivery(station.out, station.identity.name)

    # ── disarming ──────────────────────────────────────────────────────────────────────

    def abort(self, arming: Arming, cause: str, now: float) -> None:
        """Disarm, whatever was going on; a section that is over already stays as it is."""
        station = self.station
        if arming.yielding:
            arming.yielding = False
            arming.cause = cause
        if arming.state not in UNCOMMITTED | INSIDE:
            return
        arming.cause = cause
        arming.say_at = None
        station.hooks.cancel_start(arming)
        if not arming.touched:
            station.to(arming, ArmingState.ABORTED, now, why=cause)
            return
        station.to(arming, ArmingState.ABORTING, now, why=cause)
        station.hooks.add(arming, Hook.ABORTED)

    def never_started(self, arming: Arming, cause: str, now: float) -> None:
        """Disarm what counts as a member all the same; the report says that it did not start."""
        arming.owes_report = True
        self.abort(arming, cause, now)

    def disarmed(self, arming: Arming, now: float) -> None:
        """The aborted hook is over: it was for another's turn, is told in a report, or is all."""
        if arming.yielding:
            arming.yielding = arming.touched = False
            arming.cause = ""
            arming.say_at = now
            self.station.to(arming, ArmingState.WAITING, now)
        elif arming.owes_report:
            arming.breaks(f"never started: {arming.cause}")
            self._report(arming, now)
        else:
            self.station.to(arming, ArmingState.ABORTED, now)

    # ── handing in ─────────────────────────────────────────────────────────────────────

    def hand_in(self, arming: Arming, now: float) -> None:
        """The stopped hook is over: send the captures, then report."""
        if any(capture.data is not None for capture in arming.captures):
            self.station.to(arming, ArmingState.SENDING, now)
            self.delivery.begin(arming, now=now)
        else:
            self._report(arming, now)

    def sent(self, effect: int, *, sent: bool, problem: str, now: float) -> None:
        """Take what became of a publish, if it was of a capture."""
        self._delivered(self.delivery.outcome(effect, sent=sent, problem=problem, now=now), now)

    def declared(self, effect: int, result: QueueDeclared, now: float) -> None:
        """The queue for captures is there, or is not."""
        self._delivered(self.delivery.declared(effect, result, now=now), now)

    def _delivered(self, arming: Arming | None, now: float) -> None:
        """Look whether all captures of ``arming`` are out, or will never be."""
        sending = arming is not None and arming.state is ArmingState.SENDING
        if arming is not None and sending and self.delivery.over(arming):
            self._report(arming, now)

    def _report(self, arming: Arming, now: float) -> None:
        self.station.to(arming, ArmingState.REPORTING, now)
        self.station.voice.report(arming, now=now)

    def accepted(self, accepted: ReportAccepted, now: float) -> None:
        """The report has arrived: the captures may go."""
        for arming in self.station.open():
            if arming.info.id == accepted.section and arming.state is ArmingState.REPORTING:
                self.station.to(arming, ArmingState.REPORTED, now, why="fenced" * accepted.fenced)
                if arming.captures:
                    arming.captures = ()
                    self.station.out.run(DiscardCaptures(arming.info.id))
                break

    # ── what time brings ───────────────────────────────────────────────────────────────

    def look(self, arming: Arming, now: float) -> None:
        """Keep the deadline of what runs; say again what was not accepted yet."""
        state = arming.life.state
        if state not in _LOOKED_AT:
            return
        say = arming.say_at is not None and arming.say_at <= now
        match state:
            case ArmingState.RUNNING if (arming.info.deadline or 0.0) <= now:
                self._overdue(arming, now)
            case ArmingState.REPORTING if arming.life.since + REPORT_FOR <= now:
                self.station.to(arming, ArmingState.REPORTED, now, why="nobody accepts it")
            case ArmingState.REPORTING if say:
                self.station.voice.report(arming, now=now)
            case ArmingState.SENDING if say and self.station.presence.linked:
                self.delivery.go_on(arming)
            case _:
                pass

    def _overdue(self, arming: Arming, now: float) -> None:
        """Make safe; past the deadline a higher token is word enough that it is over."""
        arming.overdue = True
        self.station.to(arming, ArmingState.OVERDUE, now)
        self.station.hooks.add(arming, Hook.OVERDUE)
        if self._is_followed(arming):
            self.abort(arming, "superseded", now)

    def _is_followed(self, arming: Arming) -> bool:
        """Say whether a section with a higher token waits for the bench of this one."""
        return any(
            other.state is ArmingState.WAITING
            and other.info.bench == arming.info.bench
            and other.info.token > arming.info.token
            for other in self.station.open()
        )
