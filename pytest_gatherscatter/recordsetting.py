"""The settings of a recorder: the ``[recorder]`` table. Pure, as ``settings``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pytest_gatherscatter.gradersetting import HERE
from pytest_gatherscatter.settingvalue import Reader, named, string, wait


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """The ``[recorder]`` table: where to write what ended in the lab.

    ``database`` is a URL of SQLAlchemy's, and may hold a password. Each ``name`` has a queue of its
    own, and hears of everything. A database may fail for ``patience`` seconds.
    """

    database: str = field(default="", repr=False)
    name: str = "default"
    patience: float = 300.0


def _database(value: object, base: Path) -> str:
    """Read a URL. It is never repeated: it may hold a password."""
    text = string(value, base) if isinstance(value, str) else ""
    if "://" not in text:
        raise ValueError("must be a URL such as sqlite:///lab.db or postgresql+psycopg://HOST/NAME")
    return text.replace(HERE, str(base.absolute()))


RECORDER_READERS: Mapping[str, Reader] = MappingProxyType(
    {"database": _database, "name": named("recorder"), "patience": wait()}
)
