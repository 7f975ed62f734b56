"""The directory of one grading: gone when that is over, whoever died when another examiner begins.

It is locked while it is in use. So what an examiner that was killed has left can be told from what
another one is at, also where they do not see each other's processes.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "gs-grading-"

YOUNG = 60.0
"""Seconds for which a directory may be there and not yet locked."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make an empty directory; what cannot be removed of it at the end stays for :func:`sweep`."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        held = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(held)


def sweep() -> None:
    """Remove what examiners of this user have left that were killed."""
    for path in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(OSError):  # another one sweeps, too; or somebody else's
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                facts = os.fstat(held)
                if facts.st_uid == os.getuid() and facts.st_mtime + YOUNG <= time.time():
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(held)
