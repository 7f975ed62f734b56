"""``gatherscatter testfiles``: the hosts that run other people's test files, and who is there."""

import logging
from collections.abc import Callable
from dataclasses import replace
from logging.handlers import RotatingFileHandler
from pathlib import Path

import click
import msgspec

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url
from pytest_gatherscatter.cli.output import say_json, say_table
from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.quantity import seconds
from pytest_gatherscatter.settings import ListenerSettings, Settings
from pytest_gatherscatter.settingvalue import LISTENER_READERS, read
from pytest_gatherscatter.wire.testfiles import ListenerJob, ListenerSeen

NOBODY = 1
"""The exit status of a ping that nobody answers."""

LOG_BYTES, LOGS = 10 * 1024 * 1024, 3
"""A listener runs for months: its log is turned over at this size, and so many are kept."""


@click.group(
    epilog=examples(
        "gatherscatter testfiles listen --slots 4",
        "gatherscatter testfiles ping",
    )
)
def testfiles() -> None:
    """Run other people's test files on this host, and see who does."""


@testfiles.command(
    epilog=examples(
        "gatherscatter testfiles listen --slots 4",
        "gatherscatter testfiles listen --source 'dev@build:/home/dev/*' --label gpu",
        "gatherscatter testfiles listen --source 'rsync://files.example/*' --workspaces /srv/jobs",
    )
)
@click.option("--name", metavar="NAME", help="What it is called (default: this host's name).")
@click.option("--slots", metavar="N", help="Workers that it runs at a time (default 1).")
@click.option("--job-slots", metavar="N", help="Slots that one job may take (default: all).")
@click.option("--label", "labels", multiple=True, metavar="NAME", help="What it has; repeatable.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PATTERN",
    help="What it may fetch, * stands for anything; repeatable (default: directories of this "
    "host that belong to this user).",
)
@click.option(
    "--workspaces",
    metavar="DIR",
    help="Where the files go (default: ~/.local/state/gatherscatter/workspaces).",
)
@click.option("--keep", metavar="N", help="Workspaces that stay for later jobs (default 8).")
@click.option("--fresh", is_flag=True, default=None, help="A new workspace for each job.")
@click.option(
    "--drain", metavar="TIME", help="How long running tests may go on after SIGTERM (default 60s)."
)
@click.option("--log", metavar="FILE", help="Write the log to a file too.")
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def listen(asked: Asked, *, parent_pid: int | None, **given: object) -> int:
    """Run the test files of the lab's jobs ('pytest --gs-dispatch') until Ctrl-C or SIGTERM.

    Each job gets a workspace, which rsync makes what the originator's files are, and as many
    workers as slots are free; other jobs wait in the order of their arrival. It runs what those
    say who may offer jobs in the lab: let in whom you trust. All options can stand in [listener]
    of gatherscatter.toml. The first signal lets running tests come to their end, a second one does
    not wait.
    """
    settings = asked.settings()
    told = read_listener(settings, given)
    if told.log is not None:
        log_to_file(told.log)
    return serve(settings, told, Stop(parent_pid))


def read_listener(settings: Settings, given: dict[str, object]) -> ListenerSettings:
    """Merge the command line with the ``[listener]`` table.

    Raises:
        SettingsInvalid: naming the option, and what is allowed.
    """
    spelt = {"labels": "--label", "sources": "--source"}
    values = {
        key: read(
            spelt.get(key, "--" + key.replace("_", "-")), key, value, LISTENER_READERS, Path.cwd()
        )
        for key, value in given.items()
        if value is not None and value != ()
    }
    return replace(settings.listener, **values)


def log_to_file(path: Path) -> None:
    """Write all that is logged to a file, too.

    Raises:
        SettingsInvalid: it cannot be opened.
    """
    try:
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOGS, encoding="utf-8")
    except OSError as error:
        raise SettingsInvalid("--log", f"{path}: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)


def serve(settings: Settings, told: ListenerSettings, stop: Stop) -> int:
    """Be the listener until ``stop``."""
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.testfiles.service.listener import ListenerService  # noqa: PLC0415

    def run(url: str, ended: Callable[[], bool]) -> None:
        # How often it was told to end; once, too, if the local broker is another one now.
        ListenerService(settings.lab, url, told).run(lambda: max(stop.times, int(ended())))

    return serving.serve(settings, stop, run)


@testfiles.command(
    epilog=examples(
        "gatherscatter testfiles ping",
        "gatherscatter testfiles ping --wait 5s --json | jq '.listeners[].host'",
        "gatherscatter testfiles ping > /dev/null || echo 'nobody listens'",
    )
)
@click.option("--wait", metavar="TIME", default="1s", show_default=True, help="How long to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@lab_options
def ping(asked: Asked, *, wait: str, as_json: bool) -> int:
    """Show the listeners of the lab, busy ones too. 0: somebody answered, 1: nobody did."""
    from pytest_gatherscatter.testfiles.service.ping import listeners  # noqa: PLC0415 - as above

    try:
        patience = seconds(wait)
    except ValueError as error:
        raise SettingsInvalid("--wait", str(error)) from None
    settings = asked.settings()
    found = listeners(settings.lab, need_url(settings), patience)
    if as_json:
        say_json({"listeners": msgspec.to_builtins(found)})
    else:
        heads = ("host", "version", "slots", "free", "load", "labels", "state", "waiting", "jobs")
        say_table("listener", heads, map(_row, found), brief=("host", "jobs", "slots", "free"))
    return 0 if found else NOBODY


def _row(seen: ListenerSeen) -> tuple[object, ...]:
    state = "draining" if seen.draining else "busy" if seen.free < seen.slots else "idle"
    return (
        seen.host,
        seen.version,
        seen.slots,
        seen.free,
        f"{seen.load:.2f}",
        ",".join(seen.labels) or "-",
        state,
        seen.waiting,
        "; ".join(map(_job, seen.jobs)) or "-",
    )


def _job(job: ListenerJob) -> str:
    return f"{job.job} {job.state} {job.seconds:.0f} s ({job.originator})"
