"""``gatherscatter roundrobin serve`` and ``workers``: who balances services, and whom it knows."""

import logging
import re
from collections.abc import Callable

import click

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.balancerview import show_balancers
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url, time_of
from pytest_gatherscatter.cli.output import complain
from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.quantity import size
from pytest_gatherscatter.wire.names import SERVICE_PATTERN, service_key

log = logging.getLogger("gatherscatter.balancer")

MOST_BACKLOG = 60_000
"""Tasks that may wait: with those of workers they fit what a consumer may have in hand."""

PACE = 1.0
"""Seconds between two looks of who watches."""


@click.command(
    epilog=examples(
        "gatherscatter roundrobin serve --service echo",
        "gatherscatter roundrobin serve --service grading.waveform --policy most-free",
        "gatherscatter roundrobin serve --service steps.power --service steps.flash",
    )
)
@click.option(
    "--service",
    "services",
    metavar="NAME",
    multiple=True,
    required=True,
    help="What it balances: NAME, grading.QUEUE or steps.PROCESS. Repeatable.",
)
@click.option(
    "--backlog",
    type=click.IntRange(0, MOST_BACKLOG),
    default=1000,
    show_default=True,
    help="Tasks of a service that may wait; who comes then hears 'busy'.",
)
@click.option(
    "--backlog-bytes",
    metavar="SIZE",
    default="64MiB",
    show_default=True,
    help="What these may hold.",
)
@click.option(
    "--policy",
    metavar="NAME",
    default="least-recently-used",
    show_default=True,
    help="Who is next: least-recently-used, most-free, affinity, or a package's.",
)
@click.option(
    "--drain",
    metavar="TIME",
    default="60s",
    show_default=True,
    help="How long workers may go on after SIGTERM.",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def serve(  # noqa: PLR0913 - each is an option
    asked: Asked,
    *,
    services: tuple[str, ...],
    backlog: int,
    backlog_bytes: str,
    policy: str,
    drain: str,
    parent_pid: int | None,
) -> int:
    """Give tasks to registered workers with free slots until Ctrl-C or SIGTERM.

    It takes the service's queue for itself: workers that take from the queue have to be stopped
    first. A second balancer of a service stands by, and takes over when the first is gone. The
    first signal gives back what waits, and waits for what workers have; a second one does not.
    """
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.roundrobin.service.balancer import (  # noqa: PLC0415
        BalancerService,
        BalancerSettings,
    )
    from pytest_gatherscatter.roundrobin.service.policy import choice_of  # noqa: PLC0415

    told = BalancerSettings(
        services=tuple(dict.fromkeys(_service(one) for one in services)),
        backlog=backlog,
        backlog_bytes=_bytes("--backlog-bytes", backlog_bytes),
        policy=policy,
        drain=time_of("--drain", drain),
    )
    choice = choice_of(policy)
    settings, stop = asked.settings(), Stop(parent_pid, steps=2)

    def run(url: str, ended: Callable[[], bool]) -> None:
        service = BalancerService(settings.lab, url, told, choice)
        left = service.run(lambda: max(stop.times, int(ended())))
        if left:
            what = "1 task is" if left == 1 else f"{left} tasks are"
            log.info("%s with workers still: whoever balances next hears of it", what)

    return serving.serve(settings, stop, run)


def _service(text: str) -> str:
    """Read the name or the key of a service.

    Raises:
        SettingsInvalid: naming the option, and what is allowed.
    """
    key = text if "." in text else service_key(text)
    if re.fullmatch(SERVICE_PATTERN, key) is None:
        problem = f"{text!r} is no service; allowed are NAME, grading.QUEUE and steps.PROCESS"
        raise SettingsInvalid("--service", problem)
    return key


def _bytes(option: str, text: str) -> int:
    try:
        return size(text)
    except ValueError as error:
        raise SettingsInvalid(option, str(error)) from None


@click.command(
    epilog=examples(
        "gatherscatter roundrobin workers",
        "gatherscatter roundrobin workers --watch",
        "gatherscatter roundrobin workers --json | jq '.[] | select(.free == 0).worker'",
    )
)
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.option(
    "--wait",
    metavar="TIME",
    default="0.5s",
    show_default=True,
    help="How long balancers may take to answer.",
)
@lab_options
def workers(asked: Asked, *, watch: bool, as_json: bool, wait: str) -> int:
    """List the workers in the tables of all balancers, whose turn is next first.

    Exit status: 1 no balancer answers, 69 no broker.
    """
    from pytest_gatherscatter.roundrobin.service.status import BalancerWatch  # noqa: PLC0415

    settings, stop = asked.settings(), Stop()
    patience = time_of("--wait", wait)
    with BalancerWatch(settings.lab, need_url(settings)) as balancers:
        while True:
            seen = balancers.look(patience)
            show_balancers(seen, as_json=as_json)
            if not watch:
                break
            stop.wait(max(0.0, PACE - patience))
            if stop():
                return stop.exit_status
    if not seen:
        complain(f"no balancer answers in lab {settings.lab}; start 'roundrobin serve'")
    return 0 if seen else 1
