"""The bench lock: without a gatherer, sections on one bench of this host still exclude each other.

``pytest -n 2`` starts two processes that each want the bench, and no gatherer orders them. A
lock file per lab and bench in the user's runtime directory does; it ends with its process.

What it is not: a queue (who polls first after a release gets it), and a guard against other
users or other hosts. Those need a gatherer.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from pytest_gatherscatter.errors import NotGathered
from pytest_gatherscatter.host.directory import runtime_directory
from pytest_gatherscatter.host.lockfile import LockFile
from pytest_gatherscatter.wire.names import check_name

_FIRST_PAUSE = 0.01  # seconds: sections of a few milliseconds shall not wait for a long pause
_LONGEST_PAUSE = 0.25  # seconds: four looks a second cost nothing and feel immediate
# The labs of ``pytest --gs-local`` (see plugin/options.py), of which each run has a new one.
_PRIVATE = "local-"
_LONGEST_OWNER = 1024  # bytes of the owner's text that are read; it is a line for people


class BenchLock:
    """A bench held by this process, until :meth:`close` or death. Any thread may close it."""

    def __init__(self, path: Path, lock: LockFile) -> None:
        self.path = path
        self._lock = lock

    def fileno(self) -> int:
        """Return the lock's descriptor, for a program that is the section's body."""
        return self._lock.fileno()

    def close(self) -> None:
        """Open the bench for the next one. A second call does nothing."""
        if self.path.name.startswith(_PRIVATE):
            self._lock.remove(self.path)
            return
        self._lock.write("")
        self._lock.close()


def acquire(  # noqa: PLR0913 - where, how long, who, and who is told
    lab: str,
    bench: str,
    *,
    timeout: float,
    owner: str,
    on_wait: Callable[[float, str], None] = lambda _waited, _owner: None,
    folder: Path | None = None,
) -> BenchLock:
    """Hold a bench of this host; blocks the calling thread for at most ``timeout`` seconds.

    Args:
        lab: the lab's name.
        bench: the bench's name.
        timeout: seconds; 0 takes it now or fails.
        owner: a line that tells others who holds it: node id or command, and pid.
        on_wait: called with the seconds waited so far and the holder's line, about four times
            a second while waiting; what it raises ends the wait.
        folder: where lock files live; the user's runtime directory unless given.

    Raises:
        NotGathered: it stayed busy; the text names the holder.
        SettingsInvalid: a name is not allowed, or the runtime directory is not ours.
        OSError: the lock file cannot be opened.
    """
    # Names hold no dots, so that two labs' benches never share a file.
    name = f"{check_name('lab', lab)}.{check_name('bench', bench)}.lock"
    path = (folder or runtime_directory()) / name
    if name.startswith(_PRIVATE):
        _sweep(path.parent)
    began = time.monotonic()
    pause = _FIRST_PAUSE
    while (lock := LockFile.take(path)) is None:
        waited = time.monotonic() - began
        holder = _holder(path)
        if waited >= timeout:
            raise NotGathered(f"bench {bench} of lab {lab} is busy on this host: {holder} holds it")
        on_wait(waited, holder)
        time.sleep(min(pause, max(0.0, timeout - waited)))
        pause = min(pause * 2, _LONGEST_PAUSE)
    lock.write(" ".join(owner.split()) + "\n")
    return BenchLock(path, lock)


def _sweep(folder: Path) -> None:
    """Remove what private runs left that were killed; what anybody holds stays."""
    for path in folder.glob(f"{_PRIVATE}*.lock"):
        with contextlib.suppress(OSError):
            if (lock := LockFile.take(path)) is not None:
                lock.remove(path)


def _holder(path: Path) -> str:
    """Read who holds it. It may have let go, or not have written its line yet."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_OWNER).decode(errors="replace")
    except OSError:
        text = ""
    return text.strip() or "a process that has not said its name yet"
