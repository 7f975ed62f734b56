"""How others find a running broker: one small file in the user's own runtime directory.

It holds the URL with its password, so only its owner may read it, and so it is written whole
or not at all. It also says which process serves it: a file whose process is gone, or whose
pid belongs to another process by now, is stale and counts for nothing.
"""

import fcntl
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_gatherscatter.errors import SettingsInvalid

_PRIVATE_DIR = 0o700
_PRIVATE_FILE = 0o600
_NAME = "broker.json"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens.

    ``url`` holds the password: it never belongs in a log or on a command line. ``started`` is
    the process' start in clock ticks since boot, which with ``pid`` and ``boot`` (the boot id)
    names one process for good.
    """

    url: str
    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs."""
        return self.boot == boot_id() and self.started == process_start(self.pid)


def boot_id() -> str:
    """The id of this boot of the machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in brackets may hold anything, also brackets; fields are counted after it.
    fields = text.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in {"Z", "X"} else int(started)


def runtime_dir() -> Path:
    """The user's own directory for addresses, made when it is missing.

    Raises:
        SettingsInvalid: it belongs to somebody else or others may enter it, which in a shared
            temporary directory is how one user would lead another to a broker of his own.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        path = Path(base) / "gatherscatter"
    else:
        path = Path(f"/tmp/gatherscatter-{os.getuid()}")  # noqa: S108 - checked below
    try:
        path.mkdir(mode=_PRIVATE_DIR, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SettingsInvalid(str(path), f"cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SettingsInvalid(str(path), "is not a directory of this user; remove it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SettingsInvalid(str(path), "may be entered by others; chmod it to 700")
    return path


def default_address_path() -> Path:
    """Where the local broker of this user writes its address; SettingsInvalid as above."""
    return runtime_dir() / _NAME


def write_address(path: Path, url: str) -> Address:
    """Say that this process serves ``url``: readers see the old file or the whole new one."""
    started = process_start(os.getpid())
    address = Address(url, os.getpid(), started or 0, boot_id())
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(address), file)
    draft.replace(path)
    return address


def read_address(path: Path) -> Address | None:
    """The address of a broker that runs; None when there is no file, or a stale or odd one."""
    try:
        found = path.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            # Somebody else's word about where to send this user's messages.
            return None
        address = Address(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return address if address.alive else None


def hold_address(path: Path) -> int:
    """Be the only broker of this address file, for as long as the descriptor stays open.

    Raises:
        SettingsInvalid: another process is, or the file cannot be made.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    except OSError as error:
        raise SettingsInvalid(str(path), f"cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        owner = read_address(path)
        by = f" (pid {owner.pid})" if owner is not None else ""
        raise SettingsInvalid(str(path), f"another broker{by} serves it already") from error
    return descriptor


def remove_address(path: Path) -> None:
    """Take the file away if it is this process' own; a successor's stays."""
    address = read_address(path)
    if address is not None and address.pid == os.getpid():
        path.unlink(missing_ok=True)
