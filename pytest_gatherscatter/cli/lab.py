"""Seeing and steering a lab from a shell: ``status``, ``hold`` and ``reset``."""

import getpass
import logging
import re
import secrets
import socket
import sys
import time
from typing import Any

import click
import msgspec

from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url, time_of
from pytest_gatherscatter.cli.output import printable, say, say_json, say_table
from pytest_gatherscatter.cli.stop import SLICE, Stop
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.sections.demand import span_of
from pytest_gatherscatter.sections.hook import LABEL, clip
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.wire.messages import (
    AskStatus,
    BenchHeld,
    Hold,
    HoldBench,
    HoldEnded,
    LabStatus,
    ReleaseBench,
    ResetDone,
    ResetLab,
)
from pytest_gatherscatter.wire.names import ID_PATTERN, check_name

log = logging.getLogger(__name__)

HOLD_SECONDS = 10.0
"""How long a hold lasts without being renewed: a holder that is killed frees the bench soon."""

AT_TERMINAL = 5
"""Ended sections that a person is shown: twenty would scroll what is open out of sight."""

HOLD_AGAIN = 3.0
"""Seconds between renewals: two may be lost."""


def who() -> str:
    """Name the person and the host behind a command, as others see it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        user = "somebody"
    return clip(f"{user}@{socket.gethostname()}", LABEL)


# ── status ─────────────────────────────────────────────────────────────────────────────


@click.command(
    epilog=examples(
        "gatherscatter status",
        "gatherscatter status --json | jq '.sections[].awaited'",
        "gatherscatter status | grep ^section",
        "gatherscatter status --json | jq '.ended[].verdict'",
    )
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@lab_options
def status(asked: Asked, *, as_json: bool) -> None:
    """Show agents, benches and open sections: who is awaited, who holds and why.

    The sections that ended last are there too, each with its verdict, as "ended"; on a
    terminal five of them.
    In a pipe: a record a line, fields parted by tabs, the first one says which kind.
    """
    settings = asked.settings()
    with Asker(settings, need_url(settings)) as asker:
        lab = asker.ask(AskStatus(), LabStatus)
        facts = facts_of(lab) | {
            "broker": asker.where,
            "lab": settings.lab,
            "dead_letters": asker.dead_letters(),
        }
    if as_json:
        say_json(facts)
    else:
        _show(lab, facts)


def facts_of(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a message as plain data, all its fields in it, defaults too: a stable object."""
    if isinstance(value, msgspec.Struct):
        return {key: facts_of(item) for key, item in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple):
        return [facts_of(item) for item in value]
    return value


def _show(lab: LabStatus, facts: dict[str, Any]) -> None:
    ended = lab.ended[:AT_TERMINAL] if sys.stdout.isatty() else lab.ended
    say_table(
        "gatherer",
        ("lab", "host", "pid", "version", "up", "requires", "lead", "unreadable", "dead", "broker"),
        [
            (
                facts["lab"],
                lab.host,
                lab.pid,
                lab.version,
                _time(lab.uptime),
                _list(lab.required),
                f"{lab.lead * 1000:.0f} ms",
                lab.unreadable,
                facts["dead_letters"],
                facts["broker"],
            )
        ],
    )
    say_table(
        "agent",
        ("name", "benches", "host", "pid", "state", "heard", "clock", "advisory"),
        [
            (
                agent.agent,
                _list(agent.benches),
                agent.host,
                agent.pid,
                agent.state or "-",
                _time(agent.heard),
                "-" if agent.offset_bound is None else f"±{agent.offset_bound * 1000:.3f} ms",
                "advisory" if agent.advisory else "-",
            )
            for agent in lab.agents
        ],
    )
    say_table(
        "bench",
        ("name", "section", "queued", "held by", "token"),
        [
            (
                bench.bench,
                bench.current or "-",
                _list(bench.queued),
                _holds(bench.holds),
                bench.token,
            )
            for bench in lab.benches
        ],
    )
    say_table(
        "section",
        (
            "id",
            "name",
            "bench",
            "state",
            "awaited",
            "holds",
            "token",
            "age",
            "overdue",
            "owner",
            "test",
        ),
        [
            (
                section.section,
                section.name,
                section.bench,
                section.state,
                _list(section.awaited),
                _holds(section.holds),
                section.token,
                _time(section.age),
                _time(section.overdue) if section.overdue else "-",
                section.owner,
                section.test,
            )
            for section in lab.sections
        ],
    )
    say_table(
        "ended",
        ("id", "name", "bench", "verdict", "token", "ago", "owner", "test", "why"),
        [
            (
                end.section,
                end.name,
                end.bench,
                end.verdict,
                end.token,
                _time(end.ago),
                end.owner,
                end.test,
                end.text or "-",
            )
            for end in ended
        ],
        brief=("id", "name", "verdict", "ago"),
    )
    if more := len(lab.ended) - len(ended):
        say(f"{more} more ended before: gatherscatter status --json")
    if lab.left_out:
        say(f"{lab.left_out} agents, benches or sections more had no room in one answer")


def _time(amount: float) -> str:
    return f"{amount:.1f} s"


def _list(words: tuple[str, ...]) -> str:
    return ",".join(words) or "-"


def _holds(holds: tuple[Hold, ...]) -> str:
    return "; ".join(hold_text(hold) for hold in holds) or "-"


def hold_text(hold: Hold) -> str:
    """Say a hold in a few words: ``thermal 5 s: settling``."""
    return f"{hold.agent}{span_of(hold)}" + (f": {hold.reason}" if hold.reason else "")


# ── hold ───────────────────────────────────────────────────────────────────────────────


@click.command(
    epilog=examples(
        "gatherscatter hold --bench rack2 'probe moved'",
        "gatherscatter hold --for 10m 'coffee'",
    )
)
@click.option("--bench", metavar="NAME", help="The bench (default: default).")
@click.option("--for", "length", metavar="TIME", help="End by itself after, e.g. 90, 5m, 1h.")
@click.argument("reason", default="")
@lab_options
def hold(asked: Asked, *, bench: str | None, length: str | None, reason: str) -> int:
    """Keep sections from starting on a bench until Ctrl-C.

    A section that is inside already goes on; one that waits says who holds, and why. The
    hold is renewed every few seconds: a holder that is killed frees the bench by itself.
    One that somebody gives up by 'gatherscatter reset' ends with 1.
    """
    settings = asked.settings(bench=bench)
    end = time.monotonic() + _length(length)
    message = HoldBench(
        hold=secrets.token_hex(8),
        bench=settings.bench,
        holder=who(),
        reason=clip(printable(reason)),
        seconds=HOLD_SECONDS,
    )
    with Asker(settings, need_url(settings), reconnect=True) as asker:
        held = asker.ask(message, BenchHeld)
        stop = Stop()
        inside = f"; {held.live} is inside and goes on" if held.live else ""
        log.info("bench %s is held%s; Ctrl-C ends the hold", settings.bench, inside)
        ended = _renew(asker, message, stop, end)
        if ended is not None:
            log.error("the hold of bench %s was given up: %s", settings.bench, ended.text)
            return 1
        asker.send(ReleaseBench(hold=message.hold))  # leaves with the close
    log.info("bench %s is free again", settings.bench)
    return 0


def _renew(asker: Asker, message: HoldBench, stop: Stop, end: float) -> HoldEnded | None:
    """Keep the hold until ``stop`` or ``end``, over restarts of gatherer and broker too.

    Returns the gatherer's word if somebody else ended it before.
    """
    again = time.monotonic() + HOLD_AGAIN
    number, lost = 0, False
    while not stop() and (now := time.monotonic()) < end:
        if now >= again:
            number = asker.send(message)
            again = now + HOLD_AGAIN
        heard = asker.listen(min(SLICE, end - now))
        for answer in heard:
            if isinstance(answer, HoldEnded) and answer.hold == message.hold:
                return answer
        if lost and any(isinstance(answer, BenchHeld) for answer in heard):
            lost = False
            log.info("bench %s is held again", message.bench)
        elif asker.unheard(number) and not lost:
            lost = True
            log.warning("there is no gatherer to hold the bench: asking again until there is")
    return None


def _length(text: str | None) -> float:
    return float("inf") if text is None else time_of("--for", text)


# ── reset ──────────────────────────────────────────────────────────────────────────────


@click.command(
    epilog=examples(
        "gatherscatter reset --bench rack2",
        "gatherscatter reset --section 3f2a9c1d5e7b8a60",
        "gatherscatter reset --all",
    )
)
@click.option("--bench", metavar="NAME", help="Give up all sections of this bench.")
@click.option("--section", metavar="ID", help="Give up this section (see status).")
@click.option("--all", "everything", is_flag=True, help="Give up every section of the lab.")
@lab_options
def reset(asked: Asked, *, bench: str | None, section: str | None, everything: bool) -> None:
    """Give up sections, live ones too, and open their benches.

    Nothing else opens the bench of a section whose owner may still be inside. Look first
    (status), and be sure that nobody's hardware is under power.
    """
    if (bench is not None) + (section is not None) + everything != 1:
        raise SettingsInvalid("reset", "say one of --bench NAME, --section ID and --all")
    if bench is not None:
        check_name("bench", bench)
    if section is not None:
        check_id(section)
    settings = asked.settings()
    message = ResetLab(bench=bench, section=section, everything=everything, who=who())
    with Asker(settings, need_url(settings)) as asker:
        done = asker.ask(message, ResetDone)
    for line in done.lines or ("nothing was open",):
        say(line)


def check_id(text: str) -> str:
    """Return ``text`` if it can be a section's id.

    Raises:
        SettingsInvalid: it cannot.
    """
    if re.fullmatch(ID_PATTERN, text) is None:
        raise SettingsInvalid("--section", f"{text!r} is no id; 'gatherscatter status' shows them")
    return text
