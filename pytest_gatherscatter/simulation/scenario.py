"""What a seed plays, from the first start to the last look.

Everything is drawn from the seed before and while the world runs. When the last workload has
gone on, a person resets the lab, and what was asked to prepare must come to its end.
"""

from pytest_gatherscatter.simulation.fault import Trouble
from pytest_gatherscatter.simulation.instrument import Temper
from pytest_gatherscatter.simulation.invariant import rules
from pytest_gatherscatter.simulation.laboratory import Cast, Laboratory
from pytest_gatherscatter.simulation.outcome import Count, SectionsOutcome
from pytest_gatherscatter.simulation.play import Play
from pytest_gatherscatter.simulation.promise import promises
from pytest_gatherscatter.simulation.rule import Rule
from pytest_gatherscatter.simulation.world import Onlooker, Violated
from pytest_gatherscatter.wire.messages import ResetLab

LONGEST = 900.0
"""Virtual seconds after which a play that does not end is a violation."""

AFTERWARDS = 40.0
"""Seconds between the person's reset and the last look: a lingering name is free after 15, the
gatherer's own silence limits follow, and the slowest hook takes ten."""

QUIET, QUIET_LATE = 0.25, 4.0
"""Seconds after which it is looked whether everything has come to rest: longer than any answer
(its ways take 10 ms each at the most), and where messages come late and twice too."""

RETURN = 70.0
"""Seconds for everybody to be back: the longest freeze, then a name that lingers for 15."""

RESTARTED = 0.3
"""How often the gatherer is restarted once more before the last section."""

PROVEN = 60.0
"""Seconds for the last section of a play, far over all its waits."""


class SectionsPlay(Play[SectionsOutcome]):
    """One seed's lab, ready to run; with ``story`` it can be told afterwards."""

    def __init__(self, seed: int, cast: Cast | None = None, *, story: bool = False) -> None:
        super().__init__(seed, story=story)
        self.lab = Laboratory(self.world, cast or Cast(), self._look)
        self.trouble = Trouble(self.lab, self._look)
        self.count = Count()
        self.rules: list[Rule] = [
            *rules(self.world, self.lab.required, self.lab.longest_body),
            *promises(self.world),
        ]
        onlookers: list[Onlooker] = [self.count, *self.rules]
        for onlooker in onlookers:
            self.world.show(onlooker)
        self._visitors = self.lab.workloads

    def outcome(self, violated: Violated | None) -> SectionsOutcome:
        """Say what came of it."""
        return SectionsOutcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            steps=self.world.steps,
            virtual=self.world.now,
            bodies=self.count.coordinated,
            alone=self.count.alone,
            visits=self.count.visits,
            faults=tuple(self.trouble.told),
        )

    def perform(self) -> None:
        """Let everybody start, and see them through; then the lab must work again."""
        world, lab, chance = self.world, self.lab, self.world.random
        late = chance.choice((0.0, 0.0, 0.0, 4.0))
        world.after(late * chance.random(), lab.gatherer.start)
        world.after(0.0, lab.person.start)
        for party in (*lab.monitors, *lab.workloads):
            world.after(chance.random() * 0.8, party.start)
        self.trouble.plant()
        if not world.run(LONGEST):
            stuck = [one.name for one in self._visitors if not one.finished]
            raise Violated("every workload is unblocked", f"{stuck} after {LONGEST:g} s")
        self.trouble.end()
        while any(rule.until >= world.now for rule in self.rules):
            self._wait(world.now + 1.0)
        heard = not self._away()
        self._reset()
        self._rest()
        self._works_again(reset=not heard)
        for rule in self.rules:
            rule.end()

    def _reset(self) -> None:
        self.lab.person.say(ResetLab(everything=True, who="ann"))

    def _works_again(self, *, reset: bool) -> None:
        """See that everybody comes back, and that a section on some bench passes."""
        world, lab = self.world, self.lab
        end = world.now + RETURN
        while away := self._away():
            if world.now >= end:
                raise Violated("everybody comes back", f"{away} are away after {RETURN:g} s")
            self._wait(world.now + QUIET)
            reset = True
        if reset:  # a gatherer that was frozen or away did not hear the first one
            self._reset()
            self._rest()
        self._wait(max((one.runs_until for one in lab.monitors), default=0.0) + QUIET)
        for rule in self.rules:
            if rule.restless:  # it says more than that no section passes any more
                rule.end()
        if world.random.random() < RESTARTED:
            self._restart_the_gatherer()
        for one in lab.monitors:
            one.temper = Temper()
        required = [one for one in lab.monitors if one.name in lab.required]
        open_to_all = [b for b in lab.benches if all(b in one.benches for one in required)]
        if not open_to_all:
            return
        visitor = lab.proof(world.random.choice(open_to_all))
        self._visitors = [visitor]
        visitor.start()
        world.run(world.now + PROVEN)
        outcome = self.count.ends.get(visitor.name, "no end")
        if outcome != "passed":
            raise Violated("the lab works afterwards", f"{visitor.name}: {outcome}")

    def _restart_the_gatherer(self) -> None:
        """Let a gatherer come back from what is on record: what was given up stays given up."""
        for one in self.lab.authorities:
            if one.there:
                one.after_crash = lambda: None
                one.die("is restarted")
                one.start()
        end = self.world.now + RETURN
        while (away := self._away()) and self.world.now < end:
            self._wait(self.world.now + QUIET)
        if away:
            raise Violated("everybody comes back", f"{away} are away after {RETURN:g} s")

    def _rest(self) -> None:
        """Let everything come to rest."""
        world, end = self.world, self.world.now + AFTERWARDS
        while world.now < end:
            self._wait(min(end, world.now + (QUIET if self.lab.network.calm else QUIET_LATE)))
            if not any(rule.restless for rule in self.rules):
                break

    def _wait(self, until: float) -> None:
        """Let things happen, whoever has gone on meanwhile."""
        while self.world.run(until):
            pass

    def _away(self) -> list[str]:
        """Name who is not there; of several gatherers one is enough."""
        lab = self.lab
        gatherers = [] if any(one.there for one in lab.authorities) else ["gatherer"]
        return gatherers + [one.name for one in lab.monitors if not one.there]

    def _look(self) -> None:
        """See whether all workloads have gone on."""
        self.world.over = all(one.finished for one in self._visitors)


def play(seed: int, cast: Cast | None = None, *, story: bool = False) -> SectionsOutcome:
    """Play one seed."""
    return SectionsPlay(seed, cast, story=story).run()
