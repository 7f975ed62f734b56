"""What a listener and the process that does one of its jobs say to each other: a JSON line each.

The order comes first, on the process's standard input; then :data:`RETIRE`, if it is to go in good
order. The end of the input means: end now. Steps come back on its standard output.
"""

from typing import TypeAlias

import msgspec

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.testfiles.workspace import SyncLimits
from pytest_gatherscatter.wire.testfiles import JobOffered

RETIRE = b"retire\n"


class DutyOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One job, for one listener.

    ``host`` is the listener's name; ``machine`` is the id of where it runs, which a job's source
    may name. ``workspaces`` is a directory; ``sources`` are the patterns that it allows.
    """

    lab: str
    offer: JobOffered
    slots: int
    host: str
    machine: str
    workspaces: str
    sources: tuple[str, ...] = ()
    sync_plugins: tuple[str, ...] = ()
    fresh: bool = False
    keep: int = 8
    limits: SyncLimits = SyncLimits()


class DutyStep(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Where it is now; ``working`` is whether its workers are being started."""

    text: str
    working: bool = False


class DutyOver(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Its end. ``failed``: it could not take part. The outputs are those of what went wrong."""

    text: str = ""
    failed: bool = False
    stdout: str = ""
    stderr: str = ""


DutyWord: TypeAlias = DutyStep | DutyOver

_encode = msgspec.json.Encoder().encode
_order = msgspec.json.Decoder(DutyOrder)
_word: msgspec.json.Decoder[DutyWord] = msgspec.json.Decoder(DutyWord)


def line(said: DutyOrder | DutyWord) -> bytes:
    """Return what goes over a pipe, with its line feed."""
    return _encode(said) + b"\n"


def order(said: bytes) -> DutyOrder:
    """Return the order in a line.

    Raises:
        MessageUnreadable: it is none.
    """
    try:
        return _order.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageUnreadable(str(error)[:500]) from None


def word(said: bytes) -> DutyWord:
    """Return the step or the end in a line.

    Raises:
        MessageUnreadable: it is neither.
    """
    try:
        return _word.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageUnreadable(str(error)[:500]) from None
