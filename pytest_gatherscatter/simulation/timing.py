"""Rules about clocks: nobody is early, and what is told of times is true."""

from pytest_gatherscatter.sections.clock import DRIFT
from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.simulation.rule import Rule
from pytest_gatherscatter.simulation.world import BodyBegan, HookCalled, Said, Sight, World
from pytest_gatherscatter.wire import messages as m

ROUNDING = 2 * DRIFT
"""Seconds by which two clocks may part between the Go and the start, two leads at the most."""


class NeverEarly(Rule):
    """Nobody starts before t0 on the gatherer's true clock, beyond its own bound."""

    name = "never before t0"
    kinds = frozenset({m.SectionGo, BodyBegan, HookCalled})

    def __init__(self, world: World, slack: float) -> None:
        super().__init__(world)
        self._slack = ROUNDING + slack
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
        if early > (bound or 0.0) + self._slack:
            raise self.broken(f"{sight.party} started {sight.section} {early * 1000:.3f} ms early")


class HonestTimes(Rule):
    """A reported start is the true one, to the bound that is reported with it."""

    name = "reported times are true to their bound"
    kinds = frozenset({BodyBegan, HookCalled, m.LeaveSection, m.AgentReport})

    def __init__(self, world: World, slack: float) -> None:
        super().__init__(world)
        self._slack = ROUNDING + slack
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
        if off > report.bound + self._slack:
            raise self.broken(
                f"{sight.party} in {report.section} is off by {off * 1000:.3f} ms, "
                f"claims {report.bound * 1000:.3f} ms"
            )
