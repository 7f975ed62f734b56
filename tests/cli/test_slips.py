"""``gatherscatter slips``: what is refused at once, and what people see of a slip."""

from pathlib import Path

import pytest

from pytest_gatherscatter.cli import slips as command
from pytest_gatherscatter.cli.main import status
from pytest_gatherscatter.cli.slipview import BarView, LineView
from pytest_gatherscatter.settings import load
from pytest_gatherscatter.slips.asker import SlipNews
from pytest_gatherscatter.slips.order import Say
from pytest_gatherscatter.slips.service.status import SlipStatus
from pytest_gatherscatter.wire.slips import (
    Attempt,
    ProcessorSeen,
    Slip,
    SlipChecked,
    SlipOver,
    SlipStepBegun,
    SlipStepEnded,
    SlipStepMoved,
    Step,
    StepChecked,
    Task,
)

SLIP = Slip(
    id="ab" * 8,
    name="burn-in",
    steps=(
        Step(number=1, process="power", command="on", compensate="off"),
        Step(number=2, process="flash", command="write"),
    ),
)


def begun(task: Task, process: str, name: str) -> SlipStepBegun:
    """A step begins."""
    return SlipStepBegun(
        slip=SLIP.id,
        name=SLIP.name,
        task=task,
        process=process,
        command=name,
        processor="rack1",
        host="h\x1b[2J",
    )


def ended(attempt: Attempt) -> SlipStepEnded:
    """A step ends."""
    return SlipStepEnded(slip=SLIP.id, name=SLIP.name, attempt=attempt)


TASK = Task(number=2, attempt=2)
NEWS: list[SlipNews] = [
    Say("no processor answers for flash"),
    begun(TASK, "flash", "write"),
    SlipStepMoved(slip=SLIP.id, task=TASK, share=0.41, text="erasing"),
    SlipStepMoved(slip=SLIP.id, task=TASK, share=0.43, text="erasing"),
    ended(
        Attempt(
            number=2,
            attempt=2,
            status="failed",
            started=1,
            ended=2.25,
            exit_status=3,
            host="h",
            stderr_tail="no device\n[bold]\x1b[2J\n",
            log="/l/2-2.log",
        )
    ),
    begun(Task(number=1, attempt=1, compensating=True), "power", "off"),
    ended(Attempt(number=1, attempt=1, compensating=True, status="done", final=True)),
    begun(Task(number=201, attempt=1), "power", "ask"),
    ended(Attempt(number=201, attempt=1, status="timed-out", signal="SIGKILL", final=False)),
    SlipOver(slip=SLIP, outcome="failed"),
]


def test_a_slip_in_a_pipe() -> None:
    """A line for each thing that happens, one for each tenth of a bar; no control characters."""
    lines: list[str] = []
    with LineView(SLIP, lines.append) as view:
        for news in NEWS:
            view.tell(news)
    assert [line.partition(" ")[2] for line in lines] == [
        "slip burn-in (abababababababab), 2 steps",
        "no processor answers for flash",
        "step 2, flash write: begun on h\\x1b[2J, attempt 2",
        "step 2, flash write: 41% erasing",
        "step 2, flash write: failed, exit status 3 after 1.2 s on h",
        "  no device",
        "  [bold]\\x1b[2J",
        "  all of it is in /l/2-2.log on h",
        "undoing step 1, power off: begun on h\\x1b[2J",
        "undoing step 1, power off: done",
        "step 201, power ask: begun on h\\x1b[2J",
        "step 201, power ask: timed-out, SIGKILL; it is tried again",
        "slip burn-in is over: failed",
    ]


@pytest.mark.parametrize("steps", [2, 30])
def test_a_slip_on_a_terminal(
    steps: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar for each step, with what it said last; of many, those that are on their way."""
    monkeypatch.setenv("COLUMNS", "120")
    more = tuple(Step(number=n, process="x", command="y") for n in range(3, steps + 1))
    with BarView(Slip(id=SLIP.id, name=SLIP.name, steps=(*SLIP.steps, *more))) as view:
        for news in NEWS:
            view.tell(news)
    said = capsys.readouterr().out
    assert "2 flash write" in said
    assert "failed, exit status 3 after 1.2 s on h" in said
    assert "[bold]\\x1b[2J" in said
    assert "slip burn-in is over: failed after" in said
    assert ("1 undo power off" in said) == (steps == 2)
    assert "30 x y" not in said
    assert "\x1b[2J" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "no.toml"], "no.toml: cannot be read: No such file or directory"),
        (["run", "bad.toml"], "bad.toml: step 1: timeuot: there is no such key; did you mean"),
        (["run", "good.toml"], "good.toml: required: nobody has given image"),
        (["run", "good.toml", "--param", "image"], "--param: 'image' must be NAME=VALUE"),
        (["run", "good.toml", "--param", "a=1", "--param", "a=2"], "--param: a is given twice"),
        (["run", "good.toml", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
        (["process", "flash"], "process 'flash' has no commands; write [process.flash.commands]"),
        (["process"], "PROCESS: none is given, and there is no [process.NAME]"),
        (["process", "a b"], "process name 'a b': allowed are"),
        (["process", "x", "--slots", "0"], "--slots: a processor without a slot does nothing"),
        (["cancel", "burn-in"], "SLIP: 'burn-in' is not the id of a slip"),
    ],
)
def test_what_is_wrong_is_told_before_anybody_is_asked(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, and exit status 2; no broker is needed for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATHERSCATTER_BROKER", "amqp://nobody@127.0.0.1:1")
    step = "[[step]]\nprocess = 'a'\ncommand = 'x'\n"
    (tmp_path / "bad.toml").write_text(f"{step}timeuot = 1\n")
    (tmp_path / "good.toml").write_text(f"required = ['image']\n{step}")
    assert status(["slips", *words]) == 2
    assert said in capsys.readouterr().err


def test_no_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own exit status, as with every command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.toml").write_text("[[step]]\nprocess = 'a'\ncommand = 'x'\n")
    words = ["slips", "run", "good.toml", "--broker", "none"]
    assert status(words) == 69
    assert "gatherscatter: " in capsys.readouterr().err


def test_a_dry_run_is_told_in_the_order_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However the processors that would run them are called; then what nobody would run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATHERSCATTER_BROKER", "amqp://nobody@127.0.0.1:1")
    steps = "".join(f"[[step]]\nprocess = '{name}'\ncommand = 'x'\n" for name in "bac")
    (tmp_path / "s.toml").write_text(steps)

    def answer(processor: str, *numbers: int) -> SlipChecked:
        would = tuple(StepChecked(number=one, line=f"do {one}") for one in numbers)
        return SlipChecked(slip=SLIP.id, processor=processor, host="h", steps=would)

    found = answer("rack1", 2), answer("rack2", 1, 2)
    monkeypatch.setattr("pytest_gatherscatter.slips.service.asker.check", lambda *_: found)
    assert status(["slips", "run", "s.toml", "--dry-run"]) == command.NOBODY
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "step 1 run b x on h (rack2): do 1",
        "step 2 run a x on h (rack1): do 2",
        "step 2 run a x on h (rack2): do 2",
    ]
    assert told.err == "gatherscatter: step 3 c x: no processor answers\n"


def test_a_processors_settings(tmp_path: Path) -> None:
    """Of the file; the command line comes before."""
    (tmp_path / "gatherscatter.toml").write_text("[processor]\nname = 'rack1'\nslots = 4\n")
    settings = load(command_line={}, environ={}, ini={}, directory=tmp_path)
    told = command.read_processor(settings, {"slots": "8", "drain": None, "allow_shell": True})
    assert (told.name, told.slots, told.drain, told.allow_shell) == ("rack1", 8, 60, True)


def test_a_status_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each processor and each queue, with tabs; 1 if nobody answered."""
    seen = ProcessorSeen(
        processor="rack1",
        host="h",
        pid=7,
        version="0.1.0",
        processes=("power", "flash"),
        slots=4,
        free=3,
        running=("burn-in 2 write (12 s)",),
    )
    found = [SlipStatus((seen,), {"flash": 3}, 1), SlipStatus((), {}, 0)]
    monkeypatch.setenv("GATHERSCATTER_BROKER", "amqp://nobody@127.0.0.1:1")
    monkeypatch.setattr("pytest_gatherscatter.slips.service.status.look", lambda *_: found.pop(0))
    assert status(["slips", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "processor\track1\th\tpower,flash\t4\t3\tbusy\tburn-in 2 write (12 s)",
        "queue\tflash\t3",
        "waiting\t1",
    ]
    assert status(["slips", "status"]) == command.NOBODY
