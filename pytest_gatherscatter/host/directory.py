"""The user's own directories: one that ends with the login, one that outlives a reboot.

Locks and addresses of live processes go to the runtime directory. Tickets and other things that
must tell a later boot what happened go to the state directory. Both are private to the user
(mode 0700), and the one below ``/tmp`` is used only if it is really ours: anybody may have made a
directory of that name there first.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pytest_gatherscatter.errors import SettingsInvalid

LOGINS = Path("/run/user")
"""Where systemd keeps the runtime directories of those who are logged in."""


def runtime_directory(environ: Mapping[str, str] = os.environ, *, logins: Path = LOGINS) -> Path:
    """Return the user's own directory for what lives: made if it is absent.

    It is ``$XDG_RUNTIME_DIR/gatherscatter``, else ``/run/user/<uid>/gatherscatter``: a job of cron
    has no such variable, and must meet what the same user started in a login. Without either it
    is ``/tmp/gatherscatter-<uid>``. One that is not there or not ours (after ``su`` the variable
    still names the other user's) is passed over.

    Raises:
        SettingsInvalid: somebody else owns the directory, or it cannot be made.
    """
    for base in (Path(environ.get("XDG_RUNTIME_DIR", "")), logins / str(os.getuid())):
        if base.is_absolute() and _is_ours(base):
            return private(base / "gatherscatter")
    # Not $TMPDIR: processes of one user must find each other, whatever their environment.
    return private(Path("/tmp") / f"gatherscatter-{os.getuid()}")  # noqa: S108 - ownership is checked


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return ``$XDG_STATE_HOME/gatherscatter``, else ``~/.local/state/gatherscatter``; not made."""
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):  # the specification says that a relative one is to be ignored
        return Path(base) / "gatherscatter"
    home = environ.get("HOME") or tempfile.gettempdir()
    return Path(home) / ".local" / "state" / "gatherscatter"


def private(path: Path) -> Path:
    """Make ``path`` (with its parents) for this user alone, or check that it is so.

    Raises:
        SettingsInvalid: somebody else owns it, it is no directory, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise SettingsInvalid(str(path), "must be a directory; move it away")
        if found.st_uid != os.getuid():
            raise SettingsInvalid(
                str(path), f"belongs to user {found.st_uid}, not to you; have it removed"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise SettingsInvalid(str(path), f"cannot be made: {error.strerror}") from None
    return path


def sync(path: Path) -> None:
    """Make the names in a directory durable: a synced file whose name is lost is lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_ours(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
