"""Captures: chunks in any order become files, and nothing that is sent is trusted."""

import hashlib
from pathlib import Path

import pytest

from pytest_gatherscatter.sections.service.capture import (
    LONGEST_NAME,
    Captures,
    folder_name,
    plain_name,
)
from pytest_gatherscatter.wire.messages import Artifact, ArtifactChunk, MemberReport

ID = "1" * 16


def report(*artifacts: Artifact) -> MemberReport:
    """What the scope announced."""
    return MemberReport(agent="scope", reported=True, artifacts=artifacts)


def announced(name: str, data: bytes, *, chunks: int) -> Artifact:
    """A manifest's entry of ``data``."""
    return Artifact(
        name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest(), chunks=chunks
    )


def chunk(name: str, number: int, data: bytes, agent: str = "scope") -> ArtifactChunk:
    """A chunk of a capture."""
    return ArtifactChunk(section=ID, agent=agent, artifact=name, number=number, data=data)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 1, 0, 2, 0, 2)])
def test_chunks_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Each chunk counts once, in its place."""
    captures = Captures(tmp_path, [report(announced("trace", b"abcdef", chunks=3))])
    assert captures.awaited == ("scope",)
    for number in order:
        captures.keep(chunk("trace", number, b"abcdef"[2 * number : 2 * number + 2]))
    assert not captures.awaited
    (file,) = captures.of("scope")
    assert file.path == tmp_path / "scope" / "trace"
    assert file.path.read_bytes() == b"abcdef"
    assert file.problem == ""


def test_what_does_not_add_up(tmp_path: Path) -> None:
    """A wrong hash, a missing chunk and a surplus are each told, and no file is left."""
    manifest = report(
        announced("hash", b"abc", chunks=1),
        announced("short", b"abc", chunks=2),
        announced("long", b"abc", chunks=2),
        announced("less", b"abc", chunks=1),
    )
    captures = Captures(tmp_path, [manifest])
    captures.keep(chunk("hash", 0, b"abd"))
    captures.keep(chunk("short", 0, b"ab"))
    captures.keep(chunk("long", 0, b"abcd"))
    captures.keep(chunk("less", 0, b"ab"))
    problems = {file.name: file.problem for file in captures.of("scope")}
    assert "SHA-256" in problems["hash"]
    assert "1 of 2 chunks" in problems["short"]
    assert "larger than the 3 bytes" in problems["long"]
    assert "has 2 bytes" in problems["less"]
    assert all(file.path is None for file in captures.of("scope"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_strangers_are_passed_over(tmp_path: Path) -> None:
    """A chunk of an agent, a name or a number that nobody announced is not written."""
    captures = Captures(tmp_path, [report(announced("trace", b"a", chunks=1))])
    captures.keep(chunk("trace", 0, b"a", agent="other"))
    captures.keep(chunk("other", 0, b"a"))
    captures.keep(chunk("trace", 1, b"a"))
    assert list(tmp_path.rglob("*")) == []


def test_what_stayed_there(tmp_path: Path) -> None:
    """A capture above the limit is known by host and path."""
    there = Artifact(name="big", size=10**9, sha256="0" * 64, host="bench7", path="/data/big")
    captures = Captures(tmp_path, [report(there)])
    assert not captures.awaited
    (file,) = captures.of("scope")
    assert (file.path, file.host, file.remote_path) == (None, "bench7", "/data/big")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("trace.csv", "trace.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        (".bashrc", "bashrc"),
        ("...", "capture"),
        ("", "capture"),
        ("a b\0c/", "capture"),
        ("größe\n1", "gr_e_1"),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    """No name leaves its folder, hides, or holds what a shell would trip over."""
    assert plain_name(name) == plain


def test_names_stay_apart() -> None:
    """Names that become the same get a number, before the suffix."""
    assert plain_name("a/x.csv", ["x.csv"]) == "x-2.csv"
    assert plain_name("x.csv", ["x.csv", "x-2.csv"]) == "x-3.csv"
    assert plain_name("x", ["x"]) == "x-2"
    assert len(plain_name("y" * 500)) == LONGEST_NAME


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("test_param[a/b [x]]", "test_param_a_b_x"),
        ("../..", "section"),
        (".hidden", "hidden"),
        ("supply[2.5]", "supply_2.5"),
    ],
)
def test_folder_names(name: str, folder: str) -> None:
    """A section's name keeps its beginning, and leads nowhere else."""
    assert folder_name(name) == folder
    assert len(folder_name("y" * 500)) == LONGEST_NAME
