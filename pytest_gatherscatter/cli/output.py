"""How the command line tells things: answers on stdout, the log and complaints on stderr.

What a program may read (tables, JSON) goes to stdout, alone. In a pipe it is plain, a record a
line with tabs between its fields; on a terminal rich draws it. Texts that came over the wire are
made printable first: a reason must not be able to move somebody's cursor.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence

import click

LEVELS = ("debug", "info", "warning", "error")

# pika tells each step of a connection at info, and each lost one with a traceback; asyncio's
# debug lines are nobody's here. What matters of them comes as an error of this package.
_NOISY = ("pika", "asyncio", "tenacity", "testcontainers", "docker", "urllib3", "psycopg")


_LEAST = 8
"""Columns that are left of what is cut: enough to know it again."""


def printable(text: object) -> str:
    """Return ``text`` as one line without control characters."""
    return "".join(
        char if char.isprintable() else " " if char.isspace() else f"\\x{ord(char):02x}"
        for char in str(text)
    )


def colour() -> bool | None:
    """Say whether to colour: never with NO_COLOR set, else as the stream is a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def complain(text: str) -> None:
    """Tell an error on stderr, in one line that begins with the program's name."""
    click.echo(f"gatherscatter: {printable(text)}", err=True)


def say(text: str) -> None:
    """Print one line on stdout."""
    click.echo(printable(text))


def say_json(value: object) -> None:
    """Print ``value`` on stdout as JSON: indented on a terminal, one line in a pipe."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=True))


def say_table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    brief: Sequence[str] = (),
) -> None:
    """Print rows: a table with ``title`` and ``heads`` on a terminal, else tabs and no heads.

    In a pipe each line begins with ``title``, so that one grep finds one kind of record. On a
    terminal that is too narrow for the table each record is a block, a line a field: what is
    cut, an id for instance, can be given to no other command. With ``brief`` it is a line
    instead, of the columns that are named there; the second of them may be cut.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            click.echo("\t".join((title, *row)))
        return
    if not cells:
        return
    from rich.console import Console  # noqa: PLC0415 - 60 ms that a pipe need not pay
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    unbound = console.options.update(max_width=1_000_000)  # any number that no table reaches
    if console.measure(table, options=unbound).maximum <= console.width:
        console.print(table)
        return
    if brief:
        _say_brief(title, brief, [[row[heads.index(head)] for head in brief] for row in cells])
        return
    wide = max(map(len, heads))
    for row in cells:
        click.secho(title, italic=True, color=colour())
        for head, cell in zip(heads, row, strict=True):
            click.echo(f"  {head:{wide}}  {cell}")


def _say_brief(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a line for each row, as narrow as the second column can be cut."""
    from rich.cells import cell_len  # noqa: PLC0415 - 60 ms that a pipe need not pay
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    width = Console().width
    wides = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    gaps = 2 * (len(heads) - 1)
    excess = max(0, sum(wides) + gaps - width)
    wides[1] = min(wides[1], max(_LEAST, wides[1] - excess))
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head, wide in zip(heads, wides, strict=True):
        table.add_column(head, width=wide, no_wrap=True)
    for row in cells:
        table.add_row(*map(Text, row))
    Console(width=max(width, sum(wides) + gaps)).print(table)


def log_to_stderr(level: str) -> None:
    """Send all logs of ``level`` and above to stderr, coloured on a terminal, else plain."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - 60 ms that a pipe need not pay
        from rich.highlighter import NullHighlighter  # noqa: PLC0415 - as above
        from rich.logging import RichHandler  # noqa: PLC0415 - as above

        handler = RichHandler(
            console=Console(stderr=True),
            show_path=False,
            highlighter=NullHighlighter(),  # it takes names and URLs apart
            omit_repeated_times=False,
            log_time_format="%H:%M:%S",
        )
        form = "%(message)s"
    else:
        handler = logging.StreamHandler()
        form = "%(asctime)s.%(msecs)03d %(levelname)s %(message)s"
    handler.setFormatter(_OneLine(form, "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _OneLine(logging.Formatter):
    """Keeps each record on one line, whatever a remote text may hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)
