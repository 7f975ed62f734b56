"""What who gave a slip out sees of it: while it runs, and when it is over."""

import pytest

from pytest_gatherscatter.cli.watch import line_of
from pytest_gatherscatter.plugin.slip import Shown
from pytest_gatherscatter.slips.finished import FinishedSlip, attempt_end, failure
from pytest_gatherscatter.slips.order import Say
from pytest_gatherscatter.wire.slips import (
    Attempt,
    Slip,
    SlipOver,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Step,
    Task,
)

ON = Attempt(number=1, attempt=1, status="done", started=10, ended=11, exit_status=0, host="pc1")
TRIED = Attempt(number=2, attempt=1, status="timed-out", final=False, started=11, ended=12)
FAILED = Attempt(
    number=2,
    attempt=2,
    status="failed",
    started=12,
    ended=14.5,
    exit_status=3,
    host="pc2",
    stdout_tail="erasing\n",
    stderr_tail="sector 12\nis stuck\n",
    log="/var/log/2-2.log",
)
OFF = Attempt(number=1, attempt=1, status="done", compensating=True, started=15, ended=16)

SLIP = Slip(
    id="0123456789abcdef",
    name="burn-in",
    steps=(
        Step(number=1, process="power", command="on", compensate="off"),
        Step(number=2, process="flash", command="write", on_failure="compensate", retries=1),
        Step(number=3, process="power", command="off"),
    ),
    progress=(ON, TRIED, FAILED, OFF),
)


def test_finished_slip_answers_for_each_step() -> None:
    """The last attempt counts; undoing is asked for by its own name; what never was is an error."""
    finished = FinishedSlip(SlipOver(slip=SLIP, outcome="failed"))
    assert not finished.done
    assert finished.step(2) is FAILED
    assert finished.compensation(1) is OFF
    assert finished.seconds == 6
    with pytest.raises(LookupError, match="slip burn-in: step 3 was not begun"):
        finished.step(3)


def test_failure_names_step_host_status_and_output() -> None:
    """The first line says what broke where; then each attempt, and the last of the output."""
    assert failure(FinishedSlip(SlipOver(slip=SLIP, outcome="failed"))).splitlines() == [
        "slip burn-in failed: step 2, flash write: failed, exit status 3 after 2.5 s on pc2",
        "  step 1, power on: done after 1.0 s on pc1",
        "  step 2, flash write: timed-out after 1.0 s",
        "  step 2, flash write, attempt 2: failed, exit status 3 after 2.5 s on pc2",
        "  undoing step 1, power off: done after 1.0 s",
        "last output:",
        "  erasing",
        "last errors:",
        "  sector 12",
        "  is stuck",
        "all of it: /var/log/2-2.log on pc2",
    ]


def test_an_end_by_a_signal_is_told_by_its_name() -> None:
    """A killed command has no exit status that says anything."""
    one = Attempt(number=1, attempt=1, status="timed-out", signal="SIGKILL", text="after 30 s")
    assert attempt_end(one) == "timed-out, SIGKILL: after 30 s"


def begun(number: int, process: str, command: str) -> SlipStepBegun:
    """A step has begun."""
    return SlipStepBegun(
        slip=SLIP.id,
        name=SLIP.name,
        task=Task(number=number, attempt=1),
        process=process,
        command=command,
        processor="p",
        host="pc1",
    )


def test_a_running_slip_is_a_line() -> None:
    """Who waits sees what runs where and how far it is; a new share is no new line in a pipe."""
    shown = Shown(SLIP)
    assert shown.text(0.0) == "slip burn-in, 0 of 3 done: waiting for a processor"
    shown.take(Say("no processor answers for flash"))
    assert shown.text(0.0) == "slip burn-in, 0 of 3 done: no processor answers for flash"
    shown.take(begun(1, "power", "on"))
    shown.take(SlipStepEnded(slip=SLIP.id, name=SLIP.name, attempt=ON))
    shown.take(begun(2, "flash", "write"))
    before = shown.what
    shown.take(
        SlipStepMoved(slip=SLIP.id, task=Task(number=2, attempt=1), share=0.4, text="erasing")
    )
    assert shown.what == before
    line = shown.text(shown.since(Task(number=2, attempt=1)) + 3)
    assert line == "slip burn-in, 1 of 3 done: step 2, flash write on pc1, 40% erasing (3 s)"


def test_watch_tells_of_slips_in_a_line_each() -> None:
    """Begun, moved, ended and over: with step, process, host and how it went."""
    task = Task(number=2, attempt=1)
    lines = [
        line_of(begun(1, "power", "on")),
        line_of(SlipStepMoved(slip=SLIP.id, task=task, share=0.4, text="erasing")),
        line_of(SlipStepEnded(slip=SLIP.id, name=SLIP.name, attempt=FAILED)),
        line_of(SlipOver(slip=SLIP, outcome="failed")),
    ]
    assert lines == [
        "slip burn-in: step 1, power on begins on pc1",
        "slip 0123456789abcdef: step 2 is at 40% erasing",
        "slip burn-in: step 2 failed, exit status 3 after 2.5 s on pc2",
        "slip burn-in is over, failed: step 2, flash write: failed",
    ]
