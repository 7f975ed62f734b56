"""What the machine of a recorder has done, and what it is told came of that."""

from collections.abc import Mapping

from msgspec import Struct

from pytest_gatherscatter.record.row import Entry


class Write(Struct, frozen=True):
    """Put these on record, all in one transaction (``Run``)."""

    entries: tuple[Entry, ...]


class Written(Struct, frozen=True):
    """They are on record (``Exited``): ``fresh`` of them were not before.

    But for those that the database ``refused`` and would refuse again, with the reason, by id.
    """

    fresh: int
    refused: Mapping[str, str]


class NotWritten(Struct, frozen=True):
    """None of them is on record (``Exited``): the database is locked, full or gone."""

    reason: str


class Drain(Struct, frozen=True):
    """Take nothing more; end when what is in hand is on record (``Told``)."""


class Say(Struct, frozen=True):
    """Log a line (``Run``)."""

    text: str
    wrong: bool = False


class Done(Struct, frozen=True):
    """It has ended (``Run``); ``failure`` says why, if that was not wanted.

    ``left`` is how many are in hand and not on record: the broker keeps them.
    """

    failure: str
    left: int
