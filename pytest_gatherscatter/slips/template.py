"""A command line with fields, in which a value can be nothing but one word of its command.

``flasher --image {image} --port {port}``: each value is put in single quotes, whatever it is, so
that a shell reads it as it stands: no space parts it, no ``$`` or ``;`` means anything, an ``=``
sets no variable. That holds only where quotes begin a word or go on with one. So a template is
read once as a shell reads it, and a field that stands in quotes, in a comment, in arithmetic or
behind a ``$`` is refused then, when somebody is there who can mend it.

Braces that are meant for the shell are doubled: ``${{HOME}}``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.wire.names import NAME_RULE, check_name

MOST_TEXT = 64 * 1024
"""Characters of a template: half of what Linux takes as one argument, which a line is."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_PLAIN = re.compile(r"\$\{\w+\}")
"""A variable in braces, with nothing else in them."""

_ENDS_WORD = frozenset(" \t\n;&|()<>")
_OPENS = {
    "`": "backquotes",
    "$((": "arithmetic",
    "((": "arithmetic",
    "[[": "[[",
    "<<": "a here-document",
    "$'": "$'…'",
    "${": "${…}",
}
"""After these, what is in quotes for one shell is not for the other, or quotes mean nothing."""

_OPENS_IN_QUOTES = {"`": "backquotes", "$(": "$(…)", "${": "${…}"}


class Field(NamedTuple):
    """A place for the value of a parameter."""

    name: str


def quoted(value: str) -> str:
    """Return ``value`` as one word of a shell's line.

    Raises:
        ValueError: no program can be given such a text.
    """
    if "\0" in value:
        raise ValueError("holds a NUL, which no command line can")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is no text: it holds half of a character") from None
    return "'" + value.replace("'", "'\"'\"'") + "'"


class Template:
    """A command line with ``{fields}``; equal ones have equal texts.

    Args:
        where: what an error names: the file, the process and the command.
        text: the template.

    Raises:
        SettingsInvalid: it is no text, or a value would not be safe where a field stands.
    """

    def __init__(self, where: str, text: object) -> None:
        if not isinstance(text, str) or not text.strip():
            raise SettingsInvalid(where, f"{text!r} must be a text that is not empty")
        try:
            self._pieces = _read(text)
        except ValueError as error:
            raise SettingsInvalid(where, str(error)) from None
        self.text = text
        self.fields = frozenset(one.name for one in self._pieces if isinstance(one, Field))
        """The names of its parameters."""

    def __eq__(self, other: object) -> bool:
        """Say whether it is the same text."""
        return isinstance(other, Template) and other.text == self.text

    def __hash__(self) -> int:
        """Go by the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Show the text."""
        return f"Template({self.text!r})"

    def line(self, values: Mapping[str, str]) -> str:
        """Return the line for a shell.

        Raises:
            ValueError: a value cannot be given to a program.
            KeyError: a field has no value.
        """
        words: dict[str, str] = {}
        for name in self.fields:
            try:
                words[name] = quoted(values[name])
            except ValueError as error:
                raise ValueError(f"parameter {name!r} {error}") from None
        return "".join(words[one.name] if isinstance(one, Field) else one for one in self._pieces)


def _read(text: str) -> tuple[str | Field, ...]:
    """Part a template into what stands and what is filled in, and look at its fields' places.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"is longer than {MOST_TEXT} characters")
    quoted(text)  # is it one that a program can be given at all?
    pieces: list[str | Field] = []
    plain = ""
    for match in _PIECE.finditer(text):
        piece = match[0]
        if match[1] is not None:
            pieces += [plain, Field(_field(match[1]))]
            plain = ""
        elif piece in {"{", "}"}:
            raise ValueError(f"has a {piece!r} alone; one for the shell is written {piece * 2!r}")
        else:
            plain += piece[0] if piece in {"{{", "}}"} else piece
    pieces.append(plain)
    _check(pieces)
    return tuple(pieces)


def _field(name: str) -> str:
    try:
        return check_name("parameter", name)
    except SettingsInvalid:
        cure = f"a field is {{name}}, a name {NAME_RULE}; braces for the shell are doubled"
        raise ValueError(f"has a field {{{name}}}; {cure}") from None


def _check(pieces: Iterable[str | Field]) -> None:
    """Read it as a shell does, and refuse each field whose quotes would not hold."""
    reading = _Reading()
    for piece in pieces:
        if isinstance(piece, Field):
            if place := reading.place():
                raise ValueError(
                    f"{{{piece.name}}} stands {place}, where no value is safe; "
                    "a field is quoted by itself, and stands free or beside plain text"
                )
            reading.text += "\0"  # a stand-in that means nothing to a shell
        else:
            reading.text += piece
        reading.read()
    if reading.quote:
        raise ValueError(f"has a {reading.quote} that is never closed")


class _Reading:
    """How far a shell has read, and where it is."""

    def __init__(self) -> None:
        self.text = ""
        self.quote = ""
        self._at = 0
        self._comment = False
        self._behind = ""
        """What has begun for good as far as we can tell: we do not look for its end."""

    def place(self) -> str:
        """Say where the next character stands, if no value may stand there."""
        if self.quote:
            return "inside quotes"
        if self._comment:
            return "in a comment"
        if self._behind:
            return f"behind {self._behind}"
        if self._at > len(self.text):
            return "behind a backslash"
        if self.text.endswith("$"):
            return "behind a $"
        return ""

    def read(self) -> None:
        """Read to the end of the text."""
        while self._at < len(self.text):
            self._at += self._step(self.text[self._at])

    def _step(self, char: str) -> int:
        """Read what begins with ``char``; returns how long it is."""
        if self._comment:
            self._comment = char != "\n"
        elif self.quote == "'":
            self.quote = "" if char == "'" else "'"
        elif char == "\\":
            return 2
        elif plain := _PLAIN.match(self.text, self._at):
            return len(plain[0])
        else:
            self._mark()
            if char == self.quote:
                self.quote = ""
            elif not self.quote and char in {"'", '"'}:
                self.quote = char
            elif not self.quote and char == "#":
                before = self.text[self._at - 1] if self._at else "\n"
                self._comment = before in _ENDS_WORD
        return 1

    def _mark(self) -> None:
        """Note what begins here whose end we do not look for."""
        opens = _OPENS_IN_QUOTES if self.quote else _OPENS
        for mark, name in opens.items():
            if self.text.startswith(mark, self._at):
                self._behind = self._behind or name
