"""From entering to gathered: the queue, the invitations, the monitors' answers."""

from collections.abc import Iterator

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.gatherer.bench import Bench
from pytest_gatherscatter.sections.gatherer.ending import GONE, Ending
from pytest_gatherscatter.sections.gatherer.lab import TICK, UNTAKEN, Lab
from pytest_gatherscatter.sections.gatherer.record import Answer, Participant, SectionRecord
from pytest_gatherscatter.sections.gatherer.state import ENDED, GATHERS, INSIDE, SectionState
from pytest_gatherscatter.wire import messages as m

_PAUSES = {
    SectionState.QUEUED: 5 * TICK,  # it asks by itself each second; this tells whether it is gone
    SectionState.GATHERING: TICK,
    SectionState.GATHERED: TICK,
}
"""Seconds between two unasked words to a waiting workload."""

MonitorAnswer = m.AgentReady | m.AgentHolding | m.AgentVetoed | m.AgentBroken


class Gathering:
    """Entering, queueing, preparing, answering."""

    def __init__(self, lab: Lab, ending: Ending) -> None:
        self.lab = lab
        self.ending = ending

    # ── entering ───────────────────────────────────────────────────────────────────────

    def enter(self, message: m.EnterSection, received: Received, now: float) -> None:
        """Open a section, or answer how it stands. Without a reply address nobody asked."""
        lab = self.lab
        reply = received.reply_to
        if reply is None:
            return
        section = lab.sections.get(message.section)
        if section is not None and section.cause == GONE:
            lab.forget(section.id)  # it was not gone, it had lost its connection
            section = None
        if section is not None:
            section.reply = reply
            self.tell(section, now=now)
            return
        if text := lab.no_room(message.bench):
            refused = m.SectionRefused(section=message.section, cause="not-gathered", text=text)
            lab.out.send(reply, refused)
            return
        lab.believe(message.token)
        lab.token += 1
        section = SectionRecord(message, lab.token, reply, now=now, user=received.user)
        lab.sections[section.id] = section
        lab.answer("accepted", section, lab.accepted(section))
        lab.at(now + UNTAKEN)

    def accepted(self, section: SectionRecord, *, now: float) -> None:
        """Queue a section: its workload's queue has the acceptance.

        Only now it is on record, so that a flood for queues that are not there costs no sync.
        Its token may be lost before: then only its workload has it, which says it when it asks.
        """
        if section.state is not SectionState.ENTERED:
            return
        self.lab.out.record("opened", **section.opened())
        bench = self.lab.bench(section.bench)
        bench.queue.append(section.id)
        self.lab.move(section, SectionState.QUEUED, now=now)
        self.lab.at(section.entered_at + section.entered.queue_timeout)
        if bench.current is not None or bench.held(now=now):
            self.tell_waiting(section, now=now)

    def tell(self, section: SectionRecord, *, now: float) -> None:
        """Answer a workload that asks how things stand."""
        lab = self.lab
        state = section.state
        if state is SectionState.ABORTED:
            lab.out.send(section.reply, lab.aborted(section))
            return
        lab.answer("accepted", section, lab.accepted(section))
        if state is SectionState.GATHERED:
            lab.out.send(section.reply, lab.gathered(section))
        elif state in (SectionState.QUEUED, SectionState.GATHERING):
            self.tell_waiting(section, now=now)
        elif state is SectionState.COMMITTED and now < section.t0:
            lab.out.send(section.reply, lab.go(section))
        elif state in INSIDE:
            lab.out.send(section.reply, lab.missed(section))

    def tell_waiting(self, section: SectionRecord, *, now: float) -> None:
        """Tell a waiting workload for whom it waits; the return tells that it is gone."""
        section.told_at = now
        self.lab.at(now + TICK)
        if section.state is SectionState.GATHERED:
            self.lab.answer("waiting", section, self.lab.gathered(section))
        else:
            self.lab.answer("waiting", section, self.lab.waiting(section, now=now))

    # ── asking ─────────────────────────────────────────────────────────────────────────

    def advance(self, bench: Bench, *, now: float) -> None:
        """Let the next section in, if the bench is free."""
        lab = self.lab
        closed = bench.current is not None or now < lab.opens_at
        if closed or not bench.queue or bench.held(now=now):
            return
        section = lab.sections[bench.queue.pop(0)]
        bench.current, bench.token = section.id, section.token
        lab.move(section, SectionState.GATHERING, now=now)
        for name in sorted(lab.facts.required | set(section.entered.require)):
            one = Participant(name, required=True, answer=Answer.MISSING, since=now)
            section.participants[name] = one
            agent = lab.roster.get(name)
            if agent is None:
                one.why = "not in the lab"
            elif section.bench not in agent.benches:
                one.why = f"is on {', '.join(sorted(agent.benches))}, not on {section.bench}"
        for agent in lab.roster.on(section.bench):
            self.prepare(section, agent.name, now=now)
        section.told_at = now
        lab.at(now + TICK)

    def prepare(self, section: SectionRecord, name: str, *, now: float) -> None:
        """Ask a monitor to arm; from now on it takes part unless it fails to answer."""
        one = section.participants.get(name)
        if one is None:
            one = Participant(name, required=False, answer=Answer.ASKED, since=now)
            section.participants[name] = one
        one.ask(now=now)
        self.lab.touched.add(section.bench)
        entered = section.entered
        prepare = m.PrepareSection(
            section=section.id,
            token=section.token,
            bench=section.bench,
            name=entered.name,
            test=entered.test,
            owner=entered.owner,
            required=one.required,
            max_duration=entered.max_duration,
            hold_limit=entered.hold_limit,
        )
        self.lab.ask("prepare", section, name, prepare)
        self.lab.at(now + self.lab.facts.stale_after)

    def excuse(self, *, now: float) -> None:
        """Count nobody's silence until now: it was the gatherer that did not listen."""
        for section in self._gathers():
            section.checked_at = now
            for one in section.participants.values():
                one.asked_at = now

    def ask_again(self, *, now: float) -> None:
        """Ask those whose answer is open: with a lost connection, question or answer may be."""
        for section in self._gathers():
            for one in section.participants.values():
                if one.answer is Answer.ASKED:
                    self._repeat(section, one, now)

    def _gathers(self) -> Iterator[SectionRecord]:
        sections = (self.lab.current(bench) for bench in self.lab.benches.values())
        return (one for one in sections if one is not None and one.state in GATHERS)

    def _repeat(self, section: SectionRecord, one: Participant, now: float) -> None:
        since = one.since
        self.prepare(section, one.name, now=now)
        one.since = since  # it is as silent as before

    def invite(self, section: SectionRecord, name: str, *, now: float) -> None:
        """Ask somebody who came while a section gathers, if the section waits for them.

        Who joins after Prepare waits for the next section, unless too few take part.
        """
        one = section.participants.get(name)
        if one is None or one.answer is Answer.SKIPPED:
            if self._short(section):
                self.prepare(section, name, now=now)
        else:
            self.again(section, f"{name} came back without it", now=now)
            self.prepare(section, name, now=now)

    @staticmethod
    def _short(section: SectionRecord) -> bool:
        """Whether a section that gathers needs more monitors than are ready."""
        short = len(section.ready()) < section.entered.min_monitors
        return section.state is SectionState.GATHERING and short

    def again(self, section: SectionRecord, why: str, *, now: float) -> None:
        """Go back from gathered, within what is left of the gather timeout."""
        if section.state is SectionState.GATHERING:
            return
        self.lab.move(section, SectionState.GATHERING, now=now, why=why)
        self.tell_waiting(section, now=now)

    def lose(self, section: SectionRecord, name: str, why: str, *, now: float) -> None:
        """Go on without a monitor if it is optional, else wait for it again."""
        one = section.participants[name]
        if one.answer in (Answer.MISSING, Answer.SKIPPED):
            return
        was_ready = one.answer is Answer.READY
        one.lose(why, now=now)
        self.lab.touched.add(section.bench)
        if was_ready:
            self.again(section, f"{name} {why}", now=now)

    # ── answers ────────────────────────────────────────────────────────────────────────

    def _who(self, message: MonitorAnswer, now: float) -> tuple[SectionRecord, Participant] | None:
        """Find who speaks about which gathering section; None for strangers and stale words."""
        if self.lab.roster.heard(message.agent, message.instance, now=now) is None:
            return None
        section = self.lab.sections.get(message.section)
        if section is None or section.state not in GATHERS or section.token != message.token:
            return None
        one = section.participants.get(message.agent)
        # Who was passed over comes too late, as the rest may be gathered without it; but not
        # where too few take part: it may only be slow.
        if one is None or (one.answer is Answer.SKIPPED and not self._short(section)):
            return None
        return section, one

    def ready(self, message: m.AgentReady, _: Received, now: float) -> None:
        """Count a monitor as armed."""
        found = self._who(message, now)
        if found is not None:
            section, one = found
            one.answer, one.since, one.hold_since = Answer.READY, now, None
            self.lab.touched.add(section.bench)

    def holding(self, message: m.AgentHolding, _: Received, now: float) -> None:
        """Wait for a monitor that says so; each word renews its hold."""
        found = self._who(message, now)
        if found is None:
            return
        section, one = found
        if one.answer is Answer.SKIPPED and one.hold_since is not None:
            return  # passed over at its limit: only that it is ready brings it back
        if one.answer is not Answer.HOLDING:
            self.lab.touched.add(section.bench)
        fresh = one.answer is not Answer.HOLDING or one.hold_reason != message.reason
        one.hold(message.seconds, message.reason, now=now)
        self.lab.at(one.hold_until + self.lab.facts.stale_after)
        self.lab.at((one.hold_since or now) + section.entered.hold_limit)
        self.again(section, f"{one.name} holds", now=now)
        if fresh:
            self.tell_waiting(section, now=now)

    def vetoed(self, message: m.AgentVetoed, _: Received, now: float) -> None:
        """End the section for everybody."""
        found = self._who(message, now)
        if found is not None:
            reason = message.reason or "no reason given"
            self.ending.abort(found[0], "vetoed", f"{message.agent} vetoes: {reason}", now=now)

    def broken(self, message: m.AgentBroken, _: Received, now: float) -> None:
        """End the section, unless the monitor is advisory and nobody requires it."""
        found = self._who(message, now)
        if found is None:
            return
        section, one = found
        agent = self.lab.roster.get(one.name)
        if agent is not None and agent.advisory and not one.required:
            self.lose(section, one.name, f"broken: {message.reason}", now=now)
        else:
            text = f"{one.name} is broken: {message.reason}"
            self.ending.abort(section, "broken", text, now=now)

    # ── progress ───────────────────────────────────────────────────────────────────────

    def complete(self, section: SectionRecord, *, now: float) -> None:
        """Tell the workload that all are gathered, if so; else see who is missing."""
        self._complete(section, now)
        section.note_missing(now=now)
        if section.gather_until is not None:
            self.lab.at(section.gather_until)

    def _complete(self, section: SectionRecord, now: float) -> None:
        if section.state is not SectionState.GATHERING or section.pending():
            return
        if len(section.ready()) < section.entered.min_monitors:
            return
        if self.lab.bench(section.bench).held(now=now):
            return
        self.lab.move(section, SectionState.GATHERED, now=now)
        section.told_at = now
        self.lab.at(now + TICK)
        self.lab.answer("waiting", section, self.lab.gathered(section))

    def look(self, section: SectionRecord, *, now: float) -> None:
        """Look at the deadlines of a section that waits."""
        entered = section.entered
        if section.state is SectionState.ENTERED:
            if now - section.entered_at >= UNTAKEN:
                self.ending.abort(section, GONE, "the acceptance was not taken", now=now)
        elif section.state is SectionState.QUEUED:
            if now - section.entered_at >= entered.queue_timeout:
                self.ending.abort(section, "not-gathered", self._why_queued(section, now), now=now)
        elif section.state is SectionState.GATHERING:
            self._pass_over(section, now)
            until = section.gather_until
            if section.state is SectionState.GATHERING and until is not None and until <= now:
                self._give_up(section, now)
        pause = _PAUSES.get(section.state)
        if pause is not None and now - section.told_at >= pause:
            self.tell_waiting(section, now=now)

    def _why_queued(self, section: SectionRecord, now: float) -> str:
        bench = self.lab.bench(section.bench)
        waited = f"bench {bench.name} stayed busy for {now - section.entered_at:.0f} s: "
        current = self.lab.current(bench)
        if current is not None:
            return waited + self.lab.whose(current)
        holds = ", ".join(f"{h.agent} holds it: {h.reason}" for h in bench.held(now=now))
        return waited + (holds or "others came first")

    def _pass_over(self, section: SectionRecord, now: float) -> None:
        """Pass over the silent and the advisory; give up on endless holds."""
        stale_after, limit = self.lab.facts.stale_after, section.entered.hold_limit
        for one in list(section.participants.values()):
            if section.state is not SectionState.GATHERING:
                return  # given up, for one of them
            if one.answer is Answer.ASKED and now - one.asked_at >= stale_after:
                self._look_at_silence(section, one, now)
            elif one.answer is Answer.HOLDING and one.hold_since is not None:
                self._look_at_hold(section, one, now)
        for person in self.lab.bench(section.bench).holds.values():
            if now - max(person.since, section.life.since) >= limit:
                text = f"{person.holder} held the bench for {limit:g} s: {person.reason}"
                self._not_gathered(section, text, now)

    def _look_at_silence(self, section: SectionRecord, one: Participant, now: float) -> None:
        """Ask a required monitor again, since question or answer may be lost; pass over others."""
        if not one.required:
            self.lose(section, one.name, "stale: no answer to Prepare", now=now)
        elif self.lab.roster.get(one.name) is not None:
            self._repeat(section, one, now)

    def _look_at_hold(self, section: SectionRecord, one: Participant, now: float) -> None:
        since = one.hold_since or now
        if now - since >= section.entered.hold_limit:
            text = f"{one.name} held for {now - since:.0f} s: {one.hold_reason}"
            agent = self.lab.roster.get(one.name)
            if agent is not None and agent.advisory and not one.required:
                one.answer, one.why = Answer.SKIPPED, text
                self.lab.touched.add(section.bench)
            else:
                self._not_gathered(section, text, now)
        elif now >= one.hold_until + self.lab.facts.stale_after:
            self.prepare(section, one.name, now=now)
            one.hold_since = since  # a silence does not start the limit anew

    def _give_up(self, section: SectionRecord, now: float) -> None:
        awaited = section.awaited(now=now, stale_after=self.lab.facts.stale_after)
        count, least = len(section.ready()), section.entered.min_monitors
        if awaited:
            text = f"not gathered after {section.entered.gather_timeout:g} s: {', '.join(awaited)}"
            self._not_gathered(section, text, now)
        elif not section.pending() and count < least:
            text = f"measured by nobody: {count} of min_monitors={least} monitors are ready"
            self._not_gathered(section, text, now)

    def _not_gathered(self, section: SectionRecord, text: str, now: float) -> None:
        if section.state not in ENDED:
            self.ending.abort(section, "not-gathered", text, now=now)
