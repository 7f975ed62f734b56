"""What a seed plays of graders: who is there, what is asked, and what befalls them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pytest_gatherscatter.broker.topology.graders import grade_topology
from pytest_gatherscatter.graders.asker import AskerMachine
from pytest_gatherscatter.graders.case import GraderFacts
from pytest_gatherscatter.graders.examiner import ExaminerMachine
from pytest_gatherscatter.simulation.companion import CompanionPlay, Inquirer, Server
from pytest_gatherscatter.simulation.graders.party import KILLER, Examiner
from pytest_gatherscatter.simulation.graders.watch import GradeWatch
from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.party import LAB, Party
from pytest_gatherscatter.simulation.world import EPOCH, Violated
from pytest_gatherscatter.wire.grading import GradeRequest

LONGEST = 400.0
"""Virtual seconds of a play: the longest deadline is 300 s after the last request."""

OPENS = 2.0
"""Seconds after which the first one asks: all examiners are there."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GradesOutcome(Outcome):
    """How a seed went: how many requests ended how, and gradings that were begun."""

    ends: tuple[str, ...]
    begun: int

    @property
    def counts(self) -> dict[str, int]:
        """What was begun."""
        return {"gradings": self.begun}


class GradesPlay(CompanionPlay[GradesOutcome]):
    """One seed's lab of examiners, ready to run; with ``story`` it can be told afterwards."""

    FAULTS = FAULTS
    LONGEST = LONGEST
    OPENS = OPENS
    BACK = 1.0
    SOONER = 1.5

    def __init__(
        self,
        seed: int,
        make: Callable[..., ExaminerMachine] = ExaminerMachine,
        asks: Callable[..., AskerMachine] = AskerMachine,
        *,
        story: bool = False,
    ) -> None:
        super().__init__(seed, story=story)
        chance = self.world.random
        self.watch = GradeWatch(self.world)
        self._killers = 0
        queues = QUEUES[: chance.choice((1, 2, 3))]
        for number in range(chance.choice((1, 2, 3))):
            self.serve(self._examiner(number, queues, make))
        for number in range(chance.choice((1, 2))):
            self.ask(self._requester(number, queues, asks))

    def end(self) -> None:
        """See what is lost."""
        self.watch.end(CALM)

    def outcome(self, violated: Violated | None) -> GradesOutcome:
        """Say what came of it."""
        fates = self.watch.fates.values()
        return GradesOutcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            faults=tuple(self.faults),
            ends=tuple(one.answer.outcome for one in fates if one.answer is not None),
            begun=sum(len(one.begun) for one in fates),
        )

    # ── who is there ───────────────────────────────────────────────────────────────────

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
        return Examiner(
            self.world,
            self.network,
            f"examiner{number}",
            self.world.clock(),
            self.watch,
            graders,
            fails=chance.choice((0.0, 0.1)),
            slow=chance.choice((0.01, 0.5, 3.0)) if number else chance.choice((0.01, 1.0, 15.0)),
            deaf=chance.random() < 0.3,  # noqa: PLR2004
            make=make,
        )

    def _requester(
        self, number: int, queues: tuple[str, ...], asks: Callable[..., AskerMachine]
    ) -> Inquirer:
        world, chance = self.world, self.world.random
        requests = []
        for _ in range(chance.randint(1, 12)):
            at = chance.random() * 8.0
            killer = self._killers == 0 and chance.random() < 0.05  # noqa: PLR2004
            self._killers += killer
            short = chance.random() < 0.2  # noqa: PLR2004
            request = GradeRequest(
                request=world.id(),
                queue=chance.choice(queues),
                created=EPOCH + OPENS + at,
                deadline=EPOCH + OPENS + 3.0 + at + (5.0 * chance.random() if short else 300.0),
                owner=KILLER if killer else f"requester{number}",
            )
            requests.append((at, request))
        return Inquirer(
            world,
            self.network,
            f"requester{number}",
            world.clock(),
            self.look,
            watch=self.watch,
            requests=requests,
            make=partial(asks, window=chance.choice((1, 4, 64))),
            way=partial(grade_topology, LAB),
        )

    # ── what befalls them ──────────────────────────────────────────────────────────────

    def befall(self, what: str, one: Server, at: float) -> None:
        """Plan a fault: also one that waits for a grading, or strikes who asks."""
        match what:
            case "cut at the begin":
                one.at_begin = self.once(partial(self.cut, one))
            case "cut asker":
                self.world.after(at, self.cut, self.world.random.choice(self.clients))
            case _:
                super().befall(what, one, at)

    def befell(self, one: Party) -> None:
        """Count what may have cost a request an attempt."""
        self.watch.troubles += one in self.servers


def play(
    seed: int,
    make: Callable[..., ExaminerMachine] = ExaminerMachine,
    asks: Callable[..., AskerMachine] = AskerMachine,
    *,
    story: bool = False,
) -> GradesOutcome:
    """Play one seed."""
    return GradesPlay(seed, make, asks, story=story).run()
