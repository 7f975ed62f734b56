"""The monitor's machine: no fixture, no mock; inputs in, effects out, time as an argument."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Exited,
    Failed,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Record,
    Returned,
    Run,
    Send,
    Told,
    Wake,
    Woken,
)
from pytest_gatherscatter.sections.clock import DRIFT
from pytest_gatherscatter.sections.hook import Hold, Veto
from pytest_gatherscatter.sections.monitor.arming import ARMING_TABLE, ENDED, ArmingState
from pytest_gatherscatter.sections.monitor.hookcall import (
    CHUNK,
    Answer,
    Broken,
    CallHook,
    CancelHook,
    Capture,
    Collected,
    DeclareQueue,
    DiscardCaptures,
    Drain,
    Hook,
    HookEnded,
    HookReturned,
    QueueDeclared,
)
from pytest_gatherscatter.sections.monitor.machine import Identity, MonitorMachine
from pytest_gatherscatter.wire.codec import encode
from pytest_gatherscatter.wire.messages import (
    AgentAlive,
    AgentBroken,
    AgentHolding,
    AgentReady,
    AgentReport,
    AgentVetoed,
    Artifact,
    ArtifactChunk,
    CheckAlive,
    ClockProbe,
    ClockReading,
    Finding,
    GathererStarted,
    JoinAccepted,
    JoinLab,
    LeaveLab,
    Message,
    PrepareSection,
    ReportAccepted,
    SectionAborted,
    SectionGo,
    SectionStopped,
)

G = "0" * 8
ONE, TWO = "1" * 8, "2" * 8
AHEAD = 1000.0
"""The gatherer's clock minus ours, in these tests."""

M = TypeVar("M", bound=Message)


class Bench:
    """A machine, the time, and everything that it did."""

    def __init__(self, *, benches: tuple[str, ...] = ("b", "c"), trip: float = 0.0) -> None:
        self.trip = trip
        self.machine = MonitorMachine(
            Identity(name="scope", instance="a" * 8, benches=benches), hook_timeout=30.0
        )
        self.answering = True
        self.now = 10.0
        self.done: list[Effect] = []
        self.seen = 0
        self.tell(LinkUp())
        self.get(JoinAccepted(agent="scope", gatherer=G, keepalive=2.0))

    def tell(self, message: Input) -> list[Effect]:
        """Give an input, and answer every clock probe after a round trip of ``trip`` seconds."""
        effects = self.machine.handle(message, now=self.now)
        self.done += effects
        for effect in effects:
            if isinstance(effect, Send):
                encode(effect.message)
                if isinstance(effect.message, ClockProbe) and self.answering:
                    sent = effect.message.sent
                    self.now += self.trip
                    self.get(ClockReading(sent=sent, read=self.now + AHEAD, gatherer=G))
        return effects

    def get(self, message: Message) -> list[Effect]:
        """Receive a message."""
        self.seen += 1
        return self.tell(Received(message, self.seen))

    def twice(self, message: Message) -> list[Effect]:
        """Receive a message twice; what came of the second."""
        self.get(message)
        return self.get(message)

    def wait(self, seconds: float) -> None:
        """Let time pass, waking the machine exactly when it asked to be."""
        end = self.now + seconds
        while True:
            wakes = [e.at for e in self.done if isinstance(e, Wake) and self.now < e.at <= end]
            if not wakes:
                break
            self.now = min(wakes)
            self.tell(Woken())
        self.now = end

    def said(self, kind: type[M]) -> list[M]:
        """Messages of a kind that were sent so far."""
        sent = [e.message for e in self.done if isinstance(e, Send)]
        return [message for message in sent if isinstance(message, kind)]

    def call(self) -> tuple[int, CallHook]:
        """The last hook call, with its effect."""
        return [(e.id, e.command) for e in self.runs() if isinstance(e.command, CallHook)][-1]

    def runs(self) -> list[Run]:
        """All ``Run`` effects so far."""
        return [e for e in self.done if isinstance(e, Run)]

    def hooks(self) -> list[str]:
        """The hooks called so far, with their sections' names."""
        calls = [e.command for e in self.runs() if isinstance(e.command, CallHook)]
        return [f"{call.hook.value} {call.section.name}" for call in calls]

    def end(self, answer: Answer = None, *, stuck: bool = False) -> list[Effect]:
        """End the last hook call."""
        effect, call = self.call()
        began = max(self.now, call.at or 0.0)
        ended = HookEnded(answer, ready=self.now, began=began, stuck=stuck)
        self.now = began
        return self.tell(Exited(effect, ended))

    def state(self, section: str = ONE) -> ArmingState:
        """Where a section stands."""
        return self.machine.armings[section].state


def prepare(section: str = ONE, token: int = 7, bench: str = "b") -> PrepareSection:
    """A request to arm."""
    return PrepareSection(
        section=section,
        token=token,
        bench=bench,
        name=f"s{section[0]}",
        test="t.py::t",
        owner="me",
        required=True,
        max_duration=5.0,
        hold_limit=900.0,
    )


def go(bench: Bench, section: str = ONE, token: int = 7, **other: object) -> SectionGo:
    """The Go, said now, with t0 in 50 ms and the deadline 5 s after it."""
    sent = bench.now + AHEAD
    facts: dict[str, object] = {
        "section": section,
        "token": token,
        "bench": "b",
        "gatherer": G,
        "members": ("scope",),
        "sent": sent,
        "t0": sent + 0.05,
        "deadline": sent + 5.05,
    }
    return SectionGo(**(facts | other))  # type: ignore[arg-type]


def stopped(section: str = ONE, token: int = 7) -> SectionStopped:
    """The end."""
    return SectionStopped(section=section, token=token, bench="b")


def aborted(section: str = ONE, token: int = 7, cause: str = "vetoed") -> SectionAborted:
    """The other end."""
    return SectionAborted(section=section, token=token, bench="b", cause=cause)


CAPTURE = Capture(
    Artifact(name="trace", size=CHUNK + 1, sha256="0" * 64, chunks=2), b"x" * (CHUNK + 1)
)
FINDING = Finding(name="peak", value=5.0, passed=True)


def at(state: ArmingState) -> Bench:  # noqa: C901, PLR0912 - one way into each state
    """A bench whose section ONE stands in ``state``."""
    bench = Bench()
    if state is ArmingState.WAITING:
        bench.get(prepare(TWO, bench="c", token=6))
        bench.end()
        bench.get(prepare())
        assert bench.state() is state
        return bench
    bench.get(prepare())
    match state:
        case ArmingState.PREPARING:
            pass
        case ArmingState.HOLDING:
            bench.end(Hold(5, "settling"))
        case ArmingState.VETOED:
            bench.end(Veto("door open"))
        case ArmingState.BROKEN:
            bench.end(Broken("exit 127"))
        case ArmingState.ABORTING | ArmingState.ABORTED:
            bench.end()
            bench.get(aborted())
            if state is ArmingState.ABORTED:
                bench.end()
        case _:
            bench.end()
    if state in INSIDE_OR_LATER:
        bench.get(go(bench))
    if state in INSIDE_OR_LATER - {ArmingState.STARTING}:
        bench.end()
    if state is ArmingState.OVERDUE:
        bench.wait(6)
        bench.end()
    if state in LATER:
        bench.get(stopped())
    if state is ArmingState.SENDING:
        bench.end(Collected((FINDING,), (CAPTURE,)))
    if state in {ArmingState.REPORTING, ArmingState.REPORTED}:
        bench.end(Collected((FINDING,)))
    if state is ArmingState.REPORTED:
        bench.get(ReportAccepted(section=ONE, agent="scope"))
    assert bench.state() is state
    return bench


LATER = frozenset(
    {ArmingState.STOPPING, ArmingState.SENDING, ArmingState.REPORTING, ArmingState.REPORTED}
)
INSIDE_OR_LATER = LATER | {ArmingState.STARTING, ArmingState.RUNNING, ArmingState.OVERDUE}

INPUTS: dict[str, Callable[[Bench], Input]] = {
    "prepare": lambda _: Received(prepare(), 901),
    "prepare again, higher": lambda _: Received(prepare(token=8), 901),
    "prepare again, lower": lambda _: Received(prepare(token=6), 901),
    "prepare next": lambda _: Received(prepare("3" * 8, token=9), 901),
    "prepare other bench": lambda _: Received(prepare("3" * 8, token=9, bench="c"), 901),
    "prepare lower": lambda _: Received(prepare("3" * 8, token=3), 901),
    "prepare absurd": lambda _: Received(prepare("3" * 8, token=2**53 - 1), 901),
    "check": lambda _: Received(CheckAlive(section=ONE, token=7), 901),
    "go": lambda bench: Received(go(bench), 901),
    "go without us": lambda bench: Received(go(bench, members=()), 901),
    "go of another token": lambda bench: Received(go(bench, token=8), 901),
    "stopped": lambda _: Received(stopped(), 901),
    "stopped lower": lambda _: Received(stopped(token=6), 901),
    "stopped higher": lambda _: Received(stopped(token=8), 901),
    "aborted": lambda _: Received(aborted(), 901),
    "aborted lower": lambda _: Received(aborted(token=6), 901),
    "aborted higher": lambda _: Received(aborted(token=8), 901),
    "accepted": lambda _: Received(ReportAccepted(section=ONE, agent="scope"), 901),
    "accepted fenced": lambda _: Received(
        ReportAccepted(section=ONE, agent="scope", fenced=True), 901
    ),
    "joined": lambda _: Received(JoinAccepted(agent="scope", gatherer=G, keepalive=2), 901),
    "other gatherer": lambda _: Received(
        JoinAccepted(agent="scope", gatherer="9" * 8, keepalive=0), 901
    ),
    "gatherer started": lambda _: Received(GathererStarted(gatherer="9" * 8), 901),
    "stray": lambda _: Received(LeaveLab(agent="x", instance=ONE), 901),
    "link up": lambda _: LinkUp(),
    "link down": lambda _: LinkDown("gone"),
    "woken": lambda _: Woken(),
    "stray confirm": lambda _: Confirmed(10_000),
    "stray return": lambda _: Returned(10_000),
    "stray failure": lambda _: Failed(10_000, "gone"),
    "stray end": lambda _: Exited(10_000, HookEnded()),
    "stray declare": lambda _: Exited(10_000, QueueDeclared()),
    "hook returned": lambda _: Told(HookReturned()),
    "hook ended": lambda bench: Exited(bench.call()[0], HookEnded(None, bench.now, bench.now)),
    "hook broke": lambda bench: Exited(
        bench.call()[0], HookEnded(Broken("exit 1"), bench.now, bench.now)
    ),
    "hook stuck": lambda bench: Exited(
        bench.call()[0], HookEnded(Broken("runs on"), bench.now, bench.now, stuck=True)
    ),
    "drain": lambda _: Told(Drain(3.0)),
}


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("state", ArmingState)
def test_every_input_in_every_state_twice(state: ArmingState, what: str) -> None:
    """No pair breaks the table, and after a bounded time no hook is owed to any section."""
    bench = at(state)
    message = INPUTS[what](bench)
    bench.tell(message)
    bench.tell(message)
    for _ in range(20):
        bench.wait(1)
    bench.tell(Told(HookReturned()))
    bench.tell(LinkUp())
    bench.get(JoinAccepted(agent="scope", gatherer=G, keepalive=2.0))
    for arming in list(bench.machine.armings.values()):
        bench.get(aborted(arming.info.id, token=arming.info.token))
    for _ in range(40):
        for effect in bench.done:
            if isinstance(effect, Run) and isinstance(effect.command, DeclareQueue):
                bench.tell(Exited(effect.id, QueueDeclared()))
            elif isinstance(effect, Run) and isinstance(effect.command, CallHook):
                bench.tell(Exited(effect.id, HookEnded(None, bench.now, bench.now)))
            elif isinstance(effect, Send) and isinstance(effect.message, ArtifactChunk):
                bench.tell(Confirmed(effect.id))
            elif isinstance(effect, Send) and isinstance(effect.message, AgentReport):
                section = effect.message.section
                bench.get(ReportAccepted(section=section, agent="scope"))
        bench.wait(0.5)
    assert {bench.state(id_) for id_ in bench.machine.armings} <= ENDED
    hooks = bench.hooks()
    names = [arming.info.name for arming in bench.machine.armings.values()]
    for name in names:
        ends = hooks.count(f"stopped {name}") + hooks.count(f"aborted {name}")
        # Once each: a section that begins anew, with a higher token, is there twice.
        assert int(f"prepare {name}" in hooks) <= ends <= names.count(name), hooks


def test_the_table_names_every_state() -> None:
    """A state without a row would be a dead end by mistake."""
    assert set(ARMING_TABLE) == set(ArmingState)
    assert {state for state, after in ARMING_TABLE.items() if not after} == set(ENDED)


def test_a_whole_section() -> None:
    """Arm, start at t0 on the local clock, stop, report on the gatherer's clock."""
    bench = Bench()
    bench.get(prepare())
    bench.end()
    assert bench.said(AgentReady)[-1].token == 7
    bench.get(CheckAlive(section=ONE, token=7))
    assert bench.said(AgentAlive)[-1].armed
    start = bench.now
    bench.get(go(bench))
    _, call = bench.call()
    assert call.hook is Hook.STARTED
    assert call.at == pytest.approx(start + 0.05)
    assert call.section.t0 == call.at
    assert call.section.deadline == pytest.approx(start + 5.05)
    bench.end()
    bench.wait(2)
    bench.get(stopped())
    bench.end(Collected((FINDING,)))
    report = bench.said(AgentReport)[-1]
    assert report.started == pytest.approx(start + 0.05 + AHEAD)
    assert report.stopped == pytest.approx(start + 2.05 + AHEAD)
    assert report.bound is not None
    assert 0 <= report.bound < 0.001
    assert report.needed == pytest.approx(0.0, abs=1e-6)
    assert report.findings == (FINDING,)
    assert not report.overdue
    assert not report.broken
    bench.get(ReportAccepted(section=ONE, agent="scope"))
    assert bench.state() is ArmingState.REPORTED
    assert bench.hooks() == ["prepare s1", "started s1", "stopped s1"]


def test_a_start_that_was_frozen_away_is_known_less_well() -> None:
    """Four seconds after t0 the clocks may have gone apart by some tenths of a millisecond."""
    bounds = []
    for late in (0.0, 4.0):
        bench = Bench()
        bench.get(prepare())
        bench.end()
        bench.get(go(bench))
        bench.now += 0.05 + late
        bench.end()
        bench.get(stopped())
        bench.end(Collected((), (), ""))
        bounds.append(bench.said(AgentReport)[-1].bound or 0.0)
    assert bounds[1] - bounds[0] == pytest.approx(4.0 * DRIFT, rel=0.01)


def test_who_stood_still_until_after_the_deadline_does_not_start() -> None:
    """Its clock says that the section is over; it is disarmed, and its report says so."""
    bench = at(ArmingState.STARTING)
    effect, call = bench.call()
    assert call.until == call.section.deadline
    bench.now += 6.0
    bench.tell(Exited(effect, HookEnded(ready=bench.now)))
    assert bench.hooks()[-1] == "aborted s1"
    bench.end()
    report = bench.said(AgentReport)[-1]
    assert (report.started, report.broken) == (None, "never started: too-late")


def test_a_go_that_is_heard_after_its_deadline_starts_nothing() -> None:
    """It lay in the socket of a process that stood still."""
    bench = at(ArmingState.ARMED)
    late = go(bench)
    bench.now += 6.0
    bench.get(late)
    assert bench.hooks() == ["prepare s1", "aborted s1"]
    bench.end()
    assert bench.said(AgentReport)[-1].broken == "never started: too-late"


def test_prepare_again_repeats_the_answer_and_calls_nothing() -> None:
    """A redelivery, or a restarted gatherer, hears the same once more."""
    bench = at(ArmingState.ARMED)
    bench.twice(prepare())
    assert len(bench.said(AgentReady)) == 3
    assert bench.hooks() == ["prepare s1"]


def test_a_hold_is_asked_again_when_it_runs_out() -> None:
    """The prepare hook decides anew; a repeated Prepare meanwhile hears what is left of it."""
    bench = at(ArmingState.HOLDING)
    assert (bench.said(AgentHolding)[-1].seconds, bench.said(AgentHolding)[-1].reason) == (
        5,
        "settling",
    )
    bench.wait(2)
    bench.get(prepare())
    assert bench.said(AgentHolding)[-1].seconds == pytest.approx(3)
    bench.wait(3.1)
    assert bench.state() is ArmingState.PREPARING
    bench.end(Hold(0, "spinning"))
    bench.wait(0.05)
    assert bench.state() is ArmingState.HOLDING
    bench.wait(0.1)
    bench.end()
    assert bench.said(AgentReady)


def test_a_slow_prepare_shows_as_a_hold() -> None:
    """Silence would count as stale after two seconds."""
    bench = at(ArmingState.PREPARING)
    bench.wait(0.4)
    assert not bench.said(AgentHolding)
    bench.wait(3.5)
    holds = bench.said(AgentHolding)
    assert len(holds) == 4
    assert holds[0].reason == "preparing"


def test_veto_and_broken_are_told_with_their_reasons() -> None:
    """They are what the test's error says."""
    assert at(ArmingState.VETOED).said(AgentVetoed)[-1].reason == "door open"
    assert at(ArmingState.BROKEN).said(AgentBroken)[-1].reason == "exit 127"


def test_a_second_bench_waits_and_is_taken_afterwards() -> None:
    """One section at a time: the other hears a hold, renewed, and its turn comes."""
    bench = at(ArmingState.RUNNING)
    bench.get(prepare(TWO, token=9, bench="c"))
    assert bench.said(AgentHolding)[-1].reason == "busy with s1 on b"
    bench.wait(2.5)
    assert len(bench.said(AgentHolding)) == 3
    bench.get(CheckAlive(section=TWO, token=9))
    assert not bench.said(AgentAlive)[-1].armed
    bench.get(stopped())
    bench.end()
    assert bench.state() is ArmingState.REPORTING
    assert bench.state(TWO) is ArmingState.PREPARING


def test_an_older_section_gets_a_monitor_that_is_armed_for_a_younger_one() -> None:
    """Two sections that each have half of the monitors would wait for each other for ever."""
    bench = Bench()
    bench.get(prepare(TWO, token=9, bench="c"))
    bench.end()
    bench.get(prepare(ONE, token=7))
    bench.wait(4)
    bench.get(CheckAlive(section=TWO, token=9))
    bench.wait(4)
    assert bench.state(TWO) is ArmingState.ARMED  # it may be committed this very moment
    bench.wait(2)
    assert bench.call()[1].cause == "yielded"
    assert TWO in {hold.section for hold in bench.said(AgentHolding)}
    bench.end()
    assert bench.state(TWO) is ArmingState.WAITING
    assert bench.state(ONE) is ArmingState.PREPARING
    bench.end()
    bench.wait(20)
    assert bench.state(ONE) is ArmingState.ARMED  # the younger one does not take it back
    bench.get(aborted())
    bench.end()
    bench.end()
    assert bench.hooks() == ["prepare s2", "aborted s2", "prepare s1", "aborted s1", "prepare s2"]
    assert bench.said(AgentReady)[-1].section == TWO


def test_what_yields_can_be_aborted_meanwhile() -> None:
    """The gatherer's word ends it, and it is disarmed once."""
    bench = Bench()
    bench.get(prepare(TWO, token=9, bench="c"))
    bench.end()
    bench.get(prepare(ONE, token=7))
    bench.wait(6)
    assert bench.state(TWO) is ArmingState.ABORTING
    bench.get(aborted(TWO, token=9))
    bench.end()
    assert bench.state(TWO) is ArmingState.ABORTED
    assert bench.state(ONE) is ArmingState.PREPARING


def test_lower_tokens_are_refused() -> None:
    """A gatherer that lost its memory learns from the greeting what it has to pass."""
    bench = at(ArmingState.REPORTED)
    joins = len(bench.said(JoinLab))
    bench.get(prepare(TWO, token=7))
    assert "token 7 is refused: bench b has seen 7" in bench.said(AgentBroken)[-1].reason
    assert bench.said(JoinLab)[joins].token == 7
    assert TWO not in bench.machine.armings
    bench.get(prepare(TWO, token=5, bench="c"))
    assert TWO in bench.machine.armings


def test_a_higher_token_on_the_bench_ends_what_is_armed_there() -> None:
    """The bench was given to somebody else, so the old section is over: disarm, then arm."""
    bench = at(ArmingState.ARMED)
    bench.get(prepare(TWO, token=8))
    assert bench.state() is ArmingState.ABORTING
    assert bench.call()[1].cause == "superseded"
    bench.end()
    assert bench.state(TWO) is ArmingState.PREPARING


@pytest.mark.parametrize("state", [ArmingState.STARTING, ArmingState.RUNNING])
def test_a_higher_token_waits_for_what_has_begun(state: ArmingState) -> None:
    """A body may be at work: it goes on to its end and its report, and the other is held."""
    bench = at(state)
    bench.get(prepare(TWO, token=8))
    assert bench.state() is state
    assert bench.said(AgentHolding)[-1].section == TWO
    assert bench.said(AgentHolding)[-1].reason == "busy with s1 on b"
    if state is ArmingState.STARTING:
        bench.end()
    bench.get(stopped())
    bench.end(Collected((FINDING,)))
    assert bench.said(AgentReport)[-1].broken == ""
    assert bench.state(TWO) is ArmingState.PREPARING


def test_a_higher_token_waits_no_longer_than_the_deadline() -> None:
    """Past it the monitor makes safe, and whoever has the bench now gets it."""
    bench = at(ArmingState.RUNNING)
    bench.get(prepare(TWO, token=8))
    bench.wait(4)
    assert bench.state() is ArmingState.RUNNING
    bench.wait(2)
    bench.end()
    bench.end()
    assert bench.hooks()[-3:] == ["overdue s1", "aborted s1", "prepare s2"]
    late = at(ArmingState.OVERDUE)
    late.get(prepare(TWO, token=8))
    assert late.call()[1].cause == "superseded"


def test_a_section_that_begins_anew_ends_its_former_self() -> None:
    """Nothing was committed yet, and its workload asks again: at another gatherer, say."""
    bench = at(ArmingState.ARMED)
    bench.get(prepare(token=8))
    assert bench.call()[1].cause == "superseded"
    bench.end()
    assert bench.state() is ArmingState.PREPARING


@pytest.mark.parametrize("state", [ArmingState.STARTING, ArmingState.RUNNING])
def test_a_section_that_has_begun_does_not_begin_anew(state: ArmingState) -> None:
    """No gatherer asks that after Go: the body's section goes on, and is stopped and reported."""
    bench = at(state)
    bench.get(prepare(token=8))
    assert "aborted s1" not in bench.hooks()
    assert bench.said(AgentHolding)[-1].token == 8
    assert bench.said(AgentHolding)[-1].reason == "busy with s1 on b"
    if state is ArmingState.STARTING:
        bench.end()
    bench.get(stopped())
    bench.end(Collected((FINDING,)))
    assert bench.said(AgentReport)[-1].token == 7
    assert bench.said(AgentReport)[-1].broken == ""
    bench.get(ReportAccepted(section=ONE, agent="scope"))
    assert bench.hooks() == ["prepare s1", "started s1", "stopped s1", "prepare s1"]


def test_what_asked_in_vain_is_told_and_taken_back_by_its_own_token() -> None:
    """The gatherer sees both in the greeting, and ends the one that it does not know."""
    bench = at(ArmingState.RUNNING)
    bench.get(prepare(token=8))
    bench.get(GathererStarted(gatherer="9" * 8))
    opened = [(one.token, one.started) for one in bench.said(JoinLab)[-1].open]
    assert opened == [(7, True), (8, False)]
    bench.get(aborted(token=8, cause="unknown"))
    assert bench.state() is ArmingState.ABORTED
    bench.get(aborted())
    assert bench.hooks()[-1] == "aborted s1"


def test_a_section_that_has_begun_yields_to_itself_past_its_deadline() -> None:
    """The monitor makes safe, and whoever asks has the bench."""
    bench = at(ArmingState.RUNNING)
    bench.get(prepare(token=8))
    bench.wait(6)
    bench.end()
    bench.end()
    assert bench.hooks()[-3:] == ["overdue s1", "aborted s1", "prepare s1"]


@pytest.mark.parametrize("token", [6, 8])
@pytest.mark.parametrize("state", [ArmingState.ARMED, ArmingState.RUNNING])
@pytest.mark.parametrize("word", [stopped, aborted])
def test_a_word_with_another_token_is_not_for_this_section(
    word: Callable[..., Message], state: ArmingState, token: int
) -> None:
    """Neither an old one nor one that nobody has said yet ends it."""
    bench = at(state)
    bench.get(word(token=token))
    assert bench.state() is state


def test_one_absurd_token_rules_nobody_out() -> None:
    """It is obeyed as long as nothing else comes, and not remembered."""
    bench = Bench()
    bench.get(prepare(TWO, token=2**53 - 1))
    bench.end()
    bench.get(GathererStarted(gatherer="9" * 8))
    assert bench.said(JoinLab)[-1].token == 0
    bench.get(prepare())
    assert bench.call()[1].cause == "superseded"
    bench.end()
    assert bench.state() is ArmingState.PREPARING


def test_a_flood_of_prepares_is_not_kept() -> None:
    """Neither for benches that are made up, nor for sections that replace each other."""
    bench = at(ArmingState.RUNNING)
    for number in range(1, 100):
        bench.get(prepare(f"{number:08x}", token=100 + number, bench=f"b{number}"))
        bench.get(prepare(f"{number:08x}", token=100 + number))
        bench.get(prepare(token=1000 + number))
    assert set(bench.machine.station.tokens) == {"b"}
    assert len(bench.machine.armings) < 40
    bench.get(stopped())
    bench.end()
    assert bench.said(AgentReport)[-1].token == 7


def test_go_for_a_section_never_prepared_is_ignored() -> None:
    """A restarted monitor hears the Go of a section that it knows nothing of."""
    bench = Bench()
    bench.twice(go(bench))
    assert bench.hooks() == []


def test_go_without_us_disarms() -> None:
    """Who was passed over must not start, and must not stay armed."""
    bench = at(ArmingState.ARMED)
    bench.get(go(bench, members=("other",)))
    assert bench.call()[1].hook is Hook.ABORTED
    assert bench.call()[1].cause == "left-out"


def test_go_as_a_member_that_is_not_armed_is_reported() -> None:
    """The gatherer hears that it counts on somebody who never started."""
    bench = at(ArmingState.HOLDING)
    bench.get(go(bench))
    bench.end()
    report = bench.said(AgentReport)[-1]
    assert report.started is None
    assert report.broken == "never started: not-armed"


def test_a_missed_go_is_reported() -> None:
    """Armed, and the next word is Stopped: the link was down in between."""
    bench = at(ArmingState.ARMED)
    bench.get(stopped())
    bench.end()
    assert bench.said(AgentReport)[-1].broken == "never started: missed"


def test_an_unknown_clock_starts_late_never_early() -> None:
    """Without a measured offset only the remaining lead is known, and delays make it later."""
    bench = at(ArmingState.ARMED)
    bench.get(go(bench, gatherer="9" * 8, sent=5.0, t0=5.05, deadline=10.0))
    assert bench.call()[1].at == pytest.approx(bench.now + 0.05)
    bench.end()
    bench.get(stopped())
    bench.end()
    report = bench.said(AgentReport)[-1]
    assert report.started is None
    assert report.bound is None


def test_a_late_go_starts_at_once() -> None:
    """A start in the past is not waited for; the report says how late it was."""
    bench = at(ArmingState.ARMED)
    late = go(bench)
    bench.now += 0.2
    bench.get(late)
    at_ = bench.call()[1].at
    assert at_ is not None
    assert at_ < bench.now
    bench.end()
    bench.get(stopped())
    bench.end()
    report = bench.said(AgentReport)[-1]
    assert report.started == pytest.approx(late.t0 + 0.15)
    assert report.needed == pytest.approx(0.2)


def test_the_deadline_holds_with_the_link_down() -> None:
    """Make safe on the own clock; Stopped still brings the report, flagged."""
    bench = at(ArmingState.RUNNING)
    bench.tell(LinkDown("broker died"))
    bench.wait(4.9)
    assert bench.state() is ArmingState.RUNNING
    bench.wait(0.2)
    assert bench.hooks()[-1] == "overdue s1"
    bench.end()
    bench.tell(LinkUp())
    opened = bench.said(JoinLab)[-1].open
    assert [(one.section, one.started) for one in opened] == [(ONE, True)]
    bench.get(stopped())
    bench.end()
    assert bench.said(AgentReport)[-1].overdue


def test_stop_before_t0_cancels_the_start() -> None:
    """The start that still sleeps is called off; the hooks still end in stopped."""
    bench = at(ArmingState.STARTING)
    effect, _ = bench.call()
    bench.get(stopped())
    assert bench.runs()[-1].command == CancelHook(effect)
    bench.tell(Exited(effect, HookEnded()))
    assert bench.call()[1].hook is Hook.STOPPED
    bench.end()
    assert bench.said(AgentReport)[-1].started is None


def test_a_hook_that_is_stuck_makes_the_monitor_broken_until_it_comes_back() -> None:
    """Later sections are not kept waiting, and what is owed is called afterwards."""
    bench = at(ArmingState.PREPARING)
    reason = "prepare still running after 30 s"
    bench.end(Broken(reason), stuck=True)
    assert bench.said(AgentBroken)[-1].reason == reason
    bench.get(aborted())
    bench.get(prepare(TWO, token=8))
    assert bench.said(AgentBroken)[-1] == AgentBroken(
        section=TWO, token=8, agent="scope", instance="a" * 8, reason=reason
    )
    assert bench.hooks() == ["prepare s1"]
    bench.tell(Told(HookReturned()))
    assert bench.hooks() == ["prepare s1", "aborted s1"]
    bench.end()
    bench.get(aborted(TWO, token=8))
    bench.get(prepare("3" * 8, token=9))
    bench.end()
    assert bench.said(AgentReady)[-1].section == "3" * 8


def test_a_broken_start_or_stop_is_in_the_report() -> None:
    """The lab's fault is told with the hook's name."""
    bench = at(ArmingState.STARTING)
    bench.end(Broken("exit 3"))
    bench.get(stopped())
    bench.end(Broken("exit 4: no trace"))
    assert bench.said(AgentReport)[-1].broken == "started: exit 3; stopped: exit 4: no trace"


def test_the_report_is_said_until_it_is_accepted() -> None:
    """Every second, the same one; across a lost link too."""
    bench = at(ArmingState.REPORTING)
    bench.wait(2.5)
    assert len(bench.said(AgentReport)) == 3
    bench.tell(LinkDown("gone"))
    bench.wait(5)
    assert len(bench.said(AgentReport)) == 3
    bench.tell(LinkUp())
    assert len(bench.said(AgentReport)) == 4
    assert len({encode(report) for report in bench.said(AgentReport)}) == 1
    bench.get(ReportAccepted(section=ONE, agent="scope"))
    bench.wait(5)
    assert len(bench.said(AgentReport)) == 4
    bench.get(stopped())
    assert len(bench.said(AgentReport)) == 5


@pytest.mark.parametrize("measured", [True, False])
def test_a_report_is_told_on_the_clock_of_who_reads_it(*, measured: bool) -> None:
    """A gatherer that comes back on another clock hears other figures, or none, of the same."""
    bench = at(ArmingState.REPORTING)
    first = bench.said(AgentReport)[-1]
    other = "9" * 8
    bench.tell(LinkDown("gone"))
    bench.answering = False
    bench.tell(LinkUp())
    bench.get(JoinAccepted(agent="scope", gatherer=other, keepalive=2.0))
    if measured:
        sent = bench.said(ClockProbe)[-1].sent
        bench.get(ClockReading(sent=sent, read=bench.now - AHEAD, gatherer=other))
    bench.wait(2.5)
    again = bench.said(AgentReport)[-1]
    assert first.started is not None
    if measured:
        assert again.started == pytest.approx(first.started - 2 * AHEAD)
        assert again.bound is not None
    else:
        assert (again.started, again.stopped, again.bound) == (None, None, None)
    assert again.findings == first.findings


def test_captures_go_before_the_report_and_again_after_a_lost_link() -> None:
    """The report's manifest is a promise that the chunks are in the section's queue."""
    bench = at(ArmingState.SENDING)
    declares = [e for e in bench.runs() if isinstance(e.command, DeclareQueue)]
    bench.tell(Exited(declares[-1].id, QueueDeclared()))
    chunks = [e for e in bench.done if isinstance(e, Send) and isinstance(e.message, ArtifactChunk)]
    assert [(e.key, e.message.number) for e in chunks if isinstance(e.message, ArtifactChunk)] == [
        (f"section.{ONE}", 0),
        (f"section.{ONE}", 1),
    ]
    bench.tell(Confirmed(chunks[0].id))
    bench.tell(Failed(chunks[1].id, "gone"))
    bench.tell(LinkDown("gone"))
    bench.wait(3)
    bench.tell(LinkUp())
    declares = [e for e in bench.runs() if isinstance(e.command, DeclareQueue)]
    bench.tell(Exited(declares[-1].id, QueueDeclared()))
    assert not bench.said(AgentReport)
    again = [e for e in bench.done if isinstance(e, Send) and isinstance(e.message, ArtifactChunk)]
    assert [chunk.number for chunk in bench.said(ArtifactChunk)] == [0, 1, 1]
    bench.tell(Confirmed(again[-1].id))
    assert bench.said(AgentReport)[-1].artifacts == (CAPTURE.manifest,)
    bench.get(ReportAccepted(section=ONE, agent="scope"))
    assert bench.runs()[-1].command == DiscardCaptures(ONE)


def test_captures_that_cannot_be_sent_are_told() -> None:
    """After five refusals the report goes out without them, and says so."""
    bench = at(ArmingState.SENDING)
    for _ in range(5):
        declares = [e for e in bench.runs() if isinstance(e.command, DeclareQueue)]
        bench.tell(Exited(declares[-1].id, QueueDeclared("403 no right")))
        bench.wait(1.1)
    report = bench.said(AgentReport)[-1]
    assert report.broken == "artifacts could not be sent: 403 no right"
    assert report.artifacts[0].chunks == 0


def test_findings_that_do_not_fit_are_counted() -> None:
    """A report larger than a body may be would reach nobody."""
    bench = at(ArmingState.STOPPING)
    bench.end(Collected(tuple(Finding(name=str(n), text="ä" * 4000) for n in range(500))))
    report = bench.said(AgentReport)[-1]
    assert 0 < len(report.findings) < 500
    lost = 500 - len(report.findings)
    assert report.broken == f"{lost} findings do not fit into a report; attach a file"


def test_it_greets_until_it_is_answered_and_then_keeps_alive() -> None:
    """Every second while nobody answers, every keepalive afterwards."""
    machine = MonitorMachine(Identity(name="scope", instance="a" * 8, benches=("b",)))
    effects = machine.handle(LinkUp(), now=0.0)
    first = next(e for e in effects if isinstance(e, Send))
    assert isinstance(first.message, JoinLab)
    assert first.reply_to == "agent.scope"
    (told,) = machine.handle(Returned(first.id), now=0.1)
    assert isinstance(told, Record)
    assert told.event["what"] == "no-gatherer"
    again = next(e for e in machine.handle(Woken(), now=1.0) if isinstance(e, Send))
    assert machine.handle(Returned(again.id), now=1.1) == []  # told once, not each second
    accepted = JoinAccepted(agent="scope", gatherer=G, keepalive=2.0)
    probes = [e for e in machine.handle(Received(accepted, 1), now=1.5) if isinstance(e, Send)]
    assert [type(e.message) for e in probes] == [ClockProbe]
    sent = [e for e in machine.handle(Woken(), now=2.4) if isinstance(e, Send)]
    assert sent == []
    later = [e for e in machine.handle(Woken(), now=3.5) if isinstance(e, Send)]
    assert JoinLab in {type(e.message) for e in later}


@pytest.mark.parametrize(("trip", "probes"), [(0.002, 1), (0.02, 3)])
def test_the_clock_is_measured_well_at_join_and_checked_at_a_section(
    trip: float, probes: int
) -> None:
    """Five looks, then one if it is known to 5 ms, else three; each when the last is answered."""
    bench = Bench(trip=trip)
    assert len(bench.said(ClockProbe)) == 5
    bench.get(prepare())
    assert len(bench.said(ClockProbe)) == 5 + probes


def test_the_clock_is_measured_once_where_the_way_is_short() -> None:
    """Half a millisecond is fine enough, and the lab has better things to do."""
    bench = Bench(trip=0.0009)
    assert len(bench.said(ClockProbe)) == 1
    bench.get(prepare())
    assert len(bench.said(ClockProbe)) == 2


def test_draining_when_idle_leaves_at_once() -> None:
    """LeaveLab is the last word, and it is done when the broker has it."""
    bench = Bench()
    effects = bench.tell(Told(Drain(5.0, "stopped by a person")))
    leave = next(e for e in effects if isinstance(e, Send))
    assert isinstance(leave.message, LeaveLab)
    assert not bench.machine.left
    bench.tell(Confirmed(leave.id))
    assert bench.machine.left
    bench.wait(10)
    assert not bench.said(JoinLab)[1:]


def test_draining_disarms_but_lets_a_running_section_end() -> None:
    """A person who stops a monitor does not spoil the measurement that is on."""
    bench = at(ArmingState.RUNNING)
    bench.tell(Told(Drain(10.0)))
    bench.get(prepare(TWO, token=9))
    assert bench.said(AgentHolding)[-1].reason == "leaving the lab"
    bench.get(stopped())
    bench.end()
    assert not bench.said(LeaveLab)
    bench.get(ReportAccepted(section=ONE, agent="scope"))
    assert bench.said(LeaveLab)


def test_draining_makes_safe_when_its_time_is_over() -> None:
    """The workload does not return: disarm, then leave."""
    bench = at(ArmingState.RUNNING)
    bench.tell(Told(Drain(2.0)))
    bench.wait(2.1)
    assert bench.call()[1].cause == "leaving"
    bench.end()
    assert bench.said(LeaveLab)


def test_draining_without_a_link_is_over_at_once() -> None:
    """Nobody can be told."""
    bench = Bench()
    bench.tell(LinkDown("gone"))
    bench.tell(Told(Drain(5.0)))
    assert bench.machine.left
