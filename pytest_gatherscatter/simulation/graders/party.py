"""Examiners and those who ask, as processes of a simulated lab."""

from collections.abc import Callable

from pytest_gatherscatter.broker.topology.graders import examiner_topology
from pytest_gatherscatter.graders.case import GraderFacts
from pytest_gatherscatter.graders.examiner import ExaminerFacts, ExaminerMachine
from pytest_gatherscatter.graders.order import BeginGrading, Done, Drain, EndGrading, GradingOver
from pytest_gatherscatter.machine import Exited, Recovered, Run
from pytest_gatherscatter.simulation.companion import Server
from pytest_gatherscatter.simulation.graders.watch import GradeWatch
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import LAB
from pytest_gatherscatter.simulation.world import EPOCH, VirtualClock, World
from pytest_gatherscatter.wire.grading import GradeRequest

STOP = 0.1
"""Seconds that a program takes to end when it is told to."""

KILLER = "k"
"""The owner of requests that kill whoever grades them."""


class Examiner(Server):
    """An examiner that dies and comes back; what its threads do dies with it.

    ``fails`` is how often a grader breaks, ``slow`` its longest time in seconds, ``deaf`` whether
    its threads cannot be ended.
    """

    drain_word = Drain()

    def __init__(  # noqa: PLR0913, PLR0917 - what an examiner is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        watch: GradeWatch,
        graders: tuple[GraderFacts, ...],
        *,
        fails: float,
        slow: float,
        deaf: bool,
        make: Callable[..., ExaminerMachine] = ExaminerMachine,
    ) -> None:
        super().__init__(world, network, name, clock)
        self._watch, self._graders, self._make = watch, graders, make
        self._fails, self._slow, self._deaf = fails, slow, deaf
        self._threads = {one.name: one.threads for one in graders}
        self._runs: dict[int, BeginGrading] = {}

    def begin(self) -> None:
        """Take requests."""
        facts = ExaminerFacts(
            examiner=self.name,
            host=self.name,
            pid=self.life,
            version="simulated",
            graders=self._graders,
            drain=5.0,
        )
        machine = self._make(facts, now=self.now)
        threads = {queue: one.threads for one in self._graders for queue in one.queues}
        self.connect(examiner_topology(LAB, self.name, threads))
        self.pump = self.join(machine, self.world.id(), run=self._do)
        self.pump.feed(Recovered((), wall=EPOCH + self.world.now), now=self.now)

    def drain(self) -> None:
        """Hear a SIGTERM, and consume nothing any more, whatever becomes of the connection."""
        if self._topology is not None:
            for consumer in self._topology.consumers[1:]:  # all but its inbox
                self._topology = self._topology.without_consumer(consumer.queue)
        super().drain()

    def ended(self) -> None:
        """Its threads are gone with it."""
        self._watch.died(self.name)
        self._watch.troubles += 1
        self._runs = {}

    def _do(self, effect: Run) -> None:
        match effect.command:
            case BeginGrading(grader, request, seconds):
                self.count_effect()
                self._watch.began(self.name, grader, request, self._threads[grader])
                self._runs[effect.id] = effect.command
                self._grade(effect.id, request, seconds)
                self.count_effect()
                self.at_begin()
            case EndGrading(run) if not self._deaf:
                self.later(STOP, self._over, run, GradingOver("ended"))
            case Done(given_back=ids):
                self._watch.given_back(ids)
                self.later(0.0, self.die, "has drained")
            case _:
                pass

    def _grade(self, run: int, request: GradeRequest, seconds: float) -> None:
        chance = self.world.random
        takes = self._slow * chance.random() ** 2
        if request.owner == KILLER:
            if chance.random() < 0.5:  # noqa: PLR2004
                self.later(takes, self.die, f"is killed by {request.request}")
            else:
                self.later(takes, self._over, run, GradingOver("killed", text="SIGSEGV"))
        elif takes > seconds and not self._deaf:
            self.later(seconds, self._over, run, GradingOver("timed-out", text="too slow"))
        elif chance.random() < self._fails:
            self.later(takes, self._over, run, GradingOver("failed", text="broke"))
        else:
            score = float(chance.getrandbits(30))
            over = GradingOver("graded", passed=True, score=score)
            self.later(takes, self._over, run, over)

    def _over(self, run: int, over: GradingOver) -> None:
        begin = self._runs.pop(run, None)
        if begin is None or self.pump is None:
            return
        request = begin.request
        self._watch.ended(self.name, begin.grader, request, over.how)
        if over.score is not None:
            self._watch.fates[request.request].computed.append(over.score)
        self.count_effect()
        self.pump.feed(Exited(run, over), now=self.now)
