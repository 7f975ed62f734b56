"""``gatherscatter workload``: any command as a critical section, as ``flock`` does for locks."""

import logging
import secrets
import shlex
import time
from collections.abc import Iterator

import click

from pytest_gatherscatter.cli import command
from pytest_gatherscatter.cli.option import Asked, examples, find, lab_options, names
from pytest_gatherscatter.cli.output import complain, printable
from pytest_gatherscatter.cli.stop import ended_by_signals
from pytest_gatherscatter.errors import (
    NotGathered,
    SectionFailed,
)
from pytest_gatherscatter.sections.hook import LABEL, clip
from pytest_gatherscatter.sections.section import (
    Demand,
    Report,
    Section,
    SectionVerdict,
    Waiting,
    finding_line,
    verdict,
)
from pytest_gatherscatter.sections.service.visit import Visit
from pytest_gatherscatter.sections.service.workload import Workloads

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds that the workload without a command stays inside: long enough to see it happen."""

SAY_AT_ALL = 0.5
"""Seconds from which on a wait is worth a line; a hold always is."""

SAY_AGAIN = 5.0
"""Seconds until a wait that did not change is told once more."""


@click.command(
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    epilog=examples(
        "gatherscatter workload",
        "gatherscatter workload --require scope -- ./burst.sh --cycles 3",
        "gatherscatter workload --bench rack2 --max-duration 90s -- make flash",
        "gatherscatter workload -E 5 --no-gatherer fail -- ./cut-power || echo not done",
    ),
)
@click.argument("words", nargs=-1, metavar="[-- CMD...]", type=click.UNPROCESSED)
@click.option("--name", metavar="TEXT", help="The section's name (default: the command's).")
@click.option("--require", multiple=True, metavar="AGENTS", help="Agents that must be there: a,b.")
@click.option("--bench", metavar="NAME", help="The bench it has for itself (default: default).")
@click.option("--max-duration", metavar="TIME", help="When it is overdue, e.g. 90s (default 5m).")
@click.option("--min-monitors", type=click.IntRange(0), metavar="N", help="How many must measure.")
@click.option("--gather-timeout", metavar="TIME", help="How long a missing agent is waited for.")
@click.option(
    "--no-gatherer",
    type=click.Choice(("run", "skip", "fail")),
    help="What to do without a gatherer: run alone, do nothing (0), fail (69). Default: run "
    "alone, but fail if anything was demanded.",
)
@click.option(
    "-E",
    "--conflict-exit-code",
    type=click.IntRange(0, 255),
    metavar="N",
    default=NotGathered.exit_code,
    show_default=True,
    help="The exit status when the section was not gathered.",
)
@lab_options
def workload(  # noqa: PLR0913 - each is an option
    asked: Asked,
    words: tuple[str, ...],
    *,
    name: str | None,
    require: tuple[str, ...],
    min_monitors: int | None,
    conflict_exit_code: int,
    **given: object,
) -> int:
    """Run CMD as a critical section and exit with its status (128 + N for signal N).

    69: no gatherer, and it may not run alone. 75: not gathered (vetoed, missing, busy). 1: it
    ran well, but a finding failed, it took too long, or the lab did not measure what was
    demanded. Without CMD it only pauses inside, to try a lab.
    """
    settings = asked.settings(require=names("agent", require) or None, **given)
    if words and (ending := command.missing(words)) is not None:
        there = ending.status == command.NOT_RUNNABLE
        why = "it is no program that can be run" if there else "there is no such program"
        complain(f"{words[0]}: {why}")
        return ending.status
    demand = Demand.of(
        settings,
        name=label(name or (words[0].rpartition("/")[2] if words else "workload")),
        test=label(shlex.join(words) or "gatherscatter workload"),
        min_monitors=min_monitors,
    )
    try:
        with ended_by_signals():
            found = find(settings)
            workloads = Workloads(settings, found, run=secrets.token_hex(8), on_wait=Teller())
            try:
                return _visit(workloads, demand, words)
            finally:
                for note in workloads.notes:
                    log.info("%s", note)
    except SectionFailed as error:
        log.info("verdict: %s", SectionVerdict.NOT_GATHERED.value)
        if demand.skips(error):
            log.info("skipped: %s", error)
            return 0
        complain(error.told)
        return conflict_exit_code if isinstance(error, NotGathered) else error.exit_code


def label(text: str) -> str:
    """Return ``text`` as the wire can carry it: a long command line is shortened, not refused."""
    return clip(printable(text), LABEL)


def _visit(workloads: Workloads, demand: Demand, words: tuple[str, ...]) -> int:
    """Gather, run the command inside, leave, and tell what came of it."""
    try:
        visit = workloads.gather(demand)
        section = workloads.enter(visit)
    except KeyboardInterrupt:
        log.info("interrupted: %s is withdrawn, nothing ran inside", demand.name)
        raise
    outcome = "interrupted"
    try:
        ending = _inside(section, visit, words)
        if not ending.interrupted:
            outcome = "failed" if ending.status else "passed"
    finally:
        section = workloads.leave(visit, outcome)
        if outcome == "interrupted":
            told = "the gatherer was not told" if section.unreported_because else "left"
            log.info("interrupted: %s is %s", section.name, told)
    for line in lines_of(section):
        log.info("%s", line)
    errors = verdict(section)
    for error in errors:
        complain(error.told)
    return ending.status or (1 if errors else 0)


def _inside(section: Section, visit: Visit, words: tuple[str, ...]) -> command.Ending:
    """Do what is to be done in the section."""

    def begun() -> None:
        if section.coordinated:
            late = f"{section.late * 1000:.2f} ms after t0"
            log.info(
                "go: %s, token %d, %s", ", ".join(section.members) or "nobody", section.token, late
            )
        else:
            log.info("go, alone: %s", section.alone_because)

    if words:
        locks = [lock.fileno() for lock in (visit.ticket, visit.lock) if lock is not None]
        return command.run(words, held=locks, on_start=begun)
    begun()
    time.sleep(PAUSE)
    return command.Ending(0)


class Teller:
    """Tells for whom a section waits: at each change, and now and then while nothing changes."""

    def __init__(self) -> None:
        self._told: object = None
        self._again = 0.0

    def __call__(self, waiting: Waiting) -> None:
        """Tell, if there is something new to tell."""
        if waiting.waited < SAY_AT_ALL and not waiting.holds:
            return
        holds = tuple((hold.agent, hold.reason) for hold in waiting.holds)
        news = (waiting.state, waiting.awaited, holds)
        now = time.monotonic()
        if news == self._told and now < self._again:
            return
        self._told, self._again = news, now + SAY_AGAIN
        for line in waiting.lines:
            log.info("%s", line)


def lines_of(section: Section) -> Iterator[str]:
    """Say what came of a section, a line for each thing that somebody may ask about."""
    took = "" if section.duration is None else f" after {section.duration:.2f} s"
    yield f"done: {section.name}{took}, waited {section.waited:.2f} s"
    if section.closing is None:
        return
    yield f"verdict: {section.verdict.value}"
    if section.unreported_because:
        yield f"unreported: {section.unreported_because}"
    if section.closing.skew is not None:
        bound = (section.closing.skew_bound or 0.0) * 1000
        yield f"skew {section.closing.skew * 1000:.3f} ms ± {bound:.3f} ms"
    for report in section.closing.reports:
        yield from _report(report)
    if section.closing.fenced:
        yield f"came too late to count: {', '.join(section.closing.fenced)}"


def _report(report: Report) -> Iterator[str]:
    start = "" if report.started is None else f" started {report.started * 1000:+.3f} ms"
    findings = ", ".join(finding_line(finding) for finding in report.finding_list)
    problem = f": {report.text or report.cause}" if report.cause else ""
    yield f"{report.agent}{start}{problem}" + (f"; {findings}" if findings else "")
    for file in report.artifacts:
        place = file.path or f"stays at {file.host}:{file.remote_path}"
        yield f"{report.agent} captured {file.name}, {file.size} bytes: {file.problem or place}"
