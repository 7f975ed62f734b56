"""``gatherscatter broker``: the embedded broker alone, where it shall outlive the gatherer."""

import asyncio
import logging

import click

from pytest_gatherscatter.cli.option import examples
from pytest_gatherscatter.cli.output import LEVELS, log_to_stderr
from pytest_gatherscatter.embedded.address import default_address_path
from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.server import serve
from pytest_gatherscatter.errors import SettingsInvalid

log = logging.getLogger(__name__)


@click.command(epilog=examples("gatherscatter broker", "gatherscatter broker --port 5673"))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="0 takes the last one's, or a free one.",
)
@click.option(
    "--profile",
    type=click.Choice([profile.value for profile in Profile]),
    default=Profile.RABBITMQ_4_3.value,
    show_default=True,
    help="Refuse what this RabbitMQ refuses; 3.10 still takes transient shared queues.",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def broker(*, port: int, profile: str, parent_pid: int | None, log_level: str) -> None:
    """Run the embedded broker until Ctrl-C or SIGTERM; the other commands find it.

    It is for this user on this machine: it listens on 127.0.0.1 only, with a password that it
    makes up. It forgets every message when it ends; the next one takes over its port and password,
    so that all who were connected come back. For more than one machine take RabbitMQ.
    """
    log_to_stderr(log_level)
    path = default_address_path()

    def accepting() -> None:
        log.info("the embedded broker, for this machine; how to reach it is in %s", path)
        log.info("it forgets everything when it ends; for more than one machine take RabbitMQ")

    try:
        asyncio.run(
            serve(
                path,
                port=port,
                parent=parent_pid,
                profile=Profile(profile),
                accepting=accepting,
            )
        )
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None:
            raise SettingsInvalid(str(path), f"cannot be written: {reason}") from None
        raise SettingsInvalid("--port", f"{port}: {reason}") from None
    log.info("the embedded broker ended")
