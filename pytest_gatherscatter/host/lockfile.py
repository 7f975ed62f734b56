"""A file that one process at a time holds: ended by close, or by death, and by nothing else.

``flock`` belongs to the open file, not to the process: it survives threads and renames, ends with
the last descriptor, and every copy of the descriptor keeps it. Copies are the danger: a daemon
that a test leaves behind would keep its bench closed for ever. So descriptors are not inherited
by programs (``O_CLOEXEC``), and a forked child closes its copy before it runs anything else.
"""

import contextlib
import fcntl
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self


class LockFile:
    """A locked open file. May be used from any thread, one at a time.

    Made by :meth:`take`, or around a descriptor that is already locked.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _held.add(self)

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Lock ``path``, made if absent; ``None`` at once if somebody else holds it.

        Raises:
            OSError: it cannot be opened (a symbolic link is not followed).
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            descriptor = os.open(path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its holder may have removed it since it was opened: then it is nobody's door.
                named = _is_named(descriptor, path)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            if named:
                return cls(descriptor)
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Let go and take the file away; ``path`` is where :meth:`take` found it.

        Safe because it is unlinked while it is held, and whoever waits at the old file sees in
        :meth:`take` that it has no name any more.
        """
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                if _is_named(self._descriptor, path):
                    path.unlink()
        self.close()

    def write(self, text: str) -> None:
        """Make ``text`` the file's content: who holds it, for others to read."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def fileno(self) -> int:
        """Return the descriptor, for a program that is to hold the lock too; -1 if closed."""
        return -1 if self._descriptor is None else self._descriptor

    def close(self) -> None:
        """Let go. A second call does nothing. The file stays, see :meth:`remove`."""
        descriptor = self._forget()
        if descriptor is not None:
            with contextlib.suppress(OSError):  # unlocked by name: a child being forked has a copy
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def abandon(self) -> None:
        """Close this copy of the descriptor; the lock stays with whoever has another."""
        descriptor = self._forget()
        if descriptor is not None:
            os.close(descriptor)

    def _forget(self) -> int | None:
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        return descriptor


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that a path leads to."""
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def is_locked(descriptor: int) -> bool:
    """Tell whether somebody holds the lock of an open file; this leaves it as it was.

    The probe is a shared lock, so that two who look at once do not see each other.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def holders(descriptor: int) -> tuple[int, ...]:
    """Return the pids of those who hold the lock of an open file, as far as we may see them.

    The kernel's list of locks names only who took it, and that one may be dead; each copy of
    the descriptor tells of the lock where it is shown. Empty where nothing is shown. Files are
    told apart by inode alone: a file's device has other numbers there on btrfs and overlays.
    """
    inode = os.fstat(descriptor).st_ino
    return tuple(sorted(pid for pid in _pids() if _holds(pid, inode)))


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())


def _holds(pid: int, inode: int) -> bool:
    """Whether a process has a descriptor that holds a ``flock`` of this inode."""
    with contextlib.suppress(OSError):  # it is gone, or somebody else's
        for told in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if any(_is_of(line, inode) for line in told.read_text().splitlines()):
                    return True
    return False


def _is_of(line: str, inode: int) -> bool:
    """Whether a line of ``fdinfo`` is ``lock: 1: FLOCK ADVISORY WRITE 712 08:01:1311 0 EOF``."""
    return line.startswith("lock:") and " FLOCK " in line and f":{inode} " in line


_held: "weakref.WeakSet[LockFile]" = weakref.WeakSet()


def _abandon_in_child() -> None:
    for lock in tuple(_held):
        with contextlib.suppress(OSError):
            lock.abandon()


os.register_at_fork(after_in_child=_abandon_in_child)
