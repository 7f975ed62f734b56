"""Locks end with their owner, whatever the owner left behind."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_gatherscatter.host.lockfile import LockFile, holders, is_locked

HOLDER = """
import os, sys
from pathlib import Path
from pytest_gatherscatter.host.lockfile import LockFile

lock = LockFile.take(Path(sys.argv[1]))
assert lock is not None
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(reader, 1)
print(child, flush=True)
if sys.argv[2] == "close":
    lock.close()
    print("closed", flush=True)
sys.stdin.read()
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """The second is refused at once, and let in after the first has let go."""
    first = LockFile.take(tmp_path / "lock")
    assert first is not None
    assert LockFile.take(tmp_path / "lock") is None
    first.close()
    first.close()
    second = LockFile.take(tmp_path / "lock")
    assert second is not None
    second.close()


def test_the_holder_can_say_who_it_is(tmp_path: Path) -> None:
    """A shorter text replaces a longer one whole; after letting go nothing is written."""
    lock = LockFile.take(tmp_path / "lock")
    assert lock is not None
    lock.write("a long story")
    lock.write("short")
    lock.close()
    lock.write("too late")
    assert (tmp_path / "lock").read_text() == "short"


def test_whoever_shares_a_lock_is_found(tmp_path: Path) -> None:
    """A program that was given the descriptor holds it after its parent; a reader does not."""
    lock = LockFile.take(tmp_path / "lock")
    assert lock is not None
    with (tmp_path / "lock").open() as reader:
        assert holders(reader.fileno()) == (os.getpid(),)
        with subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()]) as child:
            lock.abandon()
            assert holders(reader.fileno()) == (child.pid,)
            child.kill()
        assert holders(reader.fileno()) == ()


def test_a_probe_changes_nothing(tmp_path: Path) -> None:
    """Looking at a lock neither takes it nor disturbs another who looks."""
    path = tmp_path / "lock"
    path.touch()
    with path.open() as file, path.open() as other:
        assert not is_locked(file.fileno())
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_locked(file.fileno())
        fcntl.flock(other, fcntl.LOCK_UN)
        lock = LockFile.take(path)
        assert lock is not None
        assert is_locked(file.fileno())
        lock.close()


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """A link that somebody left in a shared directory cannot send the lock elsewhere."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LockFile.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_programs_do_not_inherit_it(tmp_path: Path) -> None:
    """A daemon started under a lock does not keep it."""
    lock = LockFile.take(tmp_path / "lock")
    assert lock is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as daemon:
        targets = [str(entry.readlink()) for entry in Path(f"/proc/{daemon.pid}/fd").iterdir()]
        lock.close()
        assert str(tmp_path / "lock") not in targets
        daemon.communicate()


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_forked_child_does_not_keep_it(tmp_path: Path, how: str) -> None:
    """The lock ends with its owner, by close or by SIGKILL, while a forked child lives on."""
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        if how == "close":
            assert owner.stdout.readline() == "closed\n"
        else:
            assert LockFile.take(path) is None
            owner.send_signal(signal.SIGKILL)
            owner.wait(10)
        os.kill(child, 0)  # it is still there
        lock = LockFile.take(path)
        assert lock is not None
        lock.close()


def test_a_removed_lock_lets_nobody_in_twice(tmp_path: Path) -> None:
    """Processes that take, remove and take again for a while are never two at once inside."""
    loop = """
import sys, time
from pathlib import Path
from pytest_gatherscatter.host.lockfile import LockFile
lock, inside, end = Path(sys.argv[1]), Path(sys.argv[2]), time.monotonic() + 1.0
times = 0
while time.monotonic() < end:
    held = LockFile.take(lock)
    if held is not None:
        inside.mkdir()
        inside.rmdir()
        times += 1
        held.remove(lock)
print(times)
"""
    command = [sys.executable, "-c", loop, str(tmp_path / "lock"), str(tmp_path / "inside")]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(3)
        ]
        told = [child.communicate(timeout=20)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(map(int, told)) > 10
    assert list(tmp_path.iterdir()) == []
