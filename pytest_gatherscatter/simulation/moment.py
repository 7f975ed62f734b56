"""Faults at a moment: something happens when a message of a kind is said or heard.

Most promises are about a step that takes no time; a fault that is drawn over the whole play meets
such a step once in thousands of seeds. These wait for it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pytest_gatherscatter.simulation.host import Plan
from pytest_gatherscatter.simulation.laboratory import Laboratory
from pytest_gatherscatter.simulation.visitor import Visitor
from pytest_gatherscatter.simulation.world import Heard, Kind, Said, Sight
from pytest_gatherscatter.wire.messages import (
    AgentAlive,
    ArtifactChunk,
    CheckAlive,
    HoldBench,
    LeaveSection,
    ReleaseBench,
    SectionClosed,
    SectionGathered,
    SectionGo,
    WorkloadReady,
)

UNREAD = 10.0
"""Seconds for which who died stays away at least: a gatherer with a leaving unread for longer than
a workload asks for its reports, a monitor for longer than its section lasts and reports are due."""


class AtTheFirst:
    """An onlooker that does something once: when ``kind`` was said or heard the ``nth`` time.

    With ``by`` only that party counts.
    """

    def __init__(
        self,
        how: type[Said | Heard],
        kind: type,
        action: Callable[[], None],
        *,
        by: str = "",
        nth: int = 1,
    ) -> None:
        self.kinds: frozenset[Kind] = frozenset({(how, kind)})
        self._how = how
        self._action = action
        self._by = by
        self._left = nth

    def see(self, sight: Sight) -> None:
        """Count it, and act once."""
        if isinstance(sight, self._how) and self._left and self._by in {"", sight.party}:
            self._left -= 1
            if not self._left:
                self._action()


class Moments:
    """Plans what happens at a moment; ``calm`` says whether nothing is to begin any more."""

    def __init__(self, lab: Laboratory, calm: Callable[[], bool]) -> None:
        self.lab = lab
        self.world = lab.world
        self._calm = calm

    def _wait(
        self,
        how: type[Said | Heard],
        kind: type,
        action: Callable[[], None],
        *,
        by: str = "",
        nth: int = 1,
    ) -> None:
        def act() -> None:
            if not self._calm():
                action()

        self.world.show(AtTheFirst(how, kind, act, by=by, nth=nth))

    def death_in_a_step(self) -> str:
        """The gatherer dies in the step that commits, or that lets a workload leave."""
        chance, victim = self.world.random, self.lab.gatherer
        kind = chance.choice((AgentAlive, LeaveSection))
        effects, nth = chance.choice((1, 2, 3, 3, 3, 4, 5)), chance.choice((1, 1, 1, 2))
        back = chance.choice((1.0, 4.0, 20.0, 20.0)) * chance.random()
        boots, orderly = chance.random() < 0.5, chance.random() < 0.5  # noqa: PLR2004
        if kind is LeaveSection and effects < 3:  # noqa: PLR2004 - before its record is synced
            effects, back = 1, UNREAD + back / 2  # nobody knows of it, and its workload gives up

        def doom() -> None:
            victim.crash_at = victim.effects + effects
            victim.power_cut = boots and not orderly
            victim.after_crash = come_back

        def come_back() -> None:
            victim.after_crash = lambda: None
            if boots:
                victim.move(self.lab.world.clock())
            self.world.after(back, victim.start)

        self._wait(Heard, kind, doom, by=victim.name, nth=nth)
        return f"death of the gatherer at {kind.__name__}"

    def absence(self) -> str:
        """The gatherer is away for longer than a test waits, in the middle of a run of tests."""
        chance, lab = self.world.random, self.lab
        run, victim = chance.choice(lab.workloads), lab.gatherer
        run.plans.extend(_plain(run) for _ in range(3))
        seconds = 8.0 + 8.0 * chance.random()

        def go_away() -> None:
            victim.after_crash = lambda: self.world.after(seconds, victim.start)
            self.world.after(0.0, partial(victim.die, "is away for long"))

        self._wait(Heard, SectionClosed, go_away, by=run.name)
        return f"absence of the gatherer from {run.name}"

    def death_inside(self) -> str:
        """A monitor dies while its section runs, and is still away when that is over."""
        chance = self.world.random
        victim = chance.choice(self.lab.monitors)
        seconds, back = 0.5 + chance.random(), UNREAD + 5.0 * chance.random()
        for run in self.lab.workloads:
            # Its silence is noticed before its report is given up, as with the usual half a minute.
            run.plans = [
                replace(plan, demand=replace(plan.demand, report_timeout=UNREAD))
                for plan in run.plans
            ]

        def doom() -> None:
            self.world.after(seconds, lambda: None if self._calm() else end())

        def end() -> None:
            victim.after_crash = come_back
            victim.die("dies inside")

        def come_back() -> None:
            victim.after_crash = lambda: None
            self.world.after(back, victim.start)

        self._wait(Heard, SectionGo, doom, by=victim.name)
        return f"death inside of {victim.name}"

    def leaving_unread(self) -> str:
        """A leaving is in the gatherer's queue, and is never read: the gatherer dies, for long."""
        chance, victim = self.world.random, self.lab.gatherer
        seconds, back = chance.random(), UNREAD + 5.0 * chance.random()

        def stall() -> None:
            victim.freeze(2.0)
            victim.after_crash = come_back
            self.world.after(seconds, partial(victim.die, "dies with a leaving unread"))

        def come_back() -> None:
            victim.after_crash = lambda: None
            self.world.after(back, victim.start)

        self._wait(Said, LeaveSection, stall)
        return "leaving unread"

    def freeze_when_gathered(self) -> str:
        """A workload for which all are ready stands still, until they have other things to do."""
        chance = self.world.random
        victim, seconds = chance.choice(self.lab.workloads), 5.0 + 4.0 * chance.random()
        self._wait(Heard, SectionGathered, lambda: victim.freeze(seconds), by=victim.name)
        return f"freeze when gathered of {victim.name}"

    def silence_at_the_check(self) -> str:
        """A monitor stands still right before it is asked whether it is alive."""
        chance = self.world.random
        victim, seconds = chance.choice(self.lab.monitors), 2.0 + 3.0 * chance.random()
        self._wait(Said, CheckAlive, lambda: victim.freeze(seconds))
        return f"freeze at the check of {victim.name}"

    def silence_at_the_go(self) -> str:
        """A monitor stands still at the Go, perhaps until after the section's deadline."""
        chance = self.world.random
        victim, seconds = chance.choice(self.lab.monitors), chance.random() * 6.0
        how, kind = chance.choice(((Said, AgentAlive), (Heard, SectionGo)))
        self._wait(how, kind, lambda: victim.freeze(seconds), by=victim.name)
        return f"freeze at the go of {victim.name}"

    def queued_again(self) -> str:
        """A gatherer loses its memory when one is ready; another of that host may be first then."""
        chance, lab = self.world.random, self.lab
        if len(lab.workloads) < 2:  # noqa: PLR2004 - two sections
            return self.silence_at_the_go()
        victim, (first, second) = lab.gatherer, chance.sample(lab.workloads, 2)
        second.host = first.host
        bench, back = first.plans[0].demand.bench, chance.random()
        for run, pause in ((first, 0.0), (second, 0.2)):
            demand = replace(_plain(run).demand, bench=bench, queue_timeout=40.0)
            run.plans[0] = replace(run.plans[0], demand=demand, pause=pause)

        def doom() -> None:
            victim.after_crash = come_back
            self.world.after(0.0, partial(victim.die, "dies while one is ready"))

        def come_back() -> None:
            victim.after_crash = lambda: None
            victim.forget()
            self.world.after(back, victim.start)

        self._wait(Said, WorkloadReady, doom)
        return "amnesia of the gatherer"

    def hold_at_the_check(self) -> str:
        """A person holds the bench while its monitors are asked whether they are alive."""
        chance, person = self.world.random, self.lab.person
        bench, hold = chance.choice(self.lab.benches), self.world.id()
        delay, seconds = chance.random() * 0.0004, 0.2 + 2.0 * chance.random()
        message = HoldBench(hold=hold, bench=bench, holder="ann", reason="probe moved", seconds=8.0)

        def ask() -> None:
            self.world.after(delay, partial(person.say, message))
            self.world.after(delay + seconds, partial(person.say, ReleaseBench(hold=hold)))

        self._wait(Said, CheckAlive, ask)
        return "a person's hold at the check"

    def crossing(self) -> str:
        """Two sections want a monitor on two benches: the older gets it from who stands still."""
        lab, chance = self.lab, self.world.random
        if len(lab.benches) < 2 or len(lab.workloads) < 2:  # noqa: PLR2004 - two sections
            return self.freeze_when_gathered()
        monitor, (older, younger) = chance.choice(lab.monitors), lab.workloads[:2]
        monitor.benches = lab.benches
        ways = zip((older, younger), monitor.benches, (0.0, 1.0), strict=True)
        for run, bench, pause in ways:
            demand = replace(
                run.plans[0].demand,
                bench=bench,
                require=frozenset({monitor.agent}),
                max_duration=3.0,
                queue_timeout=40.0,
                gather_timeout=12.0,
                hold_limit=20.0,
            )
            run.plans[0] = Plan(demand, body=2.5, pause=pause)
        hold = self.world.id()
        bench = monitor.benches[0]
        message = HoldBench(hold=hold, bench=bench, holder="ann", reason="probe", seconds=8.0)
        self.world.after(0.5, partial(lab.person.say, message))

        def cross() -> None:
            younger.freeze(5.2 + 2.5 * chance.random())
            lab.person.say(ReleaseBench(hold=hold))

        self._wait(Heard, SectionGathered, cross, by=younger.name)
        return f"crossing of {older.name} and {younger.name}"

    def cut_while_sending(self) -> str:
        """A monitor loses its connection while a capture is on its way."""
        chance = self.world.random
        victim, seconds = chance.choice(self.lab.monitors), chance.random() * 0.001
        victim.temper = replace(victim.temper, capture=1.0)

        def cut() -> None:
            connection = victim.link.connection
            if connection is not None:
                self.world.tell(victim.name, "loses its connection")
                connection.lose(at_client=seconds, at_broker=seconds)

        self._wait(Said, ArtifactChunk, cut, by=victim.name)
        return f"cut while sending of {victim.name}"


def _plain(run: Visitor) -> Plan:
    """Make a short test like the run's first that demands nothing."""
    demand = replace(run.plans[0].demand, require=frozenset(), min_monitors=0, no_gatherer=None)
    return Plan(demand, body=0.1, pause=0.1)
