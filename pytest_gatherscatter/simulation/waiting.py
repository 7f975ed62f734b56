"""Rules about waits: each has its limit, and a word that is waited for is said.

They came out of the third list in ``tests/simulation/planted/``. Visits keep limits of their own,
so that nobody waits for ever; but a bench that is closed for a minute for nothing is harm enough.
"""

from msgspec import Struct

from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.simulation.rule import Promise, Rule
from pytest_gatherscatter.simulation.world import (
    Died,
    Froze,
    Heard,
    Said,
    Sight,
    VisitBegan,
    World,
)
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import agent_key

LATE = 0.5
"""Seconds by which a limit may be kept late: the grain of wakes, and a word that is on its way."""

PREPARES = 3.0
"""Seconds that a workload may need to be ready, beside the wait for its bench's lock: the patience
for a clock, a turn of that wait, and its ticket's sync."""


class HoldsEnd(Promise):
    """Nobody is told to wait for a hold that has lasted for longer than the section allows.

    It counts from the first word of it, renewed or not; what was asked anew may begin anew.
    """

    name = "a hold ends at its limit"
    kinds = frozenset(
        {VisitBegan, m.AgentHolding, m.AgentReady, m.PrepareSection, m.SectionWaiting, Died, Froze}
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._limits: dict[str, float] = {}
        self._since: dict[tuple[str, str], float] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case VisitBegan(section=section, demand=demand):
                self._limits[section] = demand.hold_limit
            case Heard(at=at, message=m.AgentHolding(section=section, agent=agent)):
                self._since.setdefault((section, agent_key(agent)), at)
            case Heard(message=m.AgentReady(section=section, agent=agent)):
                self._since.pop((section, agent_key(agent)), None)
            case Said(key=key, message=m.PrepareSection(section=section)):
                self._since.pop((section, key), None)
            case Said(at=at, message=m.SectionWaiting(state="gathering") as waiting):
                self._look(at, waiting)
            case Died() | Froze():
                self._since.clear()
            case _:
                pass

    def _look(self, now: float, waiting: m.SectionWaiting) -> None:
        for hold in waiting.holds:
            since = self._since.get((waiting.section, agent_key(hold.agent)))
            limit = self._limits[waiting.section]
            if since is not None and now - since > limit + LATE:
                text = f"{hold.agent} holds {waiting.section} for {now - since:.1f} s"
                self.miss(f"{text}, and {limit:g} are allowed")


class _Round(Struct):
    """All are gathered for a workload, since then; ``said`` is that it is ready."""

    token: int
    since: float
    said: bool = False


class SaysReady(Promise):
    """A workload that hears that all are gathered says that it is ready, each time anew."""

    name = "who is gathered says that it is ready"
    kinds = frozenset(
        {VisitBegan, m.SectionGathered, m.SectionWaiting, m.WorkloadReady, Died, Froze}
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._demands: dict[str, Demand] = {}
        self._rounds: dict[str, _Round] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case VisitBegan(section=section, demand=demand):
                self._demands[section] = demand
            case Heard(at=at, message=m.SectionGathered(section=section, token=token)):
                round_ = self._rounds.get(section)
                if round_ is None or round_.token != token:
                    self._rounds[section] = _Round(token, at)
                elif not round_.said:
                    self._look(section, at - round_.since)
            case Heard(message=m.SectionWaiting(section=section)):
                self._rounds.pop(section, None)
            case Said(message=m.WorkloadReady(section=section, token=token)):
                round_ = self._rounds.get(section)
                if round_ is not None and round_.token == token:
                    round_.said = True
            case Died() | Froze():
                self._rounds.clear()
            case _:
                pass

    def _look(self, section: str, waited: float) -> None:
        if waited > self._demands[section].gather_timeout + PREPARES:
            self.miss(f"{section} is gathered for {waited:.1f} s, and its workload says nothing")


def waits(world: World) -> list[Rule]:
    """Make these rules for one play."""
    return [HoldsEnd(world), SaysReady(world)]
