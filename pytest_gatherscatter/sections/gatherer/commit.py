"""From the workload's readiness to Go: the last check, and the commit point."""

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.gatherer.ending import Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.lab import Lab
from pytest_gatherscatter.sections.gatherer.record import Answer, SectionRecord
from pytest_gatherscatter.sections.gatherer.state import INSIDE, SectionState
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import section_event

STAY = 0.1
"""Seconds after t0 at which the gatherer calls a section live: telling that at t0 would take
the processor, and the broker's attention, from those who start."""


class Commit:
    """Checking that all are alive, committing, saying Go."""

    def __init__(self, lab: Lab, gathering: Gathering, ending: Ending) -> None:
        self.lab = lab
        self.gathering = gathering
        self.ending = ending

    def workload_ready(self, message: m.WorkloadReady, received: Received, now: float) -> None:
        """Start the last check, or say again what was said."""
        lab = self.lab
        section = lab.sections.get(message.section)
        if section is None or section.token != message.token:
            if received.reply_to is not None:
                text = "this gatherer does not know the section; it was started anew"
                unknown = m.SectionRefused(section=message.section, cause=m.UNKNOWN, text=text)
                lab.out.send(received.reply_to, unknown)
            return
        section.reply = received.reply_to or section.reply
        section.needed = message.needed
        if section.state is SectionState.GATHERED:
            self._check(section, now)
        elif section.state in INSIDE and now >= section.t0:
            # Either it missed the Go, or it asked right before the Go reached it and is inside
            # by now. Waiting still, it hears this and leaves; nothing else may open the bench.
            lab.out.send(section.reply, lab.missed(section))
        elif section.state is not SectionState.CHECKING:
            self.gathering.tell(section, now=now)

    def _check(self, section: SectionRecord, now: float) -> None:
        """Ask every member once more whether it is alive and armed."""
        self.lab.move(section, SectionState.CHECKING, now=now)
        for name in section.ready():
            section.participants[name].alive = False
        self.check_again(section, now=now)

    def check_again(self, section: SectionRecord, *, now: float) -> None:
        """Ask those that have not said yet that they are alive."""
        section.checked_at = now
        for name in section.ready():
            if not section.participants[name].alive:
                check = m.CheckAlive(section=section.id, token=section.token)
                self.lab.ask("check", section, name, check)
        self.lab.at(now + self.lab.facts.stale_after)

    def alive(self, message: m.AgentAlive, _: Received, now: float) -> None:
        """Count a member as alive; one that is no longer armed has to arm again."""
        if self.lab.roster.heard(message.agent, message.instance, now=now) is None:
            return
        section = self.lab.sections.get(message.section)
        if section is None or section.state is not SectionState.CHECKING:
            return
        one = section.participants.get(message.agent)
        if one is None or one.answer is not Answer.READY or section.token != message.token:
            return
        if message.armed:
            one.alive = True
            self.lab.touched.add(section.bench)
        else:
            self.gathering.again(section, f"{one.name} is no longer armed", now=now)
            self.gathering.prepare(section, one.name, now=now)

    def commit_if_alive(self, section: SectionRecord, *, now: float) -> None:
        """Commit once every member has said that it is alive: record first, then Go."""
        if section.state is not SectionState.CHECKING:
            return
        members = section.ready()
        if not all(section.participants[name].alive for name in members):
            return
        lab = self.lab
        if lab.bench(section.bench).held(now=now):
            self.gathering.again(section, "a person holds the bench", now=now)
            return
        section.members = members
        section.was_committed = True
        section.sent = now
        section.t0 = now + lab.lead.seconds(section.needed)
        section.deadline = section.t0 + section.entered.max_duration
        # The record stands before everything that anybody may act upon.
        lab.out.record("committed", **section.committed(lab.facts.clock, lab.wall))
        self.say_go(section)
        lab.move(section, SectionState.COMMITTED, now=now)
        lab.at(section.t0 + STAY)
        lab.at(section.deadline)

    def say_go(self, section: SectionRecord) -> None:
        """Scatter Go to all at once: one publish."""
        self.lab.out.publish(section_event("go", section.bench), self.lab.go(section))

    def look(self, section: SectionRecord, *, now: float) -> None:
        """Look at the deadlines of a section that is checked or committed."""
        silent_at = section.checked_at + self.lab.facts.stale_after
        if section.state is SectionState.CHECKING and now >= silent_at:
            for name in section.ready():
                if not section.participants[name].alive:
                    self.gathering.lose(section, name, "silent at the last check", now=now)
        elif section.state is SectionState.COMMITTED and now >= section.t0:
            self.lab.move(section, SectionState.LIVE, now=now)
        if section.state is SectionState.LIVE and now >= section.deadline:
            self.lab.move(section, SectionState.OVERDUE, now=now)
