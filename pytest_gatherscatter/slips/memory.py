"""What a processor knows of the attempts that were made at it, also from an earlier life."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from pytest_gatherscatter.errors import JournalDamaged
from pytest_gatherscatter.wire.slips import Attempt, Slip, SlipOver, Step, Task

Key: TypeAlias = tuple[str, int, bool, int]
"""An attempt: slip, step, whether it compensates, and which attempt."""

MOST: Final = 10_000
"""Slips that are remembered: an hour of three a second. Who asks does it within seconds."""

MOST_ENDS: Final = 500
"""Slips whose end is known in full, at 10 KiB each 5 MiB: to be told again to who waits for it,
where it was told to all and then its processor died. The broker gives its copy out in seconds."""


def key_of(slip: str, task: Task) -> Key:
    """Return the key of an attempt."""
    return (slip, task.number, task.compensating, task.attempt)


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended, and the steps that it added."""

    attempt: Attempt
    added: tuple[Step, ...] = ()


class Memory:
    """What was begun here, how it ended, and what was handed on.

    The journal holds two events for an attempt: ``begun`` before its command is started, ``ended``
    before anybody else can know how it went.
    """

    def __init__(self) -> None:
        self.cut: set[Key] = set()
        """Begun in an earlier life, whose end nobody saw."""
        self.ended: dict[Key, End] = {}
        """How those ended of which nobody knows yet whether they were handed on."""
        self.unbegun: OrderedDict[Key, None] = OrderedDict()
        """What was in hand and had not begun when the connection went."""
        self._beyond: OrderedDict[str, set[Key]] = OrderedDict()
        self._cancelled: OrderedDict[str, str] = OrderedDict()
        self._over: OrderedDict[str, None] = OrderedDict()
        self._ends: OrderedDict[str, SlipOver] = OrderedDict()

    def recover(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Fold what was recorded in earlier lives.

        Raises:
            JournalDamaged: a record is none of a processor's, or of another version.
        """
        for number, event in enumerate(events, start=1):
            try:
                self._fold(event)
            except (KeyError, TypeError, ValueError) as error:
                problem = f"not an event of this version: {type(error).__name__} {error}"
                raise JournalDamaged("the processor's journal", number, problem) from None
        for key in list(self.ended)[:-MOST]:
            del self.ended[key]

    def _fold(self, event: Mapping[str, Any]) -> None:
        key: Key = (event["slip"], event["number"], event["compensating"], event["attempt"])
        if event["what"] == "begun":
            self.cut.add(key)
        else:
            added = msgspec.convert(event["added"], tuple[Step, ...])
            self.ended[key] = End(msgspec.convert(event["end"], Attempt), added)
            self.cut.discard(key)

    def fold(self, running: Iterable[Key]) -> list[dict[str, Any]]:
        """Return the events that a journal needs to tell all of this, with what runs now."""
        begun = [{"what": "begun", **facts(key)} for key in (*self.cut, *running)]
        ended = [{"what": "ended", **facts(key, end)} for key, end in self.ended.items()]
        return begun + ended

    def let_go(self, key: Key) -> None:
        """Remember that a task was given away, or lost, before it began."""
        self.unbegun[key] = None
        if len(self.unbegun) > MOST:
            self.unbegun.popitem(last=False)

    def was_unbegun(self, key: Key) -> bool:
        """Say once whether a task was given away before it began: it goes out again, as new."""
        if key not in self.unbegun:
            return False
        del self.unbegun[key]
        return True

    def hand_on(self, slip: Slip, key: Key) -> None:
        """Remember a slip that has left, with all that it had behind it."""
        self.ended.pop(key, None)
        self.meet(slip)
        self._beyond[slip.id].add(key)

    def meet(self, slip: Slip) -> None:
        """Remember how far a slip has come that was here, wherever it goes."""
        beyond = self._beyond.pop(slip.id, set())
        beyond.update((slip.id, one.number, one.compensating, one.attempt) for one in slip.progress)
        self._beyond[slip.id] = beyond
        if len(self._beyond) > MOST:
            self._beyond.popitem(last=False)

    def is_beyond(self, key: Key) -> bool:
        """Whether a copy of the slip that was here had this attempt behind it."""
        return key in self._beyond.get(key[0], ())

    def end(self, over: SlipOver) -> None:
        """Remember that a slip is over: of copies that still come nothing is begun."""
        self._over[over.slip.id] = None
        self._ends[over.slip.id] = over
        for known, most in ((self._over, MOST), (self._ends, MOST_ENDS)):
            if len(known) > most:
                known.popitem(last=False)

    def over(self, slip: str) -> SlipOver | None:
        """Return how a slip ended, if that was not long ago."""
        return self._ends.get(slip)

    def is_over(self, slip: str) -> bool:
        """Whether a slip is known to be over."""
        return slip in self._over

    def cancel(self, slip: str, who: str) -> None:
        """Remember that a slip is cancelled, wherever it is."""
        self._cancelled[slip] = who
        if len(self._cancelled) > MOST:
            self._cancelled.popitem(last=False)

    def cancelled(self, slip: str) -> str:
        """Return who cancelled a slip, empty if nobody did."""
        return self._cancelled.get(slip, "")


def facts(key: Key, end: End | None = None) -> dict[str, Any]:
    """Return what a record says of an attempt."""
    slip, number, compensating, attempt = key
    said = {"slip": slip, "number": number, "compensating": compensating, "attempt": attempt}
    if end is not None:
        said["end"] = msgspec.to_builtins(end.attempt)
        said["added"] = msgspec.to_builtins(end.added)
    return said
