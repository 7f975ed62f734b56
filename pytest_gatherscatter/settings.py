"""One typed ``Settings``, and where each of its values came from.

Five sources, nearest first: command line, environment, pytest ini, ``gatherscatter.toml`` (or
``[tool.gatherscatter]`` of ``pyproject.toml``, searched upward), default. All of them name a
value by the same key, so that who knows one spelling knows them all; ``gatherer.agents`` is the
key ``agents`` of the table ``gatherer``. The origin of each value is kept, because "why does
this run talk to that lab?" is the first question that ``gatherscatter doctor`` has to answer.

Nothing here connects, and nothing guesses: an unknown key is an error that names the file,
option or variable and says what is allowed. A misspelt ``require`` that was passed over would
let a delicate test start unmeasured.
"""

import platform
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.gradersetting import (
    EXAMINER_READERS,
    ExaminerSettings,
    GraderSettings,
    read_graders,
)
from pytest_gatherscatter.recordsetting import RECORDER_READERS, RecorderSettings
from pytest_gatherscatter.settingvalue import (
    COMMANDS,
    LISTENER_READERS,
    MONITOR_READERS,
    PROCESSOR_READERS,
    READERS,
    TABLES,
    Command,
    Reader,
    read,
)
from pytest_gatherscatter.slips.template import Template
from pytest_gatherscatter.wire.names import check_name

FILE_NAME = "gatherscatter.toml"

VARIABLES = MappingProxyType(
    {
        "broker": "GATHERSCATTER_BROKER",
        "lab": "GATHERSCATTER_LAB",
        "bench": "GATHERSCATTER_BENCH",
    }
)
"""Environment variables by key. The password's variables belong to the broker's provider."""

NoGatherer: TypeAlias = Literal["run", "skip", "fail"]
NotGathered: TypeAlias = Literal["fail", "skip", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """A ``[[monitor]]`` table: a class or a set of commands, never both.

    ``target`` is ``package.module:Class``, made with ``options`` as keyword arguments. The
    commands run on the hooks of their names. No ``benches`` means the bench of the settings.
    ``advisory`` monitors never fail a section by
    holding. Each hook may take ``hook_timeout`` seconds: half of the default
    ``gather_timeout``, so that a hung hook is told by its name before the gathering gives up.
    A running section has ``drain`` seconds to end when the monitor is told to; then it makes safe.
    """

    name: str
    target: str | None = None
    on_prepare: Command | None = None
    on_go: Command | None = None
    on_stop: Command | None = None
    on_abort: Command | None = None
    on_overdue: Command | None = None
    benches: tuple[str, ...] = ()
    advisory: bool = False
    hook_timeout: float = 30.0
    drain: float = 30.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GathererSettings:
    """The ``[gatherer]`` table: the agents that every section of the lab needs, and its state.

    Without a ``state_dir`` the gatherer's journal is in memory and ends with it.
    """

    agents: frozenset[str] = frozenset()
    state_dir: Path | None = None


def _host() -> str:
    """Name this host so that it may be a word of the wire."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", platform.node()).lstrip("_-")[:64] or "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """The ``[listener]`` table: what a host gives to jobs of test files, and what it allows them.

    ``job_slots`` is how many slots one job may have, 0 for all. ``sources`` are patterns of what
    may be fetched; without any, directories of this host and user. The timeouts are of the sync:
    until it is connected, without a byte, and in all.
    """

    name: str = field(default_factory=_host)
    slots: int = 1
    job_slots: int = 0
    labels: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    workspaces: Path | None = None
    keep: int = 8
    fresh: bool = False
    sync_plugins: tuple[str, ...] = ()
    connect_timeout: float = 10.0
    silence_timeout: float = 30.0
    sync_timeout: float = 600.0
    drain: float = 60.0
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """The ``[processor]`` table: what a host gives to the steps of routing slips.

    Without a ``name`` it is called after its host and its processes (:func:`processor_name`).
    ``logs`` is where the whole output of commands goes. ``drain`` is for how many seconds those
    that run may go on after the first signal. With ``allow_shell``, slips may bring command lines
    of their own. With ``via_balancer`` slips are taken from a balancer (``roundrobin serve``), not
    from the queues.
    """

    name: str = ""
    slots: int = 1
    logs: Path | None = None
    drain: float = 60.0
    allow_shell: bool = False
    via_balancer: bool = False


def processor_name(processes: Iterable[str]) -> str:
    """Name the processor of some processes on this host: the same after each restart.

    Two of other processes on one host have other names, and journals.
    """
    return "-".join((_host(), *processes))[:64]


def examiner_name(graders: Iterable[GraderSettings], pid: int) -> str:
    """Name the examiner of some graders on this host; several of one file have other names."""
    return f"{'-'.join((_host(), *(one.name for one in graders)))[:50]}-{pid}"


Processes: TypeAlias = Mapping[str, Mapping[str, Template]]
"""The command templates of each ``[process.NAME]``, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, read and checked. Waits are in seconds, sizes in bytes.

    ``broker`` may hold a password, so it is kept out of ``repr``. Paths are absolute.
    """

    broker: str = field(default="auto", repr=False)
    lab: str = "default"
    bench: str = "default"
    require: frozenset[str] = frozenset()
    handshake_timeout: float = 2.0
    queue_timeout: float = 3600.0
    gather_timeout: float = 60.0
    stale_after: float = 2.0
    hold_limit: float = 900.0
    max_duration: float = 300.0
    report_timeout: float = 30.0
    no_gatherer: NoGatherer | None = None
    not_gathered: NotGathered = "fail"
    artifacts: Path = Path("gs-artifacts")
    artifact_limit: int = 8 * 1024 * 1024
    gatherer: GathererSettings = field(default_factory=GathererSettings)
    monitors: tuple[MonitorSettings, ...] = ()
    listener: ListenerSettings = field(default_factory=ListenerSettings)
    processor: ProcessorSettings = field(default_factory=ProcessorSettings)
    processes: Processes = field(default_factory=dict)
    examiner: ExaminerSettings = field(default_factory=ExaminerSettings)
    graders: tuple[GraderSettings, ...] = ()
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    file: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def origin(self, key: str) -> str:
        """Say where the value of ``key`` came from: an option, a variable, a file, ``default``.

        ``key`` is an attribute's name, or ``gatherer.agents`` and the like.
        """
        return self.origins.get(key, "default")


def load(  # noqa: PLR0913 - each is a source
    *,
    command_line: Mapping[str, object],
    environ: Mapping[str, str],
    ini: Mapping[str, object],
    directory: Path,
    file: Path | None = None,
    option_prefix: str = "--",
) -> Settings:
    """Merge the sources into one ``Settings``.

    Args:
        command_line: values by key (``lab``, ``gatherer.agents``); ``None`` means not given.
        environ: the environment; an empty variable counts as not set.
        ini: pytest's ini values by key, without their ``gs_``; ``None`` means not given.
        directory: where the search for a file starts, and what relative paths of the
            command line, the environment and the ini stand on. A file's own stand on it.
        file: the settings file; without one it is searched for.
        option_prefix: how options are spelt in errors and origins: ``--``, or ``--gs-``.

    Raises:
        SettingsInvalid: naming the source and the key, and what is allowed.
    """
    directory = directory.absolute()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    monitors: tuple[MonitorSettings, ...] = ()
    listener = ListenerSettings()
    processor = ProcessorSettings()
    processes: Processes = {}
    examiner, graders = ExaminerSettings(), tuple[GraderSettings, ...]()
    recorder = RecorderSettings()

    def take(given: Mapping[str, object], name: Callable[[str], str], base: Path) -> None:
        for key, value in given.items():
            if value is None:
                continue
            where = name(key)
            values[key] = read(where, key, value, READERS, base)
            origins[key] = where

    if file is None:
        file, table = find_table(directory)
    else:
        table = _read_file(file)
    if file is not None:
        flat, monitor_tables = _flatten(file, table)
        listener = ListenerSettings(**_read_table(file, table, "listener", LISTENER_READERS))
        processor = ProcessorSettings(**_read_table(file, table, "processor", PROCESSOR_READERS))
        processes = _read_processes(file, table)
        examiner = ExaminerSettings(**_read_table(file, table, "examiner", EXAMINER_READERS))
        graders = read_graders(file, table.get("grader", []))
        recorder = RecorderSettings(**_read_table(file, table, "recorder", RECORDER_READERS))
        take(flat, lambda key: f"{file}: {key}", file.parent)
        monitors = _read_monitors(file, monitor_tables)
        if monitors:
            origins["monitors"] = f"{file}: monitor"
    take(ini, lambda key: f"pytest ini gs_{key}", directory)
    in_environment = {key: environ.get(variable) or None for key, variable in VARIABLES.items()}
    take(in_environment, VARIABLES.__getitem__, directory)
    take(command_line, lambda key: option_prefix + _leaf(key).replace("_", "-"), directory)

    gatherer = GathererSettings(
        **{_leaf(key): values.pop(key) for key in tuple(values) if key.startswith("gatherer.")}
    )
    values.setdefault("artifacts", directory / "gs-artifacts")
    return Settings(
        **values,
        gatherer=gatherer,
        monitors=monitors,
        listener=listener,
        processor=processor,
        processes=processes,
        examiner=examiner,
        graders=graders,
        recorder=recorder,
        file=file,
        origins=MappingProxyType(origins),
    )


def find_table(directory: Path) -> tuple[Path | None, dict[str, Any]]:
    """Find the nearest settings file from ``directory`` upward, and return its table.

    In one directory ``gatherscatter.toml`` comes before ``[tool.gatherscatter]``. A
    ``pyproject.toml`` that does not speak of us is not even parsed: its faults are not ours.

    Raises:
        SettingsInvalid: the file cannot be read, or is no TOML.
    """
    for folder in (directory, *directory.parents):
        own = folder / FILE_NAME
        if (text := _text(own)) is not None:
            return own, _parse(own, text)
        project = folder / "pyproject.toml"
        if (text := _text(project)) is not None and "gatherscatter" in text:
            tool = _table(f"{project}: tool", _parse(project, text).get("tool", {}))
            if "gatherscatter" in tool:
                return project, _table(f"{project}: tool.gatherscatter", tool["gatherscatter"])
    return None, {}


def _read_file(file: Path) -> dict[str, Any]:
    """Read a settings file that somebody named."""
    text = _text(file)
    if text is None:
        raise SettingsInvalid(str(file), "there is no such file")
    return _parse(file, text)


def _text(path: Path) -> str | None:
    """Return the file's text, or ``None`` if there is no such file."""
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        if path.name == FILE_NAME and path.is_symlink():
            raise SettingsInvalid(str(path), "cannot be read: its link leads nowhere") from None
        return None
    except OSError as error:
        if isinstance(error, IsADirectoryError) and path.name != FILE_NAME:
            return None
        raise SettingsInvalid(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(str(path), "is not UTF-8 text") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(str(path), f"is not TOML: {error}") from None


def _table(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsInvalid(where, "must be a table")
    return value


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _flatten(file: Path, table: Mapping[str, Any]) -> tuple[dict[str, object], object]:
    """Part a file's table into dotted keys and the value of ``monitor``."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        if key == "gatherer":
            inner = _table(f"{file}: gatherer", value)
            flat |= {f"gatherer.{name}": item for name, item in inner.items()}
        elif key not in TABLES:
            flat[key] = value
    return flat, table.get("monitor", [])


def _read_table(
    file: Path, table: Mapping[str, Any], name: str, readers: Mapping[str, Reader]
) -> dict[str, Any]:
    where = f"{file}: {name}"
    return {
        key: read(f"{where}.{key}", key, value, readers, file.parent)
        for key, value in _table(where, table.get(name, {})).items()
    }


def _read_processes(file: Path, table: Mapping[str, Any]) -> Processes:
    """Read the ``[process.NAME]`` tables, and look at each template while somebody can mend it."""
    processes: dict[str, Mapping[str, Template]] = {}
    for name, given in _table(f"{file}: process", table.get("process", {})).items():
        where = f"{file}: process.{name}"
        for key in _table(where, given):
            if key != "commands":
                raise SettingsInvalid(f"{where}.{key}", "there is no such key; allowed is commands")
        commands = _table(f"{where}.commands", given.get("commands", {}))
        try:
            check_name("process", name)
            processes[name] = MappingProxyType(
                {
                    check_name("command", command): Template(f"{where}.commands.{command}", text)
                    for command, text in commands.items()
                }
            )
        except SettingsInvalid as error:
            at = error.where if error.where.startswith(where) else f"{where}: {error.where}"
            raise SettingsInvalid(at, error.problem) from None
    return MappingProxyType(processes)


def _read_monitors(file: Path, tables: object) -> tuple[MonitorSettings, ...]:
    if not isinstance(tables, list):
        raise SettingsInvalid(f"{file}: monitor", "must be written [[monitor]], once a monitor")
    monitors: dict[str, MonitorSettings] = {}
    for number, item in enumerate(tables, start=1):
        table = _table(f"{file}: monitor", item)
        where = f"{file}: monitor {table.get('name', number)}"
        given = {
            key: read(f"{where}: {key}", key, value, MONITOR_READERS, file.parent)
            for key, value in table.items()
        }
        if "name" not in given:
            raise SettingsInvalid(where, "has no name")
        commands = [key for key in COMMANDS if key in given]
        if ("target" in given) == bool(commands):
            raise SettingsInvalid(where, f"needs either target, or some of {', '.join(COMMANDS)}")
        if "options" in given and commands:
            raise SettingsInvalid(f"{where}: options", "goes with target only")
        monitor = MonitorSettings(**given)
        if monitor.name in monitors:
            raise SettingsInvalid(where, "stands here twice; names are unique in a lab")
        monitors[monitor.name] = monitor
    return tuple(monitors.values())
