"""Hooks as methods and as programs, found by name, and run in their thread."""

import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
from shells import until

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.machine import Exited, Input, Told
from pytest_gatherscatter.sections.hook import Attachment, Findings, Monitor, SectionInfo
from pytest_gatherscatter.sections.monitor.hookcall import (
    CHUNK,
    Answer,
    Broken,
    CallHook,
    Collected,
    Hook,
    HookEnded,
    HookReturned,
)
from pytest_gatherscatter.sections.service.artifact import Folder
from pytest_gatherscatter.sections.service.hooks import (
    CommandHooks,
    MethodHooks,
    load_monitor,
    make_monitor,
    read_findings,
)
from pytest_gatherscatter.sections.service.hookthread import NAME, HookThread, Post

INFO = SectionInfo(
    id="0123abcd", name="burst", test="t.py::t", bench="b", owner="me", token=1, max_duration=3.0
)


def nothing() -> None:
    """What these tests do with the moment at which a hook began."""


def ask(command: list[str], hook: Hook, folder: Path, limit: float = 10.0) -> Answer:
    """Run one program as a hook."""
    hooks = CommandHooks({hook: tuple(command)})
    return hooks.call(CallHook(hook, INFO, limit), Folder(folder, 1000), nothing)


# ── by name ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("nocolon", "must be package.module:Class"),
        ("no_such_module_here:A", "ModuleNotFoundError: No module named 'no_such_module_here'$"),
        ("breaks_at_import:A", "cannot be imported: ZeroDivisionError"),
        ("breaks_in_syntax:A", "cannot be imported: SyntaxError"),
        ("fine_module:Missing", "there is no Missing in fine_module"),
        ("fine_module:Other", "is no subclass of"),
        ("fine_module:value", "is no subclass of"),
    ],
)
def test_a_class_that_cannot_be_had_is_one_clear_line(
    target: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator reads what was wrong with the name or the module, and no traceback."""
    (tmp_path / "breaks_at_import.py").write_text("1 / 0\n")
    (tmp_path / "breaks_in_syntax.py").write_text("def\n")
    (tmp_path / "fine_module.py").write_text("class Other: pass\nvalue = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    with pytest.raises(SettingsInvalid, match=problem) as caught:
        load_monitor(target)
    assert "\n" not in str(caught.value)


def test_a_class_is_made_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options are keyword arguments; those that the class does not take are told."""
    (tmp_path / "made_module.py").write_text(
        "from pytest_gatherscatter.sections.hook import Monitor\n"
        "class Made(Monitor):\n"
        "    def __init__(self, *, address):\n"
        "        self.address = address\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    made = make_monitor("made_module:Made", {"address": "GPIB::1"})
    assert vars(made) == {"address": "GPIB::1"}
    with pytest.raises(SettingsInvalid, match=r"TypeError: Made\.__init__\(\) .*'adress'$"):
        make_monitor("made_module:Made", {"adress": "GPIB::1"})


# ── methods ────────────────────────────────────────────────────────────────────────────


class Odd(Monitor):
    """Answers that no hook may give."""

    def prepare(self, section: SectionInfo) -> None:
        """Return something else."""
        del section
        return 5  # type: ignore[return-value]

    def stopped(self, section: SectionInfo) -> Findings:
        """Return something else."""
        del section
        return {"peak": 5}  # type: ignore[return-value]

    def started(self, section: SectionInfo) -> None:
        """End the thread, as it thinks."""
        del section
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (Hook.PREPARE, "prepare returned int, not Hold, Veto or None"),
        (Hook.STOPPED, "stopped returned dict, not Findings or None"),
        (Hook.STARTED, "SystemExit: 3 (test_hooks.py:"),
    ],
)
def test_a_wrong_answer_of_a_method_is_broken(hook: Hook, reason: str, tmp_path: Path) -> None:
    """A forgotten type must not count as ready."""
    answer = MethodHooks(Odd()).call(
        CallHook(hook, INFO, 1.0), Folder(tmp_path / "c", 1000), nothing
    )
    assert isinstance(answer, Broken)
    assert answer.reason.startswith(reason)


# ── programs ───────────────────────────────────────────────────────────────────────────


def test_a_program_left_behind_does_not_hold_its_hook_up(tmp_path: Path) -> None:
    """A recorder in the background keeps stdout open, and on-go returns all the same."""
    told, mark, over = (tmp_path / name for name in ("told", "ended", "over"))
    recorder = f"until test -e {told}; do sleep 0.02; done; touch {mark}"
    script = f"({recorder}) & echo recording; : > {over}"
    assert ask(["sh", "-c", script], Hook.STARTED, tmp_path / "c") is None
    # Counted from the program's last deed: how long it took to start is the machine's affair.
    assert time.time() - over.stat().st_mtime < 0.6
    assert not mark.exists()
    told.touch()
    until(mark.exists)


def test_a_program_past_its_limit_is_ended_with_its_children(tmp_path: Path) -> None:
    """SIGTERM first, so that it can switch off; what ignores that is killed."""
    mark = tmp_path / "tidied"
    script = f"trap 'touch {mark}; exit' TERM; sleep 30 & wait"
    answer = ask(["sh", "-c", script], Hook.PREPARE, tmp_path / "c", limit=0.3)
    assert answer == Broken("prepare still running after 0.3 s; ended")
    assert mark.exists()
    began = time.monotonic()
    answer = ask(["sh", "-c", "trap '' TERM; sleep 30"], Hook.PREPARE, tmp_path / "c", limit=0.2)
    assert isinstance(answer, Broken)
    assert time.monotonic() - began < 5


def test_findings_are_read_from_lines() -> None:
    """JSON objects and name=value; what is neither is for the log; a spoilt one is told."""
    findings, problem = read_findings(
        "starting up\n"
        "peak_v=5.2\n"
        "state=armed and ready\n"
        "ok=true\n"
        'name_only={"x"}\n'
        '{"name": "rms", "value": 2, "low": 1, "high": 3, "unit": "V"}\n'
        '{"name": "shape", "passed": false, "text": "clipped"}\n'
    )
    assert not problem
    assert [(f.name, f.value, f.passed) for f in findings] == [
        ("peak_v", 5.2, None),
        ("state", "armed and ready", None),
        ("ok", True, None),
        ("name_only", '{"x"}', None),
        ("rms", 2, True),
        ("shape", None, False),
    ]
    _, problem = read_findings('{"value": 1}\n{"name": \n{"name": "a", "maximum": 3}\n{"name": 1}')
    assert "line 1 of the findings has no name" in problem
    assert all(f"line {number}" in problem for number in (2, 3, 4))


def test_a_flood_of_output_is_cut(tmp_path: Path) -> None:
    """More than a mebibyte of findings is a capture; the monitor's memory is not for it."""
    script = "printf 'a=1\\n'; head -c 5000000 /dev/zero | tr '\\0' 'x'; printf '\\nb=2\\n'"
    answer = ask(["sh", "-c", script], Hook.STOPPED, tmp_path / "c")
    assert isinstance(answer, Collected)
    assert [finding.name for finding in answer.findings] == ["a"]


# ── captures ───────────────────────────────────────────────────────────────────────────


def test_captures_travel_up_to_the_limit_in_sum(tmp_path: Path) -> None:
    """What does not fit any more stays, with host and path, also when it was only bytes."""
    folder = Folder(tmp_path / "c", 10)
    captures, problem = folder.collect(
        INFO.id,
        [Attachment("a", b"123456"), Attachment("b", b"1234567"), Attachment("a", b"1234")],
    )
    assert not problem
    assert [(c.manifest.name, c.manifest.chunks, c.data) for c in captures] == [
        ("a", 1, b"123456"),
        ("b", 0, None),
        ("a-2", 1, b"1234"),
    ]
    assert Path(captures[1].manifest.path).read_bytes() == b"1234567"
    folder.discard(INFO.id)
    assert Path(captures[1].manifest.path).exists()
    folder.drop(INFO.id)
    assert not (tmp_path / "c" / INFO.id).exists()


def test_names_of_captures_are_made_plain(tmp_path: Path) -> None:
    """The manifest never speaks of a path, a hidden file, or one name twice."""
    folder = Folder(tmp_path / "c", 10_000)
    names = ["../../etc/passwd", ".bashrc", "a/b", "b", "ü " * 200, "C:\\x\\y.csv", ".."]
    captures, _ = folder.collect(INFO.id, [Attachment(name, b"") for name in names])
    plain = [capture.manifest.name for capture in captures]
    assert len(set(plain)) == len(names)
    assert not any("/" in name or "\\" in name or name.startswith(".") for name in plain)
    assert max(map(len, plain)) <= 110
    assert all(capture.manifest.chunks == 1 for capture in captures)


def test_a_capture_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The others are handed in all the same."""
    folder = Folder(tmp_path / "c", 1_000_000)
    captures, problem = folder.collect(
        INFO.id, [Attachment("gone", tmp_path / "gone"), Attachment("big", b"x" * (CHUNK + 1))]
    )
    assert problem == "capture gone cannot be read: No such file or directory"
    assert [capture.manifest.chunks for capture in captures] == [2]


# ── the thread ─────────────────────────────────────────────────────────────────────────


class Slow(Monitor):
    """Waits until it is let go, and notes where it ran."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ran: list[tuple[str, float]] = []

    def prepare(self, section: SectionInfo) -> None:
        """Take its time."""
        del section
        self.go.wait(10)

    def started(self, section: SectionInfo) -> None:
        """Note thread and time."""
        del section
        self.ran.append((threading.current_thread().name, time.monotonic()))


def into(posted: SimpleQueue[Input]) -> Post:
    """Make a post that keeps what it gets, whether it would wake anybody or not."""

    def post(message: Input, *, wake: bool = True) -> None:
        del wake
        posted.put(message)

    return post


def test_a_start_is_never_early_and_stamped(tmp_path: Path) -> None:
    """The thread sleeps to t0 by itself; ``ready`` is long before, ``began`` right after."""
    monitor, posted = Slow(), SimpleQueue[Input]()
    thread = HookThread(
        MethodHooks(monitor),
        Folder(tmp_path / "c", 10),
        into(posted),
    )
    at = time.monotonic() + 0.3
    thread.submit(1, CallHook(Hook.STARTED, INFO, 1.0, at=at))
    ended = posted.get(timeout=5)
    assert isinstance(ended, Exited)
    assert isinstance(ended.result, HookEnded)
    assert ended.result.ready is not None
    assert ended.result.began is not None
    assert ended.result.ready < at <= ended.result.began <= monitor.ran[0][1]
    assert monitor.ran[0][0] == NAME
    assert thread.close(1)


@pytest.mark.parametrize(("late", "wakes"), [(0.0, False), (1.0, True)])
def test_who_has_started_wakes_its_link_when_that_instant_is_over(
    tmp_path: Path,
    late: float,
    wakes: bool,  # noqa: FBT001 - a parameter
) -> None:
    """At t0 others start on this host; later on the end of the section may wait for this one."""
    woken = SimpleQueue[bool]()

    def post(message: Input, *, wake: bool = True) -> None:
        del message
        woken.put(wake)

    thread = HookThread(MethodHooks(Monitor()), Folder(tmp_path / "c", 10), post)
    now = time.monotonic()
    thread.submit(1, CallHook(Hook.STARTED, INFO, 1.0, at=now - late if late else now + 60))
    if not late:
        thread.cancel(1)
    assert woken.get(timeout=5) is wakes
    assert thread.close(1)


def test_a_start_can_be_called_off(tmp_path: Path) -> None:
    """It comes back at once and was never called."""
    monitor, posted = Slow(), SimpleQueue[Input]()
    thread = HookThread(
        MethodHooks(monitor),
        Folder(tmp_path / "c", 10),
        into(posted),
    )
    thread.submit(1, CallHook(Hook.STARTED, INFO, 1.0, at=time.monotonic() + 60))
    thread.cancel(1)
    ended = posted.get(timeout=2)
    assert isinstance(ended, Exited)
    assert isinstance(ended.result, HookEnded)
    assert ended.result.began is None
    assert monitor.ran == []
    assert thread.close(1)


def test_a_start_whose_time_is_over_is_not_made(tmp_path: Path) -> None:
    """The process stood still until after the deadline: a start then would never end."""
    monitor, posted = Slow(), SimpleQueue[Input]()
    thread = HookThread(MethodHooks(monitor), Folder(tmp_path / "c", 10), into(posted))
    now = time.monotonic()
    thread.submit(1, CallHook(Hook.STARTED, INFO, 1.0, at=now - 2, until=now - 1))
    ended = posted.get(timeout=2)
    assert isinstance(ended, Exited)
    assert isinstance(ended.result, HookEnded)
    assert ended.result.began is None
    assert monitor.ran == []
    assert thread.close(1)


def test_a_method_past_its_limit_is_given_up_until_it_returns(tmp_path: Path) -> None:
    """It is told once as stuck, and its return is told instead of a late answer."""
    monitor, posted = Slow(), SimpleQueue[Input]()
    thread = HookThread(
        MethodHooks(monitor),
        Folder(tmp_path / "c", 10),
        into(posted),
    )
    thread.submit(1, CallHook(Hook.PREPARE, INFO, 0.1))
    time.sleep(0.3)
    thread.watch()
    thread.watch()
    ended = posted.get(timeout=2)
    assert isinstance(ended, Exited)
    assert isinstance(ended.result, HookEnded)
    assert ended.result.stuck
    assert ended.result.answer == Broken("prepare still running after 0.1 s")
    assert posted.empty()
    monitor.go.set()
    assert posted.get(timeout=2) == Told(HookReturned())
    assert thread.close(1)
