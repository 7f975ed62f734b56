"""The way into the command line, and the one place where an error becomes an exit status.

Nobody who types a command is to see a traceback: every error of this package is one line that
names cause and cure, and what was not foreseen is one line too. ``GATHERSCATTER_DEBUG=1`` lets
the traceback out, for those who mend it.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple, cast

import click

from pytest_gatherscatter import __version__
from pytest_gatherscatter.cli.output import complain
from pytest_gatherscatter.errors import GatherScatterError

INTERRUPTED = 128 + signal.SIGINT  # as shells count
UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h


class _Entry(NamedTuple):
    """Where a command lives, and its line in ``gatherscatter --help``."""

    module: str
    line: str


COMMANDS: Mapping[str, _Entry] = MappingProxyType(
    {
        "gatherer": _Entry("gatherer", "Run the gatherer of a lab."),
        "monitor": _Entry("monitor", "Run a monitor: a class, commands, or one that only tells."),
        "workload": _Entry("workload", "Run a command as a critical section."),
        "demo": _Entry("demo", "Show all actors in one terminal, on a private broker."),
        "status": _Entry("lab", "Show agents, benches and open sections."),
        "watch": _Entry("watch", "Follow what happens in a lab, live."),
        "hold": _Entry("lab", "Keep sections off a bench until Ctrl-C."),
        "leave": _Entry("leave", "Close sections whose owner died on this host."),
        "reset": _Entry("lab", "Give up sections: a bench's, one, or all."),
        "doctor": _Entry("doctor", "Check broker, gatherer, clock, bench and tickets."),
        "audit": _Entry("audit", "Hold the records of tests and gatherer against each other."),
        "testfiles": _Entry("testfiles", "Run other people's test files, and see who does."),
        "slips": _Entry("slips", "Give out routing slips, and process their steps."),
        "graders": _Entry("graders", "Judge results by graders, and ask them to."),
        "roundrobin": _Entry("roundrobin", "Balance tasks over workers with free slots."),
        "recorder": _Entry("recorder", "Write what ended in a lab in a database."),
        "results": _Entry("results", "List what a recorder wrote down."),
        "broker": _Entry("broker", "Run the embedded broker alone, for this machine."),
        "permissions": _Entry("permissions", "Print the least rights of a role on RabbitMQ."),
        "schema": _Entry("schema", "Print the JSON Schema of all messages."),
    }
)
"""Every command, in the order in which a newcomer meets them."""


class _Commands(click.Group):
    """Imports a command only when it is called, or asked for its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"{__package__}.{entry.module}")
        return cast("click.Command", getattr(module, cmd_name))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:  # before click prints an empty line for it
            return 128 + getattr(stopped, "number", signal.SIGINT)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,  # click's own way to show help then is an error of many lines
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command has examples in its own --help. Settings come from the command line, "
    "GATHERSCATTER_… variables and gatherscatter.toml, nearest first.",
)
@click.version_option(__version__, prog_name="gatherscatter")
@click.pass_context
def gatherscatter(context: click.Context) -> None:
    """Gather who must be ready, scatter go to all at once.

    Critical sections for hardware tests: a gatherer, monitors and workloads over AMQP.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; ``arguments`` default to the process's own."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # As some services start what they start: no command's end or status could be seen.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _open_streams()
    sys.exit(status(arguments))


def _open_streams() -> None:
    """Open those standard streams that a parent has closed: a socket would get their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - no path, and for good


def status(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are told on stderr."""
    try:
        result = gatherscatter.main(
            None if arguments is None else list(arguments),
            prog_name="gatherscatter",
            standalone_mode=False,
        )
    except click.ClickException as error:
        complain(_one_line(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        return 1
    except Exception as error:
        if os.environ.get("GATHERSCATTER_DEBUG", "0") not in {"", "0"}:
            raise
        return _foreseen(error)
    return result if isinstance(result, int) else 0


def _foreseen(error: Exception) -> int:
    """Tell an error in one line, and return its exit status."""
    if isinstance(error, GatherScatterError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, OSError):
        complain(str(error))
        try:
            sys.stdout.flush()
        except OSError:  # a full disk: what is left would be told of once more, at exit
            _give_up_stdout()
        return 1
    complain(f"unforeseen {type(error).__name__}: {error} (GATHERSCATTER_DEBUG=1 shows where)")
    return UNFORESEEN


def _one_line(error: click.ClickException) -> str:
    """Say a wrong command line in one line, with where to read more."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    more = "" if context is None else f" (see {context.command_path} --help)"
    return error.format_message().rstrip(".") + more


def _give_up_stdout() -> None:
    """Let Python's own flush at exit write nowhere: nothing can be written (``status | head``)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
