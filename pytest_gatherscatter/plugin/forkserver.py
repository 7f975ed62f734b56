"""The fork server of ``--gs-spawn``: what pytest has loaded, its workers need not load again.

It is forked from the originator's pytest when that has loaded its plugins and nothing of the
user's: no conftest, no test, no threads. It forks the workers, in which pytest goes on from there,
and a broker, and gets ready to be the workers' supervisor while the originator still reads its
configuration. Where the originator cannot fork (it has threads) the same is started by a command,
``python -m pytest_gatherscatter.plugin.forkserver``: later, not otherwise.

The originator says one line, an :class:`Order`, and hears one, an :class:`Answer`. If it closes
its pipe before there is a job, there is nothing to be done and all ends.
"""

import atexit
import contextlib
import importlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

from pytest_gatherscatter.errors import BrokerError, BrokerUnreachable, GatherScatterError
from pytest_gatherscatter.host.garbage import here_to_stay
from pytest_gatherscatter.plugin import options, worker
from pytest_gatherscatter.plugin.pool import Pool
from pytest_gatherscatter.testfiles.service.birth import Born, close_all, forked, own_streams
from pytest_gatherscatter.testfiles.service.pipe import Start

if TYPE_CHECKING:
    from pytest_gatherscatter.plugin.ownbroker import OwnBroker

START_SECONDS = 20.0
"""How long the broker may take to start: it takes a tenth of a second."""

END_SECONDS = 10.0
"""How long supervisor, workers and broker may take to end once the job is over."""


class Order(msgspec.Struct, frozen=True):
    """What is to be done: hold workers for the run; without ``url`` with a broker of its own.

    ``starts`` is what the workers are likely to be started with, so that they can begin with it.
    """

    lab: str
    url: str
    starts: tuple[Start, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """Where the broker is; or why there is none."""

    url: str = ""
    wrong: str = ""


AHEAD = ("pika", "pytest_gatherscatter.plugin.spawning")
"""What a supervisor imports, in steps: between two of them it looks for its order, which tells the
workers to begin."""

FORKSERVER = pytest.StashKey["Forkserver"]()
"""Where a configuration keeps the one that was started for it."""


class Forkserver:
    """The originator's side of it. ``end`` has to be called, and may be called twice.

    ``task`` is what it was told: its workers know the run's unique id.
    """

    def __init__(self, pid: int, task: "Task", requests: int, answers: int) -> None:
        self._pid = pid
        self.task = task
        self._requests, self._answers = requests, answers
        self._status: int | None = None

    @classmethod
    def start(cls, slots: int, *, fork: bool) -> "Forkserver | Birth":
        """Start it, with ``slots`` workers; in each worker that is forked, its birth is returned.

        Raises:
            OSError: there can be no further process.
        """
        run = secrets.token_hex(8)
        reads, requests = os.pipe()
        answers, writes = os.pipe()
        task = Task(slots, run, reads, writes, os.getpid())
        try:
            pid = _fork(task, (requests, answers)) if fork and _alone() else _spawn(task)
        except OSError:
            close_all((requests, answers, reads, writes))
            raise
        if isinstance(pid, Birth):
            return pid  # it has closed all of them, and may have others of these numbers
        close_all((reads, writes))
        return cls(pid, task, requests, answers)

    def order(self, order: Order) -> None:
        """Have ``order`` done; where the broker is can be asked later."""
        said = msgspec.json.encode(order) + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while said:
                said = said[os.write(self._requests, said) :]

    def url(self) -> str:
        """Wait for the broker that was ordered; returns its URL, with its password.

        Raises:
            BrokerUnreachable: there is none.
            BrokerError: there is one, and it does not take in who holds the workers.
        """
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
        # Who holds the workers may have failed at that broker already, and have said so too.
        first, *more_said = (msgspec.json.decode(line, type=Answer) for line in said.splitlines())
        if first.wrong:
            raise BrokerUnreachable("local", first.wrong)
        for answer in more_said:
            raise BrokerError(answer.wrong)
        return first.url

    @property
    def ended(self) -> bool:
        """Whether its process is over; before the job is, that is its end, too."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is not None

    def kill(self) -> None:
        """End it now, and with it workers and broker: they see that their parent is gone."""
        if not self.ended:
            os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Wait for its end, by force after some seconds."""
        close_all((self._requests, self._answers))
        self._requests = self._answers = -1
        if self.ended:
            return
        over = os.pidfd_open(self._pid)
        if not select.select([over], [], [], END_SECONDS)[0]:
            os.kill(self._pid, signal.SIGKILL)
        os.close(over)
        _, status = os.waitpid(self._pid, 0)
        self._status = os.waitstatus_to_exitcode(status)


def _alone() -> bool:
    """Whether this process has one thread: a fork takes along only the one that forks."""
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - names are not wanted
    except OSError:
        return False


def warm_up(config: pytest.Config) -> None:
    """Start it for a run that has just loaded its plugins; a wrong option is told later.

    Returns in the originator, and in each of its workers, which is made one here.
    """
    option = config.known_args_namespace
    if option.collectonly or option.help or option.version:
        return
    with contextlib.suppress(pytest.UsageError):
        slots = options.workers(option.gs_spawn)
        started = Forkserver.start(slots, fork=True)
        if isinstance(started, Birth):
            worker.Forked(config, started.worker, slots, started.run, started.pipes)
        else:
            config.stash[FORKSERVER] = started
            config.add_cleanup(started.end)


def forkserver_of(config: pytest.Config, slots: int) -> Forkserver:
    """Return the one of this run; another one where a conftest has changed its mind."""
    found = config.stash.get(FORKSERVER, None)
    if found is not None and found.task.slots == slots:
        return found
    started = Forkserver.start(slots, fork=False)  # what there is of the user's is loaded by now
    assert isinstance(started, Forkserver)  # noqa: S101 - nothing was forked
    config.add_cleanup(started.end)
    return started


class Task(NamedTuple):
    """What a fork server is told at its start: how many workers of which run it has.

    It ``reads`` and ``writes`` pipes of its ``parent``.
    """

    slots: int
    run: str
    reads: int
    writes: int
    parent: int


class Birth(NamedTuple):
    """What a fork that is to be a worker has to know: its likely name, and its two pipes."""

    worker: str
    run: str
    pipes: tuple[int, int]


def _fork(task: Task, others: Iterable[int]) -> "int | Birth":
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    try:
        os.setsid()  # Ctrl-C is the originator's: it lets the tests that run come to their end
        close_all(others)
        own_streams(1, 2)
        atexit._clear()  # noqa: SLF001 - what was registered there is the originator's
        status = serve(task)
    except BaseException:  # noqa: BLE001 - what is above it is the originator's
        os._exit(os.EX_SOFTWARE)
    if isinstance(status, Birth):
        return status
    os._exit(status)


def _spawn(task: Task) -> int:
    command = [sys.executable, "-m", "pytest_gatherscatter.plugin.forkserver"]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [*command, *map(str, task)],
        pass_fds=(task.reads, task.writes),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.returncode = 0  # its end is waited for by pid
    return process.pid


# ── its own process ────────────────────────────────────────────────────────────────────


def serve(task: Task) -> "int | Birth":
    """Be the fork server; returns an exit status, or in a worker its birth.

    First the workers, which want no link in their memory, then the broker, then all that a
    supervisor imports.
    """
    pool = Pool()
    ours = (task.reads, task.writes)
    for number in range(task.slots):
        name = f"gw{number}"
        born = forked((*ours, *pool.pipes))
        if not isinstance(born, Born):
            return Birth(name, task.run, born)
        pool.add(name, born)
    # Neither a broker nor a supervisor has asserts to rewrite: that costs time with each module.
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, AssertionRewritingHook)]
    with here_to_stay():  # with asyncio, which a supervisor's link wants, too
        from pytest_gatherscatter.plugin.ownbroker import OwnBroker  # noqa: PLC0415 - no worker's

    broker = OwnBroker((*ours, *pool.pipes))
    try:
        return _supervise(task, pool, broker)
    finally:
        broker.close()


def _supervise(task: Task, pool: Pool, broker: "OwnBroker") -> int:
    reads, writes = task.reads, task.writes
    with (
        open(reads, "rb") as requests,  # noqa: PTH123 - a descriptor
        open(writes, "wb", buffering=0) as answers,  # noqa: PTH123 - as above
    ):
        with here_to_stay():
            for name in AHEAD:
                if not _is_heard(reads):
                    importlib.import_module(name)
        said = requests.readline()
        if not said.endswith(b"\n"):
            return os.EX_OK
        order = msgspec.json.decode(said, type=Order)
        pool.tell(order.starts)
        if order.url:
            broker.close()
        else:
            broker.begin()
        with here_to_stay():
            from pytest_gatherscatter.plugin.spawning import Spawning  # noqa: PLC0415 - see AHEAD

        def stop() -> bool:
            # Nobody starts it again if it has died under us.
            return os.getppid() != task.parent or (not order.url and broker.ended)

        try:
            url = order.url or broker.url()
            answers.write(msgspec.json.encode(Answer(url=url)) + b"\n")
            Spawning(order.lab, task.run, pool).run(url, stop, lambda: _is_heard(reads))
        except GatherScatterError as error:
            with contextlib.suppress(BrokenPipeError):
                answers.write(msgspec.json.encode(Answer(wrong=str(error))) + b"\n")
            return error.exit_code
        finally:
            pool.close()
    return os.EX_OK


def _is_heard(descriptor: int) -> bool:
    """Whether the originator has said its line; after that, whether it has hung up."""
    return bool(select.select([descriptor], [], [], 0)[0])


def main(words: list[str]) -> int:
    """Be the fork server by a command; returns an exit status, and never in a worker."""
    slots, run, *numbers = words
    status = serve(Task(int(slots), run, *map(int, numbers)))
    if isinstance(status, Birth):
        worker.born(*status.pipes)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
