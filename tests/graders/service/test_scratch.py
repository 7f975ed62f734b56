"""The directories of gradings: none stays for ever."""

import os
import tempfile
from pathlib import Path

import pytest

from pytest_gatherscatter.graders.service.scratch import PREFIX, YOUNG, scratch, sweep


def test_what_a_killed_examiner_has_left_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in use stays, and what is young: it may not be locked yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, young, other = (tmp_path / name for name in (f"{PREFIX}a", f"{PREFIX}b", "other"))
    for path in (left, young, other):
        (path / "inside").mkdir(parents=True)
    with scratch() as used:
        for path in (left, other, used):
            os.utime(path, (0, path.stat().st_mtime - YOUNG))
        sweep()
        assert {*tmp_path.iterdir()} == {young, other, used}
        (used / "file").touch()
    assert {*tmp_path.iterdir()} == {young, other}
