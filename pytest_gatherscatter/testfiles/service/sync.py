"""Fetches the files of a job into a workspace: by rsync, or by a plugin of the host."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pytest_gatherscatter.errors import SourceRefused, SyncFailed
from pytest_gatherscatter.testfiles.order import DutyOrder
from pytest_gatherscatter.testfiles.service.program import Program, how_it_ended
from pytest_gatherscatter.testfiles.service.workspace import Workspace
from pytest_gatherscatter.testfiles.source import (
    Source,
    SourceKind,
    check_excludes,
    is_allowed,
    nearest,
    read_source,
)
from pytest_gatherscatter.testfiles.workspace import VANISHED, SyncLimits, last_word, rsync_words
from pytest_gatherscatter.wire.testfiles import JobSource


def allowed_source(order: DutyOrder, source: JobSource) -> str:
    """Return where this host gets the files from, if its listener allows that.

    Without patterns of its own a listener takes directories of its own host that belong to its
    own user.

    Raises:
        SourceRefused: it does not.
    """
    text = nearest(source, order.machine).rstrip("/")
    if is_allowed(text, order.sources):
        return text
    if not text.startswith("/"):
        told = ", ".join(order.sources) or "only directories of its own host and user"
        raise SourceRefused(
            f"source {text!r} is not allowed here ({told}): add it to the listener's sources"
        )
    try:
        owner = Path(text).stat().st_uid
    except OSError as error:
        raise SourceRefused(f"source {text!r}: {error.strerror}") from None
    if owner != os.getuid():
        raise SourceRefused(
            f"source {text!r} belongs to user {owner}: add it to the listener's sources"
        )
    return text


def fetch(
    text: str,
    workspace: Workspace,
    *,
    excludes: tuple[str, ...],
    limits: SyncLimits,
    stop: Callable[[], bool],
) -> None:
    """Make the workspace what the source is, by rsync.

    Raises:
        SourceRefused: rsync cannot read it, or must not.
        SyncFailed: it did not come, for one line's reason.
    """
    source = read_source(text)
    words = rsync_words(
        source,
        str(workspace.path),
        excludes=check_excludes(excludes),
        limits=limits,
        own_shell=bool(os.environ.get("RSYNC_RSH")),
        inside=_inside(source, workspace.path.parent),
    )
    if shutil.which("rsync") is None:
        raise SyncFailed("rsync is not installed here")
    environ = os.environ | {"LC_ALL": "C"}
    try:
        program = Program(
            words, folder=workspace.path, environ=environ, held=(workspace.lock.fileno(),)
        )
    except OSError as error:
        raise SyncFailed(f"rsync cannot be started: {error.strerror}") from None
    try:
        over = program.wait(limits.whole, stop=stop)
    finally:
        program.end()
    stderr = program.stderr.text()
    if not over:
        why = "it was called off" if stop() else f"it took longer than {limits.whole:g} s"
        raise SyncFailed(f"rsync of {text}: {why}", stderr=stderr)
    status = program.status or 0
    if status not in {0, VANISHED}:
        raise SyncFailed(
            f"rsync of {text}: {how_it_ended(status)}: {last_word(stderr)}",
            program.stdout.last_lines(),
            stderr,
        )


def _inside(source: Source, workspaces: Path) -> str:
    """Say where below a local source the workspaces are: copying them would never end.

    Raises:
        SourceRefused: they are the source.
    """
    if source.kind is not SourceKind.LOCAL:
        return ""
    files, ours = Path(source.text).resolve(), workspaces.resolve()
    if files == ours:
        raise SourceRefused(f"source {source.text!r} is where the workspaces are")
    return str(ours.relative_to(files)) if ours.is_relative_to(files) else ""
