"""Reads a slip from a file."""

import sys
from pathlib import Path

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.slips.document import Document, parse

MOST = 1024 * 1024
"""Bytes of a file: a slip has half of that."""


def read_document(path: Path) -> Document:
    """Read a slip: JSON if the name ends in ``.json``, else TOML; ``-`` is the standard input.

    Raises:
        SettingsInvalid: it cannot be read, or says something that is not allowed.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MOST + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MOST + 1)
        text = data.decode()
    except OSError as error:
        raise SettingsInvalid(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(str(path), "is not UTF-8 text") from None
    if len(data) > MOST:
        raise SettingsInvalid(str(path), f"is larger than {MOST // 1024} KiB")
    braces = str(path) == "-" and text.lstrip().startswith("{")
    return parse(text, str(path), form="json" if braces or path.suffix == ".json" else "toml")
