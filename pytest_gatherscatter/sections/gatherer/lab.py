"""What is true of a lab at this moment, and the words the gatherer says about it."""

import math
from dataclasses import dataclass

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.gatherer.bench import Bench
from pytest_gatherscatter.sections.gatherer.lead import Lead
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.roster import Roster
from pytest_gatherscatter.sections.gatherer.state import SectionState
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import section_event

TICK = 1.0
"""Seconds between two words to a waiting workload; also how soon a vanished one is noticed."""

KEPT = 600.0
"""Seconds for which an ended section is remembered, for late reports and repeated questions."""

GRAIN = 64
"""Wakes a second at the most: no deadline of the gatherer is sharper than a sixty-fourth, and
a thousand agents' deadlines fall into one."""


@dataclass(frozen=True, slots=True)
class GathererFacts:
    """What a gatherer is told about itself at its making.

    ``clock`` names the clock that its times are on: equal ids mean comparable times.
    ``stale_after`` is in seconds.
    """

    clock: str
    host: str
    pid: int
    version: str
    required: frozenset[str] = frozenset()
    stale_after: float = 2.0


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a publish was for, so that its outcome can be understood."""

    what: str
    section: str
    agent: str = ""
    reply: str = ""


class Lab:
    """The gatherer's memory. ``touched`` holds benches whose progress is to be looked at."""

    def __init__(self, facts: GathererFacts) -> None:
        self.facts = facts
        self.out = Effects()
        self.roster = Roster()
        self.lead = Lead()
        self.benches: dict[str, Bench] = {}
        self.sections: dict[str, SectionRecord] = {}
        self.purposes: dict[int, Purpose] = {}
        self.touched: set[str] = set()
        self.token = 0
        self.unreadable = 0
        self.started = 0.0
        self.wall = 0.0
        self._wakes: set[float] = set()
        self._news: dict[str, m.SectionChanged] = {}

    def bench(self, name: str) -> Bench:
        """Return the bench of this name; it exists from its first mention."""
        return self.benches.setdefault(name, Bench(name))

    def current(self, bench: Bench) -> SectionRecord | None:
        """Return the section that has the bench."""
        return None if bench.current is None else self.sections[bench.current]

    def at(self, at: float) -> None:
        """Ask to be woken at ``at`` or a grain later."""
        grain = math.ceil(at * GRAIN) / GRAIN
        if grain not in self._wakes:
            self._wakes.add(grain)
            self.out.wake(grain)

    def woken(self, *, now: float) -> None:
        """Forget the wakes that have come."""
        self._wakes = {at for at in self._wakes if at > now}

    def move(
        self, section: SectionRecord, state: SectionState, *, now: float, why: str = ""
    ) -> None:
        """Take a section along its table, and look at its bench."""
        section.life.to(state, now=now, why=why)
        self.touched.add(section.bench)
        self._news[section.id] = m.SectionChanged(
            section=section.id,
            name=section.entered.name,
            bench=section.bench,
            state=state.value,
            token=section.token,
            text=section.text or why,
        )

    def tell_news(self) -> None:
        """Tell those who watch how the sections stand that moved in this step.

        It comes last, since others wait for what the step does; of several moves in one step
        the last is told.
        """
        for changed in self._news.values():
            self.out.publish(section_event("changed", changed.bench), changed)
        self._news.clear()

    def ask(self, what: str, section: SectionRecord, agent: str, message: m.Message) -> None:
        """Send an agent something whose outcome matters."""
        self._tracked(Purpose(what, section.id, agent), f"agent.{agent}", message, None)

    def answer(self, what: str, section: SectionRecord, message: m.Message) -> None:
        """Send a waiting workload something whose return means that it is gone."""
        purpose = Purpose(what, section.id, reply=section.reply)
        self._tracked(purpose, section.reply, message, 3 * TICK)

    def _tracked(self, purpose: Purpose, key: str, message: m.Message, ttl: float | None) -> None:
        self.purposes[self.out.send(key, message, ttl=ttl)] = purpose

    def whose(self, section: SectionRecord) -> str:
        """Name a section, its owner and its test in a line, for whoever waits behind it."""
        overdue = ", overdue" if section.state is SectionState.OVERDUE else ""
        entered = section.entered
        return f"{entered.name} of {entered.owner} ({entered.test}{overdue})"

    # ── words ──────────────────────────────────────────────────────────────────────────

    def accepted(self, section: SectionRecord) -> m.SectionAccepted:
        """From now on there is no falling back."""
        return m.SectionAccepted(section=section.id, token=section.token, gatherer=self.facts.clock)

    def gathered(self, section: SectionRecord) -> m.SectionGathered:
        """All are ready."""
        return m.SectionGathered(section=section.id, token=section.token, members=section.ready())

    def waiting(self, section: SectionRecord, *, now: float) -> m.SectionWaiting:
        """For whom a queued or gathering section waits."""
        bench = self.bench(section.bench)
        waited = max(0.0, now - section.entered_at)
        if section.state is SectionState.QUEUED:
            ahead = [bench.current, *bench.queue[: bench.queue.index(section.id)]]
            owners = (self.whose(self.sections[one]) for one in ahead[:8] if one is not None)
            return m.SectionWaiting(
                section=section.id,
                state="queued",
                awaited=tuple(owners),
                holds=bench.held(now=now),
                waited=waited,
                left=max(0.0, section.entered.queue_timeout - waited),
            )
        return m.SectionWaiting(
            section=section.id,
            state="gathering",
            awaited=section.waits_for(now=now, stale_after=0.0),
            holds=section.holds(now=now) + bench.held(now=now),
            waited=waited,
            left=max(0.0, section.gather_until - now),
        )

    def go(self, section: SectionRecord) -> m.SectionGo:
        """The one Go, the same each time it is said."""
        return m.SectionGo(
            section=section.id,
            token=section.token,
            bench=section.bench,
            gatherer=self.facts.clock,
            members=section.members,
            sent=section.sent,
            t0=section.t0,
            deadline=section.deadline,
        )

    def missed(self, section: SectionRecord) -> m.SectionAborted:
        """It has started without its workload, which is to leave; see ``MISSED_GO``."""
        return m.SectionAborted(
            section=section.id,
            token=section.token,
            bench=section.bench,
            cause=m.MISSED_GO,
            text="the workload lost its connection and missed the Go",
        )

    def stopped(self, section: SectionRecord) -> m.SectionStopped:
        """Stop and report."""
        return m.SectionStopped(section=section.id, token=section.token, bench=section.bench)

    def aborted(self, section: SectionRecord) -> m.SectionAborted:
        """Disarm, for this cause."""
        return m.SectionAborted(
            section=section.id,
            token=section.token,
            bench=section.bench,
            cause=section.cause,
            text=section.text,
        )
