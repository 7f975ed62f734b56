"""``gatherscatter doctor``: is everything there that a section needs, and if not, what to do?

Each check is a line: ✓ good, ! worth a look, ✗ wrong. They stand in the order in which a
connection is made, and the first that is wrong ends what depends on it: nobody needs to hear of
a gatherer behind a broker that refuses the login.
"""

import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

import click

from pytest_gatherscatter import __version__
from pytest_gatherscatter.cli.lab import hold_text
from pytest_gatherscatter.cli.option import Asked, examples, find, lab_options
from pytest_gatherscatter.cli.output import colour, printable, say_json
from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.host.directory import private, runtime_directory
from pytest_gatherscatter.sections.clock import GathererClock
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.sections.service.ticket import TicketState, scan, ticket_directory
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import AskStatus, ClockProbe, ClockReading, LabStatus

PROBES = 5
"""Round trips to measure the clock with, as a monitor does when it joins."""

LOOSE = 0.005
"""Seconds of clock bound that are worth a look: DESIGN's own example asks for 5 ms of skew."""


class Mark(Enum):
    """How a check went."""

    GOOD = "✓"
    LOOK = "!"
    WRONG = "✗"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, in a line."""

    what: str
    mark: Mark
    text: str


@click.command(epilog=examples("gatherscatter doctor", "gatherscatter doctor --json | jq .well"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--bench", metavar="NAME", help="The bench to look at (default: default).")
@lab_options
def doctor(asked: Asked, *, as_json: bool, bench: str | None) -> int:
    """Check settings, broker, login, gatherer, clock, bench, agents and tickets.

    Exits with 1 if anything is wrong.
    """
    checks: list[Check] = []
    colours = {Mark.GOOD: "green", Mark.LOOK: "yellow", Mark.WRONG: "red"}
    for check in examine(asked, bench):
        checks.append(check)
        if not as_json:
            mark = click.style(check.mark.value, fg=colours[check.mark])
            click.echo(f"{mark} {check.what}: {printable(check.text)}", color=colour())
    well = all(check.mark is not Mark.WRONG for check in checks)
    if as_json:
        facts = [asdict(check) | {"mark": check.mark.name.lower()} for check in checks]
        say_json({"well": well, "checks": facts})
    return 0 if well else 1


def examine(asked: Asked, bench: str | None) -> Iterator[Check]:
    """Look at everything, one thing after the other."""
    yield Check("versions", Mark.GOOD, _versions())
    try:
        settings = asked.settings(bench=bench)
        found = find(settings)
    except GatherScatterError as error:
        yield Check("settings", Mark.WRONG, str(error))
        return
    yield Check("settings", Mark.GOOD, _origins(settings))
    yield from _directories()
    if found.url is None:
        cure = "start 'gatherscatter gatherer', or set GATHERSCATTER_BROKER"
        yield Check("broker", Mark.WRONG, f"{found.why}; {cure}")
    else:
        why = f"from {settings.origin('broker')}" if found.kind == "url" else found.why
        yield from _beyond(settings, found.url, why)
    yield from _tickets()


def _beyond(settings: Settings, url: str, why: str) -> Iterator[Check]:
    """Look at what lies behind the broker's URL."""
    began = time.monotonic()
    asker = Asker(settings, url)
    try:
        with asker:
            took = (time.monotonic() - began) * 1000
            product = asker.link.product
            text = f"{product or 'a broker'} at {asker.where} ({why}), connected in {took:.0f} ms"
            if is_old(product):
                yield Check("broker", Mark.LOOK, f"{text}; RabbitMQ 3.10 is the oldest we know")
            else:
                yield Check("broker", Mark.GOOD, text)
            yield from _dead_letters(asker)
            lab = asker.ask(AskStatus(), LabStatus)
            yield from _gatherer(lab)
            yield from _clock(asker)
            yield from _bench(lab, settings)
            yield from _agents(lab, settings)
    except GatherScatterError as error:
        what = "gatherer" if asker.link.generation else "broker"
        yield Check(what, Mark.WRONG, str(error))


def is_old(product: str) -> bool:
    """Say whether a broker is a RabbitMQ before 3.10, on which nothing of this was tried."""
    told = re.match(r"RabbitMQ (\d+)\.(\d+)", product)
    return told is not None and (int(told[1]), int(told[2])) < (3, 10)


def _versions() -> str:
    others = ", ".join(f"{name} {version(name)}" for name in ("pika", "msgspec", "pytest"))
    return f"gatherscatter {__version__}, Python {platform.python_version()}, {others}"


def _origins(settings: Settings) -> str:
    words = [f"lab {settings.lab} ({settings.origin('lab')})"]
    words.append(f"bench {settings.bench} ({settings.origin('bench')})")
    words.append(f"broker from {settings.origin('broker')}")
    words.append(f"file {settings.file}" if settings.file else "no gatherscatter.toml")
    return ", ".join(words)


def _directories() -> Iterator[Check]:
    """Write to the two directories of the user: locks and addresses, tickets.

    Only writing tells: rights may be fine on a disk that is full, or on what is no disk at all.
    """
    folder = tickets = ticket_directory()
    try:
        folder = runtime = runtime_directory()
        _write(runtime)
        folder = private(tickets)
        _write(tickets)
    except OSError as error:
        yield Check("directories", Mark.WRONG, f"{folder} cannot be written: {error.strerror}")
        return
    except GatherScatterError as error:
        yield Check("directories", Mark.WRONG, str(error))
        return
    yield Check("directories", Mark.GOOD, f"{runtime} for locks, {tickets} for tickets")


def _write(folder: Path) -> None:
    """Write and sync something that nobody sees.

    Raises:
        OSError: it cannot be written.
    """
    with TemporaryFile(dir=folder) as file:
        file.write(b"gatherscatter doctor\n")
        file.flush()
        os.fsync(file.fileno())


def _dead_letters(asker: Asker) -> Iterator[Check]:
    number = asker.dead_letters()
    if number:
        text = f"{number} in lab {asker.lab}; each carries its reason in the header gs-reason"
        yield Check("dead letters", Mark.LOOK, text)
    else:
        yield Check("dead letters", Mark.GOOD, "none")


def _gatherer(lab: LabStatus) -> Iterator[Check]:
    text = f"{lab.host}:{lab.pid}, version {lab.version}, up {lab.uptime:.0f} s"
    if lab.version != __version__:
        yield Check("gatherer", Mark.LOOK, f"{text}; this is {__version__}")
    else:
        yield Check("gatherer", Mark.GOOD, text)


def _clock(asker: Asker) -> Iterator[Check]:
    clock = GathererClock()
    for _ in range(PROBES):
        probe = ClockProbe(sent=clock.probe(time.monotonic()))
        reading = asker.ask(probe, ClockReading)
        clock.reading(reading.sent, reading.read, time.monotonic(), reading.gatherer)
    if not clock.known():
        yield Check("clock", Mark.WRONG, "the gatherer's readings are none")
        return
    now = time.monotonic()
    bound = clock.bound(now)
    mark = Mark.GOOD if bound <= LOOSE else Mark.LOOK
    text = f"the gatherer's clock is known to ±{bound * 1000:.3f} ms"
    yield Check("clock", mark, text + (f", offset {clock.offset(now) * 1000:.3f} ms"))


def _bench(lab: LabStatus, settings: Settings) -> Iterator[Check]:
    """Look at who is on the bench, inside it, or keeps others off it."""
    name = settings.bench
    here = [agent.agent for agent in lab.agents if name in agent.benches]
    text = f"{name}: monitors {', '.join(here) or 'none'}"
    mark = Mark.GOOD
    for bench in lab.benches:
        if bench.bench != name:
            continue
        for hold in bench.holds:
            mark, text = Mark.LOOK, f"{text}; held by {hold_text(hold)}"
    for section in lab.sections:
        if section.bench != name:
            continue
        text = f"{text}; {section.name} of {section.owner} is {section.state}"
        if section.overdue:
            mark, text = Mark.WRONG, f"{text}, overdue; 'gatherscatter reset --bench {name}'"
    others = sorted({bench for agent in lab.agents for bench in agent.benches} - {name})
    if not here and others:
        mark, text = Mark.LOOK, f"{text}; there are monitors on {', '.join(others)}"
    yield Check("bench", mark, text)


def _agents(lab: LabStatus, settings: Settings) -> Iterator[Check]:
    """Look for who must be there."""
    present = {agent.agent for agent in lab.agents}
    needed = set(lab.required) | settings.require
    missing = sorted(needed - present)
    if missing:
        text = f"{', '.join(missing)} must be there and did not join"
        yield Check("agents", Mark.WRONG, text)
    else:
        text = f"{len(present)} joined, {len(needed)} of them required"
        yield Check("agents", Mark.GOOD, text)


def _tickets() -> Iterator[Check]:
    """Look for sections of this host that nobody will leave any more."""
    found = scan(ticket_directory())
    for ticket in found:
        what = ticket.path.stem
        if ticket.state is TicketState.ORPHAN:
            text = f"{what}: {ticket.why}; 'gatherscatter leave' closes its section"
            yield Check("ticket", Mark.WRONG, text)
        elif ticket.state is TicketState.UNKNOWN:
            yield Check("ticket", Mark.LOOK, f"{what}: {ticket.why}")
    if not any(ticket.state is not TicketState.LIVE for ticket in found):
        yield Check("tickets", Mark.GOOD, f"{len(found)} of sections that are open")
