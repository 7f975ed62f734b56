"""Rules about small promises: each is one that a planted bug had broken unseen before.

They came out of the list in ``tests/simulation/planted/``, which was written before the rules were
read: what it found unguarded is guarded here.
"""

from collections import defaultdict

from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.simulation.ending import HOOK_SLACK, PROMPT, UNREAD
from pytest_gatherscatter.simulation.network import SHORTEST
from pytest_gatherscatter.simulation.proof import NobodyKeepsTheBench, proofs
from pytest_gatherscatter.simulation.rule import Promise, Rule
from pytest_gatherscatter.simulation.timing import BoundsAge, TimesStay
from pytest_gatherscatter.simulation.waiting import waits
from pytest_gatherscatter.simulation.world import (
    Died,
    Froze,
    Heard,
    HookAnswered,
    HookCalled,
    Recorded,
    Said,
    Sight,
    TicketGone,
    VisitBegan,
    VisitEnded,
    WentAlone,
    World,
)
from pytest_gatherscatter.wire import messages as m


class PromptlySafe(Promise):
    """Past the deadline only a hook of its own may keep a monitor from making safe."""

    name = "only a hook delays making safe"
    kinds = frozenset({m.SectionGo, HookCalled, HookAnswered, Died, Froze})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._deadlines: dict[str, float] = {}
        self._due: dict[tuple[str, str], tuple[float, float]] = {}
        self._free: dict[str, float] = defaultdict(float)
        self._frozen: dict[str, float] = defaultdict(float)

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case HookCalled(party=party, section=section, hook=Hook.STARTED, bound=bound):
                slack = PROMPT + (UNREAD if bound is None else bound)
                self._due[party, section] = self._deadlines[section], slack
                self._frozen[party] = 0.0
            case HookCalled(party=party, section=section):
                self._look(party, section)
            case HookAnswered(at=at, party=party, answer=answer):
                # One that was broken off at its limit may run on for a while.
                self._free[party] = at + (HOOK_SLACK if answer == "broken" else 0.0)
            case Said(message=m.SectionGo() as go):
                self._deadlines[go.section] = self.world.clocks[go.gatherer].true(go.deadline)
            case Died(party=party):
                self._due = {key: due for key, due in self._due.items() if key[0] != party}
                self._free.pop(party, None)
            case Froze(party=party, seconds=seconds):
                self._frozen[party] += seconds
            case _:
                pass

    def _look(self, party: str, section: str) -> None:
        due, slack = self._due.pop((party, section), (None, 0.0))
        if due is None:
            return
        late = self.world.now - max(due, self._free[party])
        if late > slack + self._frozen[party]:
            self.miss(f"{party} in {section} is {late:.3f} s late, and nothing kept it")


class RefusesLowerOnly(Promise):
    """A monitor refuses a token only where it has heard a higher one for that very bench."""

    name = "only lower tokens are refused"
    kinds = frozenset({m.PrepareSection, m.AgentBroken, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._heard: dict[str, list[m.PrepareSection]] = defaultdict(list)

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Heard(party=party, message=m.PrepareSection() as prepare):
                self._heard[party].append(prepare)
            case Said(party=party, message=m.AgentBroken() as no) if "is refused" in no.reason:
                self._look(party, no)
            case Died(party=party):
                self._heard.pop(party, None)
            case _:
                pass

    def _look(self, party: str, no: m.AgentBroken) -> None:
        this = no.section, no.token
        asked = self._heard[party]
        benches = {one.bench for one in asked if (one.section, one.token) == this}
        rivals = [one for one in asked if (one.section, one.token) != this]
        if not any(one.bench in benches and one.token >= no.token for one in rivals):
            self.miss(f"{party} refuses {no.token} of {no.section}: {no.reason}")


class StaysStarted(Promise):
    """Who has started is disarmed by a word with its own token, or after the deadline."""

    name = "nothing stale disarms"
    kinds = frozenset({m.SectionGo, m.SectionAborted, HookCalled, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._deadlines: dict[str, float] = {}
        self._tokens: dict[tuple[str, str], int] = {}
        self._started: set[tuple[str, str]] = set()
        self._given_up: set[tuple[str, str, int]] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Said(message=m.SectionGo() as go):
                self._deadlines[go.section] = self.world.clocks[go.gatherer].true(go.deadline)
            case Heard(party=party, message=m.SectionGo(section=section, token=token)):
                if (party, section) not in self._started:
                    self._tokens[party, section] = token
            case Heard(party=party, message=m.SectionAborted(section=section, token=token)):
                self._given_up.add((party, section, token))
            case HookCalled(party=party, section=section, hook=Hook.STARTED):
                self._started.add((party, section))
            case HookCalled(party=party, section=section, hook=Hook.ABORTED):
                self._look(party, section)
                self._started.discard((party, section))
            case HookCalled(party=party, section=section, hook=Hook.STOPPED):
                self._started.discard((party, section))
            case Died(party=party):
                self._started = {key for key in self._started if key[0] != party}
            case _:
                pass

    def _look(self, party: str, section: str) -> None:
        over = self.world.now >= self._deadlines.get(section, 0.0) - PROMPT  # by its own clock
        if (party, section) not in self._started or over:
            return
        token = self._tokens[party, section]
        if (party, section, token) not in self._given_up:
            self.miss(f"{party} disarms in {section}, of which it heard no end")


class TicketsLast(Promise):
    """The ticket of a section that may be committed goes when the lab knows of its end."""

    name = "no ticket goes too early"
    kinds = frozenset(
        {TicketGone, Recorded, m.LeaveAccepted, m.SectionClosed, m.SectionAborted, m.SectionRefused}
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._committed: set[str] = set()
        self._known: set[str] = set()
        self._gone: set[str] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Recorded(event={"what": "committed", "section": section}):
                self._committed.add(section)
            case Recorded(event={"what": "left" | "closed" | "aborted", "section": section}):
                self._known.add(section)
            case Heard(
                message=m.LeaveAccepted(section=section)
                | m.SectionClosed(section=section)
                | m.SectionAborted(section=section)
                | m.SectionRefused(section=section)
            ):
                self._known.add(section)
            case TicketGone(section=section):
                self._gone.add(section)
            case _:
                return
        if section in self._gone and section in self._committed and section not in self._known:
            self.miss(f"{section} is committed, and its ticket is gone")


class HoldsCount(Promise):
    """A gatherer that has heard of a person's hold commits nothing on that bench."""

    name = "no commit under a person's hold"
    kinds = frozenset({VisitBegan, m.HoldBench, m.ReleaseBench, m.ResetLab, Recorded, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._benches: dict[str, str] = {}
        self._holds: dict[tuple[str, str], tuple[str, float]] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case VisitBegan(section=section, demand=demand):
                self._benches[section] = demand.bench
            case Heard(at=at, party=party, message=m.HoldBench() as hold):
                self._holds[party, hold.hold] = hold.bench, at + hold.seconds - PROMPT
            case Heard(party=party, message=m.ReleaseBench(hold=name)):
                self._holds.pop((party, name), None)
            case Died(party=party) | Heard(party=party, message=m.ResetLab()):
                self._holds = {key: one for key, one in self._holds.items() if key[0] != party}
            case Recorded(at=at, party=party, event={"what": "committed", "section": section}):
                bench = self._benches.get(section)
                for (who, _), (held, until) in self._holds.items():
                    if (who, held) == (party, bench) and at < until:
                        self.miss(f"{section} is committed on {bench}, which is held")
            case _:
                pass


class AcceptedFirst(Promise):
    """Nobody is asked to arm before the acceptance can have reached the workload's queue."""

    name = "nobody arms before the acceptance has arrived"
    kinds = frozenset({m.SectionAccepted, m.PrepareSection})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._accepted: dict[tuple[str, int], float] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if not isinstance(sight, Said):
            return
        if isinstance(sight.message, m.SectionAccepted):
            this = sight.message.section, sight.message.token
            self._accepted.setdefault(this, sight.at)
        elif isinstance(sight.message, m.PrepareSection):
            this = sight.message.section, sight.message.token
            if sight.at < self._accepted.get(this, float("inf")) + SHORTEST:
                self.miss(f"{this[0]} is prepared before its workload can be there")


class SaysAgain(Promise):
    """Who has reported says its report again whenever it is told to stop."""

    name = "a report that is asked for is said"
    kinds = frozenset({m.SectionStopped, m.AgentReport, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._said: set[tuple[str, str, int]] = set()
        self._asked: dict[tuple[str, str, int], float] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Said(party=party, message=m.AgentReport(section=section, token=token)):
                self._said.add((party, section, token))
                self._asked.pop((party, section, token), None)
            case Heard(at=at, party=party, message=m.SectionStopped(section=section, token=token)):
                self._look(at)
                if (party, section, token) in self._said:
                    self._asked[party, section, token] = at
            case Died(party=party):
                self._said = {one for one in self._said if one[0] != party}
                self._asked = {one: at for one, at in self._asked.items() if one[0] != party}
            case _:
                pass

    def _look(self, now: float) -> None:
        for (party, section, _), at in self._asked.items():
            if at < now:
                self.miss(f"{party} was asked for its report on {section} in vain")

    def end(self) -> None:  # noqa: D102
        self._look(self.world.now + SHORTEST)
        super().end()


class StopsAreTold(Promise):
    """Who has stopped reports, though its link be cut while it hands its captures in."""

    name = "who stops says its report"
    kinds = frozenset({HookAnswered, m.AgentReport, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._owed: dict[tuple[str, str], float] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case HookAnswered(at=at, party=party, section=section, hook=Hook.STOPPED):
                self._owed[party, section] = at
            case Said(party=party, message=m.AgentReport(section=section)):
                self._owed.pop((party, section), None)
            case Died(party=party):
                self._owed = {key: at for key, at in self._owed.items() if key[0] != party}
            case _:
                pass

    @property
    def restless(self) -> bool:  # noqa: D102
        return bool(self._owed)

    def end(self) -> None:  # noqa: D102
        for (party, section), at in self._owed.items():
            self.miss(f"{party} stopped in {section} at {at:.3f} and never said its report")
        super().end()


class MetIsMet(Promise):
    """A run that was in a gatherer's hands goes alone no more, but where its policy says so."""

    name = "who met a gatherer misses it"
    kinds = frozenset({VisitBegan, m.SectionAccepted, WentAlone, VisitEnded, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._visits: dict[str, VisitBegan] = {}
        self._decided: set[str] = set()
        self._met: dict[str, set[str]] = defaultdict(set)

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case VisitBegan(party=party):
                self._visits[party] = sight
            case Heard(party=party, message=m.SectionAccepted(section=section)):
                if section not in self._decided:  # else it came too late to count
                    self._met[party].add(section)
            case WentAlone(party=party, section=section):
                self._decided.add(section)
                allowed = self._visits[party].demand.no_gatherer == "run"
                if self._met[party] - {section} and not allowed:
                    self.miss(f"{party} goes alone in {section}, and had met a gatherer")
            case VisitEnded(section=section):
                self._decided.add(section)
            case Died(party=party):
                self._met.pop(party, None)
            case _:
                pass


def promises(world: World) -> list[Rule]:
    """Make these rules for one play, in which time is told to the microsecond."""
    return [
        PromptlySafe(world),
        RefusesLowerOnly(world),
        StaysStarted(world),
        TicketsLast(world),
        HoldsCount(world),
        AcceptedFirst(world),
        SaysAgain(world),
        StopsAreTold(world),
        MetIsMet(world),
        BoundsAge(world),
        TimesStay(world),
        NobodyKeepsTheBench(world),
        *proofs(world),
        *waits(world),
    ]
