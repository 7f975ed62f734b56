"""What goes wrong in a play, drawn from the seed: who dies, freezes, is cut off, and when."""

from collections.abc import Callable
from functools import partial

from pytest_gatherscatter.simulation.authority import Authority
from pytest_gatherscatter.simulation.laboratory import Laboratory
from pytest_gatherscatter.simulation.moment import AtTheFirst, Moments
from pytest_gatherscatter.simulation.party import Party
from pytest_gatherscatter.simulation.visitor import Visitor
from pytest_gatherscatter.simulation.world import Said
from pytest_gatherscatter.wire.messages import (
    EnterSection,
    HoldBench,
    ReleaseBench,
    WorkloadReady,
)


class Trouble:
    """The faults of one play; ``told`` names them. ``calm`` ends what has not begun."""

    def __init__(self, lab: Laboratory, done: Callable[[], None]) -> None:
        self.lab = lab
        self.world = lab.world
        self.told: list[str] = []
        self.calm = False
        self._done = done

    def plant(self) -> None:
        """Let up to five things go wrong."""
        chance, moments = self.world.random, Moments(self.lab, lambda: self.calm)
        kinds: list[Callable[[], str]] = [
            *(self._crash, self._crash, self._crash),
            *(self._cut, self._freeze, *(self._freeze_at_the_handshake,) * 2),
            *(self._slow, self._hold, self._away, self._power_cut),
            *(self._fold, self._rival, self._twin, self._stranger),
            *(moments.death_in_a_step, moments.death_in_a_step, moments.absence),
            *(
                moments.crossing,
                moments.crossing,
                moments.cut_while_sending,
                moments.silence_at_the_check,
            ),
            *(moments.hold_at_the_check, moments.hold_at_the_check),
            *(moments.silence_at_the_go, moments.queued_again),
        ]
        for _ in range(chance.randrange(6)):
            self.told.append(chance.choice(kinds)())
        if not self.told:  # these alone: whatever else strikes hides what came of them
            lonely = (moments.death_inside, moments.leaving_unread, lambda: "")
            self.told.extend(filter(None, [chance.choice(lonely)()]))

    def end(self) -> None:
        """Let nothing begin any more; a person ends what should not be there twice."""
        self.calm = True
        for party in (self.lab.gatherer, *self.lab.monitors):
            party.crash_at = None
        for twin in self.lab.twins:
            twin.die("is ended: its name is another one's")
            for first in twin.namesakes:  # it gave way, if it came second
                first.start()

    def _anybody(self) -> Party:
        everybody: list[Party] = [self.lab.gatherer, *self.lab.monitors, *self.lab.workloads]
        return self.world.random.choice(everybody)

    def _moment(self) -> float:
        return self.world.random.random() ** 2 * 9.0

    def _later(self, action: Callable[[], None]) -> None:
        """Do something at some moment, unless it is calm by then."""
        self.world.after(self._moment(), lambda: None if self.calm else action())

    # ── deaths ─────────────────────────────────────────────────────────────────────────

    def _crash(self) -> str:
        """Somebody dies before one of its effects, and comes back, or not."""
        chance, victim = self.world.random, self._anybody()
        most = 60 if isinstance(victim, Visitor) else 150
        back = chance.random() * 6.0
        forgets = chance.random() < 0.2  # noqa: PLR2004
        moves = chance.random() < 0.2  # noqa: PLR2004
        stays = isinstance(victim, Visitor) and chance.random() < 0.2  # noqa: PLR2004
        victim.crash_at = victim.effects + chance.randint(1, most)
        victim.power_cut = isinstance(victim, Authority) and moves
        if isinstance(victim, Authority) and chance.random() < 0.5:  # noqa: PLR2004
            # Around a commit, and away until its workload's patience is over.
            victim.crash_at, back = None, 3.0 * back
            soon = chance.randint(1, 12)
            self.world.show(AtTheFirst(Said, WorkloadReady, partial(self._doom, victim, soon)))

        def come_back() -> None:
            victim.after_crash = lambda: None
            if isinstance(victim, Authority):
                if forgets:
                    victim.forget()
                if moves:
                    victim.move(self.lab.world.clock())
            if stays and isinstance(victim, Visitor):
                victim.plans.clear()
                self._done()
            else:
                self.world.after(back, victim.start)

        victim.after_crash = come_back
        return f"crash of {victim.name}"

    def _doom(self, victim: Authority, effects: int) -> None:
        """Let a gatherer die before one of its next effects, its journal folded just before."""
        if not self.calm:
            self.world.after(0.0, victim.step, victim.fold)
            victim.crash_at = victim.effects + effects

    def _power_cut(self) -> str:
        """A host loses its power: all its workloads die, and only what was synced stays."""
        chance = self.world.random
        host, back = chance.choice(self.lab.hosts), 2.0 + chance.random() * 4.0

        def cut() -> None:
            self.world.tell(host.name, "loses its power")
            victims = [one for one in self.lab.workloads if one.host is host and one.alive]
            for one in victims:
                one.die("dies with its host", at_once=True)
            host.lose_power(self.lab.world.clock())
            for one in victims:
                self.world.after(back, one.start)

        self._later(cut)
        return f"power cut of {host.name}"

    # ── who should not be there ────────────────────────────────────────────────────────

    def _rival(self) -> str:
        """A second gatherer is started, on a state directory of its own."""
        rival = self.lab.rival()
        self._later(rival.start)
        return "a second gatherer"

    def _twin(self) -> str:
        """A monitor is started under a name that another one has."""
        twin = self.lab.twin(self.world.random.choice(self.lab.monitors))
        self._later(twin.start)
        return f"a second monitor of {twin.agent}"

    def _stranger(self) -> str:
        """Somebody says what is old, forged or too much."""
        stranger = self.lab.stranger()
        self.world.after(0.0, stranger.start)
        for _ in range(self.world.random.randint(3, 12)):
            self._later(stranger.trouble)
        return "a stranger"

    def _fold(self) -> str:
        """The gatherer's journal is folded into a snapshot, in the middle of things."""
        for _ in range(3):
            self._later(partial(self.lab.gatherer.step, self.lab.gatherer.fold))
        return "folds of the journal"

    # ── the network, the clock, people ─────────────────────────────────────────────────

    def _cut(self) -> str:
        chance, victim = self.world.random, self._anybody()
        half_open = chance.random() < 0.4  # noqa: PLR2004
        at_client = chance.uniform(5.0, 10.0) if half_open else 0.001
        at_broker = chance.uniform(10.0, 15.0) if half_open else 0.001

        def cut() -> None:
            connection = victim.link.connection
            if connection is not None and victim.alive:
                self.world.tell(victim.name, "loses its connection" + " silently" * half_open)
                connection.lose(at_client=at_client, at_broker=at_broker)

        self._later(cut)
        return f"cut of {victim.name}"

    def _freeze(self) -> str:
        chance, victim = self.world.random, self._anybody()
        seconds = chance.choice((0.3, 1.0, 2.5, 6.0, 20.0)) * (0.5 + chance.random())

        self._later(partial(victim.freeze, seconds))
        return f"freeze of {victim.name}"

    def _freeze_at_the_handshake(self) -> str:
        """Gatherer or workload stands still for about as long as the handshake lasts."""
        chance = self.world.random
        victim = chance.choice((self.lab.gatherer, chance.choice(self.lab.workloads)))
        delay = chance.choice((0.0, 0.0, 0.003)) * chance.random()  # before it is heard, or after
        patience = self.lab.workloads[0].plans[0].demand.handshake_timeout
        seconds = max(0.1, patience + chance.uniform(-0.005, 0.01) * chance.choice((1, 100)))
        self.world.show(AtTheFirst(Said, EnterSection, lambda: self.world.after(delay, freeze)))

        def freeze() -> None:
            if not self.calm:
                victim.freeze(seconds)

        return f"freeze at the handshake of {victim.name}"

    def _slow(self) -> str:
        begin, seconds = self._moment(), self.world.random.random() * 5.0

        def slow() -> None:
            self.world.tell("network", f"is slow for {seconds:.1f} s")
            self.lab.network.slow_until = self.world.now + seconds

        self.world.after(begin, slow)
        return "slow network"

    def _hold(self) -> str:
        chance = self.world.random
        bench = chance.choice(self.lab.benches)
        hold = self.world.id()
        seconds = chance.choice((2.0, 8.0))
        message = HoldBench(
            hold=hold, bench=bench, holder="ann", reason="probe moved", seconds=seconds
        )
        begin = self._moment()

        def ask() -> None:
            if not self.calm:
                self.lab.person.say(message)

        for again in range(chance.choice((1, 1, 3))):  # said again it lasts longer
            self.world.after(begin + again * seconds * 0.5, ask)
        self.world.after(
            begin + seconds * 0.7, partial(self.lab.person.say, ReleaseBench(hold=hold))
        )
        return "a person's hold"

    def _away(self) -> str:
        away = self.world.random.random() * 4.0

        self._later(partial(self.lab.network.restart, away))
        return "restart of the broker"
