"""A file of lines that a crash may tear and that does not grow for ever."""

import json
from pathlib import Path

import pytest

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.sections.audit.claim import ArtifactClaim
from pytest_gatherscatter.sections.service.evidence import (
    file_check,
    gatherer_side,
    workload_side,
)
from pytest_gatherscatter.sections.service.history import History


def numbers(path: Path) -> list[int]:
    """The numbers that lines tell."""
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("sync", [False, True])
def test_lines_are_added(tmp_path: Path, *, sync: bool) -> None:
    """The first one makes file and folder; another object goes on behind it."""
    path = tmp_path / "new" / "it.jsonl"
    History(path).append({"n": 1}, sync=sync)
    History(path).append({"n": 2}, sync=sync)
    assert numbers(path) == [1, 2]


def test_a_torn_line_stays_alone(tmp_path: Path) -> None:
    """The next line does not become a part of it."""
    path = tmp_path / "it.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":')
    History(path).append({"n": 2})
    assert path.read_bytes() == b'{"n":1}\n{"n":\n{"n":2}\n'


def test_a_long_file_is_put_aside(tmp_path: Path) -> None:
    """One old file is kept, whatever was in the one before."""
    path = tmp_path / "it.jsonl"
    history = History(path, limit=20)
    for number in range(12):
        history.append({"n": number})
    old = path.with_name("it.jsonl.1")
    assert numbers(old) + numbers(path) == list(range(12 - len(numbers(old) + numbers(path)), 12))
    assert old.stat().st_size <= 20 + 2 * len(b'{"n":10}\n')


def test_what_is_no_record_is_refused_in_a_line(tmp_path: Path) -> None:
    """A file of something else, an empty place, a state directory without a history."""
    garbage = tmp_path / "garbage.bin"
    garbage.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(SettingsInvalid, match="holds no records"):
        workload_side(garbage)
    with pytest.raises(SettingsInvalid, match="is not there"):
        workload_side(tmp_path)
    with pytest.raises(SettingsInvalid, match="no history of a gatherer"):
        gatherer_side(tmp_path)


def test_a_capture_is_looked_at(tmp_path: Path) -> None:
    """It is there, as large as on record, with its SHA-256, and nowhere outside."""
    (tmp_path / "a").write_bytes(b"hello")
    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

    def wrong(path: str, size: int = 5, digest: str = sha256) -> str:
        claim = ArtifactClaim(agent="scope", name="a", size=size, sha256=digest, path=path)
        return file_check(tmp_path)(claim)

    assert wrong("a") == ""
    assert "SHA-256" in wrong("a", digest="0" * 64)
    assert "bytes" in wrong("a", size=6)
    assert "cannot be read" in wrong("b")
    assert "outside" in wrong("../../etc/passwd")
