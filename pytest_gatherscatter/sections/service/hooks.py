"""Hooks as they really are: methods of a Python class, or programs.

Both take a ``CallHook`` and return what the machine understands. A program says what it
means by its exit status: 0 ready, 75 hold (``SECONDS REASON`` on the first line of its
output), 76 veto (its first line is the reason); anything else is broken, told with the status
and its last line of complaint. Called in the hook thread only.
"""

import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.sections.hook import Findings, Hold, Monitor, SectionInfo, Veto, clip
from pytest_gatherscatter.sections.monitor.hookcall import Answer, Broken, CallHook, Collected, Hook
from pytest_gatherscatter.sections.service.artifact import Folder
from pytest_gatherscatter.settings import MonitorSettings
from pytest_gatherscatter.settingvalue import Command

log = logging.getLogger("gatherscatter.monitor")

HOLD_STATUS = 75
"""EX_TEMPFAIL of sysexits: try again later."""

VETO_STATUS = 76
"""EX_PROTOCOL, the next one: no use in trying again."""

ENDING = 2.0
"""Seconds between SIGTERM and SIGKILL: time to switch an output off."""

OUTPUT = 1024 * 1024
"""Bytes of a program's output that are read: more of it is a capture, to be put in a file."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Statuses that a shell gives for a program that is not there, or cannot be run."""

_PAIR = re.compile(r"([A-Za-z_][\w.-]*)=(.*)")


class Hooks(Protocol):
    """What a monitor's hooks offer. ``grace`` is how long after its limit a call may return."""

    grace: float

    def call(self, call: CallHook, folder: Folder, began: Callable[[], None]) -> Answer:
        """Make one call; ``began()`` is called when it has really begun. May raise anything."""


class MethodHooks:
    """The hooks of a :class:`Monitor`."""

    grace = 0.0  # a method cannot be ended from outside

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor

    def call(self, call: CallHook, folder: Folder, began: Callable[[], None]) -> Answer:
        """Call the method; what it raises is its being broken."""
        began()
        try:
            answer = self._method(call)
        except BaseException as error:  # sys.exit in a hook must not end the thread
            log.debug("%s raised", call.hook.value, exc_info=True)
            return Broken(_told(error))
        if call.hook is Hook.PREPARE and not isinstance(answer, Hold | Veto | None):
            return Broken(f"prepare returned {type(answer).__name__}, not Hold, Veto or None")
        if call.hook is Hook.STOPPED:
            if not isinstance(answer, Findings | None):
                return Broken(f"stopped returned {type(answer).__name__}, not Findings or None")
            findings = answer or Findings()
            captures, problem = folder.collect(call.section.id, findings.attachments)
            return Collected(tuple(findings.items), captures, problem)
        return answer if isinstance(answer, Hold | Veto) else None

    def _method(self, call: CallHook) -> object:
        monitor, section = self.monitor, call.section
        match call.hook:
            case Hook.PREPARE:
                return monitor.prepare(section)
            case Hook.STARTED:
                return monitor.started(section)  # type: ignore[func-returns-value]
            case Hook.STOPPED:
                return monitor.stopped(section)
            case Hook.ABORTED:
                return monitor.aborted(section, call.cause)  # type: ignore[func-returns-value]
            case Hook.OVERDUE:
                return monitor.overdue(section)  # type: ignore[func-returns-value]


class CommandHooks:
    """Programs as hooks; a hook without a program does nothing."""

    grace = ENDING + 3.0  # the kernel takes a moment to end a process that is busy with a device

    def __init__(self, commands: Mapping[Hook, Command]) -> None:
        self.commands = commands

    def call(self, call: CallHook, folder: Folder, began: Callable[[], None]) -> Answer:
        """Run the program, end it at the limit, and read what it says."""
        command = self.commands.get(call.hook)
        if command is None:
            began()
            return self._read(call, folder, "")
        # Files, no pipes: a recorder left behind by on-go would hold a pipe open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            place = folder.of(call.section.id)
            try:
                process = subprocess.Popen(  # noqa: S603 - the operator's own words, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=_environment(call, place),
                    start_new_session=True,
                )
            except OSError as error:
                status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
                return Broken(f"exit {status}: {command[0]}: {error.strerror}")
            began()
            try:
                status = process.wait(call.limit)
            except subprocess.TimeoutExpired:
                _end(process)
                return Broken(f"{call.hook.value} still running after {call.limit:g} s; ended")
            return self._judge(call, folder, status, _text(out), _text(err))

    def _judge(self, call: CallHook, folder: Folder, status: int, out: str, err: str) -> Answer:
        first = (out.splitlines() or [""])[0].strip()
        if status == 0:
            return self._read(call, folder, out)
        if call.hook is Hook.PREPARE and status == HOLD_STATUS:
            seconds, _, reason = first.partition(" ")
            try:
                return Hold(float(seconds), reason.strip())
            except ValueError:
                return Broken(f"exit 75 wants 'SECONDS REASON' on the first line, not {first!r}")
        if call.hook is Hook.PREPARE and status == VETO_STATUS:
            return Veto(first or "no reason given")
        if status < 0:
            with suppress(ValueError):
                return Broken(f"killed by {signal.Signals(-status).name}")
        last = next((line.strip() for line in reversed(err.splitlines()) if line.strip()), "")
        return Broken(clip(f"exit {status}" + (f": {last}" if last else "")))

    @staticmethod
    def _read(call: CallHook, folder: Folder, out: str) -> Answer:
        if call.hook is not Hook.STOPPED:
            return None
        findings, problem = read_findings(out)
        captures, unread = folder.collect(call.section.id, ())
        problem = "; ".join(text for text in (problem, unread) if text)
        return Collected(tuple(findings.items), captures, problem)


def read_findings(text: str) -> tuple[Findings, str]:
    """Read the findings that a program prints: JSON objects or ``name=value``, a line each.

    An object has ``name`` and ``value``, and may have ``unit``, ``low``, ``high``, ``passed``
    and ``text``. Lines that are neither are told as a warning.

    Returns:
        The findings, and what was wrong with lines that should have been some.
    """
    findings = Findings()
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()  # noqa: PLW2901 - the same line
        try:
            if line.startswith("{"):
                facts = json.loads(line)
                findings.add(facts.pop("name"), facts.pop("value", None), **facts)
            elif pair := _PAIR.fullmatch(line):
                findings.add(pair[1], _value(pair[2].strip()))
            elif line:
                log.warning("on_stop said what is no finding (name=value, or JSON): %s", line)
        except KeyError:
            problems.append(f"line {number} of the findings has no name")
        except (TypeError, ValueError) as error:
            problems.append(f"line {number} of the findings: {error}")
    return findings, clip("; ".join(problems))


def hooks_of(told: MonitorSettings) -> Hooks:
    """Make the hooks of a ``[[monitor]]`` table or its twin on the command line.

    Raises:
        SettingsInvalid: the class cannot be found or made.
    """
    if told.target is not None:
        return MethodHooks(make_monitor(told.target, told.options))
    commands = {
        Hook.PREPARE: told.on_prepare,
        Hook.STARTED: told.on_go,
        Hook.STOPPED: told.on_stop,
        Hook.ABORTED: told.on_abort,
        Hook.OVERDUE: told.on_overdue,
    }
    return CommandHooks({hook: command for hook, command in commands.items() if command})


def load_monitor(target: str) -> type[Monitor]:
    """Return the class that ``package.module:Class`` names; the current directory counts.

    Raises:
        SettingsInvalid: it cannot be imported, is not there, or is no Monitor.
    """
    module_name, _, path = target.partition(":")
    where = f"monitor {target}"
    if not module_name or not path:
        raise SettingsInvalid(where, "must be package.module:Class")
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        log.debug("importing %s", module_name, exc_info=True)
        raise SettingsInvalid(where, f"cannot be imported: {_told(error)}") from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise SettingsInvalid(where, f"there is no {name} in {found.__name__}")
        found = getattr(found, name)
    if not (isinstance(found, type) and issubclass(found, Monitor)):
        raise SettingsInvalid(where, "is no subclass of pytest_gatherscatter.Monitor")
    return found


def make_monitor(target: str, options: Mapping[str, Any]) -> Monitor:
    """Make the monitor that ``target`` names, with ``options`` as its keyword arguments.

    Raises:
        SettingsInvalid: as :func:`load_monitor`, or it cannot be made of these options.
    """
    kind = load_monitor(target)
    try:
        return kind(**options)
    except Exception as error:
        log.debug("making %s", target, exc_info=True)
        raise SettingsInvalid(f"monitor {target}", f"cannot be made: {_told(error)}") from None


def _environment(call: CallHook, place: Path) -> dict[str, str]:
    section: SectionInfo = call.section
    facts = {
        "GS_HOOK": call.hook.value,
        "GS_SECTION": section.id,
        "GS_NAME": section.name,
        "GS_TEST": section.test,
        "GS_BENCH": section.bench,
        "GS_OWNER": section.owner,
        "GS_TOKEN": str(section.token),
        "GS_CAUSE": call.cause,
        "GS_ARTIFACTS": str(place),
    }
    # Names come from elsewhere, and no environment can hold a NUL.
    return {**os.environ, **{key: value.replace("\0", "") for key, value in facts.items()}}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a program and whatever it started: asked first, then not."""
    for number, patience in ((signal.SIGTERM, ENDING), (signal.SIGKILL, 2.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(OUTPUT).decode("utf-8", "replace")


def _value(text: str) -> bool | int | float | str:
    """Read a value as JSON would, else as the text that it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _told(error: BaseException) -> str:
    """Say an exception in a line, with the place where it was raised."""
    words = " ".join(str(error).split()) or "no reason given"
    # Frames of the import system ("<frozen …>") tell an author nothing.
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[:1] != "<"]
    if isinstance(error, ImportError) and frames[-1:] and "importlib" in frames[-1].filename:
        frames = []
    if frames and frames[-1].filename == __file__:
        frames = []  # a call that did not fit: its words name the author's function
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return clip(f"{type(error).__name__}: {words}{place}")
