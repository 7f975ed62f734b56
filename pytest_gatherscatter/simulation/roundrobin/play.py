"""What a seed plays of the round robin: who is there, what is asked, and what befalls them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec import Raw

from pytest_gatherscatter.balanced import BalancedMachine
from pytest_gatherscatter.broker.topology.roundrobin import (
    balanced_topology,
    balancer_topology,
    client_topology,
)
from pytest_gatherscatter.roundrobin.asker import ClientMachine
from pytest_gatherscatter.roundrobin.balancer import BalancerMachine
from pytest_gatherscatter.simulation.companion import CompanionPlay, Inquirer, Server
from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.party import LAB, Party
from pytest_gatherscatter.simulation.roundrobin.party import SERVICE, Balancer, Worker
from pytest_gatherscatter.simulation.roundrobin.watch import TaskWatch
from pytest_gatherscatter.simulation.world import EPOCH, Violated
from pytest_gatherscatter.wire.names import service_key
from pytest_gatherscatter.wire.roundrobin import Execute

LONGEST = 400.0
"""Virtual seconds of a play: the longest deadline is 300 s after the last task."""

OPENS = 2.0
"""Seconds after which the first one asks: the queue is there."""

CALM = 120.0
"""Virtual seconds after which all is well again: who died is back after 40, a name lingers for 20,
and what was given up by then is taken and done in less than the rest."""

SETTLES = 8.0
"""Virtual seconds after the last answer, or trouble, in which the last slot is free: some beats,
and a connection that comes back."""

GIVEN_UP = 8.0
"""Virtual seconds in which a dead worker is given up: three beats, and the slowest way."""

FAULTS = (
    "crash",
    "crash",
    "crash balancer",
    "crash balancer",
    "cut",
    "cut balancer",
    "cut at the begin",
    "freeze",
    "freeze balancer",
    "drain",
    "drain balancer",
    "cut client",
)
"""What may happen, as often as it stands here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksOutcome(Outcome):
    """How a seed went: how tasks ended, and how many were begun."""

    ends: tuple[str, ...]
    begun: int
    again: int

    @property
    def counts(self) -> dict[str, int]:
        """What was begun, and what more than once."""
        return {"tasks begun": self.begun, "begun again": self.again}


class TasksPlay(CompanionPlay[TasksOutcome]):
    """One seed's lab of balancers and workers, ready to run."""

    FAULTS = FAULTS
    LONGEST = LONGEST
    OPENS = OPENS
    BACK = 1.0
    SOONER = 1.5

    def __init__(
        self,
        seed: int,
        make: Callable[..., BalancerMachine] = BalancerMachine,
        wrap: Callable[..., BalancedMachine] = BalancedMachine,
        *,
        story: bool = False,
    ) -> None:
        super().__init__(seed, story=story)
        chance = self.world.random
        backlog = chance.choice((3, 1000, 1000))
        policy = chance.choice(("least-recently-used", "most-free", "affinity"))
        self.watch = TaskWatch(self.world, backlog)
        services = (service_key(SERVICE),)
        way = balancer_topology(LAB, services)
        self.balancers = [
            self.serve(
                Balancer(
                    self.world,
                    self.network,
                    f"balancer{number}",
                    self.world.clock(),
                    way,
                    backlog,
                    policy,
                    make,
                )
            )
            for number in range(chance.choice((1, 2)))
        ]
        self.workers = []
        for number in range(chance.choice((1, 2, 3))):
            slots = chance.choice((1, 2, 5))
            name = f"worker{number}"
            self.workers.append(
                self.serve(
                    Worker(
                        self.world,
                        self.network,
                        name,
                        self.world.clock(),
                        balanced_topology(LAB, name, services, slots),
                        self.watch,
                        slots,
                        wrap,
                    )
                )
            )
        self._calm = 0
        """Seconds for which nobody was in trouble."""
        for number in range(chance.choice((1, 2))):
            self.ask(self._asker(number))

    def look(self) -> None:
        """Let all slots be free again before it is over."""
        if all(one.finished for one in self.clients):
            self.world.after(SETTLES, self._over)

    def _over(self) -> None:
        """End it, once nobody was in trouble for a while."""
        self._calm = self._calm + 1 if all(one.there for one in self.workers) else 0
        active = [one for one in self.balancers if one.there]
        self._calm = self._calm if active else 0
        if self._calm > SETTLES:
            self.world.over = True
        else:
            self.world.after(1.0, self._over)

    def end(self) -> None:
        """See what is lost: a task, or a slot."""
        self.watch.end(CALM)
        if self._calm <= SETTLES:
            return
        tables = [one.machine.table for one in self.balancers if one.machine and one.there]
        if {worker.name for table in tables for worker in table} != {
            one.name for one in self.workers
        }:
            raise Violated("all workers are known", ", ".join(str(len(one)) for one in tables))
        for table in tables:
            for worker in table:
                if worker.tasks or not worker.may_take:
                    text = f"{worker.name} has {', '.join(worker.tasks)} for ever"
                    raise Violated("no slot is lost", text)

    def outcome(self, violated: Violated | None) -> TasksOutcome:
        """Say what came of it."""
        fates = self.watch.fates.values()
        return TasksOutcome(
            seed=self.seed,
            violated=violated,
            history=self.world.history,
            faults=tuple(self.faults),
            ends=tuple(one.answer.outcome for one in fates if one.answer is not None),
            begun=sum(len(one.begun) for one in fates),
            again=sum(len(one.begun) > 1 for one in fates),
        )

    def returns(self, one: Server) -> Callable[[], None]:
        """See, when a worker comes back, whether it was given up in time."""

        def back() -> None:
            died = self.watch.died_at.get(one.name, self.world.now)
            for balancer in self.balancers:
                table = balancer.machine.table if balancer.machine and balancer.there else ()
                known = one.name in {worker.name for worker in table}
                if known and self.world.now - max(died, balancer.up_since) > GIVEN_UP:
                    raise Violated("who is silent is given up", one.name)
            one.start()

        return back

    # ── who is there ───────────────────────────────────────────────────────────────────

    def _asker(self, number: int) -> Inquirer:
        world, chance = self.world, self.world.random
        tasks = []
        slow = chance.choice((0.01, 0.5, 5.0))
        for _ in range(chance.randint(1, 15)):
            at = chance.random() * 8.0
            short = chance.random() < 0.2  # noqa: PLR2004
            ping = chance.random() < 0.3  # noqa: PLR2004
            seconds = slow * chance.random()
            task = Execute(
                task=world.id(),
                service=SERVICE,
                command="PING" if ping else "SLEEP",
                payload=Raw(b"null" if ping else b'{"seconds":%f}' % seconds),
                created=EPOCH + OPENS + at,
                deadline=EPOCH + OPENS + 3.0 + at + (5.0 * chance.random() if short else 300.0),
                tracked=chance.random() < 0.8,  # noqa: PLR2004
                rerun=chance.random() < 0.5,  # noqa: PLR2004
                affinity=chance.choice(("", "bench1", "bench2")),
            )
            tasks.append((at, task))
        return Inquirer(
            world,
            self.network,
            f"client{number}",
            world.clock(),
            self.look,
            watch=self.watch,
            requests=tasks,
            make=partial(ClientMachine, window=chance.choice((1, 4, 64))),
            way=partial(client_topology, LAB),
        )

    # ── what befalls them ──────────────────────────────────────────────────────────────

    def befall(self, what: str, one: Server, at: float) -> None:
        """Plan a fault: also of a balancer, one that waits for a task, or one of who asks."""
        what, _, whom = what.partition(" ")
        chance = self.world.random
        if whom == "balancer":
            super().befall(what, chance.choice(self.balancers), at)
        elif whom == "client":
            self.world.after(at, self.cut, chance.choice(self.clients))
        elif whom:
            worker = chance.choice(self.workers)
            worker.at_begin = self.once(partial(self.cut, worker))
        else:
            super().befall(what, one, at)
        self.watch.troubles += 1

    def befell(self, one: Party) -> None:
        """Count what may have cost somebody a task."""
        if one in self.workers:
            self.watch.worker_troubles += 1
            self.watch.troubled.add(one.name)


def play(
    seed: int,
    make: Callable[..., BalancerMachine] = BalancerMachine,
    wrap: Callable[..., BalancedMachine] = BalancedMachine,
    *,
    story: bool = False,
) -> TasksOutcome:
    """Play one seed."""
    return TasksPlay(seed, make, wrap, story=story).run()
