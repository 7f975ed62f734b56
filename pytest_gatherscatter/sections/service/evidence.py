"""Reads what both sides wrote down, and looks whether captured files are as the records say."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.sections.audit.claim import (
    ArtifactClaim,
    GathererSide,
    Line,
    Side,
    WorkloadSide,
    read_gatherer,
    read_workload,
)
from pytest_gatherscatter.sections.service.history import OLD
from pytest_gatherscatter.sections.service.recorder import RECORDS

HISTORIES = "*.history.jsonl"
"""The files of the gatherers in a state directory, one a lab."""


def workload_side(place: Path) -> tuple[WorkloadSide, Path]:
    """Read the records of workloads: a file, or the folder in which ``sections.jsonl`` is.

    Returns:
        The side, and the folder below which its artifacts are.

    Raises:
        SettingsInvalid: they are not there, or are no records.
    """
    path = place / RECORDS if place.is_dir() else place
    side = WorkloadSide()
    for file in _with_older("--records", path):
        read_workload(_lines(file), side)
    _must_hold_something("--records", path, side)
    return side, path.parent


def gatherer_side(state_dir: Path) -> GathererSide:
    """Read the histories of all labs in a gatherer's state directory.

    Raises:
        SettingsInvalid: there are none, or they are no histories.
    """
    side = GathererSide()
    paths = sorted(state_dir.glob(HISTORIES)) if state_dir.is_dir() else []
    if not paths:
        raise SettingsInvalid("--state-dir", f"no history of a gatherer in {state_dir}")
    for path in paths:
        for file in _with_older("--state-dir", path):
            read_gatherer(_lines(file), side)
        _must_hold_something("--state-dir", path, side)
    return side


def file_check(folder: Path) -> Callable[[ArtifactClaim], str]:
    """Return what says in a few words what is wrong with a captured file below ``folder``."""

    def wrong(claim: ArtifactClaim) -> str:
        path = folder / (claim.path or "")
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"is said to be outside of {folder}"
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if path.stat().st_size != claim.size:
            return f"has {path.stat().st_size} bytes, {claim.size} are on record"
        return "" if found == claim.sha256 else "does not match its SHA-256"

    return wrong


def _with_older(where: str, path: Path) -> list[Path]:
    """Return a file after the one that was put aside, the older first."""
    old = path.with_name(path.name + OLD)
    if not path.is_file() and not old.is_file():
        raise SettingsInvalid(where, f"{path} is not there")
    return [one for one in (old, path) if one.is_file()]


def _lines(path: Path) -> Iterator[Line]:
    """Give the lines of a file; an empty one is what a crash left before a newline.

    Raises:
        SettingsInvalid: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", line
    except OSError as error:
        raise SettingsInvalid(str(path), f"cannot be read: {error.strerror}") from None


def _must_hold_something(where: str, path: Path, side: Side) -> None:
    """Refuse a file of something else; one torn line among others is no matter."""
    if side.unreadable and not side.lines:
        raise SettingsInvalid(where, f"{path} holds no records: {side.unreadable[0]}")
