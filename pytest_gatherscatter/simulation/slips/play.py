"""What a seed plays of slips: who is there, what is given out, and what befalls them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.simulation.laboratory import DELAYS, DRIFT
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.slips.party import Customer, Processor
from pytest_gatherscatter.simulation.slips.watch import Watch
from pytest_gatherscatter.simulation.world import EPOCH, Sight, Violated, VirtualClock, World
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


@dataclass(frozen=True, slots=True)
class SlipOutcome:
    """How a seed went: commands that were ``begun``, and that were ``killed`` with a processor.

    ``let_pass`` counts what broke a rule while a copy lay where nobody could know of it.
    """

    seed: int
    violated: Violated | None
    history: list[Sight]
    faults: tuple[str, ...]
    begun: int
    killed: int
    let_pass: int

    @property
    def line(self) -> str:
        """The seed in a line."""
        faults = ", ".join(self.faults) or "no fault"
        return f"seed {self.seed} ({faults}): {self.violated or 'all rules hold'}"


class SlipPlay:
    """One seed's lab of processors, ready to run; with ``story`` it can be told afterwards."""

    def __init__(
        self,
        seed: int,
        make: Callable[..., ProcessorMachine] = ProcessorMachine,
        *,
        story: bool = False,
    ) -> None:
        self.seed = seed
        self.world = world = World(seed, story=story)
        chance = world.random
        self.network = Network(
            world, mean=chance.choice(DELAYS), spikes=chance.choice((0.0, 0.03)), twice=0.0
        )
        self.network.late_confirms = 0.3 if seed % 2 else 0.0
        self.watch = Watch(world, self.network)
        self.told: list[str] = []
        self.processors = [self._processor(number, make) for number in range(chance.choice((2, 3)))]
        served = {process for one in self.processors for process in one.processes}
        for process in PROCESSES:
            if process not in served:
                self.processors.append(self._processor(len(self.processors), make, only=process))
        self.watch.processors = self.processors
        self.customers = [self._customer(number) for number in range(chance.choice((1, 2, 3)))]

    def run(self) -> SlipOutcome:
        """Play it to its end, or to the first violation."""
        violated: Violated | None = None
        try:
            self._run()
        except Violated as error:
            violated = error
        except (GatherScatterError, AssertionError, LookupError, TypeError, ValueError) as error:
            violated = Violated("no machine breaks", f"{type(error).__name__}: {error}")
            violated.__cause__ = error
        return SlipOutcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            faults=tuple(self.told),
            begun=sum(len(one.begun) for one in self.watch.ways.values()),
            killed=self.watch.deaths,
            let_pass=self.watch.let_pass,
        )

    def _run(self) -> None:
        world, chance = self.world, self.world.random
        for party in self.processors:
            world.after(chance.random(), party.start)
        for customer in self.customers:
            world.after(chance.random() * 3.0, customer.start)
        for _ in range(chance.choice((0, 1, 1, 2, 3, 4))):
            self._trouble()
        world.run(LONGEST)
        self.watch.end()

    # ── who is there ───────────────────────────────────────────────────────────────────

    def _clock(self) -> VirtualClock:
        chance = self.world.random
        name = f"c10c{len(self.world.clocks):04x}"
        return VirtualClock(
            self.world, name, chance.uniform(0.0, 1e5), chance.uniform(-DRIFT, DRIFT)
        )

    def _processor(
        self, number: int, make: Callable[..., ProcessorMachine], only: str = ""
    ) -> Processor:
        chance = self.world.random
        serves = tuple(sorted(chance.sample(PROCESSES, chance.randint(1, len(PROCESSES)))))
        return Processor(
            self.world,
            self.network,
            f"processor{number}",
            self._clock(),
            self.watch,
            (only,) if only else serves,
            chance.choice((1, 1, 2)),
            fails=chance.choice((0.0, 0.1, 0.3)),
            slow=chance.choice((0.01, 1.0, 5.0, 30.0)),
            long=2.0 if self.seed % 3 == 0 else LONG,
            make=make,
        )

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
            self._clock(),
            self.watch,
            slip,
            asker,
            self._look,
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

    def _trouble(self) -> None:
        """Draw one fault, some time in the first seconds."""
        world, chance = self.world, self.world.random
        one = chance.choice(self.processors)
        at = chance.random() * 12.0
        what = chance.choice(FAULTS)
        self.told.append(what)
        if what != "cancel":
            self.watch.troubled.add(one.name)
        match what:
            case "crash":
                world.after(at, self._crash, one, chance.randint(1, 12))
            case "crash at the end":
                one.at_end = self._once(partial(self._crash, one, chance.randint(1, 6)))
            case "cut at the begin":
                one.at_begin = self._once(partial(self._silence, one))
            case "cut at a word":
                world.after(at, self._cut_at, one, chance.randint(1, 12))
            case "cut":
                world.after(at, self._cut, chance.choice((one, *self.customers)))
            case "freeze":
                world.after(at, one.freeze, chance.choice((1.0, 8.0, 30.0)) * chance.random())
            case "drain":
                one.after_crash = lambda: world.after(3.0, one.start)
                world.after(at, lambda: one.step(one.drain))
            case _:
                customer = chance.choice(self.customers)
                world.after(at, lambda: customer.step(customer.cancel))

    def _once(self, fault: Callable[[], None]) -> Callable[[], None]:
        """Make a fault that strikes one of the next commands of a processor, and no other."""
        left = self.world.random.randint(1, 3)

        def strike() -> None:
            nonlocal left
            left -= 1
            if not left:
                fault()

        return strike

    def _crash(self, one: Processor, effect: int) -> None:
        """Let a processor die before one of its next effects, and come back."""
        chance = self.world.random
        away = chance.choice((0.5, 5.0, 40.0)) * (0.5 + chance.random())
        forgets = chance.random() < 0.3  # noqa: PLR2004
        if not one.alive:
            return
        one.crash_at = one.effects + effect

        def back() -> None:
            if forgets:
                one.forget()
            one.start()

        one.after_crash = lambda: self.world.after(away, back)

    def _cut_at(self, one: Processor, effect: int) -> None:
        """Lose a connection before one of the next effects of a processor."""
        one.cut_at = one.effects + effect, partial(self._cut, one)

    def _silence(self, one: Processor) -> None:
        """Lose a connection that its client believes in for longer than anybody waits for it."""
        connection = one.link.connection
        if connection is not None:
            connection.lose(at_client=20.0 * self.world.random.random(), at_broker=0.001)

    def _cut(self, one: Processor | Customer) -> None:
        """Lose a connection, at once or silently."""
        connection, chance = one.link.connection, self.world.random
        if connection is not None:
            silent = chance.random() < 0.5  # noqa: PLR2004
            client, broker = (15.0 * chance.random(), 15.0 * chance.random()) if silent else (0, 0)
            connection.lose(at_client=client, at_broker=broker)

    def _look(self) -> None:
        """See whether all slips are back."""
        self.world.over = all(one.finished for one in self.customers)


def play(
    seed: int, make: Callable[..., ProcessorMachine] = ProcessorMachine, *, story: bool = False
) -> SlipOutcome:
    """Play one seed."""
    return SlipPlay(seed, make, story=story).run()
