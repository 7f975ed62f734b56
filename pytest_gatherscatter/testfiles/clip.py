"""What is kept of a process's output: all of it up to a size, else its beginning and its end.

What went wrong mostly stands at the end; what it was about, at the beginning.
"""

STDOUT_LINES = 70
"""Lines of a dead process's output that are told, as Gorgon does."""

HEAD, TAIL = 16 * 1024, 32 * 1024
"""Bytes that are kept: together they fit in one message with everything else that it says."""


class Clip:
    """Takes bytes as they come, and keeps a bounded part of them."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        self._head, self._tail = head, tail
        self._first = b""
        self._last = b""
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Take more."""
        room = self._head - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        excess = len(self._last) - self._tail
        if excess > 0:
            self._last = self._last[excess:]
            self._left_out += excess

    def text(self) -> str:
        """Return it as text; what was left out is said where it was."""
        note = f"\n… {self._left_out} bytes left out …\n".encode() if self._left_out else b""
        return (self._first + note + self._last).decode(errors="replace")

    def last_lines(self, most: int = STDOUT_LINES) -> str:
        """Return the last lines of it."""
        return "\n".join(self.text().splitlines()[-most:])
