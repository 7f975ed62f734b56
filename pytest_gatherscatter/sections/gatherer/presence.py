"""Who is in the lab: joining, coming back, leaving, vanishing; and the lab's clock."""

import math

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.gatherer.commit import Commit
from pytest_gatherscatter.sections.gatherer.ending import Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.lab import MOST_AGENTS, TICK, Lab, Purpose
from pytest_gatherscatter.sections.gatherer.record import Answer, SectionRecord
from pytest_gatherscatter.sections.gatherer.recovery import adopt, adoptable
from pytest_gatherscatter.sections.gatherer.roster import KEEPALIVE, Agent
from pytest_gatherscatter.sections.gatherer.state import ENDED, GATHERS, INSIDE, SectionState
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import GATHERER_STARTED, agent_event, agent_key

GREETING = 0.5
"""Seconds for which a gatherer that remembers nothing lets nobody in after it has come up: who
is inside since before tells it so in its greeting, and that takes milliseconds."""


AWAY = 2 * KEEPALIVE
"""Seconds between two looks after which it is the gatherer that stood still: while there are
agents it looks each keepalive. Their words wait in its queue, and silence is not theirs."""


class Presence:
    """The roster's changes, and what they mean to open sections."""

    def __init__(self, lab: Lab, gathering: Gathering, commit: Commit, ending: Ending) -> None:
        self.lab = lab
        self.gathering = gathering
        self.commit = commit
        self.ending = ending
        self._linked = True
        self._looked = float("-inf")

    def cut_off(self) -> None:
        """Take it that nobody can be heard, until the link is up again."""
        self._linked = False

    def announce(self, *, now: float) -> None:
        """Tell the lab that its gatherer is here, and say again what may have been lost."""
        self._linked = True
        self._excuse(now)
        self.ending.excuse(now=now)
        self.lab.out.publish(GATHERER_STARTED, m.GathererStarted(gatherer=self.lab.facts.clock))
        for section in self.lab.sections.values():
            if section.state is SectionState.COMMITTED and now < section.t0:
                self.commit.say_go(section)
            elif section.state is SectionState.COLLECTING:
                self.ending.say_stopped(section)
            elif section.state is SectionState.CHECKING:
                self.commit.check_again(section, now=now)
        self.gathering.ask_again(now=now)
        if not self.lab.remembers and not self.lab.opens_at:
            self.lab.opens_at = now + GREETING
            self.lab.at(self.lab.opens_at)

    def _excuse(self, now: float) -> None:
        """Take nobody for silent who could not be heard."""
        self.lab.roster.excuse(now=now)
        self.gathering.excuse(now=now)

    def join(self, message: m.JoinLab, _: Received, now: float) -> None:
        """Take a newcomer or a keepalive, and set right what the agent may have missed."""
        lab = self.lab
        if lab.roster.get(message.agent) is None and len(lab.roster) >= MOST_AGENTS:
            return  # it asks again, and there is room when others have gone
        former = lab.roster.get(message.agent)
        agent, new = lab.roster.join(message, now=now)
        lab.believe(message.token)
        lab.welcome(agent)
        if new:
            joined = m.AgentJoined(agent=agent.name, benches=tuple(sorted(agent.benches)))
            lab.out.publish(agent_event("joined", agent.name), joined)
        for one in message.open:
            self._set_right(agent, one, now, new=new)
        known = {one.section for one in message.open if self._known(one) is not None}
        for bench in sorted(agent.benches):
            section = lab.current(lab.bench(bench))
            if section is None:
                continue
            if section.id not in known:
                self._without(section, agent, now, new=new)
                if new and former is not None:
                    self._never_reports(section, agent)
            else:
                self._with(section, agent, now)
        # On a grid, so that a thousand keepalives ask for one look.
        lab.at(math.ceil(now / KEEPALIVE + 1) * KEEPALIVE)

    def _set_right(self, agent: Agent, one: m.OpenSection, now: float, *, new: bool) -> None:
        lab = self.lab
        section = self._known(one)
        key = agent_key(agent.name)
        if section is None and adoptable(lab, one, new=new):
            # It may be live, and whoever is inside must never be told otherwise.
            adopt(lab, one, now=now)
            return
        if section is None:
            aborted = m.SectionAborted(
                section=one.section,
                token=one.token,
                bench=min(agent.benches, default="default"),
                cause=m.UNKNOWN,
                text="this gatherer does not know the section",
            )
            lab.out.send(key, aborted)
        elif section.state is SectionState.ABORTED:
            lab.out.send(key, lab.aborted(section))
        elif section.state in (SectionState.COLLECTING, SectionState.CLOSED):
            lab.out.send(key, lab.stopped(section))
        elif (
            section.state in INSIDE
            and not one.started
            and now < section.t0
            and agent.name in section.members
        ):
            lab.out.send(key, lab.go(section))

    def _known(self, one: m.OpenSection) -> SectionRecord | None:
        """Find the section that an agent has open; one of another token was given up."""
        section = self.lab.sections.get(one.section)
        return None if section is None or section.token != one.token else section

    def _without(self, section: SectionRecord, agent: Agent, now: float, *, new: bool) -> None:
        """See to an agent that does not know the section which its bench has.

        A keepalive may have crossed with the Prepare: only a new process, or one that was
        missing, is asked.
        """
        one = section.participants.get(agent.name)
        missing = one is None or one.answer is Answer.MISSING
        if section.state in GATHERS and (new or missing):
            self.gathering.invite(section, agent.name, now=now)
        elif section.state in INSIDE and new and agent.name in section.members:
            section.lost[agent.name] = "died in the section and came back"

    def _never_reports(self, section: SectionRecord, agent: Agent) -> None:
        """See that nobody waits for the report of a process that another one has replaced.

        Only where this gatherer knew the former: after its own restart everybody is new, and
        says its report again.
        """
        if section.state is SectionState.COLLECTING and agent.name in section.unreported():
            section.lost[agent.name] = "died in the section and came back"
            self.lab.touched.add(section.bench)

    def _with(self, section: SectionRecord, agent: Agent, now: float) -> None:
        """Ask an agent again that was thought to be gone, and still knows the section.

        It was only frozen, or cut off: asked, it repeats its last answer.
        """
        one = section.participants.get(agent.name)
        if section.state in GATHERS and one is not None and one.answer is Answer.MISSING:
            self.gathering.invite(section, agent.name, now=now)

    def leave(self, message: m.LeaveLab, _: Received, now: float) -> None:
        """Let an agent go in good order."""
        if self.lab.roster.leave(message.agent, message.instance):
            self._gone(message.agent, message.reason or "left the lab", now)

    def returned(self, purpose: Purpose, *, now: float) -> None:
        """Take it that an agent is not there: its inbox is gone."""
        if purpose.instance and self.lab.roster.leave(purpose.agent, purpose.instance):
            self._gone(purpose.agent, "vanished", now)
        if self.lab.roster.get(purpose.agent) is not None:
            return  # what came back was meant for a former process; this one has joined since
        section = self.lab.sections.get(purpose.section)
        if section is not None and section.state in GATHERS:
            self.gathering.lose(section, purpose.agent, "vanished", now=now)

    def _gone(self, name: str, why: str, now: float) -> None:
        """Take an agent out of everything that counts on it."""
        lab = self.lab
        lab.out.publish(agent_event("left", name), m.AgentLeft(agent=name, reason=why))
        for section in list(lab.sections.values()):
            if section.state in GATHERS and name in section.participants:
                self.gathering.lose(section, name, why, now=now)
            elif section.state not in ENDED and name in section.unreported():
                section.lost[name] = f"died in the section: {why}"
                lab.touched.add(section.bench)

    def look(self, *, now: float) -> None:
        """Look for agents that fell silent; let sections in when all had time to greet."""
        if 0 < self.lab.opens_at <= now:
            self.lab.opens_at = -1.0
            self.lab.touched.update(self.lab.benches)
        away, self._looked = now - self._looked > AWAY, now
        if away or not self._linked:
            self._excuse(now)
        if not self._linked:
            self.ending.excuse(now=now)
        for agent in self.lab.roster.silent(now=now):
            self.lab.roster.leave(agent.name)
            self._gone(agent.name, "silent: no keepalive", now)
        if len(self.lab.roster):
            self.lab.at(math.ceil(now / KEEPALIVE + 1) * KEEPALIVE)

    def read_clock(self, message: m.ClockProbe, received: Received, now: float) -> None:
        """Tell the time to whoever asks."""
        if received.reply_to is not None:
            clock = self.lab.facts.clock
            reading = m.ClockReading(sent=message.sent, read=now, gatherer=clock)
            self.lab.out.send(received.reply_to, reading, ttl=TICK)
