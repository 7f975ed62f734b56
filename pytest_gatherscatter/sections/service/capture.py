"""Captures that monitors hand in, written down on the test's host.

They come in chunks over a queue of the section's own. Names come from elsewhere and are never
trusted: each becomes a plain file name in a folder of its agent. What does not add up (size,
SHA-256, a chunk that never came) is kept as a problem of that file, not as a failure of the
others.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pytest_gatherscatter.sections.section import CapturedFile
from pytest_gatherscatter.wire.messages import Artifact, ArtifactChunk, MemberReport

LONGEST_NAME = 100
"""Characters of a file's name: with a number and a suffix far below any file system's 255."""

MOST_EARLY = 64
"""Chunks that are kept for their turn: as many as may be on their way at once."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@-]+")


def plain_name(name: str, taken: Iterable[str] = ()) -> str:
    """Return a file name made of ``name``: no separators, no leading dot, not in ``taken``."""
    plain = _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).lstrip(".")
    plain = plain[-LONGEST_NAME:].lstrip(".") or "capture"
    used = set(taken)
    if plain not in used:
        return plain
    stem, dot, suffix = plain.rpartition(".")
    stem, suffix = (stem, dot + suffix) if stem else (plain, "")
    return next(
        one for number in range(2, len(used) + 3) if (one := f"{stem}-{number}{suffix}") not in used
    )


def folder_name(name: str) -> str:
    """Return a folder's name made of a section's ``name``, which may hold separators."""
    return _UNSAFE.sub("_", name)[:LONGEST_NAME].strip("._") or "section"


class _Arriving:
    """One file, growing chunk by chunk, whatever order they come in."""

    def __init__(self, artifact: Artifact, path: Path) -> None:
        self.artifact = artifact
        self.path = path
        self.problem = ""
        self._next = 0
        self._early: dict[int, bytes] = {}
        self._size = 0
        self._hash = hashlib.sha256()

    @property
    def complete(self) -> bool:
        """Whether nothing more is awaited of it."""
        return bool(self.problem) or self._next >= self.artifact.chunks

    def keep(self, number: int, data: bytes) -> None:
        """Take a chunk; one that came before is passed over."""
        if self.complete or number < self._next or number >= self.artifact.chunks:
            return
        if len(self._early) >= MOST_EARLY and number != self._next:
            self.problem = f"chunk {self._next} did not come in its time"
            return
        self._early[number] = data
        while (due := self._early.pop(self._next, None)) is not None:
            self._write(due)
            self._next += 1

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self.artifact.size:
            self.problem = f"is larger than the {self.artifact.size} bytes that were announced"
            return
        self._hash.update(data)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab" if self._next else "wb") as file:
                file.write(data)
        except OSError as error:
            self.problem = f"cannot be written: {error.strerror}"

    def finish(self) -> CapturedFile:
        """Say what became of it; a file that does not add up is taken away."""
        artifact = self.artifact
        problem = self.problem
        if not problem and self._next < artifact.chunks:
            problem = f"only {self._next} of {artifact.chunks} chunks came"
        elif not problem and self._size != artifact.size:
            problem = f"has {self._size} bytes, {artifact.size} were announced"
        elif not problem and self._hash.hexdigest() != artifact.sha256:
            problem = "does not match its SHA-256"
        if problem:
            self.path.unlink(missing_ok=True)
        return CapturedFile(
            name=artifact.name,
            size=artifact.size,
            sha256=artifact.sha256,
            path=None if problem else self.path,
            problem=problem,
        )


class Captures:
    """All captures of one section, of the members' manifests in ``reports``."""

    def __init__(self, folder: Path, reports: Iterable[MemberReport]) -> None:
        self._files: dict[tuple[str, str], _Arriving] = {}
        self._elsewhere: dict[str, list[CapturedFile]] = {}
        for report in reports:
            taken: set[str] = set()
            for artifact in report.artifacts:
                if artifact.chunks == 0:
                    self._elsewhere.setdefault(report.agent, []).append(_left_there(artifact))
                    continue
                name = plain_name(artifact.name, taken)
                taken.add(name)
                path = folder / report.agent / name
                self._files[report.agent, artifact.name] = _Arriving(artifact, path)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Agents some of whose chunks have not come."""
        return tuple(sorted({agent for (agent, _), one in self._files.items() if not one.complete}))

    def keep(self, chunk: ArtifactChunk) -> None:
        """Take a chunk; one that no manifest names is passed over."""
        arriving = self._files.get((chunk.agent, chunk.artifact))
        if arriving is not None:
            arriving.keep(chunk.number, chunk.data)

    def of(self, agent: str) -> tuple[CapturedFile, ...]:
        """Say what became of an agent's files, at the end."""
        here = [one.finish() for (whose, _), one in self._files.items() if whose == agent]
        return (*here, *self._elsewhere.get(agent, ()))


def _left_there(artifact: Artifact) -> CapturedFile:
    return CapturedFile(
        name=artifact.name,
        size=artifact.size,
        sha256=artifact.sha256,
        host=artifact.host,
        remote_path=artifact.path,
    )
