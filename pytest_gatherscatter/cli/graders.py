"""``gatherscatter graders``: agents that judge results, and requests to them."""

import getpass
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec.structs import asdict

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.examination import Examination, Told
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url, time_of
from pytest_gatherscatter.cli.output import complain, say_json, say_table
from pytest_gatherscatter.cli.stop import SLICE, Stop, minded
from pytest_gatherscatter.errors import GatherScatterError, SettingsInvalid
from pytest_gatherscatter.gradersetting import EXAMINER_READERS, ExaminerSettings
from pytest_gatherscatter.settings import Settings, examiner_name
from pytest_gatherscatter.settingvalue import read

if TYPE_CHECKING:
    from pytest_gatherscatter.wire.grading import ExaminerSeen

log = logging.getLogger("gatherscatter.examiner")

NOBODY = 1
"""The exit status where nobody answers."""

NOT_PASSED = 1
"""The exit status where something was graded, and does not pass."""

NOT_GRADED = 75
"""The exit status where something was not graded: it may go better another time."""

MOST_COUNT = 1_000_000


@click.group(
    epilog=examples(
        "gatherscatter graders serve",
        "gatherscatter graders request waveform < payload.json",
        "gatherscatter graders status",
    )
)
def graders() -> None:
    """Judge results by graders, and ask them to."""


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--config``."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The settings (default: gatherscatter.toml, searched upward).",
    )(command)


# ── serving ────────────────────────────────────────────────────────────────────────────


class Reload:
    """True once SIGHUP came. Made in the main thread; one that is ignored stays so."""

    def __init__(self) -> None:
        self.asked = False
        for number in minded([signal.SIGHUP]):
            signal.signal(number, self._signalled)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


@graders.command(
    epilog=examples(
        "gatherscatter graders serve --config gatherscatter.toml",
        "gatherscatter graders serve --name rack1 --drain 2m",
    )
)
@config_option
@click.option("--name", metavar="NAME", help="What it is called (default: HOST-GRADER…-PID).")
@click.option(
    "--drain", metavar="TIME", help="How long gradings may go on after SIGTERM (default 60s)."
)
@click.option(
    "--via-balancer",
    is_flag=True,
    default=None,
    help="Take requests from 'roundrobin serve', not from the queues.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Tell Prometheus how it stands, at 127.0.0.1:PORT/metrics (0: any free one).",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def serve(
    asked: Asked,
    *,
    config: Path | None,
    metrics_port: int | None,
    parent_pid: int | None,
    **given: object,
) -> int:
    """Run the [[grader]]s of the settings until Ctrl-C or SIGTERM.

    The first signal lets gradings come to their end and gives back what waits; a second one gives
    all back. SIGHUP reads the settings again: the right ones are taken when what runs is over, of
    wrong ones is told, and the old ones stay. Broker and lab stay as they are.
    """
    # Imported late: what this needs is not needed for --help.
    from pytest_gatherscatter.graders.service.metrics import Metrics  # noqa: PLC0415

    first = asked.settings(config)
    told = _checked(first, given)
    stop, reload = Stop(parent_pid), Reload()

    def fresh() -> Told | None:
        if not reload.asked:
            return None
        reload.asked = False
        return _reloaded(asked, config, given)

    with ExitStack() as stack:
        metrics: Metrics | None = None
        if metrics_port is not None:
            metrics = stack.enter_context(Metrics(metrics_port))
            log.info("metrics are at http://127.0.0.1:%d/metrics", metrics.port)
        examination = Examination(first.lab, (first, told), stop, fresh, metrics)
        status = serving.serve(first, stop, examination.run)
    if examination.stuck:
        # Nothing can end a thread: those that are told of above would keep this process for ever.
        logging.shutdown()
        os._exit(status)
    return status


def _checked(settings: Settings, given: dict[str, object]) -> ExaminerSettings:
    """Merge the command line with ``[examiner]``; see that there is something to serve.

    Raises:
        SettingsInvalid: naming the option or the key, and what is allowed.
    """
    values = {
        key: read("--" + key.replace("_", "-"), key, value, EXAMINER_READERS, Path.cwd())
        for key, value in given.items()
        if value is not None
    }
    if not settings.graders:
        where = str(settings.file or "gatherscatter.toml")
        raise SettingsInvalid(where, "there is no [[grader]] in it")
    told = replace(settings.examiner, **values)
    return replace(told, name=told.name or examiner_name(settings.graders, os.getpid()))


def _reloaded(asked: Asked, config: Path | None, given: dict[str, object]) -> Told | None:
    """Read the settings again, and make their graders once; nothing if they are wrong."""
    try:
        settings = asked.settings(config)
        told = _checked(settings, given)
        _made(settings)
    except GatherScatterError as error:
        log.error("the old settings stay: %s", error)  # noqa: TRY400 - one line
        return None
    log.info("the settings are right: they are taken when what runs is over")
    return settings, told


def _made(settings: Settings) -> list[tuple[str, ...]]:
    """Make all graders and let them go; what there is to say of each."""
    from pytest_gatherscatter.graders.service.kind import kinds, make  # noqa: PLC0415 - as above

    known = kinds()
    rows: list[tuple[str, ...]] = []
    for one in settings.graders:
        for grader in make(one, known):
            grader.close()
        rows.append((one.name, one.kind, ",".join(one.queues), str(one.threads)))
    return rows


@graders.command(epilog=examples("gatherscatter graders check --config gatherscatter.toml"))
@config_option
@lab_options
def check(asked: Asked, *, config: Path | None) -> int:
    """Check the settings, and make each grader once; connect to nothing. 0: right, 2: wrong."""
    settings = asked.settings(config)
    _checked(settings, {})
    say_table("grader", ("name", "kind", "queues", "threads"), _made(settings))
    return 0


# ── asking ─────────────────────────────────────────────────────────────────────────────


@graders.command(
    epilog=examples(
        "gatherscatter graders request waveform < payload.json",
        "gatherscatter graders request waveform --count 500 --parallel 16 < payload.json",
        "gatherscatter graders request waveform --file trace.bin --json < payload.json",
    )
)
@click.argument("queue")
@click.option(
    "--count",
    type=click.IntRange(1, MOST_COUNT),
    default=1,
    show_default=True,
    help="How often it is asked.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How many requests are out at a time.",
)
@click.option(
    "--timeout", metavar="TIME", default="60s", show_default=True, help="How long each may take."
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file that goes along; again for more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a request.")
@lab_options
def request(  # noqa: PLR0913 - each is an option
    asked: Asked,
    *,
    queue: str,
    count: int,
    parallel: int,
    timeout: str,
    files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Have the JSON on standard input judged by QUEUE, and print the grade.

    With --count the same is asked again and again, and a summary printed: how many passed, requests
    a second, and in how many milliseconds they were answered. Ctrl-C stops asking. Exit status: 0
    all passed, 1 some did not, 75 some were not graded, 69 no broker, 2 no JSON.
    """
    from pytest_gatherscatter.cli.gradeview import GradeView  # noqa: PLC0415 - as above
    from pytest_gatherscatter.graders.request import make_request  # noqa: PLC0415 - as above
    from pytest_gatherscatter.graders.service.asker import GradeAsker  # noqa: PLC0415 - as above
    from pytest_gatherscatter.graders.service.file import read_files  # noqa: PLC0415 - as above

    patience = time_of("--timeout", timeout)
    payload = _payload()
    sent = read_files(_named(files))
    settings = asked.settings()
    url, owner, stop = need_url(settings), _owner(), Stop()
    view = GradeView(count, as_json=as_json)
    asked_at: dict[str, float] = {}
    with GradeAsker(settings.lab, url, window=parallel) as asker:
        began = time.monotonic()
        while (len(asked_at) < count or asker.left) and not stop():
            while len(asked_at) < count and asker.left < parallel:
                told = make_request(
                    queue,
                    payload,
                    id=secrets.token_hex(8),
                    now=time.time(),
                    seconds=patience,
                    files=sent,
                    owner=owner,
                )
                asked_at[told.request] = time.monotonic()
                asker.ask(told, patience)
            for answer in asker.poll(SLICE):
                view.tell(answer, time.monotonic() - asked_at[answer.request])
        view.end(time.monotonic() - began)
    if stop():
        return stop.exit_status or 128 + signal.SIGTERM
    return NOT_GRADED if view.ungraded else NOT_PASSED if view.passed < count else 0


def _payload() -> object:
    if sys.stdin.isatty():
        complain("the payload is read from standard input, as JSON; Ctrl-D ends it")
    text = sys.stdin.buffer.read()
    try:
        return msgspec.json.decode(text) if text.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsInvalid("standard input", f"is no JSON: {error}") from None


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Name each file as itself.

    Raises:
        SettingsInvalid: two of them have one name.
    """
    named = {path.name: path for path in files}
    if len(named) < len(files):
        raise SettingsInvalid("--file", "two files have one name")
    return named


@graders.command(
    epilog=examples(
        "gatherscatter graders status",
        "gatherscatter graders status --json | jq '.queues'",
    )
)
@click.option("--wait", metavar="TIME", default="1s", show_default=True, help="How long to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@lab_options
def status(asked: Asked, *, wait: str, as_json: bool) -> int:
    """Show the agents that grade, their threads, and how much waits. 1: nobody answered."""
    from pytest_gatherscatter.graders.service.asker import GradeAsker  # noqa: PLC0415 - as above

    patience = time_of("--wait", wait)
    settings = asked.settings()
    with GradeAsker(settings.lab, need_url(settings)) as asker:
        seen = asker.seek(patience)
        known = {queue for one in settings.graders for queue in one.queues}
        known |= {queue for one in seen for grader in one.graders for queue in grader.queues}
        depths = {queue: asker.depth(queue) for queue in sorted(known)}
    queues = {queue: depth for queue, depth in depths.items() if depth is not None}
    if as_json:
        there = {
            queue: {"waiting": waiting, "agents": agents}
            for queue, (waiting, agents) in queues.items()
        }
        agents = [
            # Zeros, too, which messages leave out.
            {**asdict(one), "graders": [asdict(grader) for grader in one.graders]}
            for one in seen
        ]
        say_json({"agents": agents, "queues": there})
    else:
        heads = ("agent", "host", "grader", "kind", "queues", "threads", "busy", "state")
        counts = ("graded", "failed", "slow")
        rows = [row for one in seen for row in _rows(one)]
        brief = ("agent", "queues", "threads", "busy")
        say_table("grader", (*heads, *counts), rows, brief=brief)
        lines = [(queue, waiting, agents) for queue, (waiting, agents) in queues.items()]
        say_table("queue", ("queue", "waiting", "agents"), lines)
    return 0 if seen else NOBODY


def _rows(seen: "ExaminerSeen") -> list[tuple[object, ...]]:
    return [
        (
            *(seen.examiner, seen.host, one.name, one.kind, ",".join(one.queues)),
            *(one.threads, one.busy),
            "draining" if seen.draining else f"{one.overdue} overdue" if one.overdue else "serving",
            *(one.graded, one.failed, one.slow),
        )
        for one in seen.graders
    ]


def _owner() -> str:
    """Name who asks, for people."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (pid {os.getpid()})"
