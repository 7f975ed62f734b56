"""Who a process is, and on which clock it lives, so that a later one can tell.

A pid is given out again, and so is a boot's monotonic time: only boot, pid and start time
together name one process for good, and only boot and time namespace one clock. Linux; where
the kernel does not tell, the answers are empty and prove nothing.
"""

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
from pathlib import Path

_STATE, _START = 0, 19
"""Where state and start time stand in ``/proc/<pid>/stat`` behind the name (fields 3 and 22)."""


def boot_id() -> str:
    """Return the id of this boot of the machine; empty where the kernel does not tell."""
    return line("/proc/sys/kernel/random/boot_id")


def process_start(pid: int) -> int | None:
    """Return when a process began, in clock ticks after the boot; ``None`` if it is gone.

    A process that ended and was not yet waited for is gone.
    """
    # The name in parentheses may hold anything, also parentheses: the last one ends it.
    fields = line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) <= _START or fields[_STATE] in {"Z", "X"}:
        return None
    return int(fields[_START])


def command(pid: int) -> str:
    """Return the name of the program that a process runs; empty if it is gone."""
    return line(f"/proc/{pid}/comm")


def clock_id() -> str:
    """Name this host's monotonic clock: equal names mean comparable times.

    The boot id alone is not enough: a time namespace keeps it and shifts the clock.
    """
    facts = boot_id() or f"{socket.gethostname()} {os.getpid()}"
    namespace = Path("/proc/self/ns/time")
    if namespace.exists():
        facts += str(namespace.readlink())
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def machine_id() -> str:
    """Name this host and this boot of it: equal names see the same files.

    A container shares its host's boot, and not its files; it has a name of its own.
    """
    facts = f"{boot_id()} {socket.gethostname()}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


PR_SET_PDEATHSIG = 1
"""From ``<linux/prctl.h>``."""


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends; Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def line(path: str) -> str:
    """Return the text of a small file of the kernel, stripped; empty if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def inode(path: str) -> int:
    """Return the inode of a file, 0 if there is none: namespaces are told apart by it."""
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0
