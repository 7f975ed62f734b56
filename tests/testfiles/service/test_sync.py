"""Files come by rsync: a path, a daemon on loopback, a remote shell that a script stands for."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shells import until

from pytest_gatherscatter.errors import SourceRefused, SyncFailed
from pytest_gatherscatter.testfiles.order import DutyOrder
from pytest_gatherscatter.testfiles.service.sync import allowed_source, fetch
from pytest_gatherscatter.testfiles.service.workspace import Workspace, take
from pytest_gatherscatter.testfiles.workspace import SyncLimits
from pytest_gatherscatter.wire.testfiles import JobOffered, JobSource, JobTerms

TERMS = JobTerms(arguments=(), root="/suite", run="1d" * 8)
EXCLUDES = (".git", "__pycache__")
LIMITS = SyncLimits(connect=5, silence=10, whole=60)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Files to fetch."""
    suite = tmp_path / "my suite"
    for name in ("tests/test_a.py", ".git/HEAD", "tests/__pycache__/a.pyc", "conftest.py"):
        (suite / name).parent.mkdir(parents=True, exist_ok=True)
        (suite / name).write_text(name)
    (suite / "run.sh").touch(0o755)
    (suite / "link.py").symlink_to("conftest.py")
    return suite


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A place to fetch them to."""
    taken = take(tmp_path / "ws", "suite")
    yield taken
    taken.leave()


def never() -> bool:
    """Nobody calls it off."""
    return False


def get(
    source: str,
    workspace: Workspace,
    *,
    limits: SyncLimits = LIMITS,
    stop: Callable[[], bool] = never,
) -> None:
    """Fetch."""
    fetch(source, workspace, excludes=EXCLUDES, limits=limits, stop=stop)


def files(folder: Path) -> set[str]:
    """Name the files below a directory."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


HAS = {"tests/test_a.py", "conftest.py", "run.sh", "link.py"}


def test_by_path_and_again(suite: Path, workspace: Workspace) -> None:
    """It becomes what the source is: what went there goes here, what is excluded stays."""
    get(str(suite), workspace)
    assert files(workspace.path) == HAS
    assert os.access(workspace.path / "run.sh", os.X_OK)
    assert (workspace.path / "link.py").is_symlink()
    (suite / "run.sh").unlink()
    (suite / "conftest.py").write_text("conftest-py")  # as long as before, an instant later
    (workspace.path / "stray.py").touch()
    (workspace.path / "__pycache__").mkdir()
    (workspace.path / "__pycache__" / "b.pyc").touch()
    get(str(suite), workspace)
    assert files(workspace.path) == HAS - {"run.sh"} | {"__pycache__/b.pyc"}
    assert (workspace.path / "conftest.py").read_text() == "conftest-py"


def test_workspaces_in_the_source_itself(suite: Path) -> None:
    """They are left out, or copying them would never end."""
    workspace = take(suite / "var" / "ws", "suite")
    get(str(suite), workspace)
    get(str(suite), workspace)
    assert files(workspace.path) == HAS
    workspace.leave()
    with pytest.raises(SourceRefused, match="is where the workspaces are"):
        get(str(suite / "var" / "ws"), workspace)


def answers(port: int) -> bool:
    """Whether somebody listens on loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.usefixtures("suite")
def test_by_a_daemon(workspace: Workspace, tmp_path: Path) -> None:
    """A module on loopback; and nobody there is told in the daemon's own words."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"rsync://127.0.0.1:{port}/suites/my suite"
    with pytest.raises(SyncFailed, match=r"exit status 10: .*Connection refused"):
        get(url, workspace)
    (tmp_path / "rsyncd.conf").write_text(
        f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n"
        f"[suites]\npath = {tmp_path}\nread only = yes\n"
    )
    rsync = shutil.which("rsync")
    assert rsync is not None
    daemon = subprocess.Popen(
        [
            *(rsync, "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}"),
            f"--config={tmp_path}/rsyncd.conf",
        ]
    )
    try:
        until(lambda: answers(port))
        get(url, workspace)
        assert files(workspace.path) == HAS
        with pytest.raises(SyncFailed, match="Unknown module 'secret'"):
            get(f"rsync://127.0.0.1:{port}/secret", workspace)
    finally:
        daemon.terminate()
        daemon.wait(10)


def shell(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch, name: str = "ssh") -> Path:
    """Put a program on the path that stands for another, and notes how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("RSYNC_RSH", raising=False)
    return tmp_path / "called"


RUN_HERE = 'while [ "$1" != pc ]; do shift; done; shift; exec "$@"'


def test_by_a_remote_shell(
    suite: Path, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never asks; a path with a blank, or a dollar, is a path on the other side too."""
    called = shell(tmp_path, RUN_HERE, monkeypatch)
    get(f"me@pc:{suite}", workspace)
    assert files(workspace.path) == HAS
    words = called.read_text().split("\n")
    assert words[:5] == ["-oBatchMode=yes", "-oConnectTimeout=5", "-l", "me", "pc"]
    evil = tmp_path / "$(touch evil)"
    suite.rename(evil)
    get(f"pc:{evil}", workspace)
    assert files(workspace.path) == HAS
    assert not (workspace.path / "evil").exists()


DISK_FULL = """
echo 'rsync: write failed on "/ws": No space left on device (28)' >&2
echo 'rsync error: error in file IO (code 11) at receiver.c(393)' >&2
exit 11"""


@pytest.mark.parametrize(
    ("stand_in", "said"),
    [
        (
            ("ssh", "echo 'me@pc: Permission denied (publickey).' >&2; exit 255"),
            r"rsync of pc:/suite: exit status \d+: me@pc: Permission denied \(publickey\)\.",
        ),
        (("rsync", DISK_FULL), r"exit status 11: .*No space left on device \(28\)"),
        (("rsync", "exec sleep 100"), r"it took longer than 0.5 s"),
        (("rsync", "kill -9 $$"), r"SIGKILL: it said nothing"),
    ],
)
def test_one_line_says_why_it_failed(
    stand_in: tuple[str, str],
    said: str,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command's exit and its last telling line; a hang is bounded."""
    program, script = stand_in
    shell(tmp_path, script, monkeypatch, program)
    whole = 0.5 if "sleep" in script else 60
    with pytest.raises(SyncFailed, match=said):
        get("pc:/suite", workspace, limits=SyncLimits(5, 10, whole))


def test_without_rsync(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said in so many words."""
    monkeypatch.setenv("PATH", str(workspace.path))
    with pytest.raises(SyncFailed, match="rsync is not installed here"):
        get("/suite", workspace)


def test_called_off_in_the_middle(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program and what it started are ended, and nobody else can have the workspace before."""
    called = shell(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 100", monkeypatch, "rsync")
    with pytest.raises(SyncFailed, match="it was called off"):
        get("/suite", workspace, stop=lambda: called.exists() and (tmp_path / "pid").exists())
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()


def order(*sources: str, workspaces: Path) -> DutyOrder:
    """A listener that allows these sources."""
    offer = JobOffered(job="0b" * 8, originator="me", root="/suite", files=1)
    return DutyOrder(
        lab="lab",
        offer=offer,
        slots=1,
        host="pc",
        machine="ab",
        workspaces=str(workspaces),
        sources=sources,
    )


def test_what_a_listener_allows(suite: Path, tmp_path: Path) -> None:
    """By itself directories of its own user on its own host; else what its patterns say."""
    here = JobSource(place=f"me@pc:{suite}", host="ab", path=str(suite), terms=TERMS)
    assert allowed_source(order(workspaces=tmp_path), here) == str(suite)
    there = JobSource(place="me@pc:/suite", terms=TERMS)
    with pytest.raises(SourceRefused, match="add it to the listener's sources"):
        allowed_source(order(workspaces=tmp_path), there)
    assert allowed_source(order("me@*", workspaces=tmp_path), there) == "me@pc:/suite"
    with pytest.raises(SourceRefused, match=r"not allowed here \(you@\*\)"):
        allowed_source(order("you@*", workspaces=tmp_path), there)
    gone = JobSource(place=str(tmp_path / "gone"), terms=TERMS)
    with pytest.raises(SourceRefused, match="No such file"):
        allowed_source(order(workspaces=tmp_path), gone)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_needs_a_pattern(suite: Path, tmp_path: Path) -> None:
    """Whoever may offer jobs could otherwise have anybody's code run."""
    os.chown(suite, 4711, 4711)
    source = JobSource(place=str(suite), terms=TERMS)
    with pytest.raises(SourceRefused, match="belongs to user 4711"):
        allowed_source(order(workspaces=tmp_path), source)
    assert allowed_source(order(f"{tmp_path}/*", workspaces=tmp_path), source) == str(suite)
