"""How a section ends: left and reported, or given up."""

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.gatherer.lab import KEPT, Lab
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.state import ENDED, INSIDE, SectionState
from pytest_gatherscatter.sections.hook import clip
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import agent_key, section_event

GONE = "gone"
"""Cause of what is given up because nobody has the workload's queue. If it only lost its
connection it asks again, and the section is opened anew."""


class Ending:
    """Leaving, reports, closing, aborting."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def withdraw(self, message: m.WithdrawSection, _: Received, now: float) -> None:
        """Forget a section at its workload's wish; after the commit it has to leave."""
        section = self.lab.sections.get(message.section)
        if section is None or section.state in ENDED or section.state in INSIDE:
            return
        if section.state is not SectionState.COLLECTING:
            self.abort(section, "withdrawn", message.reason or "withdrawn", now=now)

    def leave(self, message: m.LeaveSection, received: Received, now: float) -> None:
        """Take the workload's return; a stale token is answered and kept on record."""
        lab = self.lab
        section = lab.sections.get(message.section)
        known = section is not None and section.token == message.token
        if section is not None and known and section.state in INSIDE:
            # On record first: once it is answered the ticket is gone, and nobody would open
            # the bench of a section that a restart found inside.
            section.left = message
            lab.out.record("left", **section.leaving())
        if received.reply_to is not None:
            accepted = m.LeaveAccepted(section=message.section, known=known)
            lab.out.send(received.reply_to, accepted)
        if section is None:
            return
        if not known:
            section.fence(f"leave with token {message.token}")
            return
        section.reply = received.reply_to or section.reply
        if section.state in INSIDE:
            lab.lead.note(message.needed)
            self.stop(section, now=now)
        elif section.state is SectionState.CLOSED:
            lab.out.send(section.reply, section.close())
        elif section.state is SectionState.ABORTED:
            # It was given up while its workload was quiet, which hears of it only now.
            lab.out.send(section.reply, lab.aborted(section))
        elif section.state not in ENDED and section.state is not SectionState.COLLECTING:
            died = message.outcome == "died"
            text = "its owner died before the start" if died else "left before the start"
            self.abort(section, GONE if died else "withdrawn", text, now=now)

    def stop(self, section: SectionRecord, *, now: float) -> None:
        """Tell the monitors to stop and report."""
        self.lab.move(section, SectionState.COLLECTING, now=now)
        section.left_at = section.collects_since = now
        self.say_stopped(section)
        self.lab.at(now + section.entered.report_timeout)

    def say_stopped(self, section: SectionRecord) -> None:
        """Tell the monitors to stop and report; who has reported says its report again."""
        key = section_event("stopped", section.bench)
        self.lab.out.publish(key, self.lab.stopped(section))

    def excuse(self, *, now: float) -> None:
        """Let the time for reports begin anew: nobody could be heard until now."""
        for section in self.lab.sections.values():
            if section.state is SectionState.COLLECTING:
                section.collects_since = now
                self.lab.at(now + section.entered.report_timeout)

    def report(self, message: m.AgentReport, _: Received, now: float) -> None:
        """Take a report; what is stale or of a stranger is fenced, never merged."""
        lab = self.lab
        section = lab.sections.get(message.section)
        # A gatherer that has just come up may hear a report before its agent has joined; but
        # where another process has the name, this one is a stranger.
        present = lab.roster.heard(message.agent, message.instance, now=now) is not None
        stranger = not present and lab.roster.get(message.agent) is not None
        again = (
            section is not None
            and section.token == message.token
            and message.agent in section.reports
            and section.reports[message.agent].instance == message.instance
        )
        counts = (
            section is not None
            and section.token == message.token
            and message.agent in section.members
            and message.agent not in section.reports
            and not stranger
            and (section.state in INSIDE or section.state is SectionState.COLLECTING)
        )
        accepted = m.ReportAccepted(
            section=message.section, agent=message.agent, fenced=not (counts or again)
        )
        lab.out.send(agent_key(message.agent), accepted)
        if section is None or again:
            return
        if not counts:
            section.fence(f"report of {message.agent} with token {message.token}")
            return
        section.reports[message.agent] = message
        section.lost.pop(message.agent, None)
        lab.lead.note(message.needed)
        lab.touched.add(section.bench)

    def close_if_reported(self, section: SectionRecord, *, now: float) -> None:
        """Close once every member has reported or is lost, or the report timeout ran out."""
        if section.state is not SectionState.COLLECTING:
            return
        if section.unreported() and now < section.collects_since + section.entered.report_timeout:
            return
        self.lab.move(section, SectionState.CLOSED, now=now)
        # On record with its answer: it may be asked for once more, of another process.
        self.lab.out.record("closed", **section.ending(self.lab.facts.clock, self.lab.wall))
        self.lab.out.send(section.reply, section.close())
        self._free(section, now)

    def abort(self, section: SectionRecord, cause: str, text: str, *, now: float) -> None:
        """Give a section up and tell everybody that was asked."""
        section.cause, section.text = cause, clip(text)
        self.lab.move(section, SectionState.ABORTED, now=now, why=text)
        if section.was_committed:  # what was not is forgotten by a restart anyway
            self.lab.out.record("aborted", **section.ending(self.lab.facts.clock, self.lab.wall))
        aborted = self.lab.aborted(section)
        if section.participants:
            self.lab.out.publish(section_event("aborted", section.bench), aborted)
        if cause not in {"withdrawn", GONE}:  # they do not wait for an answer
            self.lab.out.send(section.reply, aborted)
        self._free(section, now)

    def _free(self, section: SectionRecord, now: float) -> None:
        bench = self.lab.bench(section.bench)
        if bench.current == section.id:
            bench.current = None
        if section.id in bench.queue:
            bench.queue.remove(section.id)
        self.lab.at(now + KEPT)
