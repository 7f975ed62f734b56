"""``gatherscatter roundrobin``: workers with slots, who balances them, and clients to try them."""

import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.balancer import serve, workers
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url, time_of
from pytest_gatherscatter.cli.output import say_table
from pytest_gatherscatter.cli.stop import SLICE, Stop
from pytest_gatherscatter.settings import processor_name
from pytest_gatherscatter.wire.names import check_name
from pytest_gatherscatter.wire.roundrobin import MOST_SLOTS, Executed

if TYPE_CHECKING:
    from pytest_gatherscatter.roundrobin.service.echo import EchoAccount

log = logging.getLogger("gatherscatter.echo")

FAILED = 1
"""The exit status where a task was done, and failed."""

NOT_DONE = 75
"""The exit status where nobody did a task: it may go better another time."""

MOST_COUNT = 1_000_000

MOST_BULK = 256
"""Workers of one process: each has a thread and a connection."""

MOST_BYTES = 1_000_000
"""Bytes that an echo worker answers at the most."""

WORD = "echo"
"""What is sent, and has to come back."""


@click.group(
    epilog=examples(
        "gatherscatter roundrobin serve --service echo",
        "gatherscatter roundrobin echo --slots 10 --bulk 10",
        "gatherscatter roundrobin workers",
        "gatherscatter roundrobin ping --count 100 --parallel 10",
    )
)
def roundrobin() -> None:
    """Balance a service's tasks over workers with free slots, and try it."""


roundrobin.add_command(serve)
roundrobin.add_command(workers)


# ── workers ────────────────────────────────────────────────────────────────────────────


@roundrobin.command(
    epilog=examples(
        "gatherscatter roundrobin echo --slots 10 --bulk 10",
        "gatherscatter roundrobin echo --direct --service echo --name rack1",
    )
)
@click.option(
    "--service", metavar="NAME", default="echo", show_default=True, help="What it serves."
)
@click.option(
    "--slots",
    type=click.IntRange(1, MOST_SLOTS),
    default=10,
    show_default=True,
    help="Tasks that each worker may have at a time.",
)
@click.option(
    "--bulk",
    type=click.IntRange(1, MOST_BULK),
    default=1,
    show_default=True,
    help="How many workers, each a thread with a connection.",
)
@click.option("--direct", is_flag=True, help="Take from the service's queue, with no balancer.")
@click.option("--name", metavar="NAME", help="What they are called (default: HOST-SERVICE-PID).")
@click.option(
    "--drain",
    metavar="TIME",
    default="10s",
    show_default=True,
    help="How long tasks may go on after SIGTERM.",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def echo(  # noqa: PLR0913 - each is an option
    asked: Asked,
    *,
    service: str,
    slots: int,
    bulk: int,
    direct: bool,
    name: str | None,
    drain: str,
    parent_pid: int | None,
) -> int:
    """Run workers that answer PING, STREAM and SLEEP until Ctrl-C or SIGTERM.

    Each has NAME and a number. The first signal lets tasks come to their end and gives back what
    waits; a second one ends all. What each has done is printed at the end.
    """
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.roundrobin.service.echo import EchoService  # noqa: PLC0415

    check_name("service", service)
    called = name or f"{processor_name((service,))[:40]}-{os.getpid()}"
    check_name("worker", f"{called}-{bulk}")
    patience = time_of("--drain", drain)
    settings, stop = asked.settings(), Stop(parent_pid, steps=2)
    stuck = False

    def run(url: str, ended: Callable[[], bool]) -> None:
        nonlocal stuck
        service_ = EchoService(
            settings.lab,
            url,
            called,
            service=service,
            slots=slots,
            bulk=bulk,
            direct=direct,
            drain=patience,
        )
        accounts = service_.run(lambda: max(stop.times, int(ended())))
        _tell(accounts)
        stuck = stuck or any(one.stuck for one in accounts)

    status = serving.serve(settings, stop, run)
    if stuck:
        # Nothing can end a thread: those that are told of would keep this process for ever.
        logging.shutdown()
        os._exit(status)
    return status


def _tell(accounts: "tuple[EchoAccount, ...]") -> None:
    """Say what workers have done, and how they ended."""
    for one in accounts:
        for what, ids in (("given back", one.given_back), ("not said", one.unsaid)):
            if ids:
                log.info("%s: %d %s: %s", one.worker, len(ids), what, ", ".join(ids))
        if one.stuck:
            log.error("%s: its thread has not come back", one.worker)
    heads = ("worker", "done", "failed", "seconds")
    rows = [(one.worker, one.done, one.failed, round(one.seconds, 3)) for one in accounts]
    say_table("worker", heads, rows)


# ── clients ────────────────────────────────────────────────────────────────────────────


def many_options(timeout: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command what there is to say of many tasks; each may take ``timeout``."""
    options = (
        click.option(
            "--service", metavar="NAME", default="echo", show_default=True, help="Who is asked."
        ),
        click.option(
            "--count",
            type=click.IntRange(1, MOST_COUNT),
            default=1,
            show_default=True,
            help="How many tasks.",
        ),
        click.option(
            "--parallel",
            type=click.IntRange(1, 10_000),
            default=10,
            show_default=True,
            help="How many are out at a time.",
        ),
        click.option(
            "--timeout",
            metavar="TIME",
            default=timeout,
            show_default=True,
            help="How long each may take.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return give


@roundrobin.command(
    epilog=examples(
        "gatherscatter roundrobin ping",
        "gatherscatter roundrobin ping --count 100 --parallel 10",
        "gatherscatter roundrobin ping --count 1000 --exec --json",
    )
)
@many_options("15s")
@click.option("--exec", "blind", is_flag=True, help="Want no answers: only that the broker has it.")
@lab_options
def ping(asked: Asked, *, blind: bool, **told: Any) -> int:  # noqa: ANN401 - options, see _many
    """Send PINGs to a service, and sum up how they were answered.

    Each may run twice, if its worker dies. Exit status: 0 all succeeded, 1 some failed, 75 nobody
    did some of them, 69 no broker.
    """
    return _many(asked, "PING", WORD, _is_word, tracked=not blind, **told)


@roundrobin.command(
    epilog=examples(
        "gatherscatter roundrobin stream --count 100 --bytes 1024",
        "gatherscatter roundrobin stream --bytes 1000000 --json",
    )
)
@many_options("10s")
@click.option(
    "--bytes",
    "size",
    type=click.IntRange(0, MOST_BYTES),
    default=1024,
    show_default=True,
    help="How many each is answered with.",
)
@lab_options
def stream(asked: Asked, *, size: int, **told: Any) -> int:  # noqa: ANN401 - options, see _many
    """Send STREAMs to a service, which answers each with so many bytes; as ping."""
    return _many(asked, "STREAM", {"bytes": size}, partial(_has_size, size), tracked=True, **told)


def _is_word(answer: Executed) -> bool:
    return bytes(answer.payload) == msgspec.json.encode(WORD)


def _has_size(size: int, answer: Executed) -> bool:
    return len(bytes(answer.payload)) == size + 2  # within its quotes


def _many(  # noqa: PLR0913 - what there is to say
    asked: Asked,
    command: str,
    payload: object,
    right: Callable[[Executed], bool],
    *,
    tracked: bool,
    service: str,
    count: int,
    parallel: int,
    timeout: str,
    as_json: bool,
) -> int:
    """Send so many tasks, and show what comes of them; the exit status."""
    from pytest_gatherscatter.cli.taskview import TaskView  # noqa: PLC0415 - as above
    from pytest_gatherscatter.roundrobin.service.asker import Client  # noqa: PLC0415 - as above

    check_name("service", service)
    patience = time_of("--timeout", timeout)
    settings = asked.settings()
    url, stop = need_url(settings), Stop()
    view = TaskView(count, right, tracked=tracked, as_json=as_json)
    sent, asked_at = 0, dict[str, float]()
    with Client(settings.lab, url, window=parallel) as client:
        began = time.monotonic()
        while (sent < count or client.left) and not stop():
            while sent < count and client.left < parallel:
                task = client.execute(
                    service, command, payload, patience, tracked=tracked, rerun=True
                )
                asked_at[task] = time.monotonic()
                sent += 1
            for answer in client.poll(SLICE):
                view.tell(answer, time.monotonic() - asked_at.pop(answer.task))
            view.look(client.working)
        view.end(sent, time.monotonic() - began)
    if stop():
        return stop.exit_status or 128 + signal.SIGTERM
    if view.outcomes.keys() - {"done", "failed", "wrong"}:
        return NOT_DONE
    return FAILED if view.failed else 0
