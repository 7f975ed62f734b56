"""A workspace as names and words: its directory's name, rsync's arguments, what a failure says."""

import hashlib
import posixpath
import re
from collections.abc import Iterable

from msgspec import Struct

from pytest_gatherscatter.testfiles.source import Source, SourceKind

VANISHED = 24
"""rsync's status when files went away while it read: somebody works there; the rest has come."""

NANOSECONDS = "--modify-window=-1"
"""Compare times exactly: else a file that was changed twice in a second, and is as long as before,
would stay as it was, and what was tested would not be what is in the source."""

NAME = 40
"""Characters of a source's last word that a workspace's name begins with: for people."""

_SHELL = "ssh -oBatchMode=yes -oConnectTimeout={seconds}"
"""Never asks: there is nobody to answer."""

_SUMMARY = re.compile(
    r"rsync error: |rsync: (\[\w+\] )?(write error: Broken pipe|connection unexpectedly closed)"
)
"""Lines that say that it failed, and not why."""


def workspace_name(source: str) -> str:
    """Name the directory in which the files of a source are kept from job to job."""
    last = re.split(r"[/:]", source.rstrip("/"))[-1]
    word = re.sub(r"[^A-Za-z0-9_.-]", "_", last).lstrip(".-")[:NAME] or "files"
    return f"{word}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


class SyncLimits(Struct, frozen=True):
    """Seconds until rsync gives up: to connect, without any byte, and in all."""

    connect: float = 10.0
    silence: float = 30.0
    whole: float = 600.0


def rsync_words(  # noqa: PLR0913 - each is a fact of one sync
    source: Source,
    workspace: str,
    *,
    excludes: Iterable[str] = (),
    limits: SyncLimits,
    own_shell: bool = False,
    inside: str = "",
) -> tuple[str, ...]:
    """Return the command that makes ``workspace`` what ``source`` is.

    Args:
        source: where the files are.
        workspace: an absolute path; what is in it and not in the source is deleted, unless it is
            excluded.
        excludes: patterns, checked before.
        limits: rsync counts in whole seconds.
        own_shell: the environment names the remote shell (``RSYNC_RSH``).
        inside: where below the source the workspaces are, if they are: those are left out.
    """
    words = ["rsync", "--recursive", "--links", "--perms", "--times", "--delete"]
    words += [NANOSECONDS, f"--timeout={_whole(limits.silence)}"]
    if source.kind is not SourceKind.LOCAL:
        words += ["--compress", "--protect-args"]
    if source.kind is SourceKind.DAEMON:
        words.append(f"--contimeout={_whole(limits.connect)}")
    if source.kind is SourceKind.SHELL and not own_shell:
        words.append("--rsh=" + _SHELL.format(seconds=_whole(limits.connect)))
    if inside:
        words.append(f"--exclude=/{inside.strip('/')}/")
    words += [f"--exclude={pattern}" for pattern in excludes]
    return (*words, "--", f"{source.text}/", f"{workspace.rstrip('/')}/")


def _whole(seconds: float) -> int:
    return max(1, round(seconds))  # 0 would be no limit


def last_word(stderr: str) -> str:
    """Return the line that says best what went wrong: the last one that is no mere summary."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not _SUMMARY.match(line)]
    return (telling or lines or ["it said nothing"])[-1][:500]


def place_in(place: str) -> str:
    """Return where below the root directory pytest is called; never above it, whatever is said."""
    inside = posixpath.normpath(place)
    return "." if inside.startswith(("..", "/")) else inside


def moved(arguments: Iterable[str], root: str, here: str) -> tuple[str, ...]:
    """Return arguments of pytest with paths below ``root`` turned to ``here``, also in options."""
    return tuple(_moved(one, root.rstrip("/"), here) for one in arguments)


def _moved(argument: str, root: str, here: str) -> str:
    option, equals, value = argument.partition("=")
    if argument.startswith("-") and equals:
        return f"{option}={_moved(value, root, here)}"
    if argument == root or argument.startswith((f"{root}/", f"{root}::")):
        return here + argument[len(root) :]
    return argument
