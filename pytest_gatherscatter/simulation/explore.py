"""All that can happen in a small lab, breadth first, with every rule looked at in every state.

A state that was met before, whatever the way, is not looked at again. So what is found at a
depth is found on the shortest way to it, and what is not found does not happen within it.

Of ways that differ only in the order of steps which know nothing of each other one is enough
(Godefroid's persistent sets, Valmari's stubborn sets). Two such reductions are made, each found
out by taking the step and seeing whom it touched (as Flanagan and Godefroid do):

- *Deaths wait.* That P is dead is seen when P does not do its next step, when a word reaches P's
  name, when somebody looks at its lock or its ticket, when time passes, and when it comes back. A
  step that touches P in none of these ways comes to the same before and after P's death. So P
  dies only right before a step that would touch it, or to come back at once.
- *Who only listens goes first.* A step that touches nobody but its party, and shows nothing to any
  rule, comes to the same before and after all others' steps; so it is taken first and alone. So
  is one that speaks to the gatherer, where both of them have died already.
  Letters are consumed by that, and none is written, so nothing is put off for ever.

Each way has a twin that is followed and shows the rules the same, but for the order of what
different parties did; no rule hangs on that order except where a step says so by touching both.
``tests/simulation/test_explore.py`` explores small labs with and without, and finds the same.
"""

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.simulation.admission import NeverAloneOnceAccepted
from pytest_gatherscatter.simulation.ending import MakesSafe, PrepareEnds, Unblocked
from pytest_gatherscatter.simulation.fingerprint import Fingerprints
from pytest_gatherscatter.simulation.promise import (
    PromptlySafe,
    RefusesLowerOnly,
    SaysAgain,
    StaysStarted,
)
from pytest_gatherscatter.simulation.smalllab import GATHERER, SmallLab
from pytest_gatherscatter.simulation.smallstate import REST, State, Step
from pytest_gatherscatter.simulation.timing import HonestTimes, NeverEarly
from pytest_gatherscatter.simulation.world import Violated

SETTLING = 500
"""Steps in which a lab whose workloads have gone on must come to rest, in some order."""


SHARED = frozenset({"tickets", "locked", "over", "listeners", "journal", "keys"})
"""What others than its owner look at, of what is between the parties."""

OF_ONE = frozenset(
    rule.name
    for rule in (
        *(PrepareEnds, MakesSafe, Unblocked, NeverEarly, HonestTimes, NeverAloneOnceAccepted),
        *(PromptlySafe, RefusesLowerOnly, StaysStarted, SaysAgain),
    )
)
"""Rules that compare what one party does with its own past, and with words that it heard: the
order in which different parties do things is nothing to them."""


@dataclass(slots=True)
class Exploration:
    """What was found. ``way`` leads to the rule that broke; ``whole`` if nothing is left."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    ends: int = 0
    whole: bool = False
    violated: Violated | None = None
    way: list[Step] = field(default_factory=list)
    ended: set[bytes] = field(default_factory=set)
    """The fingerprints of the ends."""

    @property
    def line(self) -> str:
        """What there is to say of it, in a line."""
        extent = "all of them" if self.whole else "not all of them"
        verdict = f"BROKEN {self.violated}" if self.violated else "every rule holds"
        return (
            f"{self.states} states ({extent}), {self.steps} steps, depth {self.depth}, "
            f"{self.ends} ends: {verdict}"
        )


def explore(
    make: Callable[[], SmallLab],
    *,
    most: int,
    reduced: bool = True,
    told: Callable[[Exploration], None] = lambda _: None,
) -> Exploration:
    """Look at ``most`` states of the lab that ``make`` makes; ``told`` of each depth.

    ``reduced`` leaves out what is the same but for the order.
    """
    return _Search(make(), most, told, reduced=reduced).run()


class _Search:
    """One exploration under way."""

    def __init__(
        self, lab: SmallLab, most: int, told: Callable[[Exploration], None], *, reduced: bool
    ) -> None:
        self.lab = lab
        self.found = Exploration(states=1)
        self._most = most
        self._told = told
        self._reduced = reduced
        self._prints = Fingerprints()
        self._seen = {self._prints.of(lab): 0}
        # Of each state how it was reached.
        self._ways: list[tuple[int, Step]] = [(-1, Step("begin"))]
        # Which state came from which, of those in which a workload waits.
        self._from, self._to = array("L"), array("L")
        self._after: list[tuple[int, State]] = [(0, lab.freeze())]

    def run(self) -> Exploration:
        """Go on until all is seen, enough is, or a rule breaks."""
        found = self.found
        while self._after:
            self._told(found)
            frontier, self._after = self._after, []
            for place, state in frontier:
                if not self._follow(place, state) or found.states >= self._most:
                    return found
            found.depth += bool(self._after)
        found.whole = True
        self._look_for_circles()
        return found

    def _look_for_circles(self) -> None:
        """See that nobody waits in a circle: a workload that could would wait for ever.

        States from which no way leads on are taken away, again and again; what is left leads
        into a circle, and what nothing of it leads to either is on the way there only.
        """
        left = set(range(len(self._ways)))
        for ends, begins in ((self._from, self._to), (self._to, self._from)):
            edges = [(a, b) for a, b in zip(ends, begins, strict=True) if a in left and b in left]
            leaving = Counter(a for a, _ in edges)
            into: dict[int, list[int]] = {}
            for a, b in edges:
                into.setdefault(b, []).append(a)
            free = [place for place in left if not leaving[place]]
            while free:
                place = free.pop()
                left.remove(place)
                for a in into.get(place, ()):
                    leaving[a] -= 1
                    if not leaving[a]:
                        free.append(a)
        if left:
            place = min(left)
            text = "a workload waits for what need never come"
            self.found.violated = Violated(Unblocked.name, text)
            self.found.way = self._way(place)

    def _follow(self, place: int, state: State) -> bool:
        """Take every step that is to be taken from a state; say whether to go on."""
        lab = self.lab
        lab.restore(state)
        steps = lab.steps()
        quiet = not steps or steps[-1].what in {"time", "start"}
        hooked = {step.who for step in steps if step.what == "hook"}
        touched: set[str] = set()
        reached = []
        torn: list[Step] = []
        for step in steps:
            lab.restore(state)
            if not self._take(place, step):
                return False
            after = lab.freeze()
            if self._reduced and self._lonely(step, state, after, hooked):
                reached, touched, torn = [(step, after)], set(), []
                break
            reached.append((step, after))
            touched |= lab.touched
            if step.who == GATHERER and step.what == "hear" and lab.recorded:
                torn.append(step._replace(what="record and crash"))
        lab.restore(state)
        mortal = [name for name in lab.parties if lab.may_die(name)]
        if not self._reduced or not steps:
            touched = set(lab.parties)
        dying = [Step("crash", name) for name in mortal if name in touched]
        if quiet and self._reduced:
            dying += [Step("crash and start", name) for name in mortal]
        dying += [step for step in torn if GATHERER in mortal]
        for step, after in reached:
            lab.restore(after)
            self._meet(place, step, after)
        for step in dying:
            lab.restore(state)
            if not self._take(place, step):
                return False
            self._meet(place, step, lab.freeze())
        return True

    def _lonely(self, step: Step, before: State, after: State, hooked: set[str]) -> bool:
        """Say whether a step comes to the same before and after all that others may do."""
        lab, who = self.lab, step.who
        if step.what != "hear" or who == GATHERER or lab.stalls or who in hooked:
            return False  # what it hears may call its hook off; nor where time may pass before
        spoke = GATHERER in lab.touched
        if not lab.touched <= {who, GATHERER} or (spoke and lab.may_die(GATHERER)):
            return False
        if not lab.may_die(who):
            unseen = {who, GATHERER, *OF_ONE}
        elif not spoke:
            unseen = {who}  # what a rule has seen outlives it
        else:
            return False
        for name, one, other in zip(lab.shelf.names, before.parts, after.parts, strict=True):
            if name not in unseen and not self._prints.same(lab.shelf, one, other, lab.now):
                return False
        return all(
            one is other
            for name, one, other in zip(REST, before.rest, after.rest, strict=True)
            if name in SHARED
        )

    def _meet(self, place: int, step: Step, state: State) -> None:
        """Keep a state to go on from, unless it was met before; the lab is in it."""
        print_of = self._prints.of(self.lab)
        known = self._seen.get(print_of)
        if known is None:
            known = self._seen[print_of] = len(self._ways)
            self._ways.append((place, step))
            self._after.append((known, state))
            self.found.states += 1
            if not self.lab.steps():
                self.found.ends += 1
                self.found.ended.add(print_of)
        if self.lab.waited_for:
            self._from.append(place)
            self._to.append(known)

    def _take(self, place: int, step: Step) -> bool:
        """Take a step; say whether all rules hold."""
        self.found.steps += 1
        self.found.violated = _try(self.lab, step)
        if self.found.violated is not None:
            self.found.way = [*self._way(place), step]
        return self.found.violated is None

    def _way(self, place: int) -> list[Step]:
        steps = []
        while place > 0:
            place, step = self._ways[place]
            steps.append(step)
        return steps[::-1]


def _try(lab: SmallLab, step: Step) -> Violated | None:
    """Take a step; at the end of all, see that everything comes to rest."""
    try:
        lab.take(step)
        if not lab.steps():
            _settle(lab)
    except Violated as error:
        return error
    except (GatherScatterError, AssertionError, LookupError, TypeError, ValueError) as error:
        return Violated("no machine breaks", f"{type(error).__name__}: {error}")
    return None


def _settle(lab: SmallLab) -> None:
    """Go on until nothing is to come, and back again; one order will do.

    Where a workload could not tell that it was over, its bench stays closed until a person says so.
    """
    state, touched, recorded = lab.freeze(), lab.touched, lab.recorded
    if lab.restless:
        lab.reset()
        for _ in range(SETTLING):
            lab.take((lab.steps() or [Step("time")])[0])
            if not lab.restless:
                break
    lab.end()
    lab.restore(state)
    lab.touched, lab.recorded = touched, recorded
