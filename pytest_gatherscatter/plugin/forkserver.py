"""The fork server of ``--gs-spawn``: what pytest has imported, its workers need not import again.

It is forked from the originator's pytest when that has loaded its plugins and nothing of the
user's: no conftest, no test, no threads. It forks the workers at once, gets ready to be their
supervisor while the originator still reads its configuration, and forks the embedded broker if
it is told that there is none. Where the originator cannot fork (it has threads) the same is
started by a command, ``python -m pytest_gatherscatter.plugin.forkserver``: later, not otherwise.

The originator says one line, an :class:`Order`, and hears one, an :class:`Answer`. If it says
nothing and closes its pipe, there is nothing to be done and all ends.
"""

import atexit
import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Self

import msgspec
import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

from pytest_gatherscatter.errors import BrokerUnreachable, GatherScatterError
from pytest_gatherscatter.plugin import options, worker
from pytest_gatherscatter.testfiles.service.birth import Born, close_all, forked, own_streams

START_SECONDS = 20.0
"""How long the broker may take to start: it takes a tenth of a second."""

END_SECONDS = 10.0
"""How long supervisor, workers and broker may take to end once the job is over."""

TURN = 0.05
"""Seconds between two looks at whether a process has ended."""


class Order(msgspec.Struct, frozen=True):
    """What is to be done: hold workers for ``job``; without ``url`` with a broker of its own."""

    lab: str
    job: str
    url: str


class Answer(msgspec.Struct, frozen=True):
    """Where the broker is; or why there is none."""

    url: str = ""
    wrong: str = ""


FORKSERVER = pytest.StashKey["Forkserver"]()
"""Where a configuration keeps the one that was started for it."""


class Forkserver:
    """The originator's side of it. ``end`` has to be called, and may be called twice."""

    def __init__(self, pid: int, requests: int, answers: int) -> None:
        self._pid = pid
        self._requests, self._answers = requests, answers
        self._status: int | None = None

    @classmethod
    def start(cls, slots: int) -> Self:
        """Start it, with ``slots`` workers.

        Raises:
            OSError: there can be no further process.
        """
        reads, requests = os.pipe()
        answers, writes = os.pipe()
        parent = os.getpid()
        try:
            if _alone():
                pid = _fork(slots, reads, writes, (requests, answers), parent)
            else:
                pid = _spawn(slots, reads, writes, parent)
        except OSError:
            close_all((requests, answers))
            raise
        finally:
            close_all((reads, writes))
        return cls(pid, requests, answers)

    def ask(self, order: Order) -> str:
        """Have ``order`` done; returns the broker's URL, with its password.

        Raises:
            BrokerUnreachable: there is none.
        """
        with contextlib.suppress(BrokenPipeError):
            os.write(self._requests, msgspec.json.encode(order) + b"\n")
        said = b""
        end = time.monotonic() + START_SECONDS
        while not said.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            readable, _, _ = select.select([self._answers], [], [], left)
            more = os.read(self._answers, 65_536) if readable else b""
            if not more:
                why = "its process ended" if readable else f"not within {START_SECONDS:g} s"
                raise BrokerUnreachable("local", f"it did not start: {why}")
            said += more
        answer = msgspec.json.decode(said, type=Answer)
        if answer.wrong:
            raise BrokerUnreachable("local", answer.wrong)
        return answer.url

    @property
    def ended(self) -> bool:
        """Whether its process is over; before the job is, that is its end, too."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is not None

    def end(self) -> None:
        """Wait for its end, by force after some seconds."""
        close_all((self._requests, self._answers))
        self._requests = self._answers = -1
        end = time.monotonic() + END_SECONDS
        pause = 0.001
        while not self.ended:
            if time.monotonic() >= end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(2 * pause, TURN)


def _alone() -> bool:
    """Whether this process has one thread: a fork takes along only the one that forks."""
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - names are not wanted
    except OSError:
        return False


def warm_up(config: pytest.Config) -> None:
    """Start it for a run that has just loaded its plugins; a wrong option is told later."""
    option = config.known_args_namespace
    if option.collectonly or option.help or option.version:
        return
    with contextlib.suppress(pytest.UsageError):
        forkserver = config.stash[FORKSERVER] = Forkserver.start(options.workers(option.gs_spawn))
        config.add_cleanup(forkserver.end)


def _fork(slots: int, reads: int, writes: int, others: Iterable[int], parent: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    status = os.EX_SOFTWARE
    try:
        os.setsid()  # Ctrl-C is the originator's: it lets the tests that run come to their end
        close_all(others)
        own_streams(1, 2)
        atexit._clear()  # noqa: SLF001 - what was registered there is the originator's
        # Each worker's pytest brings its own; this one belongs to the originator's.
        sys.meta_path[:] = [
            one for one in sys.meta_path if not isinstance(one, AssertionRewritingHook)
        ]
        status = serve(slots, reads, writes, parent)
    finally:
        os._exit(status)


def _spawn(slots: int, reads: int, writes: int, parent: int) -> int:
    command = [sys.executable, "-m", "pytest_gatherscatter.plugin.forkserver"]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [*command, str(slots), str(reads), str(writes), str(parent)],
        pass_fds=(reads, writes),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.returncode = 0  # its end is waited for by pid
    return process.pid


# ── its own process ────────────────────────────────────────────────────────────────────


def serve(slots: int, reads: int, writes: int, parent: int) -> int:
    """Be the fork server of ``parent``; returns an exit status.

    First the workers, which want no link in their memory, then all that a supervisor imports.
    """
    gc.freeze()  # what is shared with the workers stays shared
    pool: list[Born] = []
    for _ in range(slots):
        others = (reads, writes, *(pipe for born in pool for pipe in born.pipes))
        pool.append(forked(worker.born, others))
    from pytest_gatherscatter.plugin.spawning import Spawning  # noqa: PLC0415 - as above

    with open(reads, "rb") as requests, open(writes, "wb", buffering=0) as answers:
        said = requests.readline()
        if not said.endswith(b"\n"):
            return os.EX_OK
        order = msgspec.json.decode(said, type=Order)
        spawning = Spawning(order.lab, order.job, pool)
        try:
            url = order.url or spawning.start_broker()
            answers.write(msgspec.json.encode(Answer(url=url)) + b"\n")
            spawning.run(url, lambda: os.getppid() != parent)
        except GatherScatterError as error:
            with contextlib.suppress(BrokenPipeError):
                answers.write(msgspec.json.encode(Answer(wrong=str(error))) + b"\n")
            return error.exit_code
        finally:
            spawning.close()
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(serve(*map(int, sys.argv[1:])))
