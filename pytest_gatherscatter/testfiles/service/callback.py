"""A job's callbacks, in a process that imports the job's code: a listener's own never does."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from pytest_gatherscatter.errors import CallbackFailed
from pytest_gatherscatter.testfiles.service.program import Program, how_it_ended

LONGEST = 600.0
"""Seconds that a callback may take: it may install things, or fill a database."""

HERE = frozenset({"after_sync", "before_creating_workers", "after_creating_workers"})
"""Callbacks that run at a listener, outside of its workers."""


class CallbackStart(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: how pytest would be called, and which plugins are loaded beside.

    Without ``arguments`` no conftest is read.
    """

    root: str
    place: str = "."
    arguments: tuple[str, ...] | None = None
    plugins: tuple[str, ...] = ()


class CallbackCall(msgspec.Struct, frozen=True, kw_only=True):
    """One hook to be called, without its ``pytest_gs_``; what is given is as the hook has it."""

    hook: str
    workspace: str
    source: str = ""
    excludes: tuple[str, ...] = ()
    workers: int = 0


class CallbackDone(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: ``wrong`` is one line, empty if it went well."""

    wrong: str = ""
    result: bool = False


_encode = msgspec.json.Encoder().encode
_done = msgspec.json.Decoder(CallbackDone)


class Callbacks:
    """The process, from its first callback to its last: what one keeps, the next finds.

    Args:
        start: how it begins.
        held: descriptors of locks that it shall hold.
        stop: whether to end it, whatever it does.
    """

    def __init__(
        self, start: CallbackStart, *, held: tuple[int, ...], stop: Callable[[], bool]
    ) -> None:
        self._stop = stop
        words = (sys.executable, "-m", "pytest_gatherscatter.plugin.callback")
        self._program = Program(
            words, folder=Path(start.root), environ=os.environ, held=held, talks=True
        )
        self._program.tell(_encode(start))

    def call(self, call: CallbackCall) -> bool:
        """Call a hook, wait for its end, and return whether it says that it did it.

        Raises:
            CallbackFailed: it raised, ended its process, or took too long.
        """
        program = self._program
        program.tell(_encode(call))
        if not program.wait(LONGEST, stop=self._stop, until=lambda: bool(program.lines)):
            why = "it was called off" if self._stop() else f"it took longer than {LONGEST:g} s"
            self._fail(call, why)
        if not program.lines:
            self._fail(call, f"its process ended: {how_it_ended(program.status or 0)}")
        try:
            done = _done.decode(program.lines.pop(0))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._fail(call, "it answered what nobody can read")
        if done.wrong:
            self._fail(call, done.wrong)
        return done.result

    def end(self) -> None:
        """End the process."""
        self._program.end()

    def _fail(self, call: CallbackCall, why: str) -> NoReturn:
        self._program.end()
        raise CallbackFailed(
            f"callback pytest_gs_{call.hook}: {why}"[:4000],
            self._program.stdout.last_lines(),
            self._program.stderr.text(),
        )
