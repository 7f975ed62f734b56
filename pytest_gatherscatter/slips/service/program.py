"""Runs the commands of steps, each in a session of its own, and sees all of each one's end.

One thread looks after all of them. A command is the leader of a process group; when it ends, what
it left behind in its group ends with it. One that is to be ended is asked first (SIGTERM, to the
whole group) and then not (SIGKILL).

Its shell waits for a byte before it begins, which comes when the guard has noted its group: so
there is no moment in which a command runs that nobody would end.
"""

import contextlib
import fcntl
import logging
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_gatherscatter.host.guard import SHELL, USUAL, Guard
from pytest_gatherscatter.machine import Exited, Input, Told
from pytest_gatherscatter.slips.order import BeginCommand, CommandMoved, CommandOver, EndCommand
from pytest_gatherscatter.slips.service.log import LogFile, prune
from pytest_gatherscatter.slips.slip import step_of
from pytest_gatherscatter.slips.spoken import Spoken, Tail
from pytest_gatherscatter.wire.slips import Status

log = logging.getLogger("gatherscatter.processor")

ASKED = 5.0
"""Seconds between SIGTERM and SIGKILL: enough to switch something off."""

GIVEN_UP = 10.0
"""Seconds after SIGKILL in which even what hangs in a driver may end; then it is told of."""

LOOK = 0.05
"""Seconds between two looks at whether a group that was asked to end has done so."""

PACE = 0.1
"""Seconds between two words of one command's progress: nobody sees more."""

CHUNK = 64 * 1024

MOST_LEFT = 32
"""Reads of what a command that has ended left in a pipe of 64 KiB; who has left its group and goes
on writing is not waited for."""

PRUNE_AFTER = 500
"""Commands after which logs are looked through again."""

GATE = 9
"""The descriptor on which a shell waits: the highest that every ``sh`` can name."""

PRELUDE = f"read -r _ <&{GATE} || exit 125; exec {GATE}<&-\n"


class Program:
    """One command that runs."""

    def __init__(
        self, run: int, order: BeginCommand, logs: Path, guard: Guard, environ: Mapping[str, str]
    ) -> None:
        self.run, self.order = run, order
        self.spoken, self.stdout, self.stderr = Spoken(), Tail(), Tail()
        self.log = LogFile(logs, order.slip.id, order.task)
        self.started = time.time()
        self.deadline = time.monotonic() + order.timeout
        self.status: Status | None = None
        """What its attempt is to say, once it is being ended."""
        self.text = ""
        self.kill_at: float | None = None
        self.killed = False
        self.look_at = 0.0
        """When its group is looked for again, after its leader."""
        self.gone = False
        """Whether its leader has ended; it is not waited for before all is done."""
        self.moved: tuple[float, str] | None = None
        self.moved_at = 0.0
        self.out = self.err = self.over = -1
        self.pid = self._spawn(guard, environ)

    def _spawn(self, guard: Guard, environ: Mapping[str, str]) -> int:
        """Start it, and let it begin when it is guarded."""
        theirs: list[int] = []
        gate = -1
        try:
            for name in ("out", "err"):
                mine, its = _pipe()
                setattr(self, name, mine)
                theirs.append(its)
                os.set_blocking(mine, False)
            its, gate = _pipe()
            theirs.append(its)
            pid = os.posix_spawn(
                SHELL,
                ["sh", "-c", PRELUDE + self.order.line],
                {**environ, **self._environ()},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    *(
                        (os.POSIX_SPAWN_DUP2, one, at)
                        for one, at in zip(theirs, (1, 2, GATE), strict=True)
                    ),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=USUAL,
            )
            self.over = os.pidfd_open(pid)
            guard.watch(pid)
            with contextlib.suppress(BrokenPipeError):  # somebody has ended it already
                os.write(gate, b"\n")
        except BaseException:
            self.close()
            raise
        finally:
            for one in (*theirs, gate):
                if one >= 0:
                    os.close(one)
        return pid

    def _environ(self) -> dict[str, str]:
        slip, task = self.order.slip, self.order.task
        step = step_of(slip, task.number)
        return {
            "GS_SLIP": slip.id,
            "GS_STEP": str(task.number),
            "GS_ATTEMPT": str(task.attempt),
            "GS_PROCESS": "" if step is None else step.process,
        }

    def read(self, descriptor: int) -> bool:
        """Take output; False if there is none left, for now or for ever."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return False
        self.log.add(data)
        if descriptor == self.err:
            self.stderr.add(data)
        else:
            self.stdout.add(data)
            self.moved = self.spoken.add(data) or self.moved
        return True

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to its whole group, whose number is its own until it was waited for."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def alone(self) -> bool:
        """Say whether nobody is left of its group; looked for in all of ``/proc``."""
        for name in os.listdir("/proc"):  # noqa: PTH208 - ten times as fast, of hundreds
            if name.isdigit() and int(name) != self.pid:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    # The name in parentheses may hold anything: the last one ends it.
                    said = Path("/proc", name, "stat").read_text(errors="replace")
                    state, _, group = said.rpartition(")")[2].split()[:3]
                    if int(group) == self.pid and state not in {"Z", "X"}:
                        return False
        return True

    def wait(self) -> tuple[int | None, str]:
        """Wait for its leader, which has ended: its exit status, or its signal's name."""
        seen = os.waitid(os.P_PIDFD, self.over, os.WEXITED)
        if seen is None or seen.si_code == os.CLD_EXITED:
            return (None if seen is None else seen.si_status), ""
        try:
            return None, signal.Signals(seen.si_status).name
        except ValueError:
            return None, f"signal {seen.si_status}"

    def close(self) -> None:
        """Let go of everything that is open."""
        for one in (self.out, self.err, self.over):
            if one >= 0:
                os.close(one)
        self.out = self.err = self.over = -1
        self.log.close()


class Programs:
    """All commands of a processor. ``begin`` and ``end`` are for its own thread.

    Args:
        logs: where output goes.
        post: takes what there is to tell the machine; called from the thread of this.
    """

    def __init__(self, logs: Path, post: Callable[[Input], None]) -> None:
        self._logs, self._post = logs, post
        self._guard = Guard()
        self._environ = dict(os.environ)  # which translates each name and value whenever it is read
        self._programs: dict[int, Program] = {}
        self._fresh: deque[Program] = deque()
        self._ends: deque[EndCommand] = deque()
        self._ended = 0
        self._stops = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Without the standard library's selectors: a descriptor that is closed is watched no more.
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._heard: dict[int, Program] = {}
        prune(logs)
        self._thread = threading.Thread(target=self._loop, name="commands", daemon=True)
        self._thread.start()

    def begin(self, run: int, order: BeginCommand) -> None:
        """Start a command; it ends with :class:`CommandOver`, also if it cannot be started."""
        try:
            program = Program(run, order, self._logs, self._guard, self._environ)
        except (OSError, ValueError) as error:  # too long a line, no process left, …
            now = time.time()
            text = f"it cannot be started: {error}"
            over = CommandOver("failed", started=now, ended=now, text=text[:1000])
            self._post(Exited(run, over))
            return
        self._fresh.append(program)
        os.eventfd_write(self._wake, 1)

    def end(self, order: EndCommand) -> None:
        """End a command; one that is over already is none."""
        self._ends.append(order)
        os.eventfd_write(self._wake, 1)

    @property
    def alive(self) -> bool:
        """Whether commands are looked after; if not, their ends will not be told."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End all that still runs, at once."""
        self._stops = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._guard.close()
        self._poll.close()
        os.close(self._wake)

    # ── the thread ─────────────────────────────────────────────────────────────────────

    def _loop(self) -> None:
        try:
            self._serve()
        except BaseException:
            log.exception("what looks after commands broke; all of them end")
            raise
        finally:
            self._take()
            for program in self._programs.values():
                program.tell(signal.SIGKILL)
                program.close()

    def _serve(self) -> None:
        while not self._stops:
            for descriptor, _ in self._poll.poll(self._patience()):
                if descriptor == self._wake:
                    self._take()
                    continue
                program = self._heard[descriptor]
                if descriptor == program.over:
                    self._hush(descriptor)
                    program.gone = True
                elif not program.read(descriptor):
                    self._hush(descriptor)
            now = time.monotonic()
            for program in list(self._programs.values()):
                self._look_at(program, now)

    def _take(self) -> None:
        """Take what the processor's thread wants."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._fresh:
            program = self._fresh.popleft()
            self._programs[program.run] = program
            for one in (program.out, program.err, program.over):
                self._heard[one] = program
                self._poll.register(one, select.EPOLLIN)
        while self._ends:
            order = self._ends.popleft()
            program_or_none = self._programs.get(order.run)
            if program_or_none is not None:
                self._ask(program_or_none, order.status, order.text)

    def _hush(self, descriptor: int) -> None:
        if self._heard.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _patience(self) -> float | None:
        """Return for how many seconds there is nothing to do but to listen."""
        times = list(self._times())
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _times(self) -> Iterator[float]:
        for program in self._programs.values():
            if program.moved is not None:
                yield program.moved_at + PACE
            if program.kill_at is None:
                yield program.deadline
            elif program.gone:
                yield min(program.look_at, program.kill_at)
            else:
                yield program.kill_at

    def _look_at(self, program: Program, now: float) -> None:
        """Do what is due for one command."""
        if program.moved is not None and now >= program.moved_at + PACE:
            self._tell_moved(program, now)
        if program.kill_at is None and now >= program.deadline and not program.gone:
            self._ask(program, "timed-out", f"it took longer than {program.order.timeout:g} s")
        if program.kill_at is not None and now >= program.kill_at:
            if program.killed:
                self._give_up(program)
                return
            program.tell(signal.SIGKILL)
            program.killed, program.kill_at = True, now + GIVEN_UP
        if program.gone and (program.kill_at is None or program.killed or self._alone(program)):
            self._finish(program)

    @staticmethod
    def _alone(program: Program) -> bool:
        """Look now and then whether all of a group has ended that was asked to."""
        now = time.monotonic()
        if now < program.look_at:
            return False
        program.look_at = now + LOOK
        return program.alone()

    def _ask(self, program: Program, status: Status, text: str) -> None:
        if program.status is None:
            program.status, program.text = status, text
            program.kill_at = time.monotonic() + ASKED
            program.tell(signal.SIGTERM)

    def _tell_moved(self, program: Program, now: float) -> None:
        if program.moved is not None:
            share, text = program.moved
            program.moved, program.moved_at = None, now
            self._post(Told(CommandMoved(program.run, share, text)))

    def _finish(self, program: Program) -> None:
        """See the end of a command whose leader has ended."""
        program.tell(signal.SIGKILL)  # to what it left behind
        for descriptor in (program.out, program.err):
            for _ in range(MOST_LEFT):
                if not program.read(descriptor):
                    break
        self._guard.spare(program.pid)
        exit_status, number = program.wait()
        status: Status = program.status or ("done" if exit_status == 0 else "failed")
        self._tell_over(program, status, exit_status, number)

    def _give_up(self, program: Program) -> None:
        """Tell of one that no signal ends: it hangs in the kernel, as with a broken device."""
        log.error("pid %d of %s cannot be ended", program.pid, program.order.slip.name)
        program.text += f"; pid {program.pid} could not be ended, and is still there"
        self._tell_over(program, program.status or "failed", None, "")

    def _tell_over(
        self, program: Program, status: Status, exit_status: int | None, number: str
    ) -> None:
        program.moved = program.spoken.end() or program.moved
        self._tell_moved(program, time.monotonic())
        for descriptor in (program.out, program.err, program.over):
            self._heard.pop(descriptor, None)
        program.close()
        words = [program.text, program.spoken.text(), program.log.trouble]
        over = CommandOver(
            status,
            exit_status=exit_status,
            signal=number,
            started=program.started,
            ended=time.time(),
            stdout_tail=program.stdout.text(),
            stderr_tail=program.stderr.text(),
            log=program.log.name,
            text="; ".join(word for word in words if word),
            added=tuple(program.spoken.added),
        )
        if status != "done":
            how = number or ("" if exit_status is None else f"exit status {exit_status}")
            said = ", ".join(word for word in (status, how, over.text) if word)
            log.info("%s: %s", program.order.title, said)
        del self._programs[program.run]
        self._post(Exited(program.run, over))
        self._ended += 1
        if self._ended % PRUNE_AFTER == 0:
            spared = frozenset(one.order.slip.id for one in self._programs.values())
            prune(self._logs, spared=spared)


def _pipe() -> tuple[int, int]:
    """Make a pipe whose descriptors are above those that a command gets."""
    made = []
    for one in os.pipe():
        if one > GATE:
            made.append(one)
        else:
            made.append(fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, GATE + 1))
            os.close(one)
    return made[0], made[1]
