"""The kinds of graders, each with what goes wrong in it: real programs, a real server."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from shells import until

from pytest_gatherscatter.errors import (
    GraderFailed,
    GraderKilled,
    GradingEnded,
    GradingTimedOut,
    SettingsInvalid,
)
from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
from pytest_gatherscatter.graders.service.builtin import PythonGrader, SleepGrader
from pytest_gatherscatter.graders.service.http import HttpGrader
from pytest_gatherscatter.graders.service.kind import kinds, make
from pytest_gatherscatter.graders.service.subprocess import SubprocessGrader
from pytest_gatherscatter.gradersetting import GraderSettings, read_graders
from pytest_gatherscatter.wire.grading import GradingFile


def asked(payload: object = None, seconds: float = 30.0, **said: Any) -> GraderRequest:  # noqa: ANN401 - more of it
    """A request."""
    return GraderRequest("ab" * 8, "q", payload, seconds=seconds, **said)


def shell(line: str, **options: object) -> SubprocessGrader:
    """A grader that is a line of a shell."""
    return SubprocessGrader.from_config({"command": ["sh", "-c", line], **options})


def test_a_program_reads_a_request_and_writes_a_grade(tmp_path: Path) -> None:
    """More than a pipe holds goes both ways at once, and files lie where it is told."""
    program = tmp_path / "judge.py"
    program.write_text(
        "import json, os, sys\n"
        "sys.stdout.write(' ' * 200_000); sys.stdout.flush()\n"
        "told = json.load(sys.stdin)\n"
        "texts = {one['name']: open(one['path']).read() for one in told['files']}\n"
        "details = {'n': len(told['payload']), 'here': os.getcwd(), **texts}\n"
        "print(json.dumps({'passed': True, 'score': 0.5, 'message': 'ok', 'details': details}))\n"
    )
    shared = tmp_path / "shared.bin"
    shared.write_text("far")
    digest = hashlib.sha256(b"far").hexdigest()
    files = (
        GradingFile(name="near.txt", size=4, sha256="0" * 64, data=b"near"),
        GradingFile(name="far.bin", size=3, sha256=digest, path=str(shared)),
    )
    command = [sys.executable, str(program)]
    grader = SubprocessGrader.from_config({"command": command, "shared": [str(tmp_path)]})
    grade = grader.grade(asked(list(range(100_000)), files=files))
    assert (grade.passed, grade.score, grade.message) == (True, 0.5, "ok")
    assert grade.details["n"] == 100_000
    assert (grade.details["near.txt"], grade.details["far.bin"]) == ("near", "far")
    assert not Path(grade.details["here"]).exists()
    shared.write_text("new")
    with pytest.raises(GraderFailed, match="has changed since it was sent"):
        grader.grade(asked(files=files))
    shared.unlink()
    os.mkfifo(shared)  # a pipe would be waited for
    piped = GradingFile(name="far.bin", size=0, sha256=digest, path=str(shared))
    with pytest.raises(GraderFailed, match="is no file with a size"):
        grader.grade(asked(files=(piped,)))
    with pytest.raises(GraderFailed, match="is below none of option shared"):
        SubprocessGrader.from_config({"command": command}).grade(asked(files=files))


@pytest.mark.parametrize(
    ("line", "options", "error", "text"),
    [
        ("echo no scope >&2; exit 3", {}, GraderFailed, "exit status 3: no scope"),
        ("echo nonsense", {}, GraderFailed, "wrote no JSON"),
        ("echo '{}'", {}, GraderFailed, "has not said whether it passed"),
        ("""echo '{"passed": true, "score": "x"}'""", {}, GraderFailed, "which is no number"),
        ("yes", {"output": "10KiB"}, GraderFailed, "wrote more than 10240 bytes"),
        ("kill -SEGV $$", {}, GraderKilled, "killed by SIGSEGV"),
        ("while :; do :; done", {"cpu": "1s"}, GraderFailed, "more than 1 s of CPU"),
        (
            f"{sys.executable} -c 'x = bytearray(900_000_000)'",
            {"memory": "400MiB"},
            GraderFailed,
            "MemoryError",
        ),
    ],
)
def test_how_a_program_fails(
    line: str, options: dict[str, object], error: type[Exception], text: str
) -> None:
    """In words that say what it did, or what it took too much of."""
    with pytest.raises(error, match=text):
        shell(line, **options).grade(asked())


EXAMINER = """
import sys

from pytest_gatherscatter.graders.grader import GraderRequest
from pytest_gatherscatter.graders.service.subprocess import SubprocessGrader

grader = SubprocessGrader.from_config({"command": ["sh", "-c", sys.argv[1]]})
grader.grade(GraderRequest("ab" * 8, "q", None))
"""


def test_a_program_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """When its time is over, it is told to, it has ended itself, or its examiner was killed."""
    line = f"sleep 60 & echo $! > {tmp_path}/pid; "

    def gone() -> bool:
        pid = (tmp_path / "pid").read_text().strip() if (tmp_path / "pid").exists() else "none"
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    with pytest.raises(GradingTimedOut, match=r"it took longer than 0\.3 s"):
        shell(line + "wait").grade(asked(seconds=0.3))
    until(gone)
    bell = os.eventfd(0)
    threading.Timer(0.3, os.eventfd_write, (bell, 1)).start()
    with pytest.raises(GradingEnded):
        shell(line + "wait").grade(asked(ended=bell))
    os.close(bell)
    until(gone)
    assert shell(line + """echo '{"passed": true}'""").grade(asked()) == Grade(passed=True)
    until(gone)
    (tmp_path / "pid").unlink()
    examiner = subprocess.Popen([sys.executable, "-c", EXAMINER, line + "wait"])
    until((tmp_path / "pid").exists)
    examiner.kill()  # it has no time to end anybody
    examiner.wait()
    until(gone)


class Server(BaseHTTPRequestHandler):
    """Answers as its path says."""

    asked: list[tuple[str, Any]] = []  # noqa: RUF012 - cleared by its fixture

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, json.loads(body)))
        times = len(self.asked)
        match self.path:
            case "/broken-once" if times == 1:
                self.send_error(503)
            case "/broken":
                self.send_error(500)
            case "/gone":
                self.send_error(404)
            case "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "/good")
                self.end_headers()
            case "/drips":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):  # nobody listens any more
                    for _ in range(100):
                        self.wfile.write(b" ")
                        time.sleep(0.05)
            case "/drips-its-head":
                with contextlib.suppress(OSError):
                    for _ in range(100):
                        self.wfile.write(b"H")
                        time.sleep(0.05)
            case "/ends-early":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"passed": true}')
            case _:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"passed": true, "score": 1}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_a_server_is_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again if it was broken, never elsewhere, and no longer than there is time."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    def ask(path: str, seconds: float = 30.0, bell: int = -1, **options: object) -> Grade:
        Server.asked.clear()
        return HttpGrader.from_config({"url": server + path, **options}).grade(
            asked({"v": 1}, seconds, ended=bell)
        )

    assert ask("/broken-once").score == 1.0
    assert [path for path, _ in Server.asked] == ["/broken-once"] * 2
    assert Server.asked[0][1]["payload"] == {"v": 1}
    with pytest.raises(GraderFailed, match="status 500"):
        ask("/broken", retries=1)
    assert len(Server.asked) == 2
    for path, text in (("/gone", "status 404"), ("/elsewhere", "status 302")):
        with pytest.raises(GraderFailed, match=text):
            ask(path)
        assert len(Server.asked) == 1
    with pytest.raises(GraderFailed, match="the answer ended 984 bytes too early"):
        ask("/ends-early", retries=0)
    for path in ("/drips", "/drips-its-head"):
        with pytest.raises(GradingTimedOut):
            ask(path, 0.4)
    bell = os.eventfd(1)
    with pytest.raises(GradingEnded):
        ask("/drips", bell=bell)
    os.close(bell)
    with pytest.raises(GraderFailed, match="ConnectionRefusedError"):
        HttpGrader.from_config({"url": "http://127.0.0.1:9/", "retries": 0}).grade(asked())


def judge(request: GraderRequest, most: int = 5) -> bool:
    """Judge, as somebody's function."""
    return bool(request.payload < most)


def test_a_function_and_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options are keywords; a sleep ends with its time."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    function = PythonGrader.from_config({"target": "test_kinds:judge", "options": {"most": 7}})
    assert function.grade(asked(6)).passed
    assert not function.grade(asked(8)).passed
    assert SleepGrader.from_config({}).grade(asked()).passed
    with pytest.raises(GradingTimedOut):
        SleepGrader.from_config({"min": "1m"}).grade(asked(seconds=0.1))


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("subprocess", {}, "options.command: must be given"),
        ("subprocess", {"command": "true"}, "options.command: 'true' must be a list of words"),
        ("subprocess", {"command": ["no-such"]}, "options.command: there is no program"),
        ("subprocess", {"command": ["true"], "cpus": 1}, "options.cpus: there is no such option"),
        ("http", {"url": "ftp://x"}, "options.url: 'ftp://x' must be http://HOST"),
        ("http", {"url": "http://u:p@x"}, "options.url: a password in a URL"),
        ("python", {"target": "no.such:thing"}, "options.target: 'no.such:thing' cannot be"),
        (
            "python",
            {"target": "leaving:x"},
            "options.target: 'leaving:x' cannot be imported: S",
        ),
        ("subprocess", {"command": ["true", "a\0b"]}, "options.command: ['true', 'a\\x00b']: no"),
        (
            "subprocess",
            {"command": ["true"], "environment": {"A=": "x"}},
            "options.environment: 'A=': no variable",
        ),
        ("http", {"url": "http://x/a b"}, "options.url: 'http://x/a b': blanks and what is not"),
        ("sleep", {"min": "2s", "max": "1s"}, "options.max: 1 s is less than min, 2 s"),
        ("guess", {}, "kind: there is no kind 'guess'; there are http, python, sleep, subprocess"),
    ],
)
def test_wrong_options_are_told_by_their_names(
    kind: str,
    options: dict[str, object],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anybody is served, also where a module ends the process; here is where it looks."""
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))  # and puts back what is added
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    settings = GraderSettings(name="g", kind=kind, options=options, where="file: grader g")
    with pytest.raises(SettingsInvalid) as told:
        make(settings, kinds())
    assert str(told.value).startswith(f"file: grader g: {text}")


def test_each_thread_has_a_grader_of_its_own() -> None:
    """So that none needs a lock."""
    settings = GraderSettings(name="g", kind="sleep", threads=3)
    made = make(settings, kinds())
    assert len({id(one) for one in made}) == 3
    assert all(isinstance(one, Grader) for one in made)


def test_the_first_example_of_the_page_grades(tmp_path: Path) -> None:
    """As it is written, from wherever it is served: its program stands beside the settings."""
    page = (Path(__file__).parents[3] / "docs" / "graders.md").read_text()
    for kind, name in (("toml", "gatherscatter.toml"), ("python", "judge.py")):
        (tmp_path / name).write_text(page.split(f"```{kind}\n# {name}\n", 1)[1].split("```", 1)[0])
    file = tmp_path / "gatherscatter.toml"
    (settings,) = read_graders(file, tomllib.loads(file.read_text())["grader"])
    grade = make(settings, kinds())[0].grade(asked({"samples": [0.1, 4.9]}))
    assert (grade.passed, grade.score, grade.message) == (True, 4.9, "peak 4.9 V")
