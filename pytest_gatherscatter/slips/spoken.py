"""What a command says in its output, beside what it prints: how far it is, and steps it wants.

``::progress 0.4 flashing`` moves its bar, ``::step {"process": …}`` adds a step. A line is one of
these or plain output; all of them go to the log as they stand.
"""

import json
import math

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.slips.document import added_step
from pytest_gatherscatter.slips.slip import MOST_ADDED
from pytest_gatherscatter.wire.slips import Step

TAIL = 4096
"""Characters of the last output that go with a slip."""

LONGEST_LINE = 64 * 1024
"""Bytes of a line that is listened to: more than any step takes."""

NOTES = 3
"""Mistakes of a command that are told; how many more there were is only counted."""


class Tail:
    """The last of what a stream brought."""

    MOST = 4 * TAIL + 4  # a character of UTF-8 has up to four bytes, and the first may be cut

    def __init__(self) -> None:
        self._data = b""

    def add(self, data: bytes) -> None:
        """Take more."""
        self._data = (self._data + data)[-self.MOST :]

    def text(self) -> str:
        """Return at most :data:`TAIL` characters; what is no UTF-8 is replaced."""
        return self._data.decode(errors="replace")[-TAIL:]


class Spoken:
    """Listens to a command's output; a bounded part of it is kept, whatever comes."""

    def __init__(self) -> None:
        self.added: list[Step] = []
        """The steps that it wants to have run."""
        self._notes: list[str] = []
        self._mistakes = 0
        self._rest = b""
        self._skips = False

    def add(self, data: bytes) -> tuple[float, str] | None:
        """Take more; returns how far the command is now, if it said so."""
        whole = self._rest + data
        if b"::" not in whole:  # most output: nothing in it is for us
            _, newline, self._rest = whole.rpartition(b"\n")
            self._skips = self._skips and not newline
            self._bound()
            return None
        *lines, self._rest = whole.split(b"\n")
        moved = None
        for line in lines:
            moved = (None if self._skips else self._line(line)) or moved
            self._skips = False
        self._bound()
        return moved

    def end(self) -> tuple[float, str] | None:
        """Take what stands in the last line, which has no end."""
        rest, self._rest = self._rest, b""
        return None if self._skips else self._line(rest)

    def text(self) -> str:
        """Say what was wrong with what it said, in a line; empty if nothing was."""
        more = self._mistakes - len(self._notes)
        return "; ".join([*self._notes, *([f"{more} more mistakes"] if more > 0 else [])])

    def _bound(self) -> None:
        if len(self._rest) > LONGEST_LINE:
            if self._rest.startswith(b"::") and not self._skips:
                self._mistake("a line that begins with :: is longer than 64 KiB")
            self._skips, self._rest = True, b""

    def _line(self, line: bytes) -> tuple[float, str] | None:
        if not line.startswith((b"::progress", b"::step")):
            return None
        word, _, rest = line.decode(errors="replace").strip().partition(" ")
        if word == "::progress":
            return self._progress(rest.strip())
        if word == "::step":
            self._step(rest)
        return None

    def _progress(self, said: str) -> tuple[float, str] | None:
        word, _, text = said.partition(" ")
        try:
            share = float(word)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            self._mistake(f"'::progress {said[:40]}': a share from 0 to 1 is wanted")
            return None
        return share, text.strip()

    def _step(self, said: str) -> None:
        try:
            step = added_step(json.loads(said), "::step")
        except SettingsInvalid as error:
            self._mistake(str(error)[:300])
        except (ValueError, RecursionError) as error:
            self._mistake(f"::step: is not JSON: {error}"[:300])
        else:
            if len(self.added) < MOST_ADDED:  # one more than may be: who adds them says so
                self.added.append(step)

    def _mistake(self, text: str) -> None:
        self._mistakes += 1
        if len(self._notes) < NOTES:
            self._notes.append(text)
