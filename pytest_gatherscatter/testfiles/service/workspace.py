"""The directories into which listeners fetch the files of jobs.

Each has a lock beside it, which its job holds, and with it every program that writes there: what
a killed listener left running keeps its workspace from others until it is over. So two listeners
may share a directory; who finds a workspace taken makes another one.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pytest_gatherscatter.errors import WorkspaceTaken
from pytest_gatherscatter.host.directory import private
from pytest_gatherscatter.host.lockfile import LockFile

MOST_ALIKE = 64
"""Workspaces of one source: as many jobs of it would have to run at once on one host."""

LOCK = ".lock"
FRESH = "fresh-"
"""How a workspace begins that is for one job."""


@dataclass(slots=True)
class Workspace:
    """A directory that is ours until :meth:`leave`."""

    path: Path
    lock: LockFile
    fresh: bool

    def leave(self) -> None:
        """Let go of it; one that was for one job goes away."""
        lock_path = self.path.with_name(self.path.name + LOCK)
        if self.fresh:
            shutil.rmtree(self.path, ignore_errors=True)
            self.lock.remove(lock_path)
        else:
            with contextlib.suppress(OSError):
                os.utime(lock_path)  # when it was used last
            self.lock.close()


def take(directory: Path, name: str, *, fresh: bool = False) -> Workspace:
    """Take the workspace ``name`` below ``directory``, or its double if others use it.

    Raises:
        SettingsInvalid: a directory belongs to somebody else, or cannot be made.
        WorkspaceTaken: there are too many already, or no lock can be made.
    """
    private(directory)
    for number in range(1, MOST_ALIKE + 1):
        double = (FRESH if fresh else "") + (name if number == 1 else f"{name}-{number}")
        lock_path = directory / (double + LOCK)
        try:
            lock = LockFile.take(lock_path)
        except OSError as error:
            raise WorkspaceTaken(f"{lock_path}: cannot be locked: {error.strerror}") from None
        if lock is None:
            continue
        try:
            return Workspace(private(directory / double), lock, fresh)
        except BaseException:
            lock.close()
            raise
    raise WorkspaceTaken(f"{directory}: {MOST_ALIKE} workspaces of {name} are in use")


def prune(directory: Path, keep: int) -> None:
    """Remove what nobody uses: beyond the ``keep`` that were used last, and what a crash left."""
    locks = sorted(directory.glob(f"*{LOCK}"), key=_used, reverse=True)
    kept = 0
    for path in locks:
        fresh = path.name.startswith(FRESH)
        kept += not fresh
        if not fresh and kept <= keep:
            continue
        with contextlib.suppress(OSError):
            lock = LockFile.take(path)
            if lock is not None:
                shutil.rmtree(path.with_name(path.name.removesuffix(LOCK)), ignore_errors=True)
                lock.remove(path)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
