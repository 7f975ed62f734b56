"""Where a job's files come from, as rsync reads it, and whether a listener may go there.

The text comes over the wire from whoever may offer jobs. So it is taken apart here by a grammar
that is far narrower than rsync's: nothing in it can be an option, a command of a remote shell, a
pattern, or a step upwards.
"""

import re
from collections.abc import Iterable
from enum import Enum
from fnmatch import fnmatchcase

from msgspec import Struct

from pytest_gatherscatter.errors import SourceRefused
from pytest_gatherscatter.wire.testfiles import JobSource

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # no first '-': ssh would read an option
_SHELL = re.compile(rf"(?:{_WORD}@)?(?:{_WORD}|\[[0-9A-Fa-f:.]+\]):(?P<path>/(?!/).*)")
_DAEMON = re.compile(
    rf"rsync://(?:{_WORD}@)?(?:{_WORD}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?/(?P<path>{_WORD}(?:/.*)?)"
)
_PATTERNS = frozenset("*?[")
"""What rsync would take for a pattern on the other side."""

GRAMMAR = "allowed are /PATH, [USER@]HOST:/PATH and rsync://[USER@]HOST[:PORT]/MODULE[/PATH]"


class SourceKind(Enum):
    """How the files are reached."""

    LOCAL = "local"
    SHELL = "ssh"
    DAEMON = "daemon"


class Source(Struct, frozen=True):
    """A place that rsync can read: its ``text``, without a last ``/``, and the path in it."""

    kind: SourceKind
    text: str
    path: str


def read_source(text: str) -> Source:
    """Take a source apart.

    Raises:
        SourceRefused: it is none, or has something in it that no source needs.
    """
    if not text.isprintable():
        raise SourceRefused(f"source {text!r} has a character that cannot be printed")
    if text.startswith("/"):
        kind, path = SourceKind.LOCAL, text
    elif found := _SHELL.fullmatch(text):
        kind, path = SourceKind.SHELL, found["path"]
    elif found := _DAEMON.fullmatch(text):
        kind, path = SourceKind.DAEMON, found["path"]
    else:
        raise SourceRefused(f"source {text!r}: {GRAMMAR}")
    if ".." in path.split("/"):
        raise SourceRefused(f"source {text!r} goes upwards ('..')")
    if _PATTERNS & set(path):
        raise SourceRefused(f"source {text!r} has one of * ? [, which rsync takes for a pattern")
    if not path.strip("/"):
        raise SourceRefused(f"source {text!r} is a whole file system")
    return Source(kind, text.rstrip("/"), path.rstrip("/"))


def is_allowed(text: str, patterns: Iterable[str]) -> bool:
    """Say whether one of the listener's patterns allows a source; ``*`` also stands for ``/``."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def nearest(source: JobSource, host: str) -> str:
    """Return where a listener on ``host`` (an id) finds the files of a job."""
    return source.path if source.path and source.host == host else source.place


def check_excludes(excludes: Iterable[str]) -> tuple[str, ...]:
    """Return patterns of what is left out, if they can be that alone.

    Raises:
        SourceRefused: one is empty, begins with ``-``, or has what cannot be printed.
    """
    checked = tuple(excludes)
    for one in checked:
        if not one.strip() or one.startswith("-") or not one.isprintable():
            raise SourceRefused(f"exclude {one!r} is no pattern of files")
    return checked
