"""``gatherscatter graders``: what is refused at once, and what people see of grades."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Raw

from pytest_gatherscatter.cli.gradeview import GradeView
from pytest_gatherscatter.cli.main import status
from pytest_gatherscatter.cli.tally import percentile
from pytest_gatherscatter.cli.watch import line_of
from pytest_gatherscatter.errors import BrokerUnreachable, SettingsInvalid
from pytest_gatherscatter.graders.service.examiner import Account
from pytest_gatherscatter.gradersetting import ExaminerSettings
from pytest_gatherscatter.wire.grading import GradeAnswer

ANSWER = GradeAnswer(
    request="ab" * 8,
    queue="wave",
    outcome="graded",
    passed=True,
    score=0.5,
    text="fine\x1b[2J",
    details=Raw(b'{"peak": 5.1}'),
)
SERVED = "[examiner]\nname = 'one'\n[[grader]]\nname = 'a'\nkind = 'sleep'"
BROKE = GradeAnswer(request="cd" * 8, queue="wave", outcome="failed", text="exit status 3")


@pytest.mark.parametrize(
    ("toml", "words", "said"),
    [
        ("", ("serve",), "gatherscatter.toml: there is no [[grader]] in it"),
        ("[[grader]]\nname='a'\nkind='x'", ("check",), "grader a: kind: there is no kind 'x'"),
        (
            "[[grader]]\nname='a'\nkind='sleep'\noptions={ mix = 1 }",
            ("check",),
            "grader a: options.mix: there is no such option; allowed are max, min",
        ),
        ("", ("check", "--config", "none.toml"), "none.toml: there is no such file"),
        ("", ("request", "wave", "--timeout", "x"), "--timeout: "),
        ("", ("status", "--wait", "x"), "--wait: "),
    ],
)
def test_what_is_wrong_is_told_at_once(  # noqa: PLR0913, PLR0917 - a case, and its place
    toml: str,
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line with where it stands, and 2."""
    (tmp_path / "gatherscatter.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    assert status(["graders", *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 200_000, b"{} x", b'{"v": NaN}'])
def test_what_is_no_json_is_told_in_a_line(
    body: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anybody is asked, whatever bytes they are."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body)))
    assert status(["graders", "request", "wave"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("gatherscatter: standard input: is no JSON: ")
    assert told.count("\n") == 1


def test_two_files_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them would be left out."""
    words = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "trace.bin").write_text(folder)
        words += ["--file", str(tmp_path / folder / "trace.bin")]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1")))
    assert status(["graders", "request", "wave", *words]) == 2
    assert capsys.readouterr().err == "gatherscatter: --file: two files have one name\n"


class Signals:
    """What a person or a service manager asks of ``serve``, without a signal."""

    def __init__(self) -> None:
        self.times = self.exit_status = 0
        self.asked = False

    def __call__(self) -> bool:
        """Say whether it is to end."""
        return self.times > 0


def test_settings_that_cannot_be_taken_leave_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name shows as taken only when it is used; a broker that is away then is waited for."""
    file, signals, served = tmp_path / "gatherscatter.toml", Signals(), []

    class Service:
        """Serves under names, until somebody asks for something."""

        def __init__(self, _lab: str, _url: str, told: ExaminerSettings, *_: object) -> None:
            self.name = told.name

        def run(self, stops: Callable[[], int]) -> Account:
            """Serve, or not."""
            served.append(self.name)
            match len(served):
                case 1:
                    file.write_text(SERVED.replace("one", "two"))
                    signals.asked = True
                case 2:
                    raise SettingsInvalid("--name", "is taken")
                case 3:
                    raise BrokerUnreachable("amqp://localhost", "nobody there")
                case _:
                    signals.times = 1
            assert stops() == 1
            return Account(("ab" * 8,), ("cd" * 8,) * 1000, ())

    file.write_text(SERVED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_gatherscatter.graders.service.examiner.ExaminerService", Service)
    for name in ("Stop", "Reload"):
        monkeypatch.setattr(f"pytest_gatherscatter.cli.graders.{name}", lambda *_: signals)
    assert status(["graders", "serve", "--broker", "amqp://localhost"]) == 0
    assert served == ["one", "two", "one", "one"]
    told = capsys.readouterr().err
    assert "the old settings stay: --name: is taken" in told
    assert f"1 given back: {'ab' * 8}\n" in told
    assert f"1000 not said: {', '.join(['cd' * 8] * 20)}, …\n" in told


def test_right_settings_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each grader in a line."""
    (tmp_path / "gatherscatter.toml").write_text("[[grader]]\nname='a'\nkind='sleep'\nthreads=2")
    monkeypatch.chdir(tmp_path)
    assert status(["graders", "check"]) == 0
    assert capsys.readouterr().out == "grader\ta\tsleep\ta\t2\n"


def test_one_grade_is_shown_and_many_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody graded is complained of; nothing moves the cursor."""
    view = GradeView(1, as_json=False)
    view.tell(ANSWER, 0.1)
    view.end(0.1)
    assert capsys.readouterr().out == "passed, score 0.5: fine\\x1b[2J\n  peak: 5.1\n"
    view = GradeView(100, as_json=False)
    for number in range(100):
        view.tell(ANSWER if number else BROKE, (number + 1) / 1000)
    view.end(2.0)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "100 of 100 ended, 99 passed, 0 did not, 1 not graded",
        "2.0 s, 50.0 a second, answered in p50 51.0 ms, p95 96.0 ms, p99 100.0 ms",
    ]
    assert "the grader of queue wave broke: exit status 3" in told.err
    view = GradeView(2, as_json=True)
    view.tell(ANSWER, 0.1)
    view.end(0.1)
    one, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (one["details"], one["seconds"]) == ({"peak": 5.1}, 0.1)
    assert summary["summary"]["p50_ms"] == 100.0
    assert percentile([], 50) == 0.0


def test_watch_tells_of_grades() -> None:
    """In a line."""
    assert line_of(ANSWER).startswith("grade of queue wave: passed after 0.00 s: fine")
    assert line_of(BROKE) == "grade of queue wave: failed after 0.00 s: exit status 3"
