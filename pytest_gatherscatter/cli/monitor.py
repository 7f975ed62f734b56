"""``gatherscatter monitor``: a class, a set of commands, or one that only tells what happens."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.command import NOT_RUNNABLE, missing
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, names
from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.sections.hook import Monitor, SectionInfo
from pytest_gatherscatter.settings import MonitorSettings, Settings
from pytest_gatherscatter.settingvalue import COMMANDS, MONITOR_READERS, read
from pytest_gatherscatter.wire.names import check_name

log = logging.getLogger(__name__)


class LoggingMonitor(Monitor):
    """A monitor without an instrument: it tells on the log what a real one would do."""

    def prepare(self, section: SectionInfo) -> None:
        """Tell who wants to enter."""
        log.info("prepare for %s on bench %s, test %s", section.name, section.bench, section.test)

    def started(self, section: SectionInfo) -> None:
        """Tell that it began."""
        log.info("go: %s began (token %d)", section.name, section.token)

    def stopped(self, section: SectionInfo) -> None:
        """Tell that it ended."""
        log.info("stop: %s is over", section.name)

    def aborted(self, section: SectionInfo, cause: str) -> None:
        """Tell that it will not be, and why."""
        log.info("abort: %s will not be (%s)", section.name, cause)

    def overdue(self, section: SectionInfo) -> None:
        """Tell that this is the moment to make safe."""
        log.warning("overdue: %s; a real monitor makes safe now", section.name)


def _commands(command: Any) -> Any:  # noqa: ANN401 - click's decorators are typed so
    """Give a command an option for each hook."""
    told = {
        "on_prepare": "Arm. Exit 0: ready; 75: hold ('SECONDS REASON' on stdout); 76: veto.",
        "on_go": "Started.",
        "on_stop": "Stopped; stdout: findings as name=value or JSON lines, files in $GS_ARTIFACTS.",
        "on_abort": "It will not be; $GS_CAUSE says why.",
        "on_overdue": "It takes too long: make safe.",
    }
    for key in reversed(COMMANDS):
        option = "--" + key.replace("_", "-")
        command = click.option(option, metavar="CMD", help=told[key])(command)
    return command


@click.command(
    epilog=examples(
        "gatherscatter monitor agent1                    # tells what happens at each hook",
        "gatherscatter monitor scope                     # the [[monitor]] of gatherscatter.toml",
        "gatherscatter monitor lab.scope:Scope --bench rack1 --bench rack2",
        "gatherscatter monitor thermal --on-prepare 'check-door --closed' --on-stop 'dump-log'",
    )
)
@click.argument("what", metavar="NAME|PACKAGE.MODULE:CLASS")
@click.option("--name", metavar="NAME", help="The agent's name, for a class (default: its own).")
@click.option("--bench", "benches", multiple=True, metavar="NAME", help="A bench; repeatable.")
@_commands
@click.option("--advisory", is_flag=True, default=None, help="Its holds never fail a section.")
@click.option("--hook-timeout", metavar="TIME", help="How long a hook may take (default 30s).")
@click.option(
    "--drain", metavar="TIME", help="How long a running section may go on after SIGTERM (30s)."
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def monitor(
    asked: Asked,
    *,
    what: str,
    name: str | None,
    benches: tuple[str, ...],
    parent_pid: int | None,
    **given: object,
) -> int:
    """Run a monitor until Ctrl-C or SIGTERM.

    It is a Python class, a set of commands (a shell is not involved; write sh -c '…' for one),
    a [[monitor]] table of gatherscatter.toml, or, with a name alone, one that only tells what
    happens. It waits for a broker and a gatherer that are not there yet.
    """
    settings = asked.settings()
    told = read_monitor(settings, what, name, {"benches": names("bench", benches), **given})
    return serve(settings, told, Stop(parent_pid))


def read_monitor(
    settings: Settings, what: str, name: str | None, given: dict[str, object]
) -> MonitorSettings:
    """Merge the command line with the ``[[monitor]]`` table of that name, if there is one.

    Raises:
        SettingsInvalid: naming the option, and what is allowed.
    """
    values = {
        key: read("--" + key.replace("_", "-"), key, value, MONITOR_READERS, Path.cwd())
        for key, value in given.items()
        if value not in {None, ()}
    }
    has_commands = any(key in values for key in COMMANDS)
    if ":" in what:
        if has_commands:
            raise SettingsInvalid("monitor", "either a class or --on-… commands, not both")
        target = read("monitor", "target", what, MONITOR_READERS, Path.cwd())
        named = name or target.rpartition(":")[2].rpartition(".")[2]
        return MonitorSettings(name=check_name("agent", named), target=target, **values)
    if name not in {None, what}:
        raise SettingsInvalid("--name", f"the monitor is named {what!r} already")
    table = next((table for table in settings.monitors if table.name == what), None)
    if table is None:
        return MonitorSettings(name=check_name("agent", what), **values)
    if has_commands and table.target is not None:
        where = settings.origin("monitors")
        raise SettingsInvalid("monitor", f"{what} is a class in {where}; give it no --on-… command")
    return replace(table, **values)


def serve(settings: Settings, told: MonitorSettings, stop: Stop) -> int:
    """Be the monitor until ``stop``."""
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.sections.service.monitor import MonitorService, hooks_of  # noqa: PLC0415

    check_programs(told)
    hooks = LoggingMonitor() if is_bare(told) else hooks_of(told)
    benches = told.benches or (settings.bench,)

    def run(url: str, ended: Callable[[], bool]) -> None:
        service = MonitorService(
            settings,
            url,
            name=told.name,
            benches=benches,
            hooks=hooks,
            advisory=told.advisory,
            hook_timeout=told.hook_timeout,
            drain=told.drain,
        )
        service.run(ended)

    return serving.serve(settings, stop, run)


def check_programs(told: MonitorSettings) -> None:
    """See that the programs of the hooks are there, before a test needs them.

    Raises:
        SettingsInvalid: naming the hook and the program.
    """
    for key in COMMANDS:
        words = getattr(told, key)
        if words and (ending := missing(words)) is not None:
            program = words[0]
            there = ending.status == NOT_RUNNABLE
            why = f"{program} is no program" if there else f"there is no program {program!r}"
            raise SettingsInvalid(f"monitor {told.name}: {key}", why)


def is_bare(told: MonitorSettings) -> bool:
    """Say whether it is only a name: no class and no command."""
    return told.target is None and all(getattr(told, key) is None for key in COMMANDS)
