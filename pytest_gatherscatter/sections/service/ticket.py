"""The ticket: proof on this host's disk that a section is open, and whose it is.

A bench stays closed until its section is left, so somebody must be able to *prove* that the
owner died: "we have not heard of it" is what a quiet workload looks like. The owner writes the
ticket and syncs it before it says ``WorkloadReady``, keeps it locked, and removes it once
``LeaveAccepted`` is there. Whoever finds one later, on this host, decides:

- **live**: the lock is held, or the process is still there.
- **orphan**: the lock is free *and* the process is gone: another boot of the same host, or the
  same boot and pid namespace without that pid and start time.
- **unknown**: not ours to judge. Another host's (a shared home), another pid namespace's, or a
  file that cannot be read. Never taken as proof.

The lock alone is not enough, because a home on the network may not carry locks; the pid alone is
not enough, because pids are used again. Tickets outlive a reboot, for that is how a test that
rebooted its own host is found.
"""

import contextlib
import fcntl
import os
import re
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from pytest_gatherscatter.host import directory
from pytest_gatherscatter.host.lockfile import LockFile, holders, is_locked
from pytest_gatherscatter.host.process import boot_id, command, inode, line, process_start

SUFFIX = ".ticket"

_SECTION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST = 65536  # bytes; a ticket has about 700, and what is larger is none


class TicketState(Enum):
    """What a ticket that was found proves about its owner."""

    LIVE = "live"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A process, told apart from every other on any host, at any time.

    ``started`` is in clock ticks after the boot (``/proc/<pid>/stat``, field 22),
    ``pid_namespace`` an inode number. What a platform does not tell is empty or 0.
    """

    host: str
    machine: str
    boot: str
    pid_namespace: int
    pid: int
    started: int


class SectionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the workload knows of its section when it takes the ticket.

    ``clock_offset`` and ``clock_bound`` are seconds (gatherer's clock minus ours), ``max_duration``
    seconds; ``test`` is the node id or the command; ``broker`` is a URL **without** password.
    """

    section: str
    lab: str
    bench: str
    token: int
    test: str
    clock_offset: float
    clock_bound: float
    broker: str
    max_duration: float


class TicketFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket's content. ``created`` is Unix time, for people; nothing is decided by it."""

    facts: SectionFacts
    owner: Owner
    created: float


class Ticket:
    """An open section's ticket, held by its owner. Any thread may remove it."""

    def __init__(self, path: Path, content: TicketFacts, lock: LockFile) -> None:
        self.path = path
        self.content = content
        self._lock = lock

    def fileno(self) -> int:
        """Return the lock's descriptor, for a program that is the section's body."""
        return self._lock.fileno()

    def remove(self) -> None:
        """Take the ticket away for good: the section was left. A second call does nothing.

        Raises:
            OSError: it cannot be removed; a later run will find it, and prove us dead.
        """
        try:
            _unlink(self.path)
        finally:
            self._lock.close()

    def abandon(self) -> None:
        """Let go of the lock and leave the file: the gatherer could not be told that we left."""
        self._lock.close()


@dataclass(frozen=True, slots=True)
class FoundTicket:
    """A ticket in the directory, and what it proves.

    ``content`` is ``None`` if it cannot be read; ``why`` says in a line what the state rests on.
    """

    path: Path
    state: TicketState
    content: TicketFacts | None
    why: str

    def remove(self) -> None:
        """Take an orphan away, once the gatherer has been told.

        Raises:
            ValueError: it is no orphan.
            OSError: it cannot be removed.
        """
        if self.state is not TicketState.ORPHAN:
            raise ValueError(f"{self.path} is {self.state.value}, not an orphan")
        _unlink(self.path)


def ticket_directory() -> Path:
    """Return where tickets are kept, on a disk that outlives a reboot; it may not be there yet."""
    return directory.state_directory() / "tickets"


def open_ticket(folder: Path, facts: SectionFacts) -> Ticket:
    """Write, sync and lock the ticket of a section; it is durable when this returns.

    It gets its name only after it is complete and locked, so nobody ever reads half a ticket,
    or a whole one whose owner has not locked it yet.

    Raises:
        ValueError: the section's id cannot be a file name.
        SettingsInvalid: the directory cannot be made, or is somebody else's.
        OSError: the ticket cannot be written.
    """
    if _SECTION.fullmatch(facts.section) is None:
        raise ValueError(f"{facts.section!r} is no section id")
    directory.private(folder)
    content = TicketFacts(facts=facts, owner=this_process(), created=time.time())
    path = folder / (facts.section + SUFFIX)
    draft = folder / f".{facts.section}.{os.getpid()}.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    lock = LockFile(descriptor)
    try:
        with contextlib.suppress(OSError):
            # A home on the network may have no locks. The ticket still proves what it can: a
            # process that is there is never an orphan, locked or not.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.write(msgspec.json.format(msgspec.json.encode(content), indent=1).decode() + "\n")
        os.fsync(descriptor)
        draft.replace(path)
        directory.sync(folder)
    except BaseException:
        lock.close()
        draft.unlink(missing_ok=True)
        raise
    return Ticket(path, content, lock)


def scan(folder: Path) -> list[FoundTicket]:
    """Judge all tickets of the directory, by name; one that is not there holds none.

    What cannot be read is reported as unknown; this raises nothing, and removes nothing.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [FoundTicket(folder, TicketState.UNKNOWN, None, f"cannot be read: {error.strerror}")]
    here = this_process()
    return [found for path in paths if (found := _judge(path, here)) is not None]


def this_process() -> Owner:
    """Describe this process, as a ticket does. Any thread may call it."""
    return Owner(
        host=os.uname().nodename,
        machine=line("/etc/machine-id"),
        boot=boot_id(),
        pid_namespace=inode("/proc/self/ns/pid"),
        pid=os.getpid(),
        started=process_start(os.getpid()) or 0,
    )


def _judge(path: Path, here: Owner) -> FoundTicket | None:
    """Judge one ticket; ``None`` if it was removed while we looked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return FoundTicket(path, TicketState.UNKNOWN, None, f"cannot be read: {error.strerror}")
    content: TicketFacts | None = None
    try:
        locked = is_locked(descriptor)
        content = msgspec.json.decode(os.read(descriptor, _LARGEST), type=TicketFacts)
        state, why = (
            (TicketState.LIVE, _why_held(content.owner, here, descriptor))
            if locked
            else _verdict(content.owner, here)
        )
        if _is_named(path, descriptor):
            return FoundTicket(path, state, content, why)
    except OSError as error:
        return FoundTicket(path, TicketState.UNKNOWN, None, f"cannot be read: {error.strerror}")
    except msgspec.MsgspecError as error:
        state = TicketState.LIVE if locked else TicketState.UNKNOWN
        return FoundTicket(path, state, None, f"is no ticket: {error}")
    else:
        return None
    finally:
        os.close(descriptor)


def _why_held(owner: Owner, here: Owner, descriptor: int) -> str:
    """Name who holds a lock: a command of ``gatherscatter workload`` holds it past its death."""
    place = (owner.boot, owner.pid_namespace)
    if place != (here.boot, here.pid_namespace) or process_start(owner.pid) == owner.started:
        return "its owner holds it"
    names = ", ".join(f"{pid} ({command(pid)})" for pid in holders(descriptor))
    return f"process {owner.pid} is gone, and {names or 'a child of it'} still holds it"


def _verdict(owner: Owner, here: Owner) -> tuple[TicketState, str]:
    """Decide about an owner whose lock is free."""
    if (owner.host, owner.machine) != (here.host, here.machine):
        return TicketState.UNKNOWN, f"it belongs to another host, {owner.host}"
    if not (owner.boot and here.boot and owner.started and here.started):
        return TicketState.UNKNOWN, "this platform tells neither boots nor start times"
    if owner.boot != here.boot:
        return TicketState.ORPHAN, "the host was booted since"
    if owner.pid_namespace != here.pid_namespace:
        return TicketState.UNKNOWN, "its owner lived in another pid namespace (a container)"
    if process_start(owner.pid) == owner.started:
        return TicketState.LIVE, f"process {owner.pid} is there"
    return TicketState.ORPHAN, f"process {owner.pid} is gone"


def _is_named(path: Path, descriptor: int) -> bool:
    """Tell whether the open file still has its name: an owner may have left in good order."""
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        directory.sync(path.parent)
