"""What must hold, whatever happens: each rule looks at the history and at nothing else.

A rule is shown every sight in the moment and raises :class:`Violated` at the first one that
must not be; :meth:`Rule.end` is asked once more when everything has come to rest.
"""

from collections import defaultdict
from typing import ClassVar

from pytest_gatherscatter.sections.clock import DRIFT
from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    Died,
    Froze,
    Heard,
    HookAnswered,
    HookCalled,
    Recorded,
    Said,
    Sight,
    Violated,
    VisitBegan,
    VisitEnded,
    WentAlone,
    World,
)
from pytest_gatherscatter.wire import messages as m

HOOK_SLACK = 8.0
"""Seconds for which another hook of the same monitor may be in the way of making safe."""

VISIT_SLACK = 20.0
"""Seconds on top of every wait that a visit may add up to: connecting, and answers' ways."""

GRACE = 10.0
REPORT_GRACE = 5.0
ROUNDING = 2 * DRIFT
"""Seconds by which two clocks may part between the Go and the start, two leads at the most."""


def agent_of(party: str) -> str:
    """Name the agent that a process is; a second one of a name has a mark behind it."""
    return party.rstrip("'")


class Rule:
    """The base: a name, and the world for its clocks."""

    name: ClassVar[str] = ""
    kinds: frozenset[type] = frozenset()

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def restless(self) -> bool:
        """Whether something is still to come, so that it is too early to judge."""
        return False

    def see(self, sight: Sight) -> None:
        """Look at what just happened."""

    def end(self) -> None:
        """Look at everything, at the end."""

    def broken(self, text: str) -> Violated:
        """Make the error."""
        return Violated(self.name, text)


class GoOnlyWhenReady(Rule):
    """No Go before each required monitor, and each member, was ready and then seen alive."""

    name = "no go before all are ready"
    kinds = frozenset({VisitBegan, HookAnswered, HookCalled, m.AgentAlive, m.SectionGo})

    def __init__(self, world: World, required: frozenset[str]) -> None:
        super().__init__(world)
        self._required = required
        self._demands: dict[str, Demand] = {}
        self._ready: set[tuple[str, str]] = set()
        self._alive: set[tuple[str, str]] = set()
        self._went: set[tuple[str, int]] = set()

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case VisitBegan(section=section, demand=demand):
                self._demands[section] = demand
            case HookAnswered(party=party, section=section, hook=Hook.PREPARE, answer=answer):
                if answer == "ready":
                    self._ready.add((section, agent_of(party)))
            case HookCalled(party=party, section=section):
                if sight.hook in {Hook.PREPARE, Hook.ABORTED}:
                    self._ready.discard((section, agent_of(party)))
                    self._alive.discard((section, agent_of(party)))
            case Heard(message=m.AgentAlive(section=section, agent=agent, armed=True)):
                self._alive.add((section, agent))
            case Said(message=m.SectionGo() as go) if (go.section, go.token) not in self._went:
                self._went.add((go.section, go.token))
                self._check(go)
            case _:
                pass

    def _check(self, go: m.SectionGo) -> None:
        demand = self._demands[go.section]
        missing = (demand.require | self._required) - set(go.members)
        if missing:
            raise self.broken(f"{go.section} went without {sorted(missing)}")
        if len(go.members) < demand.min_monitors:
            raise self.broken(f"{go.section} went with {len(go.members)} monitors")
        for member in go.members:
            if (go.section, member) not in self._ready:
                raise self.broken(f"{member} was not ready for {go.section}")
            if (go.section, member) not in self._alive:
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


class PrepareEnds(Rule):
    """Every prepare hook is followed by stopped or aborted, at each monitor that lives on."""

    name = "every prepare ends"
    kinds = frozenset({HookCalled, Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._open: dict[tuple[str, str], float] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, HookCalled):
            if sight.hook is Hook.PREPARE:
                self._open[sight.party, sight.section] = sight.at
            elif sight.hook in {Hook.STOPPED, Hook.ABORTED}:
                self._open.pop((sight.party, sight.section), None)
        elif isinstance(sight, Died):
            self._open = {k: at for k, at in self._open.items() if k[0] != sight.party}

    @property
    def restless(self) -> bool:  # noqa: D102
        return bool(self._open)

    def end(self) -> None:  # noqa: D102
        for (party, section), at in self._open.items():
            raise self.broken(f"{party} prepared {section} at {at:.3f} and was never released")


class MakesSafe(Rule):
    """A started monitor is stopped, aborted, or makes safe by its own clock at the deadline."""

    name = "monitors make safe at the deadline"
    kinds = frozenset({m.SectionGo, HookCalled, Died, Froze})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._deadlines: dict[str, float] = {}
        self._due: dict[tuple[str, str], float] = {}
        self._frozen: dict[str, float] = defaultdict(float)

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, HookCalled):
            key = sight.party, sight.section
            if sight.hook is Hook.STARTED:
                self._due[key] = self._deadlines[sight.section]
                self._frozen[sight.party] = 0.0
            else:
                self._look(key, self._due.pop(key, None))
        elif isinstance(sight, Said) and isinstance(sight.message, m.SectionGo):
            go = sight.message
            self._deadlines[go.section] = self.world.clocks[go.gatherer].true(go.deadline)
        elif isinstance(sight, Died):
            self._due = {k: due for k, due in self._due.items() if k[0] != sight.party}
        elif isinstance(sight, Froze):
            self._frozen[sight.party] += sight.seconds

    def _look(self, key: tuple[str, str], due: float | None) -> None:
        if due is not None and self.world.now > due + HOOK_SLACK + self._frozen[key[0]]:
            raise self.broken(f"{key[0]} in {key[1]}: due at {due:.3f}, now {self.world.now:.3f}")

    def end(self) -> None:  # noqa: D102
        for key, due in self._due.items():
            self._look(key, due)


class Unblocked(Rule):
    """Every workload's test goes on in bounded time."""

    name = "every workload is unblocked"
    kinds = frozenset({VisitBegan, VisitEnded})

    def __init__(self, world: World, longest_body: float) -> None:
        super().__init__(world)
        self._longest_body = longest_body
        self._open: dict[str, VisitBegan] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, VisitBegan):
            self._open[sight.section] = sight
        elif isinstance(sight, VisitEnded):
            began = self._open.pop(sight.section)
            took = sight.at - began.at - sight.excused
            if took > self.bound(began.demand):
                raise self.broken(f"{sight.section} of {sight.party} took {took:.1f} s")

    def bound(self, demand: Demand) -> float:
        """Seconds that a visit may take, all waits one after the other."""
        waits = demand.queue_timeout + 2 * demand.gather_timeout + demand.hold_limit + GRACE
        return waits + self._longest_body + demand.report_timeout + REPORT_GRACE + VISIT_SLACK

    def end(self) -> None:  # noqa: D102
        for began in self._open.values():
            raise self.broken(f"{began.section} of {began.party} never ended")


class NothingStale(Rule):
    """What a section closes with was reported for it, with its token, before it closed."""

    name = "nothing stale is merged"
    kinds = frozenset({m.AgentReport, m.SectionClosed})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._reports: dict[tuple[str, int, str], list[m.AgentReport]] = defaultdict(list)
        self._closed: dict[tuple[str, int], m.SectionClosed] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, Said) and isinstance(sight.message, m.AgentReport):
            report = sight.message
            self._reports[report.section, report.token, report.agent].append(report)
        elif isinstance(sight, Said) and isinstance(sight.message, m.SectionClosed):
            closed = sight.message
            this = closed.section, closed.token
            if self._closed.setdefault(this, closed) != closed:
                raise self.broken(f"{closed.section} was closed twice, not alike")
            for one in closed.reports:
                if one.reported and not self._known(closed, one):
                    raise self.broken(f"{closed.section}: {one.agent} never reported that")

    def _known(self, closed: m.SectionClosed, one: m.MemberReport) -> bool:
        reports = self._reports[closed.section, closed.token, one.agent]
        facts = (one.started, one.stopped, one.findings)
        return any((r.started, r.stopped, r.findings) == facts for r in reports)


class NeverEarly(Rule):
    """Nobody starts before t0 on the gatherer's true clock, beyond its own bound."""

    name = "never before t0"
    kinds = frozenset({m.SectionGo, BodyBegan, HookCalled})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._gone: dict[str, m.SectionGo] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        if isinstance(sight, Said) and isinstance(sight.message, m.SectionGo):
            self._gone[sight.message.section] = sight.message
        elif (isinstance(sight, BodyBegan) and sight.coordinated) or (
            isinstance(sight, HookCalled) and sight.hook is Hook.STARTED
        ):
            self._look(sight, sight.bound)

    def _look(self, sight: BodyBegan | HookCalled, bound: float | None) -> None:
        go = self._gone.get(sight.section)
        if go is None:
            raise self.broken(f"{sight.party} started {sight.section} without a Go")
        early = go.t0 - self.world.clocks[go.gatherer].read()
        if early > (bound or 0.0) + ROUNDING:
            raise self.broken(f"{sight.party} started {sight.section} {early * 1000:.3f} ms early")


class HonestTimes(Rule):
    """A reported start is the true one, to the bound that is reported with it."""

    name = "reported times are true to their bound"
    kinds = frozenset({BodyBegan, HookCalled, m.LeaveSection, m.AgentReport})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._began: dict[tuple[str, str], float] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case BodyBegan(at=at, party=party, section=section):
                self._began[party, section] = at
            case HookCalled(at=at, party=party, section=section, hook=Hook.STARTED):
                self._began[party, section] = at
            case Said(message=m.LeaveSection() | m.AgentReport()):
                self._look(sight, sight.message)
            case _:
                pass

    def _look(self, sight: Said, report: m.Message) -> None:
        assert isinstance(report, m.LeaveSection | m.AgentReport)  # noqa: S101 - as matched
        at = self._began.get((sight.party, report.section))
        if report.started is None or report.bound is None or sight.clock is None or at is None:
            return
        off = abs(self.world.clocks[sight.clock].shows(at) - report.started)
        if off > report.bound + ROUNDING:
            raise self.broken(
                f"{sight.party} in {report.section} is off by {off * 1000:.3f} ms, "
                f"claims {report.bound * 1000:.3f} ms"
            )


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


def rules(world: World, required: frozenset[str], longest_body: float) -> list[Rule]:
    """Make every rule for one play."""
    return [
        GoOnlyWhenReady(world, required),
        OneGo(world),
        OneLive(world),
        TokensGrow(world),
        PrepareEnds(world),
        MakesSafe(world),
        Unblocked(world, longest_body),
        NothingStale(world),
        NeverEarly(world),
        HonestTimes(world),
        NeverAloneOnceAccepted(world),
        NeverGoForTheLone(world),
    ]
