"""What a seed plays of graders: who is there, what is asked, and what befalls them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.graders.asker import AskerMachine
from pytest_gatherscatter.graders.case import GraderFacts
from pytest_gatherscatter.graders.examiner import ExaminerMachine
from pytest_gatherscatter.simulation.graders.party import KILLER, Examiner, Requester
from pytest_gatherscatter.simulation.graders.watch import GradeWatch
from pytest_gatherscatter.simulation.laboratory import DELAYS, DRIFT
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.world import EPOCH, Sight, Violated, VirtualClock, World
from pytest_gatherscatter.wire.grading import GradeRequest

LONGEST = 400.0
"""Virtual seconds of a play: the longest deadline is 300 s after the last request."""

LAST_TROUBLE = 12.0
"""Seconds in which faults begin."""

CALM = 120.0
"""Virtual seconds after which all is well again: who died is back after 40, a name lingers for 20,
and what was given up by then is taken and graded in less than the rest."""

QUEUES = ("waveform", "trace", "log")

FAULTS = (
    "crash",
    "crash",
    "crash",
    "cut",
    "cut",
    "cut at the begin",
    "freeze",
    "drain",
    "cut asker",
)
"""What may happen, as often as it stands here."""


@dataclass(frozen=True, slots=True)
class GradesOutcome:
    """How a seed went: how many requests ended how, and gradings that were begun."""

    seed: int
    violated: Violated | None
    history: list[Sight]
    faults: tuple[str, ...]
    ends: tuple[str, ...]
    begun: int

    @property
    def line(self) -> str:
        """The seed in a line."""
        faults = ", ".join(self.faults) or "no fault"
        return f"seed {self.seed} ({faults}): {self.violated or 'all rules hold'}"


class GradesPlay:
    """One seed's lab of examiners, ready to run; with ``story`` it can be told afterwards."""

    def __init__(
        self,
        seed: int,
        make: Callable[..., ExaminerMachine] = ExaminerMachine,
        asks: Callable[..., AskerMachine] = AskerMachine,
        *,
        story: bool = False,
    ) -> None:
        self.seed = seed
        self.world = world = World(seed, story=story)
        chance = world.random
        self.watch = GradeWatch(world)
        self.network = Network(
            world, mean=chance.choice(DELAYS), spikes=chance.choice((0.0, 0.03)), twice=0.0
        )
        self.told: list[str] = []
        self._killers = 0
        queues = QUEUES[: chance.choice((1, 2, 3))]
        self.examiners = [
            self._examiner(number, queues, make) for number in range(chance.choice((1, 2, 3)))
        ]
        self.requesters = [
            self._requester(number, queues, asks) for number in range(chance.choice((1, 2)))
        ]

    def run(self) -> GradesOutcome:
        """Play it to its end, or to the first violation."""
        violated: Violated | None = None
        try:
            self._run()
        except Violated as error:
            violated = error
        except (GatherScatterError, AssertionError, LookupError, TypeError, ValueError) as error:
            violated = Violated("no machine breaks", f"{type(error).__name__}: {error}")
            violated.__cause__ = error
        fates = self.watch.fates.values()
        return GradesOutcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            faults=tuple(self.told),
            ends=tuple(one.answer.outcome for one in fates if one.answer is not None),
            begun=sum(len(one.begun) for one in fates),
        )

    def _run(self) -> None:
        world, chance = self.world, self.world.random
        for party in self.examiners:
            world.after(chance.random(), party.start)
        for requester in self.requesters:
            world.after(2.0 + chance.random() * 3.0, requester.start)
        for _ in range(chance.choice((0, 1, 1, 2, 3, 4))):
            self._trouble()
        world.run(LONGEST)
        self.watch.end(CALM)

    # ── who is there ───────────────────────────────────────────────────────────────────

    def _clock(self) -> VirtualClock:
        chance = self.world.random
        name = f"c10c{len(self.world.clocks):04x}"
        return VirtualClock(
            self.world, name, chance.uniform(0.0, 1e5), chance.uniform(-DRIFT, DRIFT)
        )

    def _examiner(
        self, number: int, queues: tuple[str, ...], make: Callable[..., ExaminerMachine]
    ) -> Examiner:
        chance = self.world.random
        attempts = 3
        split = chance.random() < 0.5  # noqa: PLR2004
        groups = [(queue,) for queue in queues] if split else [queues]
        graders = tuple(
            GraderFacts(
                name=f"g{index}",
                kind="simulated",
                queues=group,
                threads=chance.choice((1, 2, 4)),
                timeout=chance.choice((10.0, 60.0)),
                attempts=attempts,
            )
            for index, group in enumerate(groups)
        )
        examiner = Examiner(
            self.world,
            self.network,
            f"examiner{number}",
            self._clock(),
            self.watch,
            graders,
            fails=chance.choice((0.0, 0.1)),
            slow=chance.choice((0.01, 0.5, 3.0)) if number else chance.choice((0.01, 1.0, 15.0)),
            deaf=chance.random() < 0.3,  # noqa: PLR2004
            make=make,
        )
        examiner.after_crash = lambda: self.world.after(1.0, examiner.start)
        return examiner

    def _requester(
        self, number: int, queues: tuple[str, ...], asks: Callable[..., AskerMachine]
    ) -> Requester:
        world, chance = self.world, self.world.random
        requests = []
        start = 2.0
        for _ in range(chance.randint(1, 12)):
            at = chance.random() * 8.0
            killer = self._killers == 0 and chance.random() < 0.05  # noqa: PLR2004
            self._killers += killer
            short = chance.random() < 0.2  # noqa: PLR2004
            request = GradeRequest(
                request=world.id(),
                queue=chance.choice(queues),
                created=EPOCH + start + at,
                deadline=EPOCH + start + 3.0 + at + (5.0 * chance.random() if short else 300.0),
                owner=KILLER if killer else f"requester{number}",
            )
            requests.append((at, request))
        return Requester(
            world,
            self.network,
            f"requester{number}",
            self._clock(),
            self.watch,
            requests,
            chance.choice((1, 4, 64)),
            self._look,
            asks,
        )

    # ── what befalls them ──────────────────────────────────────────────────────────────

    def _trouble(self) -> None:
        """Draw one fault, some time in the first seconds."""
        world, chance = self.world, self.world.random
        one = chance.choice(self.examiners)
        at = 2.0 + chance.random() * LAST_TROUBLE
        what = chance.choice(FAULTS)
        self.told.append(what)
        match what:
            case "crash":
                world.after(at, self._crash, one, chance.randint(1, 12))
            case "cut at the begin":
                one.at_begin = self._once(partial(self._cut, one))
            case "cut":
                world.after(at, self._cut, one)
            case "cut asker":
                world.after(at, self._cut, chance.choice(self.requesters))
            case "freeze":
                world.after(at, self._freeze, one)
            case _:
                world.after(at, lambda: one.step(one.drain))

    def _once(self, fault: Callable[[], None]) -> Callable[[], None]:
        """Make a fault that strikes one of the next gradings of an examiner, and no other."""
        left = self.world.random.randint(1, 3)

        def strike() -> None:
            nonlocal left
            left -= 1
            if not left:
                fault()

        return strike

    def _crash(self, one: Examiner, effect: int) -> None:
        """Let an examiner die before one of its next effects, and come back."""
        chance = self.world.random
        away = chance.choice((0.5, 5.0, 40.0)) * (0.5 + chance.random()) / 1.5
        if not one.alive:
            return
        one.crash_at = one.effects + effect
        one.after_crash = lambda: self.world.after(away, one.start)

    def _cut(self, one: Examiner | Requester) -> None:
        """Lose a connection, at once or silently."""
        connection, chance = one.link.connection, self.world.random
        if connection is not None:
            self.watch.troubles += one in self.examiners
            silent = chance.random() < 0.5  # noqa: PLR2004
            client, broker = (15.0 * chance.random(), 15.0 * chance.random()) if silent else (0, 0)
            connection.lose(at_client=client, at_broker=broker)

    def _freeze(self, one: Examiner) -> None:
        """Let an examiner stand still, for longer than the broker believes in it or not."""
        self.watch.troubles += 1
        chance = self.world.random
        one.freeze(chance.choice((1.0, 8.0, 30.0)) * chance.random())

    def _look(self) -> None:
        """See whether all requests have ended."""
        self.world.over = all(not one.left for one in self.requesters)


def play(
    seed: int,
    make: Callable[..., ExaminerMachine] = ExaminerMachine,
    asks: Callable[..., AskerMachine] = AskerMachine,
    *,
    story: bool = False,
) -> GradesOutcome:
    """Play one seed."""
    return GradesPlay(seed, make, asks, story=story).run()
