"""Rules about clocks: nobody is early, and what is told of times is true."""

from collections import Counter

from pytest_gatherscatter.sections.clock import DRIFT
from pytest_gatherscatter.sections.monitor.hookcall import Hook
from pytest_gatherscatter.simulation.rule import Promise, Rule
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    Died,
    Heard,
    HookCalled,
    Recorded,
    Said,
    Sight,
    World,
)
from pytest_gatherscatter.wire import messages as m

ROUNDING = 2 * DRIFT
"""Seconds by which two clocks may part between the Go and the start, two leads at the most."""

CARRIED = 0.05
"""Seconds by which a t0 may move that the world's clock carries from one boot to the next: two
clocks that part by 100 ppm for some minutes."""


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


class BoundsAge(Promise):
    """How well an agent says to know the clock gets worse from one word to the next.

    The clocks may part all the time, so only a new reading makes a bound better.
    """

    name = "a bound ages"
    kinds = frozenset({(Said, m.JoinLab), (Heard, m.ClockReading), Died})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: dict[str, tuple[float, float]] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Said(at=at, party=party, message=m.JoinLab(bound=float(bound))):
                before, then = self._told.get(party, (at, bound))
                if bound - then < DRIFT * (at - before) / 2:
                    self.miss(f"{party} tells {bound} s, and told {then} s before")
                self._told[party] = at, bound
            case Heard(party=party, message=m.ClockReading()) | Died(party=party):
                self._told.pop(party, None)
            case _:
                pass


class TimesStay(Promise):
    """A reboot of the gatherer moves no section in time: not its t0, and not its deadline."""

    name = "a reboot moves no section"
    kinds = frozenset({Recorded, m.SectionGo, m.SectionClosed, m.SectionChanged})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._commits: Counter[tuple[str, int]] = Counter()
        self._times: dict[tuple[str, int], tuple[float, float]] = {}

    def see(self, sight: Sight) -> None:  # noqa: D102
        match sight:
            case Recorded(event={"what": "committed", "section": section, "token": token}):
                self._commits[section, token] += 1
            case Said(message=m.SectionGo() as go):
                clock = self.world.clocks[go.gatherer]
                times = clock.true(go.t0), clock.true(go.deadline)
                self._times.setdefault((go.section, go.token), times)
            case Said(message=m.SectionClosed() as closed, clock=str(clock)):
                t0, _ = self._known(closed.section, closed.token)
                off = 0.0 if t0 is None else abs(self.world.clocks[clock].true(closed.t0) - t0)
                if off > CARRIED:
                    self.miss(f"{closed.section} is closed with a t0 that is off by {off:.3f} s")
            case Said(at=at, message=m.SectionChanged(state="overdue") as changed):
                _, deadline = self._known(changed.section, changed.token)
                if deadline is not None and at < deadline - CARRIED:
                    self.miss(f"{changed.section} is overdue {deadline - at:.3f} s too early")
            case _:
                pass

    def _known(self, section: str, token: int) -> tuple[float, float] | tuple[None, None]:
        """Return its t0 and deadline; not if another gatherer had to guess them."""
        if self._commits[section, token] > 1:
            return None, None
        return self._times.get((section, token), (None, None))
