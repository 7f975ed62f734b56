"""A worker of test files: a child of pytest that runs what its supervisor hands it.

``python -m pytest_gatherscatter.plugin.worker READ WRITE``, with the descriptors of two pipes (see
``testfiles/service/pipe.py``), or a fork that begins at :func:`born`. To the project's plugins it
looks like a worker of pytest-xdist. It has its own session, so that a terminal's Ctrl-C is for the
originator alone, and it dies with its supervisor: the kernel ends it (``PR_SET_PDEATHSIG``; it
follows the *thread* that started the child), and where the kernel cannot, the end of the pipe
does, between two tests.
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
from pytest_gatherscatter.wire.testfiles import WorkerEnded


def work(read: int, write: int) -> int:
    """Be a worker until the job is over; returns pytest's exit status.

    For a fresh process only: it changes the directory, the environment and ``sys.path``.

    Raises:
        MessageUnreadable: the first line is no start order.
    """
    # Who is ended since a test hangs says first where; the file is none of the test's to close.
    faulthandler.enable(file=os.dup(2))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr] # as at a terminal
    channel = Channel(read, write)
    start = channel.start()
    if start is None:
        return ORPHANED
    likexdist.surround(start)
    loop = None
    try:
        _enter(start)
        config = _prepareconfig(list(start.arguments), [likexdist.Early()])
        likexdist.adapt(config, start)
        loop = WorkerLoop(config, channel)
        config.pluginmanager.register(loop, "gatherscatter-worker")
        status = int(config.hook.pytest_cmdline_main(config=config))
    except pytest.UsageError as error:
        status, text = int(pytest.ExitCode.USAGE_ERROR), " ".join(map(str, error.args))
    except ConftestImportFailure as error:
        status = int(pytest.ExitCode.USAGE_ERROR)
        text = f"{error.path}: {type(error.cause).__name__}: {error.cause}"
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - to be told
        status = int(pytest.ExitCode.INTERNAL_ERROR)
        text = f"{type(error).__name__}: {error}"
    else:
        text = loop.stopped or "its session did not come up"
    if loop is None or not loop.told:
        said = speakable(clipped(text, TEXT))[:TEXT]
        channel.tell(WorkerEnded(status=status, stopped=said))
        channel.flush()
    return status


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
    """Be a worker in a fork of a pytest that has loaded its plugins and nothing else."""
    die_with_parent()
    _work_and_end(read, write)


def _work_and_end(read: int, write: int) -> NoReturn:
    try:
        status = work(read, write)
    except MessageUnreadable as error:
        sys.stderr.write(f"{error}\n")
        status = int(pytest.ExitCode.USAGE_ERROR)
    atexit._run_exitfuncs()  # noqa: SLF001 - as at any exit; what follows leaves them out
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
