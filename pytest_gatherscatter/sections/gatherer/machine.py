"""The gatherer's machine: which input goes where, and what follows from each."""

from collections.abc import Callable, Mapping
from typing import Any

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Failed,
    Input,
    LinkUp,
    Received,
    Recovered,
    Returned,
    Unreadable,
    Woken,
)
from pytest_gatherscatter.sections.gatherer.commit import Commit
from pytest_gatherscatter.sections.gatherer.ending import GONE, Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.lab import KEPT, GathererFacts, Lab
from pytest_gatherscatter.sections.gatherer.presence import Presence
from pytest_gatherscatter.sections.gatherer.recovery import recover, snapshot
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
        self._presence = Presence(self.lab, self._gathering, self._commit)
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
        if not self._begun:
            self._begun, self.lab.started = True, now
        match message:
            case Received(body):
                take = self._take.get(type(body))
                if take is not None:  # anything else asks nothing of a gatherer
                    take(body, message, now)
            case Woken():
                self._look(now)
            case Confirmed() | Returned() | Failed():
                self._outcome(message, now)
            case Unreadable():
                self.lab.unreadable += 1
            case LinkUp():
                self._presence.announce(now=now)
            case Recovered(events, wall):
                recover(self.lab, events, wall, now=now)
            case _:
                pass
        self._progress(now)
        self.lab.tell_news()
        return self.lab.out.take()

    def snapshot(self) -> list[Mapping[str, Any]]:
        """Return the fewest events from which this machine could be recovered as it is now."""
        return snapshot(self.lab)

    def _outcome(self, message: Confirmed | Returned | Failed, now: float) -> None:
        """Learn from what became of a publish; a lost connection says nothing of the other."""
        purpose = self.lab.purposes.pop(message.effect, None)
        section = None if purpose is None else self.lab.sections.get(purpose.section)
        if purpose is None or section is None or isinstance(message, Failed):
            return
        if isinstance(message, Confirmed):
            if purpose.what == "accepted":
                self._gathering.accepted(section, now=now)
        elif purpose.agent:
            self._presence.returned(purpose, now=now)
        elif purpose.reply == section.reply and (
            section.state in GATHERS
            or section.state in (SectionState.ENTERED, SectionState.QUEUED)
        ):
            self._ending.abort(section, GONE, "the workload is gone", now=now)

    def _look(self, now: float) -> None:
        """Look at every deadline."""
        lab = self.lab
        lab.woken(now=now)
        self._presence.look(now=now)
        self._steering.look(now=now)
        for section in list(lab.sections.values()):
            self._gathering.look(section, now=now)
            self._commit.look(section, now=now)
            self._ending.close_if_reported(section, now=now)
            if section.state in ENDED and now - section.life.since >= KEPT:
                del lab.sections[section.id]

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
