"""Rules about who may go, alone or together, and in whose company."""

from typing import NamedTuple

from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.simulation.rule import Rule, agent_of
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    Heard,
    HookAnswered,
    HookCalled,
    Recorded,
    Said,
    Sight,
    VisitBegan,
    WentAlone,
    World,
)
from pytest_gatherscatter.wire import messages as m


class _One(NamedTuple):
    """A monitor's process in a section."""

    section: str
    agent: str
    instance: str


class GoOnlyWhenReady(Rule):
    """No Go before each required monitor, and each member, was ready and then seen alive.

    What it said at a check counts no more when all have to be gathered again. Two processes may
    have one name; one of them has to be both.
    """

    name = "no go before all are ready"
    kinds = frozenset(
        {VisitBegan, HookAnswered, HookCalled, m.SectionGathered, m.AgentAlive, m.SectionGo}
    )

    def __init__(self, world: World, required: frozenset[str]) -> None:
        super().__init__(world)
        self._required = required
        self._demands: dict[str, Demand] = {}
        self._ready: set[_One] = set()
        self._promised: set[_One] = set()
        self._alive: set[_One] = set()
        self._lives: dict[str, str] = {}
        self._went: set[tuple[str, int]] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case VisitBegan(section=section, demand=demand):
                self._demands[section] = demand
            case HookAnswered(party=party, hook=Hook.PREPARE, answer="ready"):
                self._ready.add(_One(sight.section, agent_of(party), sight.instance))
            case HookCalled(hook=Hook.PREPARE | Hook.ABORTED):
                self._disarm(sight)
            case Said(message=m.SectionGo() as go):
                if (go.section, go.token) not in self._went:
                    self._went.add((go.section, go.token))
                    self._check(go)
            case _:
                self._hear_check(sight)

    def _disarm(self, sight: HookCalled) -> None:
        agent, lives = agent_of(sight.party), {sight.instance}
        if sight.hook is Hook.PREPARE:  # and what its former life said
            lives.add(self._lives.get(sight.party, ""))
            self._lives[sight.party] = sight.instance
        elif _One(sight.section, agent, sight.instance) in self._promised:
            # Who is disarmed after it said that it is alive was so when it was asked: that the Go
            # finds it otherwise is told in its report.
            return
        for said in (self._ready, self._promised, self._alive):
            said.difference_update(_One(sight.section, agent, life) for life in lives)

    def _hear_check(self, sight: Sight) -> None:
        match sight:
            case Said(message=m.SectionGathered(section=section)):
                self._alive = {one for one in self._alive if one.section != section}
            case Said(message=m.AgentAlive(armed=True) as alive):
                self._promised.add(_One(alive.section, alive.agent, alive.instance))
            case Heard(message=m.AgentAlive(armed=True) as alive):
                self._alive.add(_One(alive.section, alive.agent, alive.instance))
            case _:
                pass

    def _check(self, go: m.SectionGo) -> None:
        demand = self._demands[go.section]
        missing = (demand.require | self._required) - set(go.members)
        if missing:
            raise self.broken(f"{go.section} went without {sorted(missing)}")
        if len(go.members) < demand.min_monitors:
            raise self.broken(f"{go.section} went with {len(go.members)} monitors")
        ready = {one.agent for one in self._ready if one.section == go.section}
        alive = {one.agent for one in self._ready & self._alive if one.section == go.section}
        for member in go.members:
            if member not in ready:
                raise self.broken(f"{member} was not ready for {go.section}")
            if member not in alive:
                raise self.broken(f"{member} was not asked whether it is alive for {go.section}")


class OneGo(Rule):
    """One Go a section and token: committed first, always word for word, never said after t0."""

    name = "one go, committed first, before t0"
    kinds = frozenset({Recorded, m.SectionGo})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._committed: set[tuple[str, int]] = set()
        self._gone: dict[tuple[str, int], m.SectionGo] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, Recorded) and sight.event["what"] == "committed":
            self._committed.add((sight.event["section"], sight.event["token"]))
        elif isinstance(sight, Said) and isinstance(sight.message, m.SectionGo):
            go = sight.message
            this = go.section, go.token
            if this not in self._committed:
                raise self.broken(f"{go.section} went without a record")
            if self._gone.setdefault(this, go) != go:
                raise self.broken(f"{go.section} went twice, not alike: {go}")
            if self.world.clocks[go.gatherer].read() >= go.t0:
                raise self.broken(f"{go.section} was sent off after its t0")


class OneLive(Rule):
    """Bodies on a bench never overlap: coordinated ones anywhere, lone ones on their host."""

    name = "one live section a bench"
    kinds = frozenset({BodyBegan, BodyLeft})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._inside: dict[str, BodyBegan] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, BodyLeft):
            self._inside.pop(sight.section, None)
        elif isinstance(sight, BodyBegan):
            for other in self._inside.values():
                apart = sight.host != other.host and not (sight.coordinated and other.coordinated)
                if other.bench == sight.bench and not apart:
                    raise self.broken(
                        f"{sight.section} of {sight.party} began on {sight.bench} while "
                        f"{other.section} of {other.party} was inside"
                    )
            self._inside[sight.section] = sight


class TokensGrow(Rule):
    """Each Go of a bench carries a higher token than every one before."""

    name = "tokens only grow"
    kinds = frozenset({m.SectionGo})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._highest: dict[str, tuple[int, str]] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, Said) and isinstance(sight.message, m.SectionGo):
            go = sight.message
            token, section = self._highest.get(go.bench, (-1, ""))
            if section != go.section and go.token <= token:
                raise self.broken(f"{go.section} has {go.token} after {token} of {section}")
            self._highest[go.bench] = go.token, go.section


class NeverAloneOnceAccepted(Rule):
    """A workload that heard the acceptance never goes on alone."""

    name = "once accepted never alone"
    kinds = frozenset({m.SectionAccepted, WentAlone})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._accepted: set[tuple[str, str]] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, Heard) and isinstance(sight.message, m.SectionAccepted):
            self._accepted.add((sight.party, sight.message.section))
        elif isinstance(sight, WentAlone) and (sight.party, sight.section) in self._accepted:
            raise self.broken(f"{sight.party} went alone in {sight.section}")


class NeverGoForTheLone(Rule):
    """A gatherer that answers late never says Go for a workload that runs alone."""

    name = "no go for who runs alone"
    kinds = frozenset({WentAlone, m.SectionGo})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._alone: set[str] = set()
        self._gone: set[str] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, WentAlone):
            self._alone.add(sight.section)
        elif isinstance(sight, Said) and isinstance(sight.message, m.SectionGo):
            self._gone.add(sight.message.section)
        if self._alone & self._gone:
            raise self.broken(f"{sorted(self._alone & self._gone)} runs alone, and got a Go")
