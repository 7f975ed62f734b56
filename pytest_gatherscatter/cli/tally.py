"""What a person sees of many requests: how far it is, and in what time they were answered."""

import sys
import time
from collections.abc import Sequence

import click

PACE = 0.2
"""Seconds between two looks of the line that says how far it is."""

WIDTH = 30
"""Characters of the bar: with its words it fits on a narrow terminal."""

MARKS = 10
"""Lines of progress in a pipe, in all: each tells of another tenth."""


class Progress:
    """How far it is: a bar on a terminal, else a line for each tenth if ``plain``; on stderr."""

    def __init__(self, count: int, *, plain: bool = False) -> None:
        self._count = count
        self._bar = count > 1 and sys.stderr.isatty()
        self._plain = plain and count > 1 and not self._bar
        self._shown_at = 0.0
        self._tenths = 0

    def tell(self, ended: int, more: str = "") -> None:
        """Say how many have ended, and ``more``."""
        if self._bar and time.monotonic() >= self._shown_at + PACE:
            self._shown_at = time.monotonic()
            full = WIDTH * ended // self._count
            bar = "#" * full + "." * (WIDTH - full)
            click.echo(f"\r\x1b[K[{bar}] {ended} of {self._count} ended{more}", err=True, nl=False)
        elif self._plain and (tenths := MARKS * ended // self._count) > self._tenths:
            self._tenths = tenths
            click.echo(f"{ended} of {self._count} ended{more}", err=True)

    def end(self) -> None:
        """Leave the line as it was."""
        if self._bar:
            click.echo("\r\x1b[K", err=True, nl=False)


def paces(took: Sequence[float], seconds: float) -> dict[str, float]:
    """Sum up answers that took so many seconds each, and all of them together ``seconds``."""
    ordered = sorted(took)
    return {
        "seconds": round(seconds, 3),
        "per_second": round(len(ordered) / seconds, 1) if seconds else 0.0,
        **{f"p{share}_ms": round(1000 * percentile(ordered, share), 3) for share in (50, 95, 99)},
    }


def paces_line(facts: dict[str, float], what: str = "answered") -> str:
    """Say that in a line; ``what`` became of them in that time."""
    return (
        f"{facts['seconds']} s, {facts['per_second']} a second, {what} in "
        f"p50 {facts['p50_ms']} ms, p95 {facts['p95_ms']} ms, p99 {facts['p99_ms']} ms"
    )


def percentile(ordered: Sequence[float], share: int) -> float:
    """Return the value below which ``share`` percent of some ordered values are."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]
