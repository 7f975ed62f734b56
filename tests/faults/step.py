"""The steps of a section at which a fault can strike, and the faults themselves.

A step is arranged before anybody starts, reached by waiting for something that only happens
there, and left when its gate is opened. A fault strikes while the step is held.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from faults.stage import PATIENCE, Stage, until
from shells import Actor

from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import messages as m

FROZEN = 3.0
"""Seconds: longer than a handshake and than an optional monitor may be silent (2 s each), and
far shorter than what makes a broker give a name away (15 s)."""


def _nothing(_: Stage) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Step:
    """Where a section stands. ``told`` ends the sentence "it strikes …"."""

    told: str
    reached: Callable[[Stage], None]
    go_on: Callable[[Stage], None]
    arrange: Callable[[Stage], None] = _nothing
    ready: Callable[[Stage], None] = _nothing
    idle: bool = False
    """Nobody has entered yet: it is reached before the workload starts."""


@dataclass(frozen=True)
class Fault:
    """What happens to a party. ``strike`` comes before the step goes on, ``mend`` after."""

    told: str
    strike: Callable[[Stage], None]
    mend: Callable[[Stage], None] = _nothing
    state: bool = True
    deadly: bool = False
    lasts: float = 0.0
    """Seconds that are the fault's own, and not the user's wait for what comes of it."""


# ── steps ──────────────────────────────────────────────────────────────────────────────


def _held(party: str, word: str) -> tuple[Callable[[Stage], None], ...]:
    """Hold back the first message of a kind that ``party`` sends."""

    def arrange(stage: Stage) -> None:
        stage.through(party).hold_at(word)

    def reached(stage: Stage) -> None:
        assert stage.proxies[party].reached.wait(PATIENCE), stage.gathering.text

    def go_on(stage: Stage) -> None:
        stage.proxies[party].let_go()

    return arrange, reached, go_on


def _gated(gate: str, *words: str) -> tuple[Callable[[Stage], None], ...]:
    """Hold a hook or the body."""

    def arrange(stage: Stage) -> None:
        stage.gate(gate)

    def reached(stage: Stage) -> None:
        stage.tells(*words)

    def go_on(stage: Stage) -> None:
        stage.gate(gate, closed=False)

    return arrange, reached, go_on


def _step(told: str, how: tuple[Callable[[Stage], None], ...]) -> Step:
    arrange, reached, go_on = how
    return Step(told, reached, go_on, arrange)


def _lengthen_lead(stage: Stage) -> None:
    """Let the gatherer believe that half a second is needed from Go to t0, and wait for a Go."""
    with Asker(Settings(lab=stage.lab), stage.url, events=["section.go.slow"]) as asker:
        enter = m.EnterSection(
            section="5" * 16,
            name="slow",
            bench="slow",
            test="slow",
            owner="the stage",
            run="5" * 16,
            max_duration=20.0,
            queue_timeout=20.0,
            gather_timeout=20.0,
            hold_limit=20.0,
            report_timeout=1.0,
        )
        token = asker.ask(enter, m.SectionGathered, timeout=10).token
        asker.ask(m.WorkloadReady(section=enter.section, token=token), m.SectionGo, timeout=10)
        left = m.LeaveSection(section=enter.section, token=token, outcome="passed", needed=0.5)
        asker.ask(left, m.SectionClosed, timeout=10)
    stage.proxies["gatherer"].hold_at("SectionGo/1")


def _go_is_out(stage: Stage) -> None:
    """Return right after Go has left the gatherer; t0 is half a second ahead."""
    assert stage.proxies["gatherer"].reached.wait(PATIENCE), stage.gathering.text
    stage.proxies["gatherer"].let_go()


def _knows_the_hold(stage: Stage) -> None:
    """Wait until the test itself has said what it waits for: before, it may not be accepted."""
    stage.gathering.says("probe moved")
    stage.visitor.says("probe moved")


STEPS = {
    "idle": Step("before anybody enters", _nothing, _nothing, idle=True),
    "entering": _step("as the test asks to enter", _held("burst", "EnterSection/1")),
    "queued": Step(
        "while the test is queued behind a person's hold",
        _knows_the_hold,
        Stage.release_bench,
        ready=Stage.hold_bench,
    ),
    "gathering": _step("while the monitor arms", _gated("prepare", "scope", "prepare")),
    "gathered": Step(
        "after all are ready, before the test says so",
        lambda stage: void(stage.gathering.says("gathered: ")),
        Stage.unlock_bench,
        Stage.lock_bench,
    ),
    "ready": _step("after the test's ticket, before the commit", _held("gatherer", "CheckAlive/1")),
    "committed": _step("after the commit, before Go leaves", _held("gatherer", "SectionGo/1")),
    "going": Step(
        "between Go and t0",
        _go_is_out,
        _nothing,
        lambda stage: void(stage.through("gatherer")),
        _lengthen_lead,
    ),
    "inside": _step("in the section", _gated("body", "body", "in")),
    "reporting": _step("after the body, before the report", _gated("stopped", "scope", "stopped")),
    "closed": _step(
        "after the close, before its answer leaves", _held("gatherer", "SectionClosed/1")
    ),
}


def void(_: object) -> None:
    """Take a value, and give none."""


# ── faults ─────────────────────────────────────────────────────────────────────────────


def kill(actor: Actor | None) -> None:
    """Kill a party and all that it started, as a power cut would."""
    assert actor is not None
    os.killpg(actor.process.pid, signal.SIGKILL)
    actor.ends()


def freeze(actor: Actor | None) -> None:
    """Stop a party where it is; its connections stay open."""
    assert actor is not None
    os.killpg(actor.process.pid, signal.SIGSTOP)


def thaw(actor: Actor | None) -> None:
    """Let it go on after a while."""
    assert actor is not None
    time.sleep(FROZEN)
    os.killpg(actor.process.pid, signal.SIGCONT)


def _kill_gatherer(stage: Stage) -> None:
    kill(stage.gatherer)
    if "gatherer" in stage.proxies:
        stage.proxies["gatherer"].discard()
    stage.start_gatherer().says("gatherer of lab")


def _restart_scope(stage: Stage) -> None:
    kill(stage.scope)
    stage.start_scope()


def _crash(stage: Stage) -> None:
    (stage.place / "crash").write_text("now")
    assert stage.visitor.ends() == 7


def _restart_broker(stage: Stage) -> None:
    assert stage.broker is not None
    stage.broker.kill()
    stage.broker.start()
    if stage.burst is None:  # nobody was there to see it: all have come back before one enters
        until(lambda: '"agent": "scope"' in stage.shell.run("status", "--json").stdout, "scope")


def _freeze_broker(stage: Stage) -> None:
    assert stage.broker is not None
    stage.broker.freeze()


def _thaw_broker(stage: Stage) -> None:
    assert stage.broker is not None
    time.sleep(FROZEN)
    stage.broker.thaw()


FAULTS = {
    "gatherer": {
        "restarted": Fault("is killed, and restarted with its state directory", _kill_gatherer),
        "forgetful": Fault(
            "is killed, and restarted without a state directory", _kill_gatherer, state=False
        ),
        "frozen": Fault(
            "is frozen for 3 s",
            lambda stage: freeze(stage.gatherer),
            lambda stage: thaw(stage.gatherer),
            lasts=FROZEN,
        ),
    },
    "monitor": {
        "killed": Fault("is killed", lambda stage: kill(stage.scope), deadly=True),
        "restarted": Fault("is killed, and restarted", _restart_scope, deadly=True),
        "frozen": Fault(
            "is frozen for 3 s",
            lambda stage: freeze(stage.scope),
            lambda stage: thaw(stage.scope),
            lasts=FROZEN,
        ),
    },
    "workload": {
        "killed": Fault("is killed", lambda stage: kill(stage.burst), deadly=True),
        "crashed": Fault("ends by os._exit", _crash, deadly=True),
        "frozen": Fault(
            "is frozen for 3 s",
            lambda stage: freeze(stage.burst),
            lambda stage: thaw(stage.burst),
            lasts=FROZEN,
        ),
    },
    "broker": {
        "restarted": Fault("is killed, and restarted", _restart_broker),
        "frozen": Fault("is frozen for 3 s", _freeze_broker, _thaw_broker, lasts=FROZEN),
    },
}
