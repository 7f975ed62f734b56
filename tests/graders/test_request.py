"""What may be asked, and what comes back to whoever asked."""

import math
import os
from pathlib import Path

import pytest
from msgspec import Raw

from pytest_gatherscatter.asking import AGAIN, BACK, LATE, Ask, Ended
from pytest_gatherscatter.errors import GradeFailed, NotGraded, RequestInvalid, SettingsInvalid
from pytest_gatherscatter.graders.asker import AskerMachine
from pytest_gatherscatter.graders.given import GivenGrade
from pytest_gatherscatter.graders.request import make_request
from pytest_gatherscatter.graders.service.file import read_files
from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Run,
    Send,
    Told,
    Woken,
)
from pytest_gatherscatter.wire.grading import MOST_INLINE, GradeAnswer, GradeRequest

ID = "ab" * 8


def made(payload: object = None, queue: str = "q", **said: object) -> GradeRequest:
    """A request."""
    return make_request(queue, payload, id=ID, now=1000.0, seconds=30.0, **said)  # type: ignore[arg-type]


def test_only_plain_json_goes_out() -> None:
    """What every language reads, within bounds; the text says what it is not."""
    assert bytes(made({"v": [1, 2.5, None, "ä"]}).payload) == '{"v":[1,2.5,null,"ä"]}'.encode()
    for wrong in (math.nan, {1, 2}, b"x", object(), "\ud800", "x" * 2_000_000):
        with pytest.raises(RequestInvalid):
            made(wrong)
    with pytest.raises(SettingsInvalid, match="queue name"):
        made(queue="a.b")


def test_files_go_inside_or_by_their_path(tmp_path: Path) -> None:
    """Half a MiB of them inside; what is no file, or no name, is told of."""
    folder = tmp_path
    (folder / "small").write_bytes(b"x" * 1000)
    (folder / "large").write_bytes(b"x" * MOST_INLINE)
    files = read_files({"a": b"abc", "b": folder / "small", "c": folder / "large"})
    assert [(one.size, one.path) for one in files] == [
        (3, ""),
        (1000, ""),
        (MOST_INLINE, str(folder / "large")),
    ]
    assert sum(len(one.data) for one in made(files=files).files) == 1003
    os.mkfifo(folder / "pipe")
    for name, given in (
        *(("../x", b""), (".x", b""), ("x", folder / "none"), ("x", b"x" * 600_000)),
        *(("x", folder), ("x", folder / "pipe")),
    ):
        with pytest.raises(RequestInvalid):
            read_files({name: given})


def test_a_grade_says_why_it_does_not_pass() -> None:
    """With message and details; what is no grade says that."""
    details = Raw(b'{"peak": 5.7, "at": "t3"}')
    answer = GradeAnswer(
        request=ID, queue="wave", outcome="graded", score=0.4, text="peak too high", details=details
    )
    with pytest.raises(GradeFailed) as failed:
        GivenGrade(answer).check()
    assert str(failed.value).splitlines() == [
        "wave does not pass, score 0.4: peak too high",
        "  peak: 5.7",
        "  at: t3",
    ]
    for odd in (b"[" * 100_000 + b"]" * 100_000, b'"\xff"'):  # whatever an examiner says
        said = GradeAnswer(request=ID, queue="wave", outcome="graded", details=Raw(odd))
        assert GivenGrade(said).details == {}
    broke = GradeAnswer(request=ID, queue="wave", outcome="failed", text="exit status 3")
    with pytest.raises(NotGraded, match="the grader of queue wave broke: exit status 3"):
        GivenGrade(broke).need()


def ends(effects: list[Effect]) -> list[str]:
    """How requests ended."""
    commands = [one.command for one in effects if isinstance(one, Run)]
    return [one.answer.outcome for one in commands if isinstance(one, Ended)]


def sends(effects: list[Effect]) -> list[Send]:
    """What goes out."""
    return [one for one in effects if isinstance(one, Send)]


def test_what_a_broker_has_forgotten_is_asked_again() -> None:
    """One that was started anew; none is refused before those who serve can be back."""
    asker = AskerMachine("cd" * 8, window=1)
    asker.handle(LinkUp("first"), now=0.0)
    (first,) = sends(asker.handle(Told(Ask(made(), 30.0)), now=0.0))
    asker.handle(Confirmed(first.id), now=0.1)
    asker.handle(LinkDown("gone"), now=1.0)
    assert sends(asker.handle(LinkUp("first"), now=2.0)) == [], "the same one has it still"
    asker.handle(LinkDown("gone"), now=3.0)
    (again,) = sends(asker.handle(LinkUp("second"), now=4.0))
    assert ends(asker.handle(Returned(again.id), now=4.1)) == []
    (third,) = sends(asker.handle(Woken(), now=4.1 + AGAIN))
    assert ends(asker.handle(Returned(third.id), now=4.0 + BACK)) == ["refused"]


def test_a_request_ends_once() -> None:
    """By the first answer, by none in its time, or at once where there is no queue."""
    asker = AskerMachine("cd" * 8, window=1)
    request = made()
    other = make_request("q", 1, id="ef" * 8, now=1000.0, seconds=30.0)
    asker.handle(LinkUp(), now=0.0)
    (first,) = (
        one for one in asker.handle(Told(Ask(request, 30.0)), now=0.0) if isinstance(one, Send)
    )
    held = asker.handle(Told(Ask(other, 30.0)), now=0.0)
    assert not any(isinstance(one, Send) for one in held), "there is room for one"
    refused = asker.handle(Returned(first.id), now=0.0)
    assert ends(refused) == ["refused"]
    assert any(isinstance(one, Send) for one in refused), "now there is room"
    answer = GradeAnswer(request=ID, queue="q", outcome="graded")
    assert ends(asker.handle(Received(answer, 1), now=1.0)) == []
    assert ends(asker.handle(Woken(), now=30.0)) == []
    assert ends(asker.handle(Woken(), now=30.0 + LATE)) == ["no-response"]
    assert asker.left == 0
