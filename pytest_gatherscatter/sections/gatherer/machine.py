"""The gatherer's machine: which input goes where, and what follows from each."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Failed,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Recovered,
    Returned,
    Unreadable,
    Woken,
)
from pytest_gatherscatter.sections.gatherer.commit import Commit
from pytest_gatherscatter.sections.gatherer.door import refusal
from pytest_gatherscatter.sections.gatherer.ending import GONE, Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.lab import KEPT, UNTAKEN, GathererFacts, Lab
from pytest_gatherscatter.sections.gatherer.presence import Presence
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.recovery import recover, snapshot
from pytest_gatherscatter.sections.gatherer.result import result
from pytest_gatherscatter.sections.gatherer.state import ENDED, GATHERS, SectionState
from pytest_gatherscatter.sections.gatherer.steering import Steering
from pytest_gatherscatter.wire import messages as m


class Gatherer:
    """Gathers and scatters, any number of sections, side by side on different benches."""

    def __init__(self, facts: GathererFacts) -> None:
        self.lab = Lab(facts)
        self._ending = Ending(self.lab)
        self._gathering = Gathering(self.lab, self._ending)
        self._commit = Commit(self.lab, self._gathering, self._ending)
        self._presence = Presence(self.lab, self._gathering, self._commit, self._ending)
        self._steering = Steering(self.lab, self._gathering, self._ending)
        self._begun = False
        self._take: dict[type[m.Message], Callable[[Any, Received, float], None]] = {
            m.JoinLab: self._presence.join,
            m.LeaveLab: self._presence.leave,
            m.ClockProbe: self._presence.read_clock,
            m.EnterSection: self._gathering.enter,
            m.AgentReady: self._gathering.ready,
            m.AgentHolding: self._gathering.holding,
            m.AgentVetoed: self._gathering.vetoed,
            m.AgentBroken: self._gathering.broken,
            m.WorkloadReady: self._commit.workload_ready,
            m.AgentAlive: self._commit.alive,
            m.WithdrawSection: self._ending.withdraw,
            m.LeaveSection: self._ending.leave,
            m.AgentReport: self._ending.report,
            m.AskStatus: self._steering.status,
            m.HoldBench: self._steering.hold,
            m.ReleaseBench: self._steering.release,
            m.ResetLab: self._steering.reset,
        }

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        lab = self.lab
        lab.now = now
        if not self._begun:
            self._begun, lab.started = True, now
        match message:  # the most frequent first
            case Confirmed() | Returned() | Failed():
                self._outcome(message, now)
            case Received():
                self._hear(message, now)
            case Woken():
                self._look(now)
            case Unreadable():
                lab.unreadable += 1
            case LinkUp():
                self._presence.announce(now=now)
                lab.ends.again()
            case LinkDown():
                self._presence.cut_off()
            case Recovered(events, wall):
                recover(lab, events, wall, now=now)
            case _:
                pass
        self._progress(now)
        lab.tell_news(result)
        return lab.out.take()

    def snapshot(self) -> list[Mapping[str, Any]]:
        """Return the fewest events from which this machine could be recovered as it is now."""
        return snapshot(self.lab)

    def _hear(self, received: Received, now: float) -> None:
        """Take a message, or set it aside if who sent it may not say that."""
        take = self._take.get(type(received.message))
        if take is None:
            return  # it asks nothing of a gatherer
        if why := refusal(self.lab, received):
            self.lab.out.settle(received.delivery, Verdict.DEAD, why)
        else:
            take(received.message, received, now)

    def _outcome(self, message: Confirmed | Returned | Failed, now: float) -> None:
        """Learn from what became of a publish; a lost connection says nothing of the other."""
        if self.lab.ends.outcome(message):
            return
        purpose = self.lab.purposes.pop(message.effect, None)
        if purpose is None or isinstance(message, Failed):
            return
        if purpose.agent and isinstance(message, Returned):
            self._presence.returned(purpose, now=now)
            return
        section = self.lab.sections.get(purpose.section)
        if section is None:
            return
        if isinstance(message, Confirmed):
            if purpose.what == "accepted":
                self._gathering.accepted(section, now=now)
        elif purpose.reply == section.reply and (
            section.state in GATHERS or section.state in (SectionState.ENTERED, SectionState.QUEUED)
        ):
            self._ending.abort(section, GONE, "the workload is gone", now=now)

    def _look(self, now: float) -> None:
        """Look at every deadline."""
        lab = self.lab
        lab.woken(now=now)
        self._presence.look(now=now)
        self._steering.look(now=now)
        sections = [one for one in lab.sections.values() if one.state not in ENDED]
        for section in sections:
            self._gathering.look(section, now=now)
            self._commit.look(section, now=now)
            self._ending.close_if_reported(section, now=now)
        self._forget(now)
        for at in chain(*map(self._deadlines, sections), self._steering.deadlines()):
            if at > now:
                lab.at(at)

    def _forget(self, now: float) -> None:
        """Forget what has ended long ago, and look again when the next has."""
        ended = self.lab.ended
        while ended:
            oldest, since = next(iter(ended.items()))
            if now < since + KEPT:
                self.lab.at(since + KEPT)
                return
            self.lab.forget(oldest)

    def _deadlines(self, section: SectionRecord) -> Iterator[float]:
        """Say when a section has to be looked at, whatever was asked for when it got there."""
        stale_after = self.lab.facts.stale_after
        match section.state:
            case SectionState.ENTERED:
                yield section.entered_at + UNTAKEN
            case SectionState.QUEUED:
                yield section.entered_at + section.entered.queue_timeout
            case SectionState.GATHERING:
                yield from section.gather_deadlines(stale_after)
            case SectionState.CHECKING:
                yield section.checked_at + stale_after
            case SectionState.COMMITTED:
                yield section.t0
            case SectionState.LIVE:
                yield section.deadline
            case SectionState.COLLECTING:
                yield section.collects_since + section.entered.report_timeout

    def _progress(self, now: float) -> None:
        """See what has become possible on each bench where something changed."""
        lab = self.lab
        while lab.touched:
            name = min(lab.touched)  # a set's own order differs from run to run
            lab.touched.remove(name)
            bench = lab.bench(name)
            self._gathering.advance(bench, now=now)
            section = lab.current(bench)
            if section is not None:
                self._gathering.complete(section, now=now)
                self._commit.commit_if_alive(section, now=now)
                self._ending.close_if_reported(section, now=now)
