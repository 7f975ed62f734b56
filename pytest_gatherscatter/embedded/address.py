"""How others find a running broker: one small file in the user's own runtime directory.

It holds the URL with its password, so only its owner may read it, and so it is written whole
or not at all. It also says which process serves it: a file whose process is gone, or whose
pid belongs to another process by now, is stale and no broker to anybody.

It stays when its broker ends, in good order or killed, for one reader: the next broker of the
same file takes over port and login from it, so that whoever was connected comes back by itself.
What a broker forgets at its end are messages, not the way to it.
"""

import contextlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import asdict, replace

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.host.directory import runtime_directory
from pytest_gatherscatter.host.lockfile import LockFile
from pytest_gatherscatter.host.process import boot_id, process_start

_PRIVATE_FILE = 0o600
_NAME = "broker.json"
_NOBODY = 0
"""The pid of no process that anybody can see."""


class Address(Struct, frozen=True):
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


@dataclass(frozen=True, slots=True)
class Place:
    """Port and password of a broker that was, for the one that takes its place."""

    port: int
    password: str = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Self | None:
        """Take them from a broker's own URL; ``None`` if it is no such."""
        try:
            parts = urlsplit(url)
            port, password = parts.port, parts.password
        except ValueError:
            return None
        return cls(port, password) if port and password and password.isalnum() else None


def default_address_path() -> Path:
    """Where the local broker of this user writes its address.

    Raises:
        SettingsInvalid: the user's runtime directory is somebody else's, or cannot be made.
    """
    return runtime_directory() / _NAME


def write_address(path: Path, url: str) -> Address:
    """Say that this process serves ``url``: readers see the old file or the whole new one."""
    address = Address(url, os.getpid(), process_start(os.getpid()) or 0, boot_id())
    _write(path, address)
    return address


def read_address(path: Path) -> Address | None:
    """The address of a broker that runs; None when there is no file, or a stale or odd one."""
    address = _read(path)
    return address if address is not None and address.alive else None


def former_place(path: Path) -> Place | None:
    """Where the last broker of this file listened, whatever became of it; None if unknown.

    For whoever holds the file, see :func:`hold_address`. Of an earlier boot nobody is left who
    could come back, so its password is not used again.
    """
    address = _read(path)
    if address is None or address.boot != boot_id():
        return None
    return Place.of(address.url)


def _write(path: Path, address: Address) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(address), file)
    draft.replace(path)


def _read(path: Path) -> Address | None:
    try:
        found = path.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            # Somebody else's word about where to send this user's messages.
            return None
        address = Address(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return address if isinstance(address.url, str) else None


def hold_address(path: Path) -> LockFile:
    """Be the only broker of this address file, until the lock is closed or its owner is gone.

    Raises:
        SettingsInvalid: another process is, or the file cannot be made.
    """
    try:
        lock = LockFile.take(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        raise SettingsInvalid(str(path), f"cannot be written: {error.strerror}") from error
    if lock is None:
        owner = read_address(path)
        by = f" (pid {owner.pid})" if owner is not None else ""
        raise SettingsInvalid(str(path), f"another broker{by} serves it already")
    return lock


def remove_place(path: Path) -> None:
    """Remove an address file that nobody will look for again, its lock, and their folder.

    The folder stays if there is anything else in it, and all of it while a broker serves it.
    """
    if read_address(path) is not None:
        return
    for one in (path, path.with_name(f"{path.name}.lock")):
        one.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def withdraw_address(path: Path) -> None:
    """Say that nobody serves it any more, if it is this process' own; a successor's stays."""
    address = read_address(path)
    if address is not None and address.pid == os.getpid():
        _write(path, replace(address, pid=_NOBODY))
