"""The steps in pytest's summary: a table a test with ``-v``, else a line for what went wrong.

It is made from what the reports carry, so it is the same with workers.
"""

from typing import Any

import pytest

from pytest_gatherscatter.plugin.step import WRONG

WIDEST_NAME = 40
"""Columns of a step's name in the table: longer ones are cut, the properties have all of it."""


def summary(reporter: pytest.TerminalReporter, records: list[dict[str, Any]]) -> None:
    """Write the tables, or only what went wrong; nothing if there is nothing of that."""
    verbose = reporter.config.get_verbosity() > 0
    lines = [line for record in records for line in (table if verbose else wrong)(record)]
    if lines:
        reporter.write_sep("=", "steps")
        for line in lines:
            reporter.write_line(line)


def wrong(record: dict[str, Any]) -> list[str]:
    """Tell what went wrong in a test, a line each: ``test [flash > erase] failed after 3.1 s``."""
    lines = []
    for step in record["steps"]:
        if step["path"] and step["outcome"] in WRONG:
            path = " > ".join(map(shown, step["path"]))
            line = f"{shown(record['test'])} [{path}] {step['outcome']}"
            lines.append(f"{line} after {seconds(step['seconds'])}{_said(step, ' at ')}")
    return lines


def table(record: dict[str, Any]) -> list[str]:
    """List all steps of a test: number, name, seconds, outcome, how far, and what was said."""
    steps = record["steps"]
    names = [_name(step) for step in steps]
    widest = max(map(len, names), default=0)
    lines = [shown(record["test"])]
    for step, name in zip(steps, names, strict=True):
        row = f"  {step['number']:>3} {name:<{widest}} {seconds(step['seconds']):>9}"
        lines.append(f"{row} {step['outcome']}{_said(step, ' ')}")
    if record["left_out"]:
        lines.append(f"      {record['left_out']} more that passed")
    return lines


def _name(step: dict[str, Any]) -> str:
    indent: int = min(step["depth"], WIDEST_NAME // 4)
    name = "  " * indent + shown(step["name"])
    return name if len(name) <= WIDEST_NAME else name[: WIDEST_NAME - 1] + "…"


def _said(step: dict[str, Any], before: str) -> str:
    """Say how far it came, what it said last, and why it ended early."""
    text = amount(step["done"], step["total"])
    text = before + text if text else ""
    text += f": {shown(step['text'])}" if step["text"] else ""
    return text + (f" ({shown(step['why'])})" if step["why"] else "")


def amount(done: float, total: float | None) -> str:
    """Write how far a step is: ``12/40``, ``12`` without a total, nothing if it does not count."""
    if total is None:
        return f"{done:g}" if done else ""
    return f"{done:g}/{total:g}"


def seconds(number: float) -> str:
    """Write a duration as people read it."""
    return f"{number:.2f} s" if number < 100 else f"{number:.0f} s"  # noqa: PLR2004 - four digits


def shown(text: str) -> str:
    """Write a text in one line, with nothing in it that would steer a terminal."""
    return "".join(
        one if one.isprintable() else " " if one.isspace() else "\N{REPLACEMENT CHARACTER}"
        for one in text
    )
