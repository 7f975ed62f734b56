"""Workspaces are taken, shared, given back and cleared away: real directories, real locks."""

import os
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import SettingsInvalid, WorkspaceTaken
from pytest_gatherscatter.testfiles.service.workspace import MOST_ALIKE, prune, take


def test_who_finds_it_taken_makes_another(tmp_path: Path) -> None:
    """Two listeners, or two jobs of one, may share a directory; what was left is used again."""
    first, second = take(tmp_path / "ws", "suite"), take(tmp_path / "ws", "suite")
    assert first.path != second.path
    (first.path / "kept").touch()
    first.leave()
    third = take(tmp_path / "ws", "suite")
    assert third.path == first.path
    assert (third.path / "kept").exists()
    second.leave()
    third.leave()


def test_a_fresh_one_goes_away(tmp_path: Path) -> None:
    """With its lock."""
    workspace = take(tmp_path / "ws", "suite", fresh=True)
    (workspace.path / "file").touch()
    workspace.leave()
    assert list((tmp_path / "ws").iterdir()) == []


def test_those_used_last_stay(tmp_path: Path) -> None:
    """What a crash left of a fresh one goes too; one that is in use never does."""
    names = [f"suite{number}" for number in range(4)]
    for age, name in enumerate(names):
        workspace = take(tmp_path, name)
        workspace.leave()
        os.utime(tmp_path / f"{name}.lock", (age, age))
    left = take(tmp_path, "crashed", fresh=True)
    left.lock.close()
    used = take(tmp_path, names[0])
    prune(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {names[0], names[3]}
    used.leave()


def test_what_cannot_be_had(tmp_path: Path) -> None:
    """Something else in its place, too many, or a link into somebody's files: one line each."""
    (tmp_path / "suite").touch()
    with pytest.raises(SettingsInvalid, match="cannot be made: File exists"):
        take(tmp_path, "suite")
    (tmp_path / "linked").symlink_to("/")
    with pytest.raises(SettingsInvalid, match="must be a directory"):
        take(tmp_path, "linked")
    others = [take(tmp_path, "busy") for _ in range(MOST_ALIKE)]
    with pytest.raises(WorkspaceTaken, match="are in use"):
        take(tmp_path, "busy")
    for workspace in others:
        workspace.leave()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_not_used(tmp_path: Path) -> None:
    """It says whose it is."""
    (tmp_path / "suite").mkdir()
    os.chown(tmp_path / "suite", 4711, 4711)
    with pytest.raises(SettingsInvalid, match="belongs to user 4711"):
        take(tmp_path, "suite")
