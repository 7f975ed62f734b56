"""Sections of a run against real brokers, with gatherers and monitors in processes of their own."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from livelab import VICTIM, Lab, demand, opened, sockets

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.errors import (
    FindingFailed,
    MonitorBroken,
    NoGatherer,
    NotGathered,
    SectionOverdue,
    SectionUnreported,
    SectionVetoed,
)
from pytest_gatherscatter.sections.section import Demand, SectionState, verdict
from pytest_gatherscatter.sections.service import workload
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.sections.workload.memory import EMPTY_PAUSE
from pytest_gatherscatter.settings import Settings


@pytest.fixture
def both(broker_url: str, lab: str, tmp_path: Path) -> Iterator[Lab]:
    """A lab on one broker after the other."""
    with opened(broker_url, lab, tmp_path) as one:
        yield one


@pytest.fixture
def here(embedded_url: str, lab: str, tmp_path: Path) -> Iterator[Lab]:
    """A lab on the embedded broker, for what does not depend on the broker."""
    with opened(embedded_url, lab, tmp_path) as one:
        yield one


# ── together ───────────────────────────────────────────────────────────────────────────


def test_a_section_with_two_monitors(both: Lab) -> None:
    """Gathered, quiet while it runs, measured by both, captures fetched, ticket gone."""
    both.gatherer()
    both.monitor("scope", "capture")
    both.monitor("psu")
    workloads = both.workloads()
    before, threads = sockets(), threading.active_count()
    visit = workloads.gather(demand(both, require={"scope"}, min_monitors=2, max_skew=0.5))
    assert visit.coordinated
    section = workloads.enter(visit)
    now = time.monotonic()
    assert section.t0 is not None
    assert now >= section.t0
    assert sockets() == before
    assert threading.active_count() == threads
    assert section.state is SectionState.RUNNING
    assert both.tickets == [f"{section.id}.ticket"]
    ticket = (both.place / "tickets" / both.tickets[0]).read_text()
    assert '"clock_offset":0.0' in ticket.replace(" ", "")  # one host, one clock
    time.sleep(0.05)
    workloads.leave(visit, "passed")
    assert sockets() == before
    assert both.tickets == []
    assert verdict(section) == []
    assert section.members == ("psu", "scope")
    assert section.reports["scope"].findings["peak_v"] == 5.71
    assert section.skew_ms < 500
    assert section.skew_bound_ms < 500
    assert section.reports["psu"].lateness_ms >= 0
    (trace,) = section.reports["scope"].artifacts
    assert trace.path is not None
    assert trace.path.read_bytes() == bytes(range(256)) * 4096
    assert trace.path.is_relative_to(section.artifacts / "scope")
    assert section.census.entry is not None
    assert section.census.entry.ours() == ()
    assert section.facts()["coordinated"] is True


def test_again_and_again(here: Lab) -> None:
    """One gatherer and one monitor serve one section after the other, with growing tokens."""
    here.gatherer()
    here.monitor("scope")
    workloads = here.workloads()
    tokens = []
    for _ in range(5):
        visit = workloads.gather(demand(here, require={"scope"}))
        workloads.enter(visit)
        section = workloads.leave(visit, "passed")
        assert verdict(section) == []
        tokens.append(section.token)
    assert tokens == sorted(set(tokens))


def test_a_hold_is_waited_for_and_shown(here: Lab) -> None:
    """A monitor that holds is waited for, and people see who holds and why."""
    here.gatherer()
    here.monitor("thermal", "hold")
    workloads = here.workloads()
    visit = workloads.gather(demand(here, require={"thermal"}))
    assert visit.section.waited >= 0.6
    assert [hold.reason for hold in visit.section.holds] == ["settling"]
    lines = [line for wait in here.waits for line in wait.lines]
    assert any(line.startswith("thermal holds") and "settling" in line for line in lines)
    workloads.withdraw(visit, "seen enough")


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [("veto", SectionVetoed, "door open"), ("break", MonitorBroken, "no cable")],
)
def test_a_monitor_says_no(here: Lab, how: str, error: type[Exception], text: str) -> None:
    """A veto and a broken hook end the section before the start, with their reason."""
    here.gatherer()
    here.monitor("scope", how)
    with pytest.raises(error, match=text):
        here.workloads().gather(demand(here, not_gathered="run"))
    assert here.tickets == []


def test_a_failed_finding(here: Lab) -> None:
    """What a monitor found out of bounds is the device's fault, with figure and bound."""
    here.gatherer()
    here.monitor("scope", "fail")
    workloads = here.workloads()
    visit = workloads.gather(demand(here, require={"scope"}))
    workloads.enter(visit)
    (error,) = verdict(workloads.leave(visit, "passed"))
    assert isinstance(error, FindingFailed)
    assert "scope: peak_v = 5.71 V" in error.text


class Stopwatch:
    """Stands for the module ``time``: each look costs 7 s, but none while a body runs."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.body = 0.0

    def monotonic(self) -> float:
        """Look at it."""
        self.now += self.body or 7.0
        self.body = 0.0
        return self.now


def test_what_is_told_is_the_bodys_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts from when the body may begin to when it is over: no wait before, none after."""
    watch = Stopwatch()
    monkeypatch.setattr(workload, "time", watch)
    workloads = Workloads(Settings(), Found(None, "none", "none"), run="0" * 16, locks=tmp_path)
    visit = workloads.gather(Demand(name="sleep", bench="b", test="t", max_duration=0.5))
    workloads.enter(visit)
    watch.body = 1.5
    (error,) = verdict(workloads.leave(visit, "passed"))
    assert error.told == "DUT: section 'sleep' took 1.5 s, 0.5 s were allowed"


def test_too_long_is_overdue(here: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that runs past max_duration is told so, with a gatherer and without."""
    workloads = here.workloads()
    for _ in range(2):
        visit = workloads.gather(demand(here, max_duration=0.05))
        workloads.enter(visit)
        time.sleep(0.1)
        (error,) = verdict(workloads.leave(visit, "passed"))
        assert isinstance(error, SectionOverdue)
        if not visit.coordinated:
            here.gatherer()
            time.sleep(EMPTY_PAUSE)
    assert visit.coordinated
    visit = workloads.gather(demand(here, max_duration=0.05))
    started = workloads.enter(visit).started
    assert started is not None
    watch = Stopwatch()
    watch.now, watch.body = started, 1.5
    monkeypatch.setattr(workload, "time", watch)
    (error,) = verdict(workloads.leave(visit, "passed"))
    assert "took 1.5 s, 0.05 s were allowed" in error.text


# ── nobody there ───────────────────────────────────────────────────────────────────────


def test_no_broker(tmp_path: Path) -> None:
    """Without a broker a section runs alone at once; one with demands fails, as policies say."""
    workloads = Workloads(
        Settings(), Found(None, "none", "none was asked for"), run="0" * 16, locks=tmp_path
    )
    plain = Demand(name="n", bench="b", test="t")
    visit = workloads.gather(plain)
    section = workloads.enter(visit)
    workloads.leave(visit, "passed")
    assert not section.coordinated
    assert section.alone_because == "none was asked for"
    assert verdict(section) == []
    assert dict(section.reports) == {}
    strict = Demand(name="n", bench="b", test="t", require=frozenset({"scope"}))
    with pytest.raises(NoGatherer, match="nobody could measure it"):
        workloads.gather(strict)
    skipping = Demand(name="n", bench="b", test="t", no_gatherer="skip")
    with pytest.raises(NoGatherer) as caught:
        workloads.gather(skipping)
    assert skipping.skips(caught.value)
    running = Demand(name="n", bench="b", test="t", min_monitors=1, no_gatherer="run")
    visit = workloads.gather(running)
    workloads.enter(visit)
    assert verdict(workloads.leave(visit, "passed")) == []


def test_no_gatherer_is_known_at_once(both: Lab) -> None:
    """On a live broker absence costs milliseconds each time, and a gatherer that comes is met."""
    workloads = both.workloads()
    for _ in range(3):
        began = time.monotonic()
        visit = workloads.gather(demand(both))
        assert not visit.coordinated
        assert time.monotonic() - began < 1.0
        workloads.enter(visit)
        workloads.leave(visit, "passed")
    both.gatherer()
    time.sleep(EMPTY_PAUSE)  # for so long the absence is believed
    visit = workloads.gather(demand(both))
    assert visit.coordinated
    workloads.withdraw(visit, "seen")


def test_a_gatherer_that_was_met_is_missed(here: Lab) -> None:
    """After one was met, its absence is waited for and then fails, also without demands."""
    gatherer = here.gatherer()
    workloads = here.workloads()
    workloads.withdraw(workloads.gather(demand(here)), "seen")
    gatherer.terminate()
    gatherer.wait()
    began = time.monotonic()
    with pytest.raises(NoGatherer, match="went away"):
        workloads.gather(demand(here, gather_timeout=1.0))
    assert 0.9 < time.monotonic() - began < 5.0
    began = time.monotonic()
    with pytest.raises(NoGatherer, match="went away"):
        workloads.gather(demand(here, gather_timeout=1.0))
    assert time.monotonic() - began < 0.5


def test_an_unreachable_broker_is_paid_for_once(tmp_path: Path) -> None:
    """Many sections do not each wait for a broker that is not there."""
    settings = Settings(handshake_timeout=0.5)
    workloads = Workloads(
        settings,
        Found("amqp://guest:guest@127.0.0.1:9", "url", "given"),
        run="0" * 16,
        locks=tmp_path,
        tickets=tmp_path,
    )
    began = time.monotonic()
    for _ in range(100):
        visit = workloads.gather(Demand.of(settings, name="n", test="t"))
        assert "no broker at" in visit.section.alone_because
        workloads.enter(visit)
        workloads.leave(visit, "passed")
    assert time.monotonic() - began < 3.0


def test_a_gatherer_that_hangs_is_as_none(here: Lab) -> None:
    """A stopped gatherer costs one handshake; when it wakes up it gathers for nobody."""
    gatherer = here.gatherer()
    gatherer.send_signal(signal.SIGSTOP)
    workloads = here.workloads()
    began = time.monotonic()
    visits = []
    for _ in range(5):
        visit = workloads.gather(demand(here, handshake_timeout=0.5))
        assert not visit.coordinated
        workloads.enter(visit)
        workloads.leave(visit, "passed")
        visits.append(visit)
    assert 0.5 <= time.monotonic() - began < 3.0
    gatherer.send_signal(signal.SIGCONT)
    here.until(lambda status: not status.sections)


def test_a_missing_monitor(here: Lab) -> None:
    """Who is missing is named after the gather timeout; the policy may let it run alone."""
    here.gatherer()
    workloads = here.workloads()
    asked = demand(here, require={"scope"}, gather_timeout=0.6)
    with pytest.raises(NotGathered, match="scope") as caught:
        workloads.gather(asked)
    assert not asked.skips(caught.value)
    visit = workloads.gather(
        demand(here, require={"scope"}, gather_timeout=0.6, not_gathered="run")
    )
    assert not visit.coordinated
    assert "scope" in visit.section.alone_because
    workloads.enter(visit)
    assert verdict(workloads.leave(visit, "passed")) == []


# ── benches ────────────────────────────────────────────────────────────────────────────


def test_a_busy_bench_names_its_owner(here: Lab) -> None:
    """Who waits behind a section learns whose it is, and fails at the queue timeout."""
    here.gatherer()
    first, second = here.workloads(), here.workloads()
    visit = first.gather(demand(here))
    first.enter(visit)
    with pytest.raises(NotGathered, match=f"pid {os.getpid()}"):
        second.gather(demand(here, queue_timeout=0.5))
    assert any(wait.state == "queued" for wait in here.waits)
    first.leave(visit, "passed")
    second.withdraw(second.gather(demand(here, queue_timeout=5.0)), "seen")


def test_benches_overlap(here: Lab) -> None:
    """Sections on two benches are inside at one time, each with its own monitor."""
    here.gatherer()
    here.monitor("scope", benches="left")
    here.monitor("psu", benches="right")
    left, right = here.workloads(), here.workloads()
    one = left.gather(demand(here, bench="left", require={"scope"}))
    left.enter(one)
    two = right.gather(demand(here, bench="right", require={"psu"}))
    right.enter(two)
    assert verdict(right.leave(two, "passed")) == []
    assert verdict(left.leave(one, "passed")) == []
    assert (one.section.members, two.section.members) == (("scope",), ("psu",))


def test_a_monitor_of_two_benches_takes_turns(here: Lab) -> None:
    """While it is inside on one bench, the other one's test sees a hold that says with what."""
    here.gatherer()
    here.monitor("scope", benches="left right")
    left, right = here.workloads(), here.workloads()
    one = left.gather(demand(here, bench="left", require={"scope"}))
    left.enter(one)
    left_at: list[float] = []

    def leave() -> None:
        left_at.append(time.monotonic())
        left.leave(one, "passed")

    later = threading.Timer(1.5, leave)
    later.start()
    two = right.gather(demand(here, bench="right", require={"scope"}))
    gathered_at = time.monotonic()
    later.join()
    assert gathered_at >= left_at[0]
    assert [hold.reason for hold in two.section.holds] == ["busy with burst on left"]
    right.enter(two)
    section = right.leave(two, "passed")
    assert verdict(section) == []
    assert section.reports["scope"].started is not None


def test_lone_sections_exclude_each_other(here: Lab) -> None:
    """Without a gatherer the bench's lock file does it."""
    first, second = here.workloads(), here.workloads()
    visit = first.gather(demand(here))
    with pytest.raises(NotGathered, match="test_burst"):
        second.gather(demand(here, queue_timeout=0.3))
    assert any("on this host" in line for wait in here.waits for line in wait.lines)
    first.enter(visit)
    first.leave(visit, "passed")
    second.withdraw(second.gather(demand(here, queue_timeout=0.3)), "seen")


def test_a_gathered_section_waits_for_a_lone_one(here: Lab) -> None:
    """A section that began before the gatherer did is not run into."""
    first, second = here.workloads(), here.workloads()
    alone = first.gather(demand(here))
    here.gatherer()
    visit = second.gather(demand(here, gather_timeout=0.5))
    with pytest.raises(NotGathered, match="busy on this host"):
        second.enter(visit)
    assert here.tickets == []
    here.until(lambda status: not status.sections)
    visit = second.gather(demand(here))
    timer = threading.Timer(0.3, lambda: first.leave(alone, "passed"))
    timer.start()
    section = second.enter(visit)
    assert section.t0 is not None
    timer.join()
    second.leave(visit, "passed")


# ── interrupted, lost, dead ────────────────────────────────────────────────────────────


def test_an_interrupt_while_waiting_leaves_nothing(here: Lab) -> None:
    """Ctrl-C in a wait withdraws the section and closes everything."""
    here.gatherer()
    before = sockets()
    workloads = here.workloads()
    timer = threading.Timer(0.7, workloads.interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        workloads.gather(demand(here, require={"scope"}))
    timer.join()
    assert sockets() == before
    assert here.tickets == []
    here.until(lambda status: not status.sections)


def test_an_interrupted_body_is_left(here: Lab) -> None:
    """A section that is left as interrupted frees the bench, without waiting for reports."""
    here.gatherer()
    here.monitor("scope")
    workloads = here.workloads()
    visit = workloads.gather(demand(here))
    workloads.enter(visit)
    began = time.monotonic()
    workloads.leave(visit, "interrupted")
    assert time.monotonic() - began < 4.0
    assert here.tickets == []
    here.until(lambda status: not status.sections)


def test_a_gatherer_that_dies_in_the_section(here: Lab) -> None:
    """The body is not disturbed; what could not be told is owed, and told to the next one."""
    gatherer = here.gatherer()
    here.monitor("scope")
    workloads = here.workloads(report_timeout=0.5)
    asked = Demand.of(workloads.settings, name="n", test="test_n", require={"scope"})
    visit = workloads.gather(asked)
    workloads.enter(visit)
    gatherer.kill()
    gatherer.wait()
    section = workloads.leave(visit, "passed")
    assert section.state is SectionState.UNREPORTED
    (error,) = verdict(section)
    assert isinstance(error, SectionUnreported)
    assert here.tickets == [f"{section.id}.ticket"]
    here.gatherer()
    here.until(lambda status: bool(status.agents))
    visit = workloads.gather(asked)
    workloads.enter(visit)
    assert verdict(workloads.leave(visit, "passed")) == []
    assert here.tickets == []
    assert len(workloads.notes) == 1


def test_a_dead_owners_section_is_left_for_it(here: Lab) -> None:
    """A test that was killed inside its section does not close the bench for ever."""
    here.gatherer()
    victim = here.start(VICTIM)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "inside\n"
    victim.kill()
    victim.wait()
    workloads = here.workloads()
    visit = workloads.gather(demand(here, queue_timeout=10.0))
    workloads.enter(visit)
    assert verdict(workloads.leave(visit, "passed")) == []
    assert here.tickets == []
    assert any("test_victim" in note for note in workloads.notes)


def test_a_gatherer_that_restarts_while_gathering(here: Lab) -> None:
    """Not committed yet: the section is entered anew at the new gatherer, and goes on."""
    gatherer = here.gatherer()
    workloads = here.workloads()

    def restart() -> None:
        gatherer.kill()
        gatherer.wait()
        here.gatherer()
        here.monitor("scope")

    thread = threading.Timer(0.5, restart)
    thread.start()
    visit = workloads.gather(demand(here, require={"scope"}, gather_timeout=20.0))
    thread.join()
    workloads.enter(visit)
    assert verdict(workloads.leave(visit, "passed")) == []


def test_a_body_never_starts_after_its_own_deadline(
    here: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped between Go and t0 would run while nobody measures."""
    here.gatherer()
    workloads = here.workloads()
    module = "pytest_gatherscatter.sections.service.follower.sleep_until"
    monkeypatch.setattr(module, lambda t0: time.sleep(t0 + 0.6 - time.monotonic()))
    visit = workloads.gather(demand(here, max_duration=0.5))
    with pytest.raises(NotGathered, match=r"held up until 0\.6 s after t0.*may last 0\.5 s"):
        workloads.enter(visit)
    monkeypatch.undo()
    workloads.enter(again := workloads.gather(demand(here)))
    assert workloads.leave(again, "passed").state is SectionState.CLOSED
    assert here.tickets == []
