"""Every row of the table, played with real processes on real brokers."""

import signal
import time
from pathlib import Path

import pytest
from faults import page
from faults.brokers import Mortal
from faults.pairwise import Case
from faults.stage import Stage, until
from faults.step import FAULTS, STEPS
from faults.table import WITHIN, Sees, cases, sees


def parameters() -> list[object]:
    """Name the cases; those that kill a RabbitMQ node share one (``sharing.py``), and come first.

    Each takes some boots of a node: the other processes play the rest meanwhile.
    """
    return [
        pytest.param(party, case, id="-".join((party, *case.values())))
        for party, case in sorted(cases(), key=lambda each: not kills_rabbitmq(*each))
    ]


def kills_rabbitmq(party: str, case: Case) -> bool:
    """Say whether it needs a node of its own."""
    return (party, case["broker"]) == ("broker", "rabbitmq")


@pytest.mark.parametrize(("party", "case"), parameters())
def test_fault(
    party: str, case: Case, lab: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The user sees what the table says, in time, and the next section gets the bench."""
    step, fault, seen = STEPS[case["step"]], FAULTS[party][case["fault"]], sees(party, case)
    mortal: Mortal | None = None
    if party == "broker":
        mortal = request.getfixturevalue(f"{case['broker']}_mortal")
    stage = Stage(
        request.getfixturevalue(f"{case['broker']}_url") if mortal is None else mortal.url,
        lab,
        tmp_path,
        state=fault.state,
        required=case["scope"] == "required",
        user=case["user"],
        broker=mortal,
    )
    try:
        step.arrange(stage)
        stage.up()
        step.ready(stage)
        if not step.idle:
            stage.start_workload()
            step.reached(stage)
        began = time.monotonic()
        fault.strike(stage)
        if party == "broker":  # how long a broker boots is its own
            began = time.monotonic()
        if step.idle:
            stage.start_workload()
        step.go_on(stage)
        fault.mend(stage)
        dies = party == "workload" and fault.deadly
        text = "" if dies else told_by(stage, seen)
        took = time.monotonic() - began
        after = stage.next()
        if dies:
            text, took = after.text, time.monotonic() - began
        words = page.shown(seen.words, text)
        assert words or not seen.words, text
        assert took - fault.lasts < WITHIN[seen.within], f"{took:.1f} s: {text}"
        assert after.process.returncode == 0, after.text
        assert "alone" not in after.text
        check(stage, seen, scope_died=party == "monitor" and fault.deadly)
    finally:
        stage.end()
    line = page.row(party, case, words)
    assert page.settle(party, line), line


def told_by(stage: Stage, seen: Sees) -> str:
    """Wait for the workload's end, and return what it said."""
    status = stage.visitor.ends()
    expected = seen.status if stage.user == "command" else min(seen.status, 1)
    text = stage.visitor.text
    assert status == expected, f"{text}\n{stage.gathering.text}"
    assert "Traceback" not in text
    if not seen.words:
        whole = "done: burst" if stage.user == "command" else "1 coordinated, 0 alone, 0 LAB, 0 DUT"
        assert whole in text
    return text


def check(stage: Stage, seen: Sees, *, scope_died: bool) -> None:
    """Check what must hold whatever strikes: no early start, no second body, all disarmed."""
    assert stage.count("body", "in") == seen.ran
    for line in stage.story:
        if line[:2] == ["scope", "started"]:
            assert float(line[3]) >= 0
    if not scope_died:
        until(lambda: not armed(stage), f"all disarmed: {stage.story}")
    for actor in stage.shell.started:
        if actor.process.poll() is None:
            actor.signal(signal.SIGTERM)
    for actor in stage.shell.started:
        actor.ends()
        assert "Traceback" not in actor.text


def armed(stage: Stage) -> set[str]:
    """Name the sections that the monitor was asked to prepare and never disarmed."""
    left: set[str] = set()
    for who, what, section, *_ in stage.story:
        if (who, what) == ("scope", "prepare"):
            left.add(section)
        elif who == "scope" and what in {"stopped", "aborted"}:
            left.discard(section)
    return left
