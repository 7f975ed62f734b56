"""Steps of a test: what they write down, what they say, and what of it reaches the lab when."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import SectionMisused
from pytest_gatherscatter.plugin import step, steptable
from pytest_gatherscatter.plugin import teller as module
from pytest_gatherscatter.plugin.news import BURST, RATE, News, StepNews
from pytest_gatherscatter.plugin.step import Steps
from pytest_gatherscatter.plugin.teller import Teller
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.sections.service.steplog import StepLog, stranded
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import Message, StepFinished, StepProgressed

RUN = "0123456789abcdef"


class Listed(list[StepNews]):
    """A teller that only remembers."""

    def tell(self, message: StepNews) -> None:
        """Take it."""
        self.append(message)


def steps_of(told: Listed | None = None) -> Steps:
    """The steps of one test."""
    return Steps("test_it.py::test_flash", RUN, Listed() if told is None else told)


# ── what a step writes down ────────────────────────────────────────────────────────────


def test_steps_nest_and_count() -> None:
    """Each knows its depth, its total and what was said; the lab hears begin, moves and end."""
    told = Listed()
    steps = steps_of(told)
    with steps("flash", total=4) as flash:
        flash.advance(3, "erasing")
        with steps("verify") as verify:
            verify.advance()
    flash_end, verify_end = sorted(steps.done, key=lambda one: one.number)
    assert (flash_end.depth, flash_end.done, flash_end.total, flash_end.text) == (
        *(0, 3, 4),
        "erasing",
    )
    assert (verify_end.depth, verify_end.parent, verify_end.done) == (1, 1, 1)
    assert flash_end.seconds >= verify_end.seconds >= 0
    assert [(type(one), one.number, one.done) for one in told] == [
        (StepProgressed, 1, 0),
        (StepProgressed, 1, 3),
        (StepProgressed, 2, 0),
        (StepProgressed, 2, 1),
        (StepFinished, 2, 1),
        (StepFinished, 1, 3),
    ]


def test_steps_of_tasks_do_not_stand_in_one_another() -> None:
    """Two tasks of a loop have steps beside each other, whichever was begun first."""
    steps = steps_of()

    async def one(name: str) -> None:
        with steps(name):
            await asyncio.sleep(0)
            with steps(f"{name} inner"):
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(both())
    assert {one.name: one.depth for one in steps.done} == {
        "a": 0,
        "b": 0,
        "a inner": 1,
        "b inner": 1,
    }


@pytest.mark.parametrize(
    ("error", "outcome", "why"),
    [
        (ValueError("no answer\nat all"), "failed", "ValueError: no answer"),
        (AssertionError(), "failed", "AssertionError"),
        (pytest.skip.Exception("no probe"), "skipped", "no probe"),
        (unittest.SkipTest("no probe"), "skipped", "no probe"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "interrupted", "CancelledError"),
    ],
)
def test_a_step_ends_as_its_block_does(error: BaseException, outcome: str, why: str) -> None:
    """Failure, skip and interruption are told apart, and go on to the test."""
    steps = steps_of()
    with pytest.raises(type(error)), steps("break"):
        raise error
    assert (steps.done[0].outcome, steps.done[0].why) == (outcome, why)
    assert dict(steps.properties())["gs.step.1.break.outcome"] == outcome


def misuses() -> list[Callable[[Steps], object]]:
    """List what cannot mean anything."""

    def late(steps: Steps) -> None:
        with steps("over") as one:
            pass
        one.advance()

    def moved(by: object) -> Callable[[Steps], object]:
        def move(steps: Steps) -> None:
            with steps("flash") as one:
                one.advance(by)  # type: ignore[arg-type]

        return move

    def enter(name: str, total: object = None) -> Callable[[Steps], object]:
        return lambda steps: steps(name, total=total).__enter__()  # type: ignore[arg-type]

    return [
        *(enter(""), enter("x" * 513)),
        *(enter("flash", 0), enter("flash", -1), enter("flash", float("nan")), enter("f", "3")),
        *(moved(-1), moved(float("inf")), moved("1"), moved(by=True)),
        late,
    ]


@pytest.mark.parametrize("misuse", misuses())
def test_what_cannot_mean_anything_is_refused(misuse: Callable[[Steps], object]) -> None:
    """Names, totals and advances that are none are an error that names the step."""
    with pytest.raises(SectionMisused):
        misuse(steps_of())


def test_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop of steps ends in an error; the report carries few, and all that went wrong."""
    monkeypatch.setattr(step, "MOST_STEPS", 5)
    monkeypatch.setattr(step, "MOST_SHOWN", 3)
    steps = steps_of()
    for number in range(4):
        with steps(f"good {number}"):
            pass
    with pytest.raises(ValueError, match="bad"), steps("bad"):
        raise ValueError("bad")
    with pytest.raises(SectionMisused, match="at most 5"), steps("more"):
        pass
    record = steps.record()
    assert [one["name"] for one in record["steps"]] == ["good 0", "good 1", "bad"]
    assert record["left_out"] == 2


def test_whatever_a_step_is_called_can_be_sent() -> None:
    """Half a surrogate pair in a name or a text, which a file's name may hold, stops nobody."""
    told = Listed()
    steps = steps_of(told)
    with steps("flash \udc80") as one:
        one.advance(1, "at \udc81")
    for message in told:
        assert codec.decode(codec.encode(message)) == message


# ── the summary ────────────────────────────────────────────────────────────────────────


def failing() -> Steps:
    """Steps of which an inner one broke."""
    steps = steps_of()
    with steps("power on"):
        pass
    with contextlib.suppress(ValueError), steps("flash", total=40), steps("erase") as one:
        one.advance(12, "sector\n12")
        raise ValueError("sector 12 is stuck")
    return steps


def test_summary_names_the_step_that_broke() -> None:
    """One line: the way to it, when, how far, what it said and why; those around it say nothing."""
    (line,) = steptable.wrong(failing().record())
    assert line == (
        "test_it.py::test_flash [flash > erase] failed after 0.00 s at 12: sector 12 "
        "(ValueError: sector 12 is stuck)"
    )


def test_table_lists_all_steps() -> None:
    """With ``-v``: a row for each, indented as they nest."""
    assert steptable.table(failing().record()) == [
        "test_it.py::test_flash",
        "    1 power on    0.00 s passed",
        "    2 flash       0.00 s failed 0/40 (ValueError: sector 12 is stuck)",
        "    3   erase     0.00 s failed 12: sector 12 (ValueError: sector 12 is stuck)",
    ]


def test_properties_are_plain() -> None:
    """Seconds for each, and what it counted; a dot in a name does not part the property's."""
    steps = steps_of()
    with steps("at 2.5 V", total=2) as one:
        one.advance(2)
    (name, seconds), *rest = steps.properties()
    assert name == "gs.step.1.at 2_5 V"
    assert isinstance(seconds, float)
    assert rest == [(f"{name}.done", 2), (f"{name}.total", 2)]


# ── what leaves when ───────────────────────────────────────────────────────────────────


def moves(number: int, done: float) -> StepProgressed:
    """A step's word."""
    return StepProgressed(
        run=RUN, test="t", number=number, step="s", started_wall=0, seconds=0, done=done
    )


def ends(number: int) -> StepFinished:
    """A step's last word."""
    return StepFinished(
        run=RUN, test="t", number=number, step="s", started_wall=0, seconds=0, outcome="passed"
    )


def test_news_are_no_more_than_ten_a_second() -> None:
    """Of a step that races only the latest word waits; ends wait too, and none is lost."""
    news = News()
    taken: list[StepNews] = []
    for turn in range(10_000):
        now = 100 + turn / 1000
        news.put(moves(1, turn))
        if turn % 10 == 9:
            news.put(ends(2 + turn // 10))
        taken += news.take(now)
    assert len(taken) <= BURST + 10 * RATE
    taken += news.take_all()
    finished = [one.number for one in taken if isinstance(one, StepFinished)]
    assert finished == list(range(2, 1002))
    assert taken[-1] == moves(1, 9999)
    assert not len(news)


def test_what_was_not_heard_comes_first() -> None:
    """Ends that a lost connection took along are said again, before later ones."""
    news = News()
    news.put(ends(3))
    news.put_back([ends(1), moves(9, 1), ends(2)])
    assert news.take(1000.0) == [ends(1), ends(2), ends(3)]


# ── on disk ────────────────────────────────────────────────────────────────────────────


def test_kept_steps_are_told_by_whoever_comes_next(tmp_path: Path) -> None:
    """Without a ticket beside them; one that was cut short in writing costs that line alone."""
    ticket = tmp_path / "0123.ticket"
    ticket.touch()
    log = StepLog(ticket, "rack")
    for message in (moves(1, 0), ends(1), moves(2, 0), moves(2, 7)):
        log.keep(message)
    with log.path.open("ab") as stream:
        stream.write(codec.encode(ends(3))[:20])
    assert list(stranded(tmp_path, "rack")) == []
    ticket.unlink()
    assert list(stranded(tmp_path, "other")) == []
    (found,) = stranded(tmp_path, "rack")
    assert [(one.number, one.outcome, one.done) for one in found.messages] == [
        (1, "passed", 0),
        (2, "interrupted", 7),
    ]
    found.remove()
    assert list(tmp_path.iterdir()) == []


def heard(asker: Asker, until: Callable[[list[Message]], bool]) -> list[Message]:
    """Listen until all is there that is to come."""
    found: list[Message] = []
    end = time.monotonic() + 20
    while not until(found):
        assert time.monotonic() < end, found
        found += asker.listen(1)
    return found


DIES = """
import os, sys, time
from pathlib import Path
from pytest_gatherscatter.plugin.step import Steps
from pytest_gatherscatter.plugin.teller import Teller

url, lab, folder = sys.argv[1:]
teller = Teller("0123456789abcdef", lambda: (url, lab), Path(folder))
steps = Steps("test_it.py::test_dies", "0123456789abcdef", teller)
with steps("before"):
    pass
teller.fall_quiet()
teller.keep_beside(Path(folder, "5678.ticket"))
open_files = len(os.listdir("/proc/self/fd"))
with steps("quiet"):
    pass
with steps("flash", total=10) as step:
    step.advance(4)
    assert len(os.listdir("/proc/self/fd")) == open_files
    os._exit(9)
"""


def test_the_lab_hears_of_steps_live_kept_and_left_behind(
    embedded_url: str, lab: str, tmp_path: Path
) -> None:
    """At once outside of a section, afterwards inside; of a process that died, by the next one."""
    teller = Teller(RUN, lambda: (embedded_url, lab), tmp_path)
    steps = Steps("t", RUN, teller)
    with Asker(Settings(lab=lab), embedded_url, events=["step.*.*"]) as asker:
        with steps("live") as one:
            (begun,) = heard(asker, bool)
            assert isinstance(begun, StepProgressed)
            one.advance(1, "half")
            (moved,) = heard(asker, bool)
            assert isinstance(moved, StepProgressed)
            assert moved.text == "half"
        heard(asker, bool)
        teller.fall_quiet()
        teller.keep_beside(tmp_path / "1234.ticket")
        with steps("kept"):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["1234.steps"]
        assert asker.listen(0) == []
        done = subprocess.run(
            [sys.executable, "-c", DIES, embedded_url, lab, str(tmp_path)], check=False
        )
        assert done.returncode == 9
        teller.speak()
        came = heard(asker, lambda found: len(found) >= 5)
    ended = [(one.step, one.outcome) for one in came if isinstance(one, StepFinished)]
    assert sorted(ended) == [
        ("before", "passed"),
        ("flash", "interrupted"),
        ("kept", "passed"),
        ("quiet", "passed"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_lab_that_does_not_answer_costs_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of many tests ask once, for a bounded time; no test hears of it."""
    monkeypatch.setattr(module, "TELL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        teller = Teller(RUN, lambda: (url, "lab"), tmp_path)
        for number in range(40):
            with Steps(f"test_{number}", RUN, teller)("a"):
                pass
            teller.finish()
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
