"""The bench lock: two sections on one bench of this host never overlap."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import NotGathered, SettingsInvalid
from pytest_gatherscatter.sections.service.benchlock import acquire

HOLDER = """
import sys
from pathlib import Path
from pytest_gatherscatter.sections.service.benchlock import acquire

lock = acquire("lab", "left", timeout=0, owner="test_one\\n(other)", folder=Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""

WORKER = """
import sys
from pathlib import Path
from pytest_gatherscatter.sections.service.benchlock import acquire

folder, me = Path(sys.argv[1]), sys.argv[2]
for _ in range(20):
    lock = acquire("lab", "left", timeout=60, owner=me, folder=folder)
    inside = folder / "inside"
    inside.touch(exist_ok=False)
    inside.unlink()
    lock.close()
"""


def test_a_busy_bench_names_its_owner(tmp_path: Path) -> None:
    """Who comes second waits visibly, then fails with the owner's line; death frees the bench."""
    seen: list[tuple[float, str]] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        with pytest.raises(NotGathered, match=r"bench left of lab lab is busy .*test_one \(other"):
            acquire(
                "lab",
                "left",
                timeout=0.5,
                owner="me",
                on_wait=lambda waited, owner: seen.append((waited, owner)),
                folder=tmp_path,
            )
        assert 0.5 <= time.monotonic() - began < 5
        assert seen
        assert {owner for _, owner in seen} == {"test_one (other)"}
        assert [waited for waited, _ in seen] == sorted(waited for waited, _ in seen)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        acquire("lab", "left", timeout=0, owner="me", folder=tmp_path).close()


def test_other_benches_and_labs_overlap(tmp_path: Path) -> None:
    """Only the same bench of the same lab excludes, and closing twice is nothing."""
    first = acquire("lab", "left", timeout=0, owner="one", folder=tmp_path)
    other_bench = acquire("lab", "right", timeout=0, owner="two", folder=tmp_path)
    other_lab = acquire("lab2", "left", timeout=0, owner="three", folder=tmp_path)
    with pytest.raises(NotGathered, match="one holds it"):
        acquire("lab", "left", timeout=0, owner="four", folder=tmp_path)
    for lock in (first, other_bench, other_lab, first):
        lock.close()
    acquire("lab", "left", timeout=0, owner="four", folder=tmp_path).close()


def test_a_waiter_gets_it_after_the_release(tmp_path: Path) -> None:
    """A wait ends soon after the bench is free, long before its timeout."""
    first = acquire("lab", "left", timeout=0, owner="one", folder=tmp_path)
    threading.Timer(0.3, first.close).start()
    began = time.monotonic()
    second = acquire("lab", "left", timeout=60, owner="two", folder=tmp_path)
    assert 0.25 < time.monotonic() - began < 5
    assert second.path.read_text() == "two\n"
    second.close()
    assert second.path.read_text() == ""


def test_what_the_callback_raises_ends_the_wait(tmp_path: Path) -> None:
    """Ctrl-C or a caller's own limit comes through, and nothing stays open."""
    first = acquire("lab", "left", timeout=0, owner="one", folder=tmp_path)

    def enough(_waited: float, _owner: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        acquire("lab", "left", timeout=60, owner="two", on_wait=enough, folder=tmp_path)
    first.close()
    acquire("lab", "left", timeout=0, owner="three", folder=tmp_path).close()


def test_processes_never_overlap(tmp_path: Path) -> None:
    """Three processes that want one bench twenty times each are never inside together."""
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), f"worker {number}"])
        for number in range(3)
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]


def test_names_cannot_lead_elsewhere(tmp_path: Path) -> None:
    """Names of labs and benches are checked before they become a file's name."""
    for lab, bench in (("../x", "left"), ("lab", "a.b"), ("", "left")):
        with pytest.raises(SettingsInvalid, match="allowed are"):
            acquire(lab, bench, timeout=0, owner="me", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_users_runtime_directory_is_the_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a folder, all runs of a user meet in the runtime directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    lock = acquire("lab", "left", timeout=0, owner="me")
    assert lock.path == tmp_path / "gatherscatter" / "lab.left.lock"
    lock.close()


def test_a_private_labs_lock_goes_with_its_run_or_with_the_next(tmp_path: Path) -> None:
    """What a killed run left is removed, what somebody holds is not."""
    (tmp_path / "local-0.default.lock").touch()
    held = acquire("local-1", "default", timeout=0, owner="one", folder=tmp_path)
    mine = acquire("local-2", "default", timeout=0, owner="two", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "local-1.default.lock",
        "local-2.default.lock",
    ]
    with pytest.raises(NotGathered):
        acquire("local-1", "default", timeout=0, owner="three", folder=tmp_path)
    held.close()
    mine.close()
    assert list(tmp_path.iterdir()) == []
