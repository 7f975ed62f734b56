"""What must hold of tasks, whatever happens: seen from workers and clients alone."""

from dataclasses import dataclass, field

from pytest_gatherscatter.simulation.world import EPOCH, Violated, World
from pytest_gatherscatter.wire.roundrobin import Execute, Executed

ON_ITS_WAY = 2.0
"""Seconds for which something may be on its way at the most, in a lab that is slow."""

SLACK = 0.01
"""Seconds for which clocks of the play may disagree: they drift, and deadlines are minutes away."""


@dataclass(slots=True)
class Fate:
    """One task, and what was seen of it."""

    task: Execute
    begun: list[str] = field(default_factory=list)
    done: int = 0
    answer: Executed | None = None


class TaskWatch:
    """Sees tasks begin and end, and answers; raises at the first broken rule.

    ``backlog`` is what a balancer lets wait at the most.
    """

    def __init__(self, world: World, backlog: int) -> None:
        self.world = world
        self.backlog = backlog
        self.fates: dict[str, Fate] = {}
        self.troubles = 0
        """Deaths, cuts and freezes so far: by each something may be begun again, or lost."""
        self.worker_troubles = 0
        """Those of workers."""
        self.troubled: set[str] = set()
        """Workers that have ever been in trouble themselves."""
        self._hands: dict[str, dict[str, None]] = {}
        self._assigned: dict[str, int] = {}
        self.died_at: dict[str, float] = {}

    def asked(self, task: Execute) -> None:
        """Note a task that goes out."""
        self.fates[task.task] = Fate(task)

    def assigned(self, worker: str, id_: str, task: Execute) -> None:
        """Note what a balancer gives somebody: once, unless somebody is in trouble, and in time."""
        times = self._assigned[id_] = self._assigned.get(id_, 0) + 1
        if times > 1 + self.troubles + self.worker_troubles:
            raise Violated("nothing is given twice", f"{task.task}, {times} times")
        late = self.world.now + EPOCH - task.deadline
        if late > ON_ITS_WAY and worker not in self.troubled:
            raise Violated("what is too old is given to nobody", f"{task.task}, {late:.1f} s")

    def given(self, worker: str, task: str, slots: int) -> None:
        """Note that a worker has a task in hand: there is a free slot for it."""
        hand = self._hands.setdefault(worker, {})
        hand[task] = None
        if len(hand) > slots and worker not in self.troubled:
            raise Violated("no more than its slots", f"{worker} has {len(hand)}")

    def began(self, worker: str, task: Execute) -> None:
        """Note that a worker begins a task."""
        fate = self.fates[task.task]
        self.world.tell(worker, f"begins {task.task}")
        if fate.begun and not task.rerun:
            raise Violated("what may not runs once", f"{task.task} at {worker}, {fate.begun}")
        if len(fate.begun) > self.worker_troubles:
            raise Violated("nothing runs twice for nothing", f"{task.task}, {worker}")
        fate.begun.append(worker)

    def ended(self, worker: str, task: Execute, outcome: str) -> None:
        """Note how a worker ended a task."""
        self.world.tell(worker, f"{task.task}: {outcome}")
        self._hands.get(worker, {}).pop(task.task, None)
        self.fates[task.task].done += outcome == "done"

    def died(self, worker: str) -> None:
        """Note that what a worker had in hand is gone."""
        self.worker_troubles += 1
        self.troubled.add(worker)
        self.died_at[worker] = self.world.now
        self._hands.pop(worker, None)

    def answered(self, answer: Executed) -> None:
        """Look at an answer: the only one, and a true one."""
        fate = self.fates[answer.task]
        self.world.tell("client", f"{answer.task} is {answer.outcome}")
        if fate.answer is not None:
            raise Violated("exactly one answer", f"{answer.task} is answered twice")
        fate.answer = answer
        passed = self.world.now + EPOCH - fate.task.deadline
        match answer.outcome:
            case "done" if fate.task.tracked and not fate.done:
                raise Violated("an answer is true", f"nobody did {answer.task}")
            case "worker-lost" if not self.worker_troubles:
                raise Violated("who lives is not lost", f"{answer.task}: {answer.text}")
            case "no-response" | "expired" if passed < -SLACK:
                text = f"{answer.task} is {answer.outcome} {-passed:.2f} s early"
                raise Violated("nobody gives up early", text)
            case "busy" if len(self.fates) <= self.backlog:
                raise Violated("busy is true", f"{answer.task}, of {len(self.fates)}")
            case "refused":
                raise Violated("who serves does not refuse", answer.task)
            case "failed" if passed < -SLACK:
                raise Violated("what can be done does not fail", f"{answer.task}: {answer.text}")
            case _:
                pass

    def end(self, calm_at: float) -> None:
        """Say what was lost: unanswered, or never done though all was well for long."""
        for fate in self.fates.values():
            task, answer = fate.task, fate.answer
            if answer is None:
                raise Violated("exactly one answer", f"{task.task} has none")
            calm = task.deadline - EPOCH - calm_at
            if answer.outcome == "no-response" and calm > 0:
                raise Violated("no task is lost", f"{task.task} has no response")
            if not task.tracked and calm > 0 and answer.outcome == "done" and not fate.done:
                lost = self.worker_troubles and not task.rerun
                if not lost and not self.full(fate):
                    raise Violated("no task is lost", f"{task.task} was taken, and never done")

    def full(self, fate: Fate) -> bool:
        """Whether a task may have met a full backlog: nobody is told of one that is not tracked."""
        return len(self.fates) > self.backlog and not fate.task.tracked
