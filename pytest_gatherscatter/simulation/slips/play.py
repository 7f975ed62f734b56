"""What a seed plays of slips: who is there, what is given out, and what befalls them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pytest_gatherscatter.simulation.companion import CompanionPlay, Server
from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.slips.party import Customer, Processor
from pytest_gatherscatter.simulation.slips.watch import Watch
from pytest_gatherscatter.simulation.world import EPOCH, Violated
from pytest_gatherscatter.slips.hand import LONG
from pytest_gatherscatter.slips.processor import ProcessorMachine
from pytest_gatherscatter.wire.names import slip_key
from pytest_gatherscatter.wire.slips import Slip, Step

LONGEST = 1200.0
"""Virtual seconds after which a slip that has not come back is lost: each of a play's faults costs
it a silence of ten seconds, or a name that lingers for fifteen."""

PROCESSES = ("power", "flash", "test")

FAULTS = (
    *("crash", "crash", "crash at the end", "crash at the end", "cut", "cut at the begin"),
    *("cut at the begin", "cut at a word", "cut at a word", "freeze", "drain", "cancel"),
)
"""What may happen, as often as it stands here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipsOutcome(Outcome):
    """How a seed went: commands that were ``begun``, and that were ``killed`` with a processor.

    ``let_pass`` counts what broke a rule while a copy lay where nobody could know of it.
    """

    begun: int
    killed: int
    let_pass: int

    @property
    def counts(self) -> dict[str, int]:
        """What was begun, and whether something was let pass."""
        return {"commands": self.begun, "seeds let pass": int(self.let_pass > 0)}


class SlipsPlay(CompanionPlay[SlipsOutcome]):
    """One seed's lab of processors, ready to run; with ``story`` it can be told afterwards."""

    FAULTS = FAULTS
    LONGEST = LONGEST
    BACK = 3.0

    def __init__(
        self,
        seed: int,
        make: Callable[..., ProcessorMachine] = ProcessorMachine,
        *,
        story: bool = False,
    ) -> None:
        super().__init__(seed, story=story)
        chance = self.world.random
        self.network.late_confirms = 0.3 if seed % 2 else 0.0
        self.watch = Watch(self.world, self.network)
        processors = [self._processor(number, make) for number in range(chance.choice((2, 3)))]
        served = {process for one in processors for process in one.processes}
        for process in PROCESSES:
            if process not in served:
                processors.append(self._processor(len(processors), make, only=process))
        self.watch.processors = processors
        for number in range(chance.choice((1, 2, 3))):
            self.ask(self._customer(number))

    def end(self) -> None:
        """See what is lost."""
        self.watch.end()

    def outcome(self, violated: Violated | None) -> SlipsOutcome:
        """Say what came of it."""
        return SlipsOutcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            faults=tuple(self.faults),
            begun=sum(len(one.begun) for one in self.watch.ways.values()),
            killed=self.watch.deaths,
            let_pass=self.watch.let_pass,
        )

    # ── who is there ───────────────────────────────────────────────────────────────────

    def _processor(
        self, number: int, make: Callable[..., ProcessorMachine], only: str = ""
    ) -> Processor:
        chance = self.world.random
        serves = tuple(sorted(chance.sample(PROCESSES, chance.randint(1, len(PROCESSES)))))
        processor = Processor(
            self.world,
            self.network,
            f"processor{number}",
            self.world.clock(),
            self.watch,
            (only,) if only else serves,
            chance.choice((1, 1, 2)),
            fails=chance.choice((0.0, 0.1, 0.3)),
            slow=chance.choice((0.01, 1.0, 5.0, 30.0)),
            long=2.0 if self.seed % 3 == 0 else LONG,
            make=make,
        )
        return self.serve(processor)

    def _customer(self, number: int) -> Customer:
        chance, asker = self.world.random, self.world.id()
        slip = Slip(
            id=self.world.id(),
            name=f"slip{number}",
            steps=self._steps(),
            reply_to=slip_key(asker),
            owner=f"customer{number}",
            created=EPOCH,
            deadline=EPOCH + 300.0 * chance.random() if chance.random() < 0.1 else None,  # noqa: PLR2004
        )
        return Customer(
            self.world,
            self.network,
            f"customer{number}",
            self.world.clock(),
            self.watch,
            slip,
            asker,
            self.look,
        )

    def _steps(self) -> tuple[Step, ...]:
        chance = self.world.random
        count, parallel = chance.randint(1, 5), chance.random() < 0.4  # noqa: PLR2004
        last = chance.random() < 0.3  # noqa: PLR2004
        steps = []
        for number in range(1, count + 1):
            mandatory = last and number == count
            before = list(range(1, number))
            after = tuple(sorted(chance.sample(before, chance.randint(0, len(before)))))
            steps.append(
                Step(
                    number=number,
                    process=chance.choice(PROCESSES),
                    command="run",
                    timeout=chance.choice((60.0, 60.0, 7200.0)),
                    on_failure=chance.choice(("stop", "stop", "continue", "compensate")),
                    retries=chance.choice((0, 0, 1, 2)),
                    backoff=chance.choice((0.0, 1.0)),
                    rerun=chance.random() < 0.3,  # noqa: PLR2004
                    after=after if parallel and not mandatory else None,
                    compensate="undo" if chance.random() < 0.5 else None,  # noqa: PLR2004
                    mandatory=mandatory,
                )
            )
        return tuple(steps)

    # ── what befalls them ──────────────────────────────────────────────────────────────

    def befall(self, what: str, one: Server, at: float) -> None:
        """Plan a fault: also one that waits for a command, or strikes who gave a slip out."""
        world, chance = self.world, self.world.random
        if what != "cancel":
            self.watch.troubled.add(one.name)
        assert isinstance(one, Processor)  # noqa: S101 - nobody else serves here
        match what:
            case "crash at the end":
                one.at_end = self.once(partial(self.crash, one, chance.randint(1, 6)))
            case "cut at the begin":
                one.at_begin = self.once(partial(self._silence, one))
            case "cut at a word":
                world.after(at, self._cut_at, one, chance.randint(1, 12))
            case "cut":
                world.after(at, self.cut, chance.choice((one, *self.clients)))
            case "freeze":
                world.after(at, one.freeze, chance.choice((1.0, 8.0, 30.0)) * chance.random())
            case "cancel":
                customer = chance.choice(self.clients)
                assert isinstance(customer, Customer)  # noqa: S101 - nobody else asks here
                world.after(at, lambda: customer.step(customer.cancel))
            case _:
                super().befall(what, one, at)

    def returns(self, one: Server) -> Callable[[], None]:
        """Draw whether a processor that comes back has lost its journal."""
        assert isinstance(one, Processor)  # noqa: S101 - as above
        if self.world.random.random() < 0.3:  # noqa: PLR2004
            return one.start_anew
        return one.start

    def _cut_at(self, one: Processor, effect: int) -> None:
        """Lose a connection before one of the next effects of a processor."""
        one.cut_at = one.effects + effect, partial(self.cut, one)

    def _silence(self, one: Processor) -> None:
        """Lose a connection that its client believes in for longer than anybody waits for it."""
        connection = one.link.connection
        if connection is not None:
            connection.lose(at_client=20.0 * self.world.random.random(), at_broker=0.001)


def play(
    seed: int, make: Callable[..., ProcessorMachine] = ProcessorMachine, *, story: bool = False
) -> SlipsOutcome:
    """Play one seed."""
    return SlipsPlay(seed, make, story=story).run()
