"""Rules about ends: whatever began comes to one, in its time, with what belongs to it."""

from collections import defaultdict

from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.workload.guide import REPORT_GRACE
from pytest_gatherscatter.sections.workload.patience import GRACE
from pytest_gatherscatter.simulation.rule import Rule
from pytest_gatherscatter.simulation.world import (
    Died,
    Froze,
    HookCalled,
    Said,
    Sight,
    VisitBegan,
    VisitEnded,
    World,
)
from pytest_gatherscatter.wire import messages as m

HOOK_SLACK = 8.0
"""Seconds for which another hook of the same monitor may be in the way of making safe."""

PROMPT = 0.1
"""Seconds within which a monitor makes safe that nothing keeps from it: no keepalive wakes it."""

UNREAD = 1.0
"""Seconds by which it may be late where no clock was read: what the Go's way may have taken."""

VISIT_SLACK = 20.0
"""Seconds on top of every wait that a visit may add up to: connecting, and answers' ways."""


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
    """No monitor starts after the deadline; who started is stopped, aborted, or makes safe then."""

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
                deadline = self._deadlines[sight.section]
                late = sight.at - deadline
                if late > (UNREAD if sight.bound is None else sight.bound + PROMPT):
                    raise self.broken(f"{key[0]} starts {key[1]} {late:.3f} s after its deadline")
                self._due[key] = deadline
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

    @property
    def until(self) -> float:  # noqa: D102
        return max((self._latest(key, due) for key, due in self._due.items()), default=0.0)

    def _latest(self, key: tuple[str, str], due: float) -> float:
        return due + HOOK_SLACK + self._frozen[key[0]]

    def _look(self, key: tuple[str, str], due: float | None) -> None:
        if due is not None and self.world.now > self._latest(key, due):
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
            said = self._reports[report.section, report.token, report.agent]
            if report not in said:
                said.append(report)
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
