"""Options, ini keys and environment variables, and the settings that they add up to.

Registering them is cheap and always done. Reading them imports the settings, so that is done
at configure only if there is something of ours to read, and else by the first section.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gatherscatter.settings import Settings

LOCAL_BROKER = "gatherscatter_broker"
"""Key of xdist's ``workerinput`` under which workers find the broker of ``--gs-local``."""

TEXT_KEYS = {
    "broker": "auto, local, docker, none or an amqp:// or amqps:// URL",
    "lab": "the lab: a namespace on the broker",
    "bench": "the bench that sections exclude each other on, unless they say another",
    "no_gatherer": "run, skip or fail when there is no gatherer; without it, as demanded",
    "not_gathered": "fail, skip or run when a required agent is missing",
    "artifacts": "directory for what the monitors captured",
}

QUANTITY_KEYS = {
    "handshake_timeout": "how long a gatherer may take to answer",
    "queue_timeout": "how long a test waits for a busy bench",
    "gather_timeout": "how long required agents may be missing, in all",
    "stale_after": "how long an optional monitor may be silent",
    "hold_limit": "how long a monitor may hold",
    "max_duration": "how long a section may last",
    "report_timeout": "how long reports are waited for",
    "artifact_limit": "size above which an artifact stays with its monitor",
}

OPTION_KEYS = ("broker", "lab", "bench", "require", "no_gatherer", "not_gathered", "artifacts")

EXCLUDED = (
    *(".git", ".hg", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"),
    *(".tox", ".nox", ".venv"),
)
"""What listeners do not fetch, unless ``gs_exclude`` says otherwise: each host makes its own."""

MOST_WORKERS = 256
"""Workers on one machine: each is a process of some ten MiB."""

_SETTINGS = pytest.StashKey["Settings"]()


def register(parser: pytest.Parser) -> None:
    """Add the options (what changes from run to run) and ini keys (what a project fixes)."""
    group = parser.getgroup("gatherscatter", "critical sections (pytest-gatherscatter)")
    option = group.addoption
    option("--gs-broker", metavar="URL", help="broker: " + TEXT_KEYS["broker"])
    option("--gs-lab", metavar="LAB", help=TEXT_KEYS["lab"])
    option("--gs-bench", metavar="BENCH", help=TEXT_KEYS["bench"])
    option(
        "--gs-require",
        metavar="AGENTS",
        action="append",
        help="agents that every section of this run needs, with commas between them",
    )
    option(
        "--gs-local",
        action="store_true",
        help="start a private broker, a gatherer, and the [[monitor]]s and [process.NAME]s of "
        "gatherscatter.toml for this run",
    )
    option("--gs-no-gatherer", metavar="run|skip|fail", help=TEXT_KEYS["no_gatherer"])
    option("--gs-not-gathered", metavar="fail|skip|run", help=TEXT_KEYS["not_gathered"])
    option("--gs-artifacts", metavar="DIR", help=TEXT_KEYS["artifacts"])
    _register_dispatch(parser)
    for key, text in TEXT_KEYS.items():
        parser.addini(f"gs_{key}", text, type="string", default=None)
    parser.addini("gs_require", "agents that every section needs", type="args", default=None)
    for key, text in QUANTITY_KEYS.items():
        _add_quantity(parser, f"gs_{key}", text)


def _register_dispatch(parser: pytest.Parser) -> None:
    group = parser.getgroup("gatherscatter-files", "test files over a queue (pytest-gatherscatter)")
    option = group.addoption
    option(
        "--gs-spawn",
        metavar="N|auto",
        help="run the test files on N workers on this machine, as many as processors with auto",
    )
    option(
        "--gs-dispatch",
        action="store_true",
        help="offer the test files to the workers of the lab: 'pytest --gs-worker' elsewhere",
    )
    option(
        "--gs-worker",
        nargs="?",
        const="1",
        metavar="N",
        help="hold N workers (1) for the first job that is offered, from the same files",
    )
    option(
        "--gs-source",
        metavar="SOURCE",
        help="where listeners fetch the files: /PATH, USER@HOST:/PATH or rsync://HOST/MODULE/PATH, "
        "or none (the root directory on this host, by ssh from others)",
    )
    option(
        "--gs-label",
        metavar="LABELS",
        action="append",
        help="only for listeners that have all of these labels, with commas between them",
    )
    option(
        "--gs-wait",
        metavar="SECONDS",
        default="60",
        help="how long a job waits for workers, or a worker for a job (60)",
    )
    option(
        "--gs-test-timeout",
        metavar="SECONDS",
        default="0",
        help="end a test, or the import of a file, that takes longer; it has failed (0: never)",
    )
    option(
        "--gs-replay",
        metavar="WORKER",
        help="print the command that runs again, in one process, what a worker of the last run "
        "ran, in its order (gw0, gw1, …)",
    )
    option(
        "--gs-retries",
        metavar="N",
        default="0",
        help="how often to run a test again whose worker died (0)",
    )
    parser.addini(
        "gs_exclude",
        "rsync patterns of what listeners do not fetch",
        type="linelist",
        default=list(EXCLUDED),
    )


def dispatches(config: pytest.Config) -> bool:
    """Whether this run's test files are run elsewhere, or it runs those of another."""
    option = config.getoption
    return bool(option("gs_spawn") or option("gs_dispatch") or option("gs_worker"))


def distribute(early_config: pytest.Config) -> bool:
    """Say in the first reading of the command line, as xdist would, that tests run elsewhere.

    Returns:
        Whether they run on workers of this machine.
    """
    given = early_config.known_args_namespace
    if given.collectonly:
        return False
    if given.gs_spawn or given.gs_dispatch:
        given.dist = "gatherscatter"
    return bool(given.gs_spawn)


def is_live(config: pytest.Config) -> bool:
    """Whether what tests print, or log, is shown as it comes: by ``-s``, or ``log_cli``."""
    if config.getoption("capture", default="fd") == "no":
        return True
    if not config.pluginmanager.hasplugin("logging-plugin"):
        return False
    return bool(config.getini("log_cli")) or config.getoption("log_cli_level") is not None


def number(text: str, name: str, *, least: int, most: int) -> float:
    """Return the number that an option says.

    Raises:
        pytest.UsageError: it is none, or not between ``least`` and ``most``.
    """
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise pytest.UsageError(f"{name} {text}: allowed are numbers from {least} to {most}")
    return number


def workers(text: str) -> int:
    """Return how many workers ``--gs-spawn`` means; raises as :func:`number`."""
    if text == "auto":
        return len(os.sched_getaffinity(0))
    return int(number(text, "--gs-spawn", least=1, most=MOST_WORKERS))


def _add_quantity(parser: pytest.Parser, name: str, text: str) -> None:
    """Add an ini key that may be a number or a text like ``500ms``.

    A bare number in the native ``[tool.pytest]`` table is an error for a ``string``; pytest
    releases that have that table and know unions of types take both.
    """
    try:
        parser.addini(name, text, type=float | str, default=None)  # type: ignore[arg-type, unused-ignore]
    except (AssertionError, TypeError, ValueError):
        parser.addini(name, text, type="string", default=None)


def check(config: pytest.Config) -> None:
    """Read the settings now if anything of ours is given, so that a mistake is told at once.

    Raises:
        pytest.UsageError: in one line, naming the option, ini key, variable or file.
    """
    _check_ini_keys(config)
    if any(_given(config)):
        settings(config)


def _check_ini_keys(config: pytest.Config) -> None:
    """Refuse an ini key that looks like ours and is nobody's.

    pytest only warns of it; a misspelt ``gs_require`` would let a delicate test start unmeasured.
    """
    overrides = config.getoption("override_ini") or ()
    # There is no public way to the keys of a file: newer releases of pytest warn of ``inicfg``.
    said = config._inicfg if hasattr(config, "_inicfg") else config.inicfg  # noqa: SLF001
    for key in (*said, *(one.partition("=")[0].strip() for one in overrides)):
        if not key.startswith("gs_"):
            continue
        try:
            config.getini(key)
        except ValueError:
            pass  # registered by nobody
        else:
            continue
        import difflib  # noqa: PLC0415 - idle cost

        known = sorted(f"gs_{one}" for one in (*TEXT_KEYS, "require", *QUANTITY_KEYS))
        near = difflib.get_close_matches(key, known, n=1)
        cure = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(known)}"
        raise pytest.UsageError(f"pytest ini {key}: there is no such key; {cure}")


def is_read(config: pytest.Config) -> bool:
    """Whether the settings of this run have been read."""
    return _SETTINGS in config.stash


def settings(config: pytest.Config) -> "Settings":
    """Return the settings of this run; they are read once.

    Raises:
        pytest.UsageError: a source says something that is not allowed.
    """
    if _SETTINGS not in config.stash:
        config.stash[_SETTINGS] = _load(config)
    return config.stash[_SETTINGS]


def _load(config: pytest.Config) -> "Settings":
    from pytest_gatherscatter.errors import SettingsInvalid  # noqa: PLC0415 - idle cost
    from pytest_gatherscatter.settings import find_table, load  # noqa: PLC0415 - idle cost

    start = _start_directory(config)
    try:
        file, _ = find_table(start)
        return load(
            command_line=dict(_command_line(config)),
            environ=os.environ,
            ini=dict(_ini(config)),
            directory=config.rootpath if file is None else file.parent,
            option_prefix="--gs-",
        )
    except SettingsInvalid as error:
        raise pytest.UsageError(str(error)) from None


def _given(config: pytest.Config) -> Iterator[object]:
    """Yield something for each place in which somebody spoke of us."""
    yield from (value for _, value in _command_line(config))
    if config.getoption("gs_local"):
        yield "--gs-local"
    yield from (key for key, value in _ini(config) if value is not None)
    for variable in ("GATHERSCATTER_BROKER", "GATHERSCATTER_LAB", "GATHERSCATTER_BENCH"):
        yield os.environ.get(variable)
    start = _start_directory(config)
    for folder in (start, *start.parents):
        # One that cannot be read, as a link that leads nowhere, is a mistake to be told.
        yield os.path.lexists(folder / "gatherscatter.toml")
    if config.inipath is not None and config.inipath.name == "pyproject.toml":
        yield b"[tool.gatherscatter" in config.inipath.read_bytes()


def _command_line(config: pytest.Config) -> Iterator[tuple[str, object]]:
    """Yield what the command line says, by key; the broker of ``--gs-local`` is one of it."""
    for key in OPTION_KEYS:
        value = config.getoption(f"gs_{key}")
        if key == "broker":
            value = local_broker(config) or value
        elif key == "lab" and value is None and config.getoption("gs_local"):
            value = _private_lab(local_broker(config))
        elif key == "artifacts" and value:
            value = str(config.invocation_params.dir / Path(value).expanduser())
        if value is not None:
            yield key, value


def _private_lab(url: str | None) -> str | None:
    """Name the lab of a private broker: alike in all processes of the run, and in no other.

    Tickets and bench locks of this host go by the lab's name: a private run must neither close
    what another lab's test left open, nor wait for its benches.
    """
    if url is None:
        return None
    import hashlib  # noqa: PLC0415 - idle cost

    return f"local-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _ini(config: pytest.Config) -> Iterator[tuple[str, object]]:
    for key in (*TEXT_KEYS, "require", *QUANTITY_KEYS):
        yield key, config.getini(f"gs_{key}")


def starts_broker(config: pytest.Config) -> bool:
    """Whether this run starts a broker of its own: by ``--gs-local``, or a container."""
    if config.getoption("gs_local"):
        return True
    return is_read(config) and settings(config).broker == "docker"


def local_broker(config: pytest.Config) -> str | None:
    """Return the URL of this run's private broker, with its password, if there is one."""
    workerinput: Mapping[str, str] = getattr(config, "workerinput", {})
    return workerinput.get(LOCAL_BROKER) or config.stash.get(_LOCAL_URL, None)


def set_local_broker(config: pytest.Config, url: str) -> None:
    """Make the private broker of ``--gs-local`` the one of this run."""
    config.stash[_LOCAL_URL] = url
    config.stash[_SETTINGS] = _load(config)


_LOCAL_URL = pytest.StashKey[str]()


def _start_directory(config: pytest.Config) -> Path:
    """Return the directory that holds all test paths of the command line.

    The search for ``gatherscatter.toml`` starts there, so that ``pytest examples/scope`` finds
    the example's own, wherever it is started from.
    """
    base = config.invocation_params.dir
    paths = [base / argument.partition("::")[0] for argument in config.args]
    found = [path for path in paths if path.exists()]
    if not found:
        return config.rootpath
    common = Path(os.path.commonpath(found))
    return common if common.is_dir() else common.parent
