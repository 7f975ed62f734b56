"""``gatherscatter roundrobin``: what is refused at once, and what people see of tasks."""

import json
import logging

import pytest
from msgspec import Raw

from pytest_gatherscatter.cli.main import status
from pytest_gatherscatter.cli.taskview import MOST_COMPLAINTS, TaskView
from pytest_gatherscatter.wire.roundrobin import Executed, ExecuteOutcome, Working


def answer(
    number: int, outcome: ExecuteOutcome = "done", worker: str = "", text: str = ""
) -> Executed:
    """An answer to the task of a number."""
    return Executed(
        task=f"{number:08x}",
        service="echo",
        outcome=outcome,
        worker=worker,
        text=text,
        payload=Raw(b"1"),
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ping", "--timeout", "x"), "--timeout: "),
        (("ping", "--service", "a.b"), "service name "),
        (("ping", "--count", "0"), "--count"),
        (("stream", "--bytes", "1000001"), "--bytes"),
        (("echo", "--slots", "10001"), "--slots"),
        (("echo", "--drain", "x"), "--drain: "),
        (("echo", "--service", "a.b"), "service name "),
        (("echo", "--name", "x" * 63, "--bulk", "10"), "worker name "),
    ],
)
def test_what_is_wrong_is_told_at_once(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the option, and 2."""
    assert status(["roundrobin", *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_tasks_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    """How many, in what time, by whom; a few of those that failed one by one; nothing moves."""
    view = TaskView(200, lambda one: one.task != f"{199:08x}", tracked=True, as_json=False)
    for number in range(20):
        view.tell(answer(number, "busy", text="full\x1b[2J"), 0.2)
    for number in range(20, 199):
        view.tell(answer(number, worker=f"rack-{number % 10 + 1}"), 0.01)
        view.look({})
    view.tell(answer(199, worker="rack-1"), 0.01)
    view.end(201, 4.0)
    told = capsys.readouterr()
    first, times, *rows = told.out.splitlines()
    assert first == "201 sent, 179 succeeded, 21 failed (20 busy, 1 wrong), 1 not waited for"
    assert times == ("4.0 s, 50.0 a second, answered in p50 10.0 ms, p95 200.0 ms, p99 200.0 ms")
    assert [row.split("\t")[1] for row in rows] == [f"rack-{number}" for number in range(1, 11)]
    complaints = [line for line in told.err.splitlines() if "busy" in line]
    assert len(complaints) == MOST_COMPLAINTS
    assert complaints[0] == "gatherscatter: task 00000000: busy: full\\x1b[2J"
    assert told.err.count(" of 200 ended") == 9


def test_one_json_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone on stdout; no answer is looked into where none is wanted."""
    view = TaskView(2, lambda _: False, tracked=False, as_json=True)
    view.tell(answer(1), 0.1)
    view.tell(answer(2, "no-response", text="nobody"), 0.1)
    view.look({})
    view.end(2, 1.0)
    told = capsys.readouterr()
    assert told.err == ""
    facts = json.loads(told.out)
    counts = (facts["sent"], facts["succeeded"], facts["failed"], facts["left"])
    assert counts == (2, 1, 1, 0)
    assert (facts["outcomes"], facts["workers"]) == ({"done": 1, "no-response": 1}, {})


def test_a_long_task_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Who has it, each time that it says so."""
    caplog.set_level(logging.INFO)
    view = TaskView(1, lambda _: True, tracked=True, as_json=False)
    for took in (1.0, 1.0, 6.0):
        view.look({"aaaaaaaa": Working(task="aaaaaaaa", worker="rack-1", took=took)})
    assert caplog.messages == [
        "rack-1 has it, and works on it for 1.0 s",
        "rack-1 has it, and works on it for 6.0 s",
    ]
