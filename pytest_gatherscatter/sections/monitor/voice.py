"""What a monitor says of its sections to the gatherer: answers, holds, reports.

Part of the monitor's machine, and as pure as it. While the link is down nothing is said; what
still matters is said again when it is back.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.hook import SectionInfo, clip
from pytest_gatherscatter.sections.monitor.arming import Arming, ArmingState
from pytest_gatherscatter.sections.monitor.presence import AGAIN, Presence
from pytest_gatherscatter.wire.messages import (
    AgentAlive,
    AgentBroken,
    AgentHolding,
    AgentReady,
    AgentReport,
    AgentVetoed,
    CheckAlive,
    Finding,
    Message,
    PrepareSection,
)
from pytest_gatherscatter.wire.names import GATHERER_KEY, agent_key

REPORT_BYTES = 640 * 1024
"""Bytes of findings in a report: the body may have 1 MiB, and the manifest needs room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a monitor is.

    ``instance`` is random and new with each process; ``clock`` is the id of its monotonic clock,
    empty if it is not known.
    """

    name: str
    instance: str
    benches: tuple[str, ...]
    host: str = ""
    pid: int = 0
    advisory: bool = False
    clock: str = ""


class Voice:
    """Speaks for one monitor."""

    def __init__(self, effects: Effects, identity: Identity, presence: Presence) -> None:
        self._effects = effects
        self._me = identity
        self._presence = presence

    def say(
        self,
        kind: type[AgentReady | AgentHolding | AgentVetoed | AgentBroken | AgentAlive],
        of: PrepareSection | CheckAlive | SectionInfo,
        **facts: object,
    ) -> None:
        """Say something of a section that is not, or need not be, on record."""
        self._send(self._message(kind, of, **facts))

    def answer(
        self,
        arming: Arming,
        kind: type[AgentReady | AgentHolding | AgentVetoed | AgentBroken],
        **facts: object,
    ) -> None:
        """Answer the request to prepare; kept, for whoever asks again."""
        arming.answer = self._message(kind, arming.info, **facts)
        arming.say_at = None
        self._send(arming.answer)

    def hold(self, arming: Arming, seconds: float, reason: str) -> None:
        """Answer that it is not ready yet."""
        self.answer(arming, AgentHolding, seconds=seconds, reason=clip(reason))

    def repeat(self, arming: Arming, *, now: float) -> None:
        """Say the last answer again; a hold with the seconds that are left of it."""
        answer = arming.answer
        if isinstance(answer, AgentHolding) and arming.state is ArmingState.HOLDING:
            left = max(0.0, arming.until - now)
            answer = msgspec.structs.replace(answer, seconds=left)
        if answer is not None:
            self._send(answer)

    def report(self, arming: Arming, *, now: float) -> None:
        """Say the report; it is made once, so that a repetition never differs to its reader."""
        if arming.report is None:
            arming.report = AgentReport(
                section=arming.info.id,
                token=arming.info.token,
                agent=self._me.name,
                instance=self._me.instance,
                started=arming.started,
                stopped=arming.stopped,
                bound=arming.bound,
                needed=arming.needed,
                overdue=arming.overdue,
                broken=clip(arming.broken),
                findings=arming.findings,
                artifacts=tuple(capture.manifest for capture in arming.captures),
            )
        self._follow_clock(arming, arming.report, now)
        self._send(arming.report)
        arming.say_at = now + AGAIN if arming.state is ArmingState.REPORTING else None

    def _follow_clock(self, arming: Arming, report: AgentReport, now: float) -> None:
        """Tell the times on the clock of who reads them now: another gatherer has another."""
        reader, clock, former = self._presence.gatherer, self._presence.clock, arming.offset
        if reader is None or reader == arming.gatherer:
            return
        arming.gatherer = reader
        if former is None or not clock.known(reader):
            arming.offset = None  # no figure beats a wrong one
            arming.report = msgspec.structs.replace(report, started=None, stopped=None, bound=None)
            return
        arming.offset = clock.offset(now)
        shift = arming.offset - former
        times = [time for time in (report.started, report.stopped) if time is not None]
        arming.report = msgspec.structs.replace(
            report,
            started=None if report.started is None else report.started + shift,
            stopped=None if report.stopped is None else report.stopped + shift,
            bound=max((clock.bound(time - former) for time in times), default=None),
        )

    def _message(
        self,
        kind: type[AgentReady | AgentHolding | AgentVetoed | AgentBroken | AgentAlive],
        of: PrepareSection | CheckAlive | SectionInfo,
        **facts: object,
    ) -> Message:
        about = {
            "section": of.id if isinstance(of, SectionInfo) else of.section,
            "token": of.token,
            "agent": self._me.name,
            "instance": self._me.instance,
        }
        return kind(**about, **facts)  # type: ignore[arg-type]

    def _send(self, message: Message) -> None:
        if self._presence.linked:
            self._effects.send(GATHERER_KEY, message, reply_to=agent_key(self._me.name))


def fitting(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], int]:
    """Return the findings that fit into a report, and how many do not."""
    fitting: list[Finding] = []
    room, lost = REPORT_BYTES, 0
    for finding in findings:
        room -= len(msgspec.json.encode(finding)) + 1
        if room < 0:
            lost += 1
        else:
            fitting.append(finding)
    return tuple(fitting), lost
