"""What people see: the header, the waiting, and the summary.

No ``warnings.warn``: it fails tests under ``-W error``. Lines about waiting are written past
capturing, to the terminal; in an xdist worker that is the standard error, which it shares with
the controller. The summary is made from what the reports carry, so it is the same with xdist.
"""

import contextlib
import sys
import time
from typing import Any

import pytest

from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.sections.section import Waiting
from pytest_gatherscatter.sections.service.ticket import TicketState, scan, ticket_directory

VISIBLE_AFTER = 2.0
"""Seconds of waiting that nobody needs to hear of."""

LEAST_OF_A_TEST = 12
"""Columns of a test's name below which it tells nothing and is left out of a narrow line."""

LINE_EVERY = 10.0
"""Seconds between lines that say the same but for the time, where a line cannot be rewritten."""


# ── header ─────────────────────────────────────────────────────────────────────────────


def header(config: pytest.Config) -> list[str]:
    """Say the settings, and which sections of this host have lost their owners."""
    settings = options.settings(config)
    broker = settings.broker if "://" not in settings.broker else safe_url(settings.broker)
    if options.local_broker(config) is not None:
        broker = f"private, at {broker}"
    line = f"gatherscatter: lab {settings.lab}, bench {settings.bench}, broker {broker}"
    if settings.require:
        line += f", requires {', '.join(sorted(settings.require))}"
    lines = [line]
    for ticket in scan(ticket_directory()):
        if ticket.state is TicketState.ORPHAN and ticket.content is not None:
            facts = ticket.content.facts
            lines.append(
                f"gatherscatter: bench {facts.bench} of lab {facts.lab}: the owner of a section "
                f"died in {facts.test}; the next section there, or 'gatherscatter leave', closes it"
            )
    return lines


# ── waiting ────────────────────────────────────────────────────────────────────────────


class WaitLine:
    """Shows for whom a test waits, from two seconds on."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        worker = getattr(config, "workerinput", None)
        self._worker = worker["workerid"] if worker else ""
        reporter = None if worker else config.pluginmanager.get_plugin("terminalreporter")
        self._reporter: pytest.TerminalReporter | None = reporter
        self._rewrites = reporter is not None and reporter.isatty and reporter.hasmarkup
        self._begun = False
        self._erased = 0
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0
        self._since = 0.0

    def begin(self) -> None:
        """Somebody begins to wait."""
        self._since = time.monotonic()

    def show(self, waiting: Waiting, test: str) -> None:
        """Show it, if it has lasted for long enough; from any thread, one at a time."""
        what = (waiting.section, waiting.state, waiting.awaited, _reasons(waiting))
        self.tell("; ".join(waiting.lines), what, test)

    def tell(self, text: str, what: tuple[object, ...], test: str) -> None:
        """Show any text; ``what`` is what it says but for the time."""
        now = time.monotonic()
        if now - self._since < VISIBLE_AFTER:
            return
        if not self._rewrites and what == self._told and now - self._told_at < LINE_EVERY:
            return
        self._told, self._told_at = what, now
        with self._past_capture():
            self._write(text, test)

    def end(self) -> None:
        """The waiting is over: what comes next gets a line of its own."""
        if self._begun and self._rewrites and self._reporter is not None:
            with self._past_capture():
                self._reporter.rewrite("", erase=True)
                self._reporter.write("\r")
            # The writer counts what was rewritten, but nothing of it is seen any more.
            self._erased = self._reporter._tw.width_of_current_line  # noqa: SLF001 - as above
        self._begun = False
        self._told = ()

    def _write(self, text: str, test: str) -> None:
        if self._reporter is None:
            prefix = f"[{self._worker}] " if self._worker else ""
            stream = sys.__stderr__
            if stream is not None:
                stream.write(f"{prefix}{test}: {text}\n")
                stream.flush()
        elif self._rewrites:
            if not self._begun:
                self._fresh_line(self._reporter)
            width = self._reporter._tw.fullwidth  # noqa: SLF001 - as in _fresh_line
            self._reporter.rewrite(fitting(test, text, width - 1), erase=True)
        else:
            self._fresh_line(self._reporter)
            self._reporter.write_line(f"{test}: {text}")
        if self._reporter is not None:
            self._reporter.flush()  # in a pipe it would stay in the buffer until the wait is over
        self._begun = True

    def _fresh_line(self, reporter: pytest.TerminalReporter) -> None:
        """Begin a line; with ``-q`` only pytest's writer knows of the dots that stand in it."""
        reporter.ensure_newline()
        width = reporter._tw.width_of_current_line  # noqa: SLF001 - there is no public way
        if width not in (0, self._erased):
            reporter.line("")
            self._erased = 0

    def _past_capture(self) -> contextlib.AbstractContextManager[None]:
        if self._capture is None:
            return contextlib.nullcontext()
        return self._capture.global_and_fixture_disabled()  # type: ignore[no-any-return]


def fitting(test: str, text: str, width: int) -> str:
    """Put test and text in one line of ``width`` columns: the test's name gives way first.

    A longer line would be wrapped, and could not be rewritten.
    """
    room = width - len(text) - 2
    if len(test) > room >= LEAST_OF_A_TEST:
        test = "…" + test[-(room - 1) :]
    line = f"{test}: {text}" if room >= min(len(test), LEAST_OF_A_TEST) else text
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"


def _reasons(waiting: Waiting) -> tuple[tuple[str, str], ...]:
    """Who holds and why, without how long: that changes each time."""
    return tuple((hold.agent, hold.reason) for hold in waiting.holds)


# ── summary ────────────────────────────────────────────────────────────────────────────


def summary(reporter: pytest.TerminalReporter, records: list[dict[str, Any]]) -> None:
    """Write the totals in a line, then what was abnormal; all of it with ``-v``."""
    reporter.write_sep("=", "critical sections")
    reporter.write_line(totals(records))
    verbose = reporter.config.get_verbosity() > 0
    for record in records:
        if verbose or is_abnormal(record):
            for line in lines(record):
                reporter.write_line(line)


def totals(records: list[dict[str, Any]]) -> str:
    """Count the sections by what became of them, in one line."""

    def blamed(whom: str) -> int:
        return sum(any(line.startswith(whom) for line in record["lines"]) for record in records)

    counts = {
        "coordinated": sum(record["state"] == "coordinated" for record in records),
        "alone": sum(record["state"] == "alone" for record in records),
        "LAB": blamed("LAB"),
        "DUT": blamed("DUT"),
        "overdue": sum(bool(record.get("overdue")) for record in records),
    }
    line = ", ".join(f"{number} {what}" for what, number in counts.items())
    why = sorted({record["facts"]["alone_because"] for record in records if _is_alone(record)})
    return line + (f" (alone: {'; '.join(why)})" if why else "")


def _is_alone(record: dict[str, Any]) -> bool:
    return record["state"] == "alone" and bool(record["facts"].get("alone_because"))


def is_abnormal(record: dict[str, Any]) -> bool:
    """Whether somebody should look at it."""
    return bool(
        record["lines"]
        or record.get("reports")
        or record.get("overdue")
        or record.get("notes")
        or record["state"] not in {"coordinated", "alone"}
    )


def lines(record: dict[str, Any]) -> list[str]:
    """Tell one section: where, how, then each thing that was wrong with it, and its captures."""
    facts = record["facts"]
    how = ", ".join(word for word in (record["state"], record.get("verdict")) if word)
    told = [f"waited {facts['waited']:.1f} s"] if facts.get("waited") else []
    if "skew_ms" in facts:
        told.append(f"skew {facts['skew_ms']:.3f} ms ± {facts.get('skew_bound_ms', 0):.3f} ms")
    if facts.get("members"):
        told.append(f"with {facts['members'].replace(',', ', ')}")
    if facts.get("holds"):
        told.append(f"held: {facts['holds']}")
    head = f"{record['test']} [{record['name']}] {how}"
    result = [head + (f": {', '.join(told)}" if told else "")]
    result += [f"  {line}" for line in record["lines"]]
    result += [f"  {line}" for line in record.get("reports", ()) if not _is_told(line, record)]
    result += [f"  {line}" for line in record.get("findings", ()) if not _is_told(line, record)]
    result += [f"  {note}" for note in record.get("notes", ())]
    if record.get("artifacts"):
        result.append(f"  artifacts: {record['artifacts']}")
    return result


def _is_told(line: str, record: dict[str, Any]) -> bool:
    return any(line in other for other in record["lines"])
