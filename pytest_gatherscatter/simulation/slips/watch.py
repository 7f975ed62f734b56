"""What must hold of slips, whatever happens: seen from the commands and the answers alone.

Two things are let pass (``docs/decisions/0012``). A copy of a slip lies in a queue that nobody
serves, where nobody can know of it, while another copy goes on: it may be begun after the end, and
what both come to may be begun twice. And a slip's last processor dies after it has told its end
and before it has settled the slip, while nobody else is there who hears it: the slip comes back,
and may go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import LAB, Party
from pytest_gatherscatter.simulation.world import Heard, Kind, Said, Sight, Violated, World
from pytest_gatherscatter.slips.memory import Key, key_of
from pytest_gatherscatter.slips.slip import MOST_INTERRUPTIONS, step_of
from pytest_gatherscatter.wire.names import steps_queue
from pytest_gatherscatter.wire.slips import (
    Outcome,
    RunStep,
    Slip,
    SlipOver,
    SlipStepEnded,
    Step,
    Task,
)


@dataclass(slots=True)
class Way:
    """One slip as it was given out, and what was seen of it."""

    slip: Slip
    begun: list[Task] = field(default_factory=list)
    by: dict[Task, str] = field(default_factory=dict)
    ended: dict[Task, str] = field(default_factory=dict)
    outcome: Outcome | None = None
    awaited: bool = True
    told: set[tuple[str, int]] = field(default_factory=set)
    """Processors that heard of its end, each with the number of its life."""
    lay: bool = False
    """Whether a copy was seen to lie where nobody could know of it."""


class Watch:
    """Sees commands begin and end, and slips come back; raises at the first broken rule."""

    kinds: frozenset[Kind] = frozenset({(Heard, SlipOver), (Said, SlipStepEnded)})

    def __init__(self, world: World, network: Network) -> None:
        self.world, self.network = world, network
        world.show(self)
        self.ways: dict[str, Way] = {}
        self.troubled: set[str] = set()
        """Processors that something befell; of any other nothing may be given up."""
        self.deaths = 0
        """Commands that died with their processor."""
        self.processors: Sequence[Party] = ()
        self.let_pass = 0
        """Broken rules that were let pass."""
        self._known: dict[Key, Step] = {}

    def given(self, slip: Slip) -> None:
        """Note a slip that goes out."""
        self.ways[slip.id] = Way(slip)

    def began(self, slip: Slip, task: Task, processor: str) -> None:
        """Note that a command is started: with leave, and in its order."""
        way = self.ways[slip.id]
        step = step_of(slip, task.number)
        assert step is not None, task  # noqa: S101 - a command is a step's
        self._known[key_of(slip.id, task)] = step
        self.world.tell(processor, f"begins {_words(slip, task)}")
        if way.outcome is not None:
            self._break(
                way.lay or not self._known_to_be_over(way),
                "what is over is over",
                f"{_words(slip, task)} after the end",
            )
        lies = self._lies(way)
        if task in way.begun:
            text = f"{_words(slip, task)} was begun before"
            self._break(lies, "no step twice without leave", text)
        tries = sum(
            (one.number, one.compensating) == (task.number, task.compensating) for one in way.begun
        )
        leave = step.retries + (MOST_INTERRUPTIONS if step.rerun else 0)
        if tries > leave:
            raise Violated("no step twice without leave", f"{_words(slip, task)}: {tries} before")
        if task.compensating:
            self._last_first(slip, task)
        elif not step.mandatory:
            self._in_order(way, slip, step, task)
        way.begun.append(task)
        way.by[task] = processor

    def ended(self, slip: Slip, task: Task, status: str, processor: str) -> None:
        """Note how a command ended; ``killed`` if it died with its processor."""
        self.world.tell(processor, f"{_words(slip, task)} ends: {status}")
        self.ways[slip.id].ended[task] = status
        self.deaths += status == "killed"

    def over(self, slip: Slip, outcome: Outcome) -> None:
        """Look at a slip that has come back: nothing is missing, and nothing is untrue."""
        way = self.ways[slip.id]
        way.outcome = outcome
        lies = self._lies(way)
        self.world.tell(slip.owner, f"slip {slip.id} is {outcome}")
        final = {(one.number, one.compensating): one for one in slip.progress if one.final}
        for one in slip.progress:
            task = Task(number=one.number, attempt=one.attempt, compensating=one.compensating)
            if one.status in {"done", "failed"} and way.ended.get(task) != one.status:
                seen = way.ended.get(task, "never ran")
                raise Violated("progress is true", f"{_words(slip, task)}: {one.status}, {seen}")
            if one.status == "interrupted" and way.by.get(task, "") not in self.troubled | {""}:
                text = f"{_words(slip, task)} by {way.by[task]}, which is well"
                raise Violated("who lives is not given up", text)
        told = {(one.number, one.compensating, one.attempt) for one in slip.progress}
        for task in way.begun:
            if (task.number, task.compensating, task.attempt) not in told:
                self._break(lies, "what was begun is on record", _words(slip, task))
        missing = [step.number for step in slip.steps if (step.number, False) not in final]
        if outcome == "done" and missing:
            raise Violated("the done vector is complete", f"slip {slip.id} misses {missing}")
        if outcome == "done" and any(one.status != "done" for one in final.values()):
            raise Violated("the done vector is complete", f"slip {slip.id} is not all done")
        late = [step.number for step in slip.steps if step.mandatory and step.number in missing]
        if late and way.begun:
            raise Violated("mandatory steps are run", f"slip {slip.id} misses {late}")
        self._undone(slip)

    def gave_up(self, slip: Slip) -> None:
        """Note that nobody waits for a slip any more."""
        self.ways[slip.id].awaited = False

    def end(self) -> None:
        """Say which slips are lost."""
        ways = self.ways.values()
        lost = [one.slip.id for one in ways if one.outcome is None and one.awaited]
        if lost:
            raise Violated("no slip is lost", f"{', '.join(lost)} never came back")

    def see(self, sight: Sight) -> None:
        """Note who heard of a slip's end, in which life; and what is said of whose copy may lie."""
        match sight:
            case Heard(party=party, message=SlipOver(slip=slip)):
                lives = {(one.name, one.life) for one in self.processors if one.name == party}
                self.ways[slip.id].told |= lives
            case Said(message=SlipStepEnded(slip=slip, attempt=attempt)):
                if attempt.status == "interrupted":
                    self._lies(self.ways[slip])
            case _:
                pass

    def _known_to_be_over(self, way: Way) -> bool:
        """Whether somebody is there who has heard that a slip is over."""
        return any((one.name, one.life) in way.told for one in self.processors if one.alive)

    def _break(self, secret: bool, rule: str, text: str) -> None:  # noqa: FBT001 - see the module
        """Raise, unless nobody could know what would have to be known."""
        if not secret:
            raise Violated(rule, text)
        self.let_pass += 1

    def _lies(self, way: Way) -> bool:
        """Whether a copy of a slip lies in a queue that nobody consumes, or has."""
        if not way.lay:
            vhost = self.network.vhost
            for name in {steps_queue(LAB, step.process) for step in way.slip.steps}:
                known = name in vhost and not vhost.queue_state(name).consumers
                lying = vhost.waiting(name) if known else []
                told = [self.world.read(one.body, "RunStep/1") for one in lying]
                slips = {one.slip.id for one in told if isinstance(one, RunStep)}
                way.lay |= way.slip.id in slips
        return way.lay

    def _in_order(self, way: Way, slip: Slip, step: Step, task: Task) -> None:
        """See that what a step is after has come to an end."""
        before = [one.number for one in slip.steps]
        wanted = set(before[: before.index(step.number)]) if step.after is None else set(step.after)
        told = {(one.number, one.attempt) for one in slip.progress}  # given up, if it still runs
        running = {
            one.number
            for one in way.begun
            if not (one in way.ended or one.compensating or (one.number, one.attempt) in told)
        }
        if wanted & running:
            text = f"{_words(slip, task)} while {sorted(wanted & running)} run"
            raise Violated("steps keep their order", text)
        over = {one.number for one in slip.progress if one.final and not one.compensating}
        if not wanted <= over:
            text = f"{_words(slip, task)} before {sorted(wanted - over)}"
            raise Violated("steps keep their order", text)

    @staticmethod
    def _last_first(slip: Slip, task: Task) -> None:
        """See that what ended last is undone first."""
        undone = {one.number for one in slip.progress if one.final and one.compensating}
        named = {step.number for step in slip.steps if step.compensate is not None} - undone
        left = [
            one.number
            for one in slip.progress
            if one.final and not one.compensating and one.status == "done" and one.number in named
        ]
        if task.number in left[:-1]:
            raise Violated("what was done last is undone first", f"{_words(slip, task)}: {left}")

    @staticmethod
    def _undone(slip: Slip) -> None:
        """See that what was done is undone, where a step says so."""
        policy = {step.number: step for step in slip.steps}
        ends = [one for one in slip.progress if one.final and not one.compensating]
        halted = any(
            one.status != "done"
            and policy[one.number].on_failure == "compensate"
            and not policy[one.number].mandatory
            for one in ends
        )
        undone = {one.number for one in slip.progress if one.final and one.compensating}
        wanted = {
            one.number
            for one in ends
            if one.status == "done" and policy[one.number].compensate is not None
        }
        if halted and not wanted <= undone:
            raise Violated("what was done is undone", f"{slip.id}: {sorted(wanted - undone)}")


def _words(slip: Slip, task: Task) -> str:
    undo = " undoing" if task.compensating else ""
    return f"slip {slip.id} step {task.number}{undo} attempt {task.attempt}"
