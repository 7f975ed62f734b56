"""What is true of a lab at this moment, and the words the gatherer says about it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.gatherer.bench import Bench
from pytest_gatherscatter.sections.gatherer.lead import Lead
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.roster import Agent, Roster
from pytest_gatherscatter.sections.gatherer.state import ENDED, SectionState
from pytest_gatherscatter.sections.hook import LABEL, clip
from pytest_gatherscatter.sections.token import believable
from pytest_gatherscatter.telling import Telling
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import agent_key, section_event

TICK = 1.0
"""Seconds between two words to a waiting workload; also how soon a vanished one is noticed."""

NAMED = 8
"""Sections that are named to whoever waits behind them."""

KEPT = 600.0
"""Seconds for which an ended section is remembered, for late reports and repeated questions."""

MOST_ENDED = 1_000
"""Ended sections that are remembered at the most: more than one a second, for all of ``KEPT``."""

MOST_SECTIONS = 2_000
"""Open sections: far beyond a lab's need, a bound on what a flood can make the gatherer keep,
and few enough that each can be told how it stands once a second."""

MOST_ON_A_BENCH = 1_000
"""Open sections of one bench: with seconds for each the last one waits for its whole
``queue_timeout`` anyway, and a flood on one bench leaves room on the others."""

MOST_AGENTS = 2_500
"""Agents in a lab: their names and bare reports (up to 350 bytes each) fit in one message."""

MOST_HOLDS = 1_000
"""Persons' holds in a lab, for the same reason."""

MOST_BENCHES = 1_000
"""Benches beyond which those are forgotten that nobody uses or holds."""

UNTAKEN = 30.0
"""Seconds after which an entered section is dropped whose workload does not ask again, when
the outcome of its acceptance was lost with the connection; a living one asks every second."""

HORIZON = 64.0
"""Seconds ahead for which a wake is asked; what is due later is asked for again by then, so
that the wakes are no more than ``HORIZON * GRAIN``, whatever anybody asks for."""

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


class Purpose(Struct, frozen=True):
    """What a publish was for, so that its outcome can be understood."""

    what: str
    section: str
    agent: str = ""
    instance: str = ""
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
        self.ended: dict[str, float] = {}
        self.touched: set[str] = set()
        self.now = 0.0
        self.token = 0
        self.unreadable = 0
        self.remembers = False
        """Whether it was started on a journal that had something to tell."""
        self.opens_at = 0.0
        """Until when nobody is let in, if that lies ahead."""
        self.started = 0.0
        self.wall = 0.0
        self._wakes: set[float] = set()
        self._benches_at_most = MOST_BENCHES
        self._news: dict[str, m.SectionChanged] = {}
        self.ends = Telling(self.out)

    def bench(self, name: str) -> Bench:
        """Return the bench of this name; it exists from its first mention, while there is room."""
        bench = self.benches.get(name)
        if bench is None:
            if len(self.benches) >= self._benches_at_most:
                self.benches = {one.name: one for one in self.benches.values() if not one.idle}
                self._benches_at_most = max(MOST_BENCHES, 2 * len(self.benches))
            bench = self.benches[name] = Bench(name)
        return bench

    def believe(self, token: int) -> None:
        """Take a token that somebody has seen; the next ones are above it."""
        if believable(token):
            self.token = max(self.token, token)

    def no_room(self, bench: str) -> str:
        """Say why no other section can be taken on ``bench``; empty if one can.

        Each that is taken costs a sync of the journal, so what is too many is refused before.
        """
        if len(self.sections) - len(self.ended) >= MOST_SECTIONS:
            return f"the lab has {MOST_SECTIONS} open sections; see gatherscatter status"
        if len(self.sections) >= MOST_ON_A_BENCH:  # else nobody has to be counted
            on_it = (one for one in self.sections.values() if one.bench == bench)
            if sum(one.state not in ENDED for one in on_it) >= MOST_ON_A_BENCH:
                return (
                    f"bench {bench} has {MOST_ON_A_BENCH} open sections; wait until some are "
                    f"over, or give them up with gatherscatter reset --bench {bench}"
                )
        return ""

    def current(self, bench: Bench) -> SectionRecord | None:
        """Return the section that has the bench."""
        return None if bench.current is None else self.sections[bench.current]

    def at(self, at: float) -> None:
        """Ask to be woken at ``at`` or a grain later; what is far ahead, to ask again."""
        grain = math.ceil(min(at, self.now + HORIZON) * GRAIN) / GRAIN
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
        section.life.to(state, now=now, why=clip(why, LABEL))
        self.touched.add(section.bench)
        if state in ENDED:
            self.ended[section.id] = now
            if len(self.ended) > MOST_ENDED:
                self.forget(next(iter(self.ended)))
        self._news[section.id] = m.SectionChanged(
            section=section.id,
            name=section.entered.name,
            bench=section.bench,
            state=state.value,
            token=section.token,
            text=clip(section.text or why),
        )

    def ended_last(self, most: int) -> list[SectionRecord]:
        """Return the sections that ended last, the latest first."""
        return [self.sections[one] for one in islice(reversed(self.ended), most)]

    def forget(self, section: str) -> None:
        """Forget a section that has ended."""
        del self.ended[section]
        self.sections.pop(section, None)

    def tell_news(self, result: Callable[[SectionRecord], m.SectionResult]) -> None:
        """Tell those who watch how the sections stand that moved in this step.

        It comes last, since others wait for what the step does; of several moves in one step
        the last is told. The last of all comes with its ``result``, and is said again where it got
        lost: it goes on record.
        """
        if not self._news:
            return
        for changed in self._news.values():
            section = self.sections.get(changed.section)
            if section is not None and section.state in ENDED:
                ended = replace(changed, result=result(section))
                self.ends.say(section_event("changed", changed.bench), ended)
            else:
                self.out.publish(section_event("changed", changed.bench), changed)
        self._news.clear()

    def ask(self, what: str, section: SectionRecord, agent: str, message: m.Message) -> None:
        """Send an agent something whose return means that it is gone."""
        known = self.roster.get(agent)
        instance = "" if known is None else known.instance
        purpose = Purpose(what, section.id, agent, instance)
        self._tracked(purpose, agent_key(agent), message, None)

    def welcome(self, agent: Agent) -> None:
        """Accept an agent; one whose inbox is not there never was, or is gone again."""
        accepted = m.JoinAccepted(
            agent=agent.name, gatherer=self.facts.clock, keepalive=agent.keepalive
        )
        purpose = Purpose("joined", "", agent.name, agent.instance)
        self._tracked(purpose, agent_key(agent.name), accepted, agent.keepalive)

    def answer(self, what: str, section: SectionRecord, message: m.Message) -> None:
        """Send a waiting workload something whose return means that it is gone."""
        purpose = Purpose(what, section.id, reply=section.reply)
        self._tracked(purpose, section.reply, message, 3 * TICK)

    def _tracked(self, purpose: Purpose, key: str, message: m.Message, ttl: float | None) -> None:
        self.purposes[self.out.send(key, message, ttl=ttl)] = purpose

    def whose(self, section: SectionRecord) -> str:
        """Name a section, its owner and its test in a line, for whoever waits behind it.

        It is short enough for a label of the wire.
        """
        overdue = ", overdue" if section.state is SectionState.OVERDUE else ""
        entered = section.entered
        name, owner, test = (clip(one, 150) for one in (entered.name, entered.owner, entered.test))
        return f"{name} of {owner} ({test}{overdue})"

    def doing(self, agent: str) -> str:
        """Say what an agent is about: its part in each section that has a bench, or idle."""
        parts = [
            part
            for bench in self.benches.values()
            if (section := self.current(bench)) is not None and (part := section.part_of(agent))
        ]
        return ", ".join(parts) or "idle"

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
            # The first few: enough to know what it is that takes so long, and no search
            # through a queue that a flood has made long.
            first = [bench.current, *bench.queue[:NAMED]]
            ahead = first[: first.index(section.id)] if section.id in first else first
            owners = (self.whose(self.sections[one]) for one in ahead[:NAMED] if one is not None)
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
            left=section.gather_left(now=now),
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
        """It has started without its workload, which is to leave; see ``MISSED_GO``.

        The text names who was away: a gatherer that comes back past t0 never sends Go again.
        """
        text = (
            "the gatherer went away around the commit, and the workload missed the Go"
            if section.recovered
            else "the workload lost its connection and missed the Go"
        )
        return m.SectionAborted(
            section=section.id,
            token=section.token,
            bench=section.bench,
            cause=m.MISSED_GO,
            text=text,
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
