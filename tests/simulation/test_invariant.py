"""Each rule bites: a bug that is planted in a machine breaks the rule that is made for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.clock import GathererClock
from pytest_gatherscatter.sections.gatherer.commit import Commit
from pytest_gatherscatter.sections.gatherer.ending import Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.lab import Lab
from pytest_gatherscatter.sections.gatherer.machine import Gatherer
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.state import SECTION_TABLE, SectionState
from pytest_gatherscatter.sections.monitor.arming import Arming, ArmingState
from pytest_gatherscatter.sections.monitor.ending import Ending as MonitorEnding
from pytest_gatherscatter.sections.monitor.hookcall import CallHook, Hook
from pytest_gatherscatter.sections.monitor.order import Orders
from pytest_gatherscatter.sections.monitor.station import Station
from pytest_gatherscatter.sections.workload.answer import Answers
from pytest_gatherscatter.sections.workload.guide import Guide
from pytest_gatherscatter.sections.workload.patience import Patience
from pytest_gatherscatter.sections.workload.seeking import TURN
from pytest_gatherscatter.sections.workload.state import WorkloadState
from pytest_gatherscatter.sections.workload.step import Serve, Step
from pytest_gatherscatter.simulation.instrument import Instrument
from pytest_gatherscatter.simulation.scenario import play
from pytest_gatherscatter.wire import messages as m

SEEDS = 150
"""Seeds within which a planted bug must show: most do in the first few."""

Patch = pytest.MonkeyPatch


def go_without_asking(patch: Patch) -> None:
    """Take every member for alive."""
    check = Commit._check

    def hasty(self: Commit, section: SectionRecord, now: float) -> None:
        check(self, section, now)
        for name in section.ready():
            section.participants[name].alive = True
        self.lab.touched.add(section.bench)

    patch.setattr(Commit, "_check", hasty)


def go_without_the_missing(patch: Patch) -> None:
    """Wait for nobody."""
    patch.setattr(SectionRecord, "pending", lambda _: ())


def go_without_a_record(patch: Patch) -> None:
    """Keep the decision in memory only."""
    commit = Commit.commit_if_alive

    def forgetful(self: Commit, section: SectionRecord, *, now: float) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.lab.out, "record", lambda *_, **__: 0)
            commit(self, section, now=now)

    patch.setattr(Commit, "commit_if_alive", forgetful)


def bench_free_at_the_deadline(patch: Patch) -> None:
    """Let the next one in when the time is over."""
    look = Commit.look

    def impatient(self: Commit, section: SectionRecord, *, now: float) -> None:
        look(self, section, now=now)
        if section.state is SectionState.OVERDUE:
            self.ending._free(section, now)
            self.lab.touched.add(section.bench)

    patch.setattr(Commit, "look", impatient)


def tokens_fall(patch: Patch) -> None:
    """Give lower tokens as time goes on."""
    enter = Gathering.enter

    def falling(self: Gathering, message: m.EnterSection, received: Received, now: float) -> None:
        self.lab.token -= 2
        enter(self, msgspec.structs.replace(message, token=0), received, now)

    patch.setattr(Gathering, "enter", falling)
    patch.setattr(Lab, "believe", lambda _, __: None)
    patch.setattr(Station, "greeting", _without_token(Station.greeting))


def _without_token(
    join: Callable[[Any, float | None], m.JoinLab],
) -> Callable[[Any, float | None], m.JoinLab]:
    return lambda self, bound: msgspec.structs.replace(join(self, bound), token=0)


def an_abort_is_not_heard(patch: Patch) -> None:
    """Stay armed for ever."""
    patch.setattr(MonitorEnding, "abort", lambda *_: None)


def the_deadline_is_not_kept(patch: Patch) -> None:
    """Wait for the gatherer's word, however long that takes."""
    go = Orders.go

    def endless(self: Orders, message: m.SectionGo, now: float) -> None:
        go(self, msgspec.structs.replace(message, deadline=message.deadline + 500), now)

    patch.setattr(Orders, "go", endless)


def nobody_gives_up(patch: Patch) -> None:
    """Gather and wait until the end of days."""
    patch.setattr(Gathering, "_give_up", lambda *_: None)
    patch.setattr(Patience, "look", lambda *_: None)


def an_old_report_is_merged(patch: Patch) -> None:
    """Take what an agent said of its last section for what it says of this one."""
    report, stop = Ending.report, Ending.stop
    last: dict[str, m.AgentReport] = {}

    def noted(self: Ending, message: m.AgentReport, received: Received, now: float) -> None:
        report(self, message, received, now)
        last[message.agent] = message

    def stale(self: Ending, section: SectionRecord, *, now: float) -> None:
        stop(self, section, now=now)
        section.reports.update({name: last[name] for name in section.members if name in last})

    patch.setattr(Ending, "report", noted)
    patch.setattr(Ending, "stop", stale)


def go_at_once(patch: Patch) -> None:
    """Start when Go is heard, not at t0."""
    take_go = Answers._take_go

    def at_once(self: Answers, message: m.SectionGo, now: float) -> None:
        take_go(self, message, now)
        if self._standing.t0 is not None:
            self._standing.t0 = now

    patch.setattr(Answers, "_take_go", at_once)


def bounds_are_invented(patch: Patch) -> None:
    """Claim to know the clock exactly."""
    patch.setattr(GathererClock, "bound", lambda *_: 0.0)


def acceptance_means_nothing(patch: Patch) -> None:
    """Fall back to running alone although the gatherer has it."""
    progress = Answers._progress

    def deaf(self: Answers, message: Any, now: float) -> None:  # noqa: ANN401 - three kinds
        if not isinstance(message, m.SectionAccepted | m.SectionWaiting):
            progress(self, message, now)

    patch.setattr(Answers, "_progress", deaf)


def gather_for_nobody(patch: Patch) -> None:
    """Go without a word of the workload, and do not hear that it withdrew or is gone."""
    progress = Gatherer._progress

    def eager(self: Gatherer, now: float) -> None:
        progress(self, now)
        for section in list(self.lab.sections.values()):
            if section.state is SectionState.GATHERED:
                self._commit._check(section, now)
        progress(self, now)

    patch.setattr(Gatherer, "_progress", eager)
    patch.setattr(Ending, "withdraw", lambda *_: None)
    patch.setattr(Gatherer, "_outcome", _only_good_news(Gatherer._outcome))
    patch.setattr(Gathering, "enter", _taken_at_once(Gathering.enter))


def _only_good_news(outcome: Callable[..., None]) -> Callable[..., None]:
    return lambda self, message, now: (
        outcome(self, message, now) if type(message).__name__ == "Confirmed" else None
    )


def _taken_at_once(enter: Callable[..., None]) -> Callable[..., None]:
    def taken(self: Gathering, message: m.EnterSection, received: Received, now: float) -> None:
        enter(self, message, received, now)
        self.accepted(self.lab.sections[message.section], now=now)

    return taken


def who_is_queued_again_keeps_the_bench(patch: Patch) -> None:
    """Keep the lock of one's host, though a new gatherer has let another in before."""
    prepare = Guide._prepare

    def keeps(self: Guide, now: float) -> Step:
        gathered = self.machine.state is WorkloadState.GATHERED
        return prepare(self, now) if gathered else Serve(TURN)

    patch.setattr(Guide, "_prepare", keeps)


def who_thaws_starts(patch: Patch) -> None:
    """Start whenever the Go is heard, and the hook's time has come."""
    call = Instrument._call

    def late(self: Instrument, effect: int, one: CallHook, ready: float) -> None:
        call(self, effect, replace(one, until=None), ready)

    def never(self: MonitorEnding, arming: Arming, cause: str, now: float) -> None:
        if cause == "too-late":
            self.station.to(arming, ArmingState.STARTING, now)
            self.station.hooks.add(arming, Hook.STARTED)
        else:
            never_started(self, arming, cause, now)

    never_started = MonitorEnding.never_started
    patch.setattr(MonitorEnding, "never_started", never)
    patch.setattr(Instrument, "_call", late)


def an_illegal_step(patch: Patch) -> None:
    """Take a step that the table does not have."""
    patch.setitem(SECTION_TABLE, SectionState.COMMITTED, ())


BUGS: dict[Callable[[Patch], None], set[str]] = {
    go_without_asking: {"no go before all are ready"},
    go_without_the_missing: {"no go before all are ready"},
    go_without_a_record: {"one go, committed first, before t0"},
    bench_free_at_the_deadline: {"one live section a bench"},
    tokens_fall: {"tokens only grow"},
    an_abort_is_not_heard: {"every prepare ends"},
    the_deadline_is_not_kept: {"monitors make safe at the deadline"},
    nobody_gives_up: {"every workload is unblocked"},
    an_old_report_is_merged: {"nothing stale is merged"},
    go_at_once: {"never before t0"},
    bounds_are_invented: {"reported times are true to their bound", "never before t0"},
    acceptance_means_nothing: {"once accepted never alone"},
    gather_for_nobody: {"no go for who runs alone"},
    who_is_queued_again_keeps_the_bench: {"who is queued opens its bench"},
    who_thaws_starts: {"monitors make safe at the deadline"},
    an_illegal_step: {"no machine breaks"},
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_breaks_its_rule(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """Within some seeds the rule that is made for it breaks."""
    bug(monkeypatch)
    broken: set[str] = set()
    for seed in range(SEEDS):
        violated = play(seed).violated
        if violated is not None:
            broken.add(violated.rule)
        if broken & BUGS[bug]:
            return
    pytest.fail(f"not found in {SEEDS} seeds; broken were {sorted(broken) or 'none'}")
