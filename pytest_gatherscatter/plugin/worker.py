"""A worker of test files: a child of pytest that runs what its supervisor hands it.

``python -m pytest_gatherscatter.plugin.worker READ WRITE``, with the descriptors of two pipes (see
``testfiles/service/pipe.py``); or a fork of a pytest that has loaded its plugins, in which pytest
goes on from there: see :class:`Forked`. To the project's plugins it looks like a worker of
pytest-xdist. It has its own session, so that a terminal's Ctrl-C is for the originator alone, and
it dies with its supervisor: the kernel ends it (``PR_SET_PDEATHSIG``; it follows the *thread* that
started the child), and where the kernel cannot, the end of the pipe does, between two tests.
"""

import atexit
import contextlib
import faulthandler
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from _pytest.config import ConftestImportFailure, _prepareconfig

from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.host.process import die_with_parent
from pytest_gatherscatter.plugin import likexdist
from pytest_gatherscatter.plugin.plain import clipped, speakable
from pytest_gatherscatter.plugin.workerloop import TEXT, WorkerLoop
from pytest_gatherscatter.testfiles.service.pipe import ORPHANED, Channel, Start
from pytest_gatherscatter.wire.event import WorkerEnded


def work(read: int, write: int) -> int:
    """Be a worker until the job is over; returns pytest's exit status.

    For a fresh process only: it changes the directory, the environment and ``sys.path``.

    Raises:
        MessageUnreadable: the first line is no start order.
    """
    channel = _open(read, write)
    start = channel.start()
    if start is None:
        return ORPHANED
    likexdist.surround(start.worker, start.count, start.run)
    loop = None
    try:
        _enter(start)
        config = _prepareconfig(list(start.arguments), [likexdist.Early()])
        loop = _begin(config, start, channel)
        status = int(config.hook.pytest_cmdline_main(config=config))
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - to be told
        return _tell(channel, loop, error)
    return _tell(channel, loop, None) or status


def _open(read: int, write: int) -> Channel:
    # Who is ended since a test hangs says first where; the file is none of the test's to close.
    faulthandler.enable(file=os.dup(2))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr] # as at a terminal
    return Channel(read, write)


def _begin(config: pytest.Config, start: Start, channel: Channel) -> WorkerLoop:
    """Make the worker's pytest one that runs what it is told to."""
    likexdist.adapt(config, start)
    loop = WorkerLoop(config, channel)
    config.pluginmanager.register(loop, "gatherscatter-worker")
    return loop


def _tell(channel: Channel, loop: WorkerLoop | None, error: BaseException | None) -> int:
    """Tell the worker's end, unless its session did; returns an exit status."""
    if loop is not None and loop.told:
        return os.EX_OK
    status = int(pytest.ExitCode.INTERNAL_ERROR)
    match error:
        case None:
            text = (loop and loop.stopped) or "its session did not come up"
        case pytest.UsageError():
            status, text = int(pytest.ExitCode.USAGE_ERROR), " ".join(map(str, error.args))
        case ConftestImportFailure():
            status = int(pytest.ExitCode.USAGE_ERROR)
            text = f"{error.path}: {type(error.cause).__name__}: {error.cause}"
        case _:
            text = f"{type(error).__name__}: {error}"
    said = speakable(clipped(text, TEXT))[:TEXT]
    channel.tell(WorkerEnded(status=status, stopped=said))
    channel.flush()
    return status


class Forked(likexdist.Early):
    """A worker that was forked in the midst of pytest's start, before any conftest is loaded.

    What pytest has done until then, each worker would do again, in the same way: read the command
    line and the ini file, load and register plugins. So the fork goes on from there, in the same
    frames, and is a worker from ``pytest_cmdline_main`` on. It must never come back to who called
    pytest: the end of its configuration, which comes in any case, is the end of its process.

    Args:
        config: pytest's, in the fork.
        name: what the worker will be called, if all goes as it is likely to.
        count: how many workers there are.
        run: the run's unique id.
        pipes: descriptors of its two pipes.
    """

    def __init__(
        self, config: pytest.Config, name: str, count: int, run: str, pipes: tuple[int, int]
    ) -> None:
        config.add_cleanup(self._end)  # first, for there must be no way past it
        self._channel = _open(*pipes)
        self._loop: WorkerLoop | None = None
        die_with_parent()
        likexdist.surround(name, count, run)
        likexdist.leave_behind(config)
        config.pluginmanager.register(self, self.__name__)

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int | None:
        """Wait for the order to start, and be a worker; pytest itself is asked next."""
        if self._loop is None:
            start = self._channel.start()
            if start is None:
                os._exit(ORPHANED)
            self._loop = _begin(config, start, self._channel)
        return None

    def _end(self) -> NoReturn:
        status = int(pytest.ExitCode.INTERNAL_ERROR)
        try:
            status = _tell(self._channel, self._loop, sys.exception())
        finally:
            _end(status)


def _enter(start: Start) -> None:
    """Go where pytest was called, with the paths that it had."""
    place = Path(start.root, start.place).resolve()
    os.chdir(place)
    if start.here and str(place) not in sys.path:
        sys.path.insert(0, str(place))


def main() -> NoReturn:
    """Be a worker, and end the process: threads that tests left behind do not hold it."""
    die_with_parent()  # a parent that is gone already has closed its pipe
    with contextlib.suppress(PermissionError):  # it leads its session already
        os.setsid()
    if not sys.flags.safe_path:
        del sys.path[0]  # that is where it was started, by -m
    # pytest would warn that this package was imported before it could rewrite its asserts.
    package = sys.modules["pytest_gatherscatter"]
    package.__doc__ = f"{package.__doc__}\nPYTEST_DONT_REWRITE"
    _work_and_end(int(sys.argv[1]), int(sys.argv[2]))


def born(read: int, write: int) -> NoReturn:
    """Be a worker in a fork of a process that has imported pytest and nothing else."""
    die_with_parent()
    _work_and_end(read, write)


def _work_and_end(read: int, write: int) -> NoReturn:
    try:
        status = work(read, write)
    except MessageUnreadable as error:
        sys.stderr.write(f"{error}\n")
        status = int(pytest.ExitCode.USAGE_ERROR)
    _end(status)


def _end(status: int) -> NoReturn:
    atexit._run_exitfuncs()  # noqa: SLF001 - as at any exit; what follows leaves them out
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
