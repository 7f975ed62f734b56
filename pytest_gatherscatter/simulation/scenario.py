"""What a seed plays: who is there, what they want, and what goes wrong.

Everything is drawn from the seed before and while the world runs. When the last workload has
gone on, a person resets the lab, and what was asked to prepare must come to its end.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.sections.gatherer import Gatherer
from pytest_gatherscatter.sections.monitor.machine import MonitorMachine
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.machine import Workload
from pytest_gatherscatter.simulation.authority import Authority
from pytest_gatherscatter.simulation.host import Host, Plan
from pytest_gatherscatter.simulation.instrument import Instrument, Temper
from pytest_gatherscatter.simulation.invariant import Rule, rules
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import Party
from pytest_gatherscatter.simulation.person import Person
from pytest_gatherscatter.simulation.visitor import Visitor
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    Sight,
    Violated,
    VirtualClock,
    VisitEnded,
    World,
)
from pytest_gatherscatter.wire.messages import HoldBench, ReleaseBench, ResetLab

LONGEST = 900.0
"""Virtual seconds after which a play that does not end is a violation."""

AFTERWARDS = 40.0
"""Seconds between the person's reset and the last look: a lingering name is free after 15, the
gatherer's own silence limits follow, and the slowest hook takes ten."""

QUIET = 3.0
"""Seconds after which it is looked whether everything has come to rest: longer than any answer."""

RETURN = 70.0
"""Seconds for everybody to be back: the longest freeze, then a name that lingers for 15."""

UNSTUCK = 8.0
"""Seconds for the last stuck hook to return, and for the keepalives to say who is there."""

DRIFT = 50e-6
"""Each clock's own drift, so that two of them part by 100 ppm at the most, as assumed."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Which machines play: the production's, or one with a planted bug."""

    gatherer: Callable[..., Gatherer] = Gatherer
    monitor: Callable[..., MonitorMachine] = MonitorMachine
    workload: Callable[..., Workload] = Workload


@dataclass(slots=True)
class Outcome:
    """What came of a seed. ``bodies`` counts coordinated ones, ``alone`` the others."""

    seed: int
    violated: Violated | None
    history: list[Sight] = field(repr=False)
    steps: int
    virtual: float
    seconds: float
    bodies: int
    alone: int
    visits: dict[str, int]
    faults: tuple[str, ...]


class Play:
    """One seed's lab, ready to run."""

    def __init__(self, seed: int, cast: Cast | None = None) -> None:
        self.seed = seed
        self.cast = cast or Cast()
        self.world = World(seed)
        self.faults: list[str] = []
        self.calm = False
        """Nothing goes wrong any more."""
        chance = self.world.random
        rough = chance.random() < 0.5  # noqa: PLR2004 - every second day
        self.network = Network(
            self.world,
            mean=chance.choice((0.0003, 0.002, 0.01)),
            spikes=0.03 if rough else 0.0,
            twice=0.05 if rough else 0.0,
        )
        self.benches = ("north", "south")[: chance.choice((1, 1, 2))]
        self.hosts = [Host(name, self._clock()) for name in ("ant", "bee")]
        names = ("scope", "thermal", "psu")[: chance.choice((1, 2, 2, 3))]
        self.required = frozenset(n for n in names[:1] if chance.random() < 0.3)  # noqa: PLR2004
        self.monitors = [self._monitor(name) for name in names]
        self.gatherer = Authority(
            self.world,
            self.network,
            "gatherer",
            self._clock(),
            self.required,
            self.cast.gatherer,
        )
        self.workloads = [
            self._workload(f"test{number}") for number in range(chance.choice((1, 2, 2, 3)))
        ]
        self.person = Person(self.world, self.network, "person", self.hosts[0].clock)
        bodies = [plan.body for one in self.workloads for plan in one.plans]
        self.rules: list[Rule] = rules(self.world, self.required, max(bodies))
        for rule in self.rules:
            self.world.show(rule)

    # ── who is there ───────────────────────────────────────────────────────────────────

    def _clock(self) -> VirtualClock:
        chance = self.world.random
        offset = chance.uniform(0.0, 1e5)
        return VirtualClock(self.world, self._clock_id(), offset, chance.uniform(-DRIFT, DRIFT))

    def _clock_id(self) -> str:
        return f"c10c{len(self.world.clocks):04x}"

    def _monitor(self, name: str) -> Instrument:
        chance = self.world.random
        count = chance.randint(1, len(self.benches))
        temper = Temper(
            hold=chance.choice((0.0, 0.0, 0.4)),
            veto=chance.choice((0.0, 0.0, 0.05)),
            broken=chance.choice((0.0, 0.0, 0.05)),
            slow=chance.choice((0.0, 0.2)),
            stuck=chance.choice((0.0, 0.0, 0.05)),
            capture=chance.choice((0.0, 0.5)),
        )
        return Instrument(
            self.world,
            self.network,
            name,
            self._clock(),
            tuple(sorted(chance.sample(self.benches, count))),
            temper,
            advisory=name not in self.required and chance.random() < 0.2,  # noqa: PLR2004
            make=self.cast.monitor,
        )

    def _workload(self, name: str) -> Visitor:
        chance = self.world.random
        plans = [self._plan(name) for _ in range(chance.choice((1, 2, 3)))]
        host = chance.choice(self.hosts)
        return Visitor(self.world, self.network, name, host, plans, self.cast.workload, self._look)

    def _plan(self, test: str) -> Plan:
        chance = self.world.random
        bench = chance.choice(self.benches)
        there = [one.name for one in self.monitors if bench in one.benches]
        required = frozenset(name for name in there if chance.random() < 0.4)  # noqa: PLR2004
        longest = chance.choice((1.0, 3.0))
        demand = Demand(
            name="burst",
            bench=bench,
            test=test,
            require=required,
            min_monitors=chance.choice((0, 0, 0, min(1, len(there)))),
            max_duration=longest,
            queue_timeout=chance.choice((5.0, 40.0)),
            gather_timeout=chance.choice((4.0, 10.0)),
            hold_limit=5.0,
            report_timeout=4.0,
            no_gatherer=chance.choice((None, None, None, "run")),
        )
        long = chance.random() < 0.2  # noqa: PLR2004
        body = longest + chance.random() * 3.0 if long else chance.random() * longest
        return Plan(demand, body, pause=chance.random() * 1.5)

    # ── what goes wrong ────────────────────────────────────────────────────────────────

    def _plant(self) -> None:
        chance = self.world.random
        kinds: list[Callable[[], str]] = [
            self._crash,
            self._crash,
            self._cut,
            self._freeze,
            self._slow,
            self._hold,
            self._away,
        ]
        for _ in range(chance.choice((0, 1, 2, 3, 4))):
            self.faults.append(chance.choice(kinds)())

    def _anybody(self) -> Party:
        everybody: list[Party] = [self.gatherer, *self.monitors, *self.workloads]
        return self.world.random.choice(everybody)

    def _moment(self) -> float:
        return self.world.random.random() ** 2 * 12.0

    def _crash(self) -> str:
        """Somebody dies before one of its effects, and comes back, or not."""
        chance, victim = self.world.random, self._anybody()
        most = 60 if isinstance(victim, Visitor) else 150
        back = chance.random() * 6.0
        forgets = chance.random() < 0.2  # noqa: PLR2004
        moves = chance.random() < 0.2  # noqa: PLR2004
        stays = isinstance(victim, Visitor) and chance.random() < 0.2  # noqa: PLR2004
        victim.crash_at = chance.randint(1, most)

        def come_back() -> None:
            victim.after_crash = lambda: None
            if isinstance(victim, Authority):
                if forgets:
                    victim.forget()
                if moves:
                    victim.move(self._clock())
            if stays and isinstance(victim, Visitor):
                victim.plans.clear()
                self._look()
            else:
                self.world.after(back, victim.start)

        victim.after_crash = come_back
        return f"crash of {victim.name}"

    def _cut(self) -> str:
        chance, victim = self.world.random, self._anybody()
        half_open = chance.random() < 0.4  # noqa: PLR2004
        at_client = chance.uniform(5.0, 10.0) if half_open else 0.001
        at_broker = chance.uniform(10.0, 15.0) if half_open else 0.001

        def cut() -> None:
            connection = victim.link.connection
            if connection is not None and victim.alive and not self.calm:
                self.world.tell(victim.name, "loses its connection" + " silently" * half_open)
                connection.lose(at_client=at_client, at_broker=at_broker)

        self.world.after(self._moment(), cut)
        return f"cut of {victim.name}"

    def _freeze(self) -> str:
        chance, victim = self.world.random, self._anybody()
        seconds = chance.choice((0.3, 1.0, 2.5, 6.0, 20.0)) * (0.5 + chance.random())

        def freeze() -> None:
            if not self.calm:
                victim.freeze(seconds)

        self.world.after(self._moment(), freeze)
        return f"freeze of {victim.name}"

    def _slow(self) -> str:
        begin, seconds = self._moment(), self.world.random.random() * 5.0

        def slow() -> None:
            self.world.tell("network", f"is slow for {seconds:.1f} s")
            self.network.slow_until = self.world.now + seconds

        self.world.after(begin, slow)
        return "slow network"

    def _hold(self) -> str:
        chance = self.world.random
        bench = chance.choice(self.benches)
        hold = self.world.id()
        seconds = chance.choice((2.0, 8.0))
        message = HoldBench(
            hold=hold, bench=bench, holder="ann", reason="probe moved", seconds=seconds
        )
        begin = self._moment()

        def ask() -> None:
            if not self.calm:
                self.person.say(message)

        self.world.after(begin, ask)
        self.world.after(begin + seconds * 0.7, partial(self.person.say, ReleaseBench(hold=hold)))
        return "a person's hold"

    def _away(self) -> str:
        away = self.world.random.random() * 4.0

        def restart() -> None:
            if not self.calm:
                self.network.restart(away)

        self.world.after(self._moment(), restart)
        return "restart of the broker"

    # ── the run ────────────────────────────────────────────────────────────────────────

    def run(self) -> Outcome:
        """Play it to its end, or to the first violation."""
        began = time.perf_counter()
        violated: Violated | None = None
        try:
            self._run()
        except Violated as error:
            violated = error
        except (GatherScatterError, AssertionError, LookupError, TypeError, ValueError) as error:
            violated = Violated("no machine breaks", f"{type(error).__name__}: {error}")
            violated.__cause__ = error
        return self._outcome(violated, time.perf_counter() - began)

    def _run(self) -> None:
        world, chance = self.world, self.world.random
        late = chance.choice((0.0, 0.0, 0.0, 4.0))
        world.after(late * chance.random(), self.gatherer.start)
        world.after(0.0, self.person.start)
        for party in (*self.monitors, *self.workloads):
            world.after(chance.random() * 1.5, party.start)
        self._plant()
        if not world.run(LONGEST):
            stuck = [one.name for one in self.workloads if not one.finished]
            raise Violated("every workload is unblocked", f"{stuck} after {LONGEST:g} s")
        for party in (self.gatherer, *self.monitors):
            party.crash_at = None
        end = world.now + AFTERWARDS
        self._reset()
        while world.now < end:
            world.run(min(end, world.now + QUIET))
            if not any(rule.restless for rule in self.rules):
                break
        self._works_again()
        for rule in self.rules:
            rule.end()

    def _reset(self) -> None:
        self.person.say(ResetLab(everything=True, who="ann"))

    def _works_again(self) -> None:
        """See that everybody comes back, and that a section on each bench passes."""
        world = self.world
        self.calm = True
        parties: list[Party] = [self.gatherer, *self.monitors]
        end = world.now + RETURN
        while away := [one.name for one in parties if not one.there]:
            if world.now >= end:
                raise Violated("everybody comes back", f"{away} are away after {RETURN:g} s")
            world.run(world.now + QUIET)
        self._reset()  # a gatherer that was frozen or away did not hear the first one
        world.run(world.now + UNSTUCK)
        for one in self.monitors:
            one.temper = Temper()
        open_to_all = [
            bench
            for bench in self.benches
            if all(bench in one.benches for one in self.monitors if one.name in self.required)
        ]
        self.workloads = [self._proof(bench) for bench in open_to_all]
        for visitor in self.workloads:
            visitor.start()
        if self.workloads:
            world.run(world.now + LONGEST)
        names = {one.name for one in self.workloads}
        for sight in world.history:
            if isinstance(sight, VisitEnded) and sight.party in names and sight.outcome != "passed":
                raise Violated("the lab works afterwards", f"{sight.party}: {sight.outcome}")

    def _proof(self, bench: str) -> Visitor:
        """A section that nothing stands against."""
        there = frozenset(one.name for one in self.monitors if bench in one.benches)
        demand = Demand(name="proof", bench=bench, test="proof", require=there)
        name, host = f"proof of {bench}", self.hosts[0]
        plans = [Plan(demand, body=0.1)]
        return Visitor(self.world, self.network, name, host, plans, self.cast.workload, self._look)

    def _look(self) -> None:
        """See whether all workloads have gone on."""
        self.world.over = all(one.finished for one in self.workloads)

    def _outcome(self, violated: Violated | None, seconds: float) -> Outcome:
        bodies = [sight for sight in self.world.history if isinstance(sight, BodyBegan)]
        visits: dict[str, int] = {}
        for sight in self.world.history:
            if isinstance(sight, VisitEnded):
                word = sight.outcome.partition(":")[0]
                visits[word] = visits.get(word, 0) + 1
        coordinated = sum(body.coordinated for body in bodies)
        return Outcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            steps=self.world.steps,
            virtual=self.world.now,
            seconds=seconds,
            bodies=coordinated,
            alone=len(bodies) - coordinated,
            visits=visits,
            faults=tuple(self.faults),
        )


def play(seed: int, cast: Cast | None = None) -> Outcome:
    """Play one seed."""
    return Play(seed, cast).run()
