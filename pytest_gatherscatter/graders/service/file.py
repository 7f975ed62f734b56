"""Files that go with a request: small ones inside it, larger ones by their path."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from pytest_gatherscatter.errors import RequestInvalid
from pytest_gatherscatter.wire.grading import MOST_INLINE, GradingFile


def read_files(files: Mapping[str, str | Path | bytes]) -> tuple[GradingFile, ...]:
    """Read files by the names that they are to have; ``bytes`` are their own content.

    What does not fit into a message any more goes by its path: the grader's host has to reach it.

    Raises:
        RequestInvalid: one cannot be read, or has a name that is none; or bytes are too many.
    """
    left = MOST_INLINE
    found = []
    for name, given in files.items():
        if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name) is None:
            text = "1 to 100 letters, digits, '.', '_' or '-', the first no dot"
            raise RequestInvalid(f"file {name!r}: allowed are {text}")
        if isinstance(given, bytes):
            if len(given) > left:
                raise RequestInvalid(f"file {name}: all bytes together may be {MOST_INLINE}")
            data, path, size, digest = given, "", len(given), hashlib.sha256(given).hexdigest()
        else:
            data, path, size, digest = _read(name, Path(given), left)
        left -= len(data)
        found.append(GradingFile(name=name, size=size, sha256=digest, data=data, path=path))
    return tuple(found)


def _read(name: str, path: Path, most: int) -> tuple[bytes, str, int, str]:
    """Return its content if it is not too large, else its path; its size and hash."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be read for ever
            raise RequestInvalid(f"file {name}: {path}: is no file with a size")
        size = path.stat().st_size
        if size <= most:
            data = path.read_bytes()
            if len(data) <= most:
                return data, "", len(data), hashlib.sha256(data).hexdigest()
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return b"", str(path.resolve()), path.stat().st_size, digest
    except OSError as error:
        raise RequestInvalid(f"file {name}: {path}: {error.strerror}") from None
