"""What a monitor captured, on its own host: read, hashed, kept until it is handed in.

Each section has a folder here, which commands find in ``GS_ARTIFACTS``. What is small enough
travels with the report; the rest stays, and the report says on which host and where. Names
are made plain here already, so that the manifest and the chunks speak of the same file.

One thread at a time: the hook thread fills a folder, and the machine's thread removes it only
when no hook of that section is left to be called.
"""

import hashlib
import shutil
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pytest_gatherscatter.host.directory import private
from pytest_gatherscatter.sections.hook import MOST_ATTACHMENTS, Attachment, clip
from pytest_gatherscatter.sections.monitor.hookcall import CHUNK, Capture
from pytest_gatherscatter.sections.service.capture import plain_name
from pytest_gatherscatter.wire.messages import Artifact

BLOCK = 1024 * 1024
"""Bytes read at a time while hashing what stays here."""


class Folder:
    """The captures of one monitor below ``base``; ``limit`` bytes of a section travel."""

    def __init__(self, base: Path, limit: int) -> None:
        self._base = base
        self._limit = limit
        self._stays: dict[str, set[Path]] = {}

    def of(self, section: str) -> Path:
        """Return the section's folder, made if absent; private, since captures may be."""
        private(self._base)
        return private(self._base / section)

    def collect(
        self, section: str, attachments: Iterable[Attachment]
    ) -> tuple[tuple[Capture, ...], str]:
        """Read ``attachments`` and what lies in the section's folder.

        Returns:
            The captures, and what could not be read (empty if all could).
        """
        attached = list(attachments)
        folder = self._base / section
        if folder.is_dir():
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            attached += [Attachment(path.name, path) for path in files]
        problems = []
        if len(attached) > MOST_ATTACHMENTS:
            problems.append(f"{len(attached) - MOST_ATTACHMENTS} captures are too many")
        captures: list[Capture] = []
        left = self._limit
        for one in attached[:MOST_ATTACHMENTS]:
            name = plain_name(one.name, (capture.manifest.name for capture in captures))
            try:
                capture = self._read(section, name, one.data, left)
            except OSError as error:
                problems.append(f"capture {name} cannot be read: {error.strerror or error}")
                continue
            left -= len(capture.data or b"")
            captures.append(capture)
        stay = {Path(capture.manifest.path) for capture in captures if capture.data is None}
        self._stays[section] = stay
        self._tidy(section)
        return tuple(captures), clip("; ".join(problems))

    def discard(self, section: str) -> None:
        """Remove what was handed in; what had to stay is left where the report says it is."""
        stay = self._stays.pop(section, set())
        folder = self._base / section
        for path in list(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and path.absolute() not in stay:
                with suppress(OSError):
                    path.unlink()
        self._tidy(section)

    def drop(self, section: str) -> None:
        """Remove all that the section left: it was aborted, nobody asks for it."""
        self._stays.pop(section, None)
        shutil.rmtree(self._base / section, ignore_errors=True)

    def _read(self, section: str, name: str, data: bytes | Path, left: int) -> Capture:
        if isinstance(data, Path):
            size = data.stat().st_size
            if size > left:
                return _stays(name, data)
            data = data.read_bytes()
        if len(data) > left:  # a file may also have grown meanwhile
            path = self.of(section) / name
            path.write_bytes(data)
            return _stays(name, path)
        manifest = Artifact(
            name=name,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            chunks=max(1, -(-len(data) // CHUNK)),
        )
        return Capture(manifest, data)

    def _tidy(self, section: str) -> None:
        """Remove the section's folder if it is empty."""
        with suppress(OSError):
            (self._base / section).rmdir()


def _stays(name: str, path: Path) -> Capture:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    manifest = Artifact(
        name=name,
        size=size,
        sha256=digest.hexdigest(),
        host=clip(socket.gethostname(), 512),
        path=clip(str(path.absolute())),
    )
    return Capture(manifest)
