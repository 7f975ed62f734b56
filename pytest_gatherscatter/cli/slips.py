"""``gatherscatter slips``: hosts that run the steps of routing slips, and slips that go to them."""

import getpass
import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, names, need_url, time_of
from pytest_gatherscatter.cli.output import complain, say, say_json, say_table
from pytest_gatherscatter.cli.slipview import view_of, what
from pytest_gatherscatter.cli.stop import SLICE, Stop
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.settings import ProcessorSettings, Settings, processor_name
from pytest_gatherscatter.settingvalue import PROCESSOR_READERS, read
from pytest_gatherscatter.slips.slip import step_of
from pytest_gatherscatter.wire.names import ID_PATTERN
from pytest_gatherscatter.wire.slips import Outcome, ProcessorSeen, Slip, SlipChecked, SlipOver

STATUS: dict[Outcome, int] = {
    "done": 0,
    "failed": 1,
    "cancelled": 128 + signal.SIGINT,
    "expired": 75,
}
"""Exit statuses: 130 as shells count Ctrl-C, 75 for what may go better another time."""

NOBODY = 1
"""The exit status where nobody answers."""


@click.group(
    epilog=examples(
        "gatherscatter slips process power flash --slots 2",
        "gatherscatter slips run burn-in.toml --param image=fw.bin",
        "gatherscatter slips status",
    )
)
def slips() -> None:
    """Give out routing slips, and process their steps."""


@slips.command(
    epilog=examples(
        "gatherscatter slips process power flash --slots 2",
        "gatherscatter slips process --name rack1",
        "gatherscatter slips process adhoc --allow-shell",
    )
)
@click.argument("processes", nargs=-1, metavar="[PROCESS]...")
@click.option("--name", metavar="NAME", help="What it is called (default: HOST-PROCESS…).")
@click.option("--slots", metavar="N", help="Steps that it runs at a time (default 1).")
@click.option(
    "--drain", metavar="TIME", help="How long steps may go on after SIGTERM (default 60s)."
)
@click.option(
    "--logs",
    metavar="DIR",
    help="Where the output of steps goes (default: ~/.local/state/gatherscatter/slips).",
)
@click.option(
    "--allow-shell",
    is_flag=True,
    default=None,
    help="Run command lines of slips too: whoever may write to the lab runs anything here.",
)
@click.option(
    "--via-balancer",
    is_flag=True,
    default=None,
    help="Take slips from 'roundrobin serve', not from the queues.",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def process(
    asked: Asked, *, processes: tuple[str, ...], parent_pid: int | None, **given: object
) -> int:
    """Run the steps of slips for these processes until Ctrl-C or SIGTERM.

    A step names a command of [process.NAME.commands] in gatherscatter.toml, a template whose
    parameters come with the slip and are quoted. Without any PROCESS it serves all that stand
    there. All options can stand in [processor]. The first signal lets steps come to their end, a
    second one ends them and hands their slips on, a third Ctrl-C leaves those to the broker.
    """
    settings = asked.settings()
    told = read_processor(settings, given)
    served = names("process", processes) or tuple(settings.processes)
    if not served:
        raise SettingsInvalid("PROCESS", "none is given, and there is no [process.NAME]")
    if not told.allow_shell:
        for name in served:
            if not settings.processes.get(name):
                where = settings.file or "gatherscatter.toml"
                problem = f"process {name!r} has no commands; write [process.{name}.commands]"
                raise SettingsInvalid(str(where), f"{problem}, or give --allow-shell")
    told = replace(told, name=told.name or processor_name(served))
    return serve(settings, told, served, Stop(parent_pid, steps=2))


def read_processor(settings: Settings, given: dict[str, object]) -> ProcessorSettings:
    """Merge the command line with the ``[processor]`` table.

    Raises:
        SettingsInvalid: naming the option, and what is allowed.
    """
    values = {
        key: read("--" + key.replace("_", "-"), key, value, PROCESSOR_READERS, Path.cwd())
        for key, value in given.items()
        if value is not None
    }
    return replace(settings.processor, **values)


def serve(settings: Settings, told: ProcessorSettings, served: tuple[str, ...], stop: Stop) -> int:
    """Be the processor until ``stop``."""
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.slips.service.processor import ProcessorService  # noqa: PLC0415

    def run(url: str, ended: Callable[[], bool]) -> None:
        # How often it was told to end; once, too, if the local broker is another one now.
        service = ProcessorService(settings.lab, url, told, served, settings.processes)
        service.run(lambda: max(stop.times, int(ended())))

    return serving.serve(settings, stop, run)


@slips.command(
    epilog=examples(
        "gatherscatter slips run burn-in.toml --param image=fw.bin",
        "gatherscatter slips run burn-in.toml --param image=fw.bin --dry-run",
        "gatherscatter slips run burn-in.toml --json | jq '.progress[-1].status'",
    )
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@click.option("--timeout", metavar="TIME", help="End it after that (default: its deadline).")
@click.option("--dry-run", is_flag=True, help="Show what each processor would run, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished slip as JSON only.")
@lab_options
def run(  # noqa: PLR0913 - each is an option
    asked: Asked,
    *,
    file: Path,
    params: tuple[str, ...],
    timeout: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Give out the slip in FILE (TOML, or JSON), and follow it to its end.

    Before anything runs, its processors are asked whether they know its commands and parameters.
    Ctrl-C cancels it: the step that runs is ended, compensations and mandatory steps are run; a
    second Ctrl-C leaves it to itself. Exit status: 0 done, 1 failed, 130 cancelled, 75 out of
    time, 2 a wrong file or refused before it began, 69 no broker.
    """
    from pytest_gatherscatter.slips.service.file import read_document  # noqa: PLC0415 - as above

    patience = None if timeout is None else time_of("--timeout", timeout)
    document = read_document(file)
    slip = document.slip(
        _params(params),
        id=secrets.token_hex(8),
        now=time.time(),
        owner=_owner(),
        timeout=patience,
    )
    settings = asked.settings()
    url = need_url(settings)
    if dry_run:
        return _dry_run(settings.lab, url, slip, as_json=as_json)
    over = _follow(settings.lab, url, slip, Stop(), quiet=as_json)
    if as_json:
        say_json({**msgspec.to_builtins(over.slip), "outcome": over.outcome})
    return STATUS[over.outcome]


def _follow(lab: str, url: str, slip: Slip, stop: Stop, *, quiet: bool) -> SlipOver:
    """Give a slip out, show it, and return its end."""
    from pytest_gatherscatter.slips.service.asker import SlipRun  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        run = stack.enter_context(SlipRun(lab, url, slip))
        view = None if quiet else stack.enter_context(view_of(slip))
        cancelled = False
        while run.result is None:
            for news in run.poll(SLICE):
                if view is not None:
                    view.tell(news)
            if stop() and not cancelled:
                cancelled = True
                run.cancel(_owner())
        return run.result


def _dry_run(lab: str, url: str, slip: Slip, *, as_json: bool) -> int:
    """Show how processors would run the steps; 1 if there is a step for nobody."""
    from pytest_gatherscatter.slips.service.asker import check  # noqa: PLC0415 - as above

    answers = check(lab, url, slip)
    served = {one.number for answer in answers for one in answer.steps}
    if as_json:
        say_json({"checked": msgspec.to_builtins(answers)})
    else:
        _show(slip, answers)
        for step in slip.steps:
            if step.number not in served:
                complain(f"step {step.number} {what(step)}: no processor answers")
    return 0 if all(step.number in served for step in slip.steps) else NOBODY


def _show(slip: Slip, answers: Iterable[SlipChecked]) -> None:
    """Say what each processor would run, in the order of the steps."""
    lines = []
    for answer in answers:
        for one in answer.steps:
            step = step_of(slip, one.number)
            if step is not None:
                undo = "undo" if one.compensating else "run"
                name = what(step, compensating=one.compensating)
                where = f"{answer.host} ({answer.processor})"
                line = f"step {one.number} {undo} {name} on {where}: {one.line}"
                lines.append((slip.steps.index(step), one.compensating, line))
    for _, _, line in sorted(lines):
        say(line)


@slips.command(
    epilog=examples(
        "gatherscatter slips status",
        "gatherscatter slips status --json | jq '.queues'",
    )
)
@click.option("--wait", metavar="TIME", default="1s", show_default=True, help="How long to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@lab_options
def status(asked: Asked, *, wait: str, as_json: bool) -> int:
    """Show the processors of the lab, and how much waits. 0: somebody answered, 1: nobody did."""
    from pytest_gatherscatter.slips.service.status import look  # noqa: PLC0415 - as above

    patience = time_of("--wait", wait)
    settings = asked.settings()
    found = look(settings.lab, need_url(settings), patience, settings.processes)
    if as_json:
        say_json(
            {
                "processors": msgspec.to_builtins(found.processors),
                "queues": found.depths,
                "waiting": found.waiting,
            }
        )
    else:
        heads = ("name", "host", "processes", "slots", "free", "state", "running")
        brief = ("name", "running", "slots", "free")
        say_table("processor", heads, map(_row, found.processors), brief=brief)
        say_table("queue", ("process", "ready"), [*found.depths.items()])
        say_table("waiting", ("slips",), [(found.waiting,)])
    return 0 if found.processors else NOBODY


def _row(seen: ProcessorSeen) -> tuple[object, ...]:
    state = "draining" if seen.draining else "busy" if seen.free < seen.slots else "idle"
    return (
        seen.processor,
        seen.host,
        ",".join(seen.processes),
        seen.slots,
        seen.free,
        state,
        "; ".join(seen.running) or "-",
    )


@slips.command(epilog=examples("gatherscatter slips cancel 3f2a9c0d41e88b17"))
@click.argument("slip")
@click.option(
    "--wait", metavar="TIME", default="30s", show_default=True, help="How long to say it."
)
@lab_options
def cancel(asked: Asked, *, slip: str, wait: str) -> int:
    """End a slip by its id: what runs of it is ended. 0: it is over, 1: nobody says so."""
    from pytest_gatherscatter.slips.service.status import cancel as ask  # noqa: PLC0415 - as above

    if re.fullmatch(ID_PATTERN, slip) is None:
        raise SettingsInvalid("SLIP", f"{slip!r} is not the id of a slip")
    patience = time_of("--wait", wait)
    settings = asked.settings()
    over = ask(settings.lab, need_url(settings), slip, who=_owner(), wait=patience)
    if over is None:
        where = f"no processor of lab {settings.lab!r} has it now, or it was over before"
        complain(f"nobody has said in {patience:g} s that slip {slip} is over: {where}")
        return NOBODY
    say(f"slip {over.slip.name} is over: {over.outcome}")
    return 0


def _params(texts: Iterable[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsInvalid("--param", f"{text!r} must be NAME=VALUE")
        if name in given:
            raise SettingsInvalid("--param", f"{name} is given twice")
        given[name] = value
    return given


def _owner() -> str:
    """Name who gives out a slip, for people."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (pid {os.getpid()})"
