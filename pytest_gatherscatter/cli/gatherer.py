"""``gatherscatter gatherer``: the authority of a lab, with a broker of its own if there is none."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pytest_gatherscatter.broker import container, provider
from pytest_gatherscatter.cli.option import Asked, examples, find, lab_options, names, need_url
from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.embedded.address import default_address_path
from pytest_gatherscatter.errors import BrokerUnreachable
from pytest_gatherscatter.settings import Settings

log = logging.getLogger(__name__)


@click.command(
    epilog=examples(
        "gatherscatter gatherer",
        "gatherscatter gatherer agent1 agent2       # no section without these two",
        "gatherscatter gatherer --broker amqp://lab.example --state-dir /var/lib/gatherscatter",
    )
)
@click.argument("agents", nargs=-1, metavar="[AGENT]...")
@click.option(
    "--state-dir",
    metavar="PATH",
    help="Where decisions are kept, so that a restart goes on where it was (default: in memory).",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def gatherer(
    asked: Asked, agents: tuple[str, ...], *, state_dir: str | None, parent_pid: int | None
) -> int:
    """Run the gatherer of a lab. Every section needs the AGENTs that are named.

    A lab has one gatherer. Without a broker it starts the embedded one, for this machine, and
    the other commands find it. Ctrl-C or SIGTERM ends it in good order.
    """
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.sections.service.gatherer import GathererService  # noqa: PLC0415

    settings = asked.settings(
        gatherer__agents=names("agent", agents) or None, gatherer__state_dir=state_dir
    )
    stop = Stop(parent_pid)
    with broker_of(settings) as url:
        service = GathererService(
            settings,
            url,
            required=settings.gatherer.agents,
            state_dir=settings.gatherer.state_dir,
        )
        service.run(stop)
    return stop.exit_status


@contextmanager
def broker_of(settings: Settings) -> Iterator[str]:
    """Find the broker, or start the local one and end it afterwards; yields its URL.

    Raises:
        GatherScatterError: there is none and none can be started.
    """
    found = find(settings)
    if found.kind == "docker":
        with container.start_docker() as started:
            log.info("broker: a container, until this ends")
            yield started.url
        return
    if found.url is not None or settings.broker == "none":
        yield need_url(settings)
        return
    try:
        local = provider.start_local(address=default_address_path())
    except BrokerUnreachable:
        # Somebody else may have started one at the same moment, and then it is ours too.
        found = find(settings)
        if found.url is None:
            raise
        yield found.url
        return
    with local:
        log.info("broker: the embedded one, for this machine; it forgets all when this ends")
        yield local.url
