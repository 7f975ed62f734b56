"""The one thread in which a monitor's hooks run, and the watch over it.

Instrument drivers are rarely thread-safe, so all hooks share one thread, and the link's thread
is never blocked by them: keepalives and ``CheckAlive`` are answered while a hook works. The
thread sleeps to t0 by itself, so that nothing but the scheduler stands between t0 and a start.
"""

import threading
import time
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from pytest_gatherscatter.machine import Exited, Input, Told
from pytest_gatherscatter.sections.monitor.hookcall import (
    Answer,
    Broken,
    CallHook,
    Hook,
    HookEnded,
    HookReturned,
)
from pytest_gatherscatter.sections.monitor.order import STAY
from pytest_gatherscatter.sections.service.artifact import Folder
from pytest_gatherscatter.sections.service.hooks import Hooks

NAME = "gatherscatter-hook"

LAST_STRETCH = 0.5
"""Seconds before t0 that are slept in one piece: the longest lead. Whoever waits for a cancel
too wakes up before its time; a hundred agents of one host would do that at one instant, and be
late for the instant that counts. A cancel in the last stretch is heard at its end."""


class Post(Protocol):
    """Hands an input to the machine, from any thread."""

    def __call__(self, message: Input, *, wake: bool = True) -> None:
        """Hand it over; with ``wake`` at once, else when the machine's thread turns anyway."""


@dataclass(slots=True, eq=False)
class _Job:
    effect: int
    call: CallHook
    cancelled: threading.Event = field(default_factory=threading.Event)
    began: float | None = None
    calling_since: float | None = None
    over: bool = False
    given_up: bool = False


class HookThread:
    """Runs one hook at a time; its ends go to ``post`` (which any thread may call)."""

    def __init__(self, hooks: Hooks, folder: Folder, post: Post) -> None:
        self._hooks = hooks
        self._folder = folder
        self._post = post
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._job: _Job | None = None
        # A hook that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=NAME, daemon=True)
        self._thread.start()

    def submit(self, effect: int, call: CallHook) -> None:
        """Have ``call`` made; the machine submits the next only when this one has ended."""
        job = _Job(effect, call)
        self._job = job
        self._jobs.put(job)

    def cancel(self, effect: int) -> None:
        """Call off a call that still waits for its time."""
        job = self._job
        if job is not None and job.effect == effect:
            job.cancelled.set()

    def watch(self) -> None:
        """Give up on a hook that is past its limit; called by the link's thread, often."""
        job = self._job
        if job is None or job.calling_since is None or job.given_up:
            return
        if time.monotonic() - job.calling_since < job.call.limit + self._hooks.grace:
            return
        with self._lock:
            if job.over:
                return
            job.given_up = True
        words = f"{job.call.hook.value} still running after {job.call.limit:g} s"
        ended = HookEnded(Broken(words), job.calling_since, job.began, stuck=True)
        self._post(Exited(job.effect, ended))

    def close(self, timeout: float) -> bool:
        """Let the thread end; return False if a hook still keeps it after ``timeout`` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            ready = time.monotonic()
            answer: Answer = None
            at, until = job.call.at, job.call.until
            in_time = at is None or _sleep_to(at, job.cancelled)
            # A process that stood still wakes up after the deadline, in the middle of a sleep.
            if in_time and (until is None or time.monotonic() < until):
                job.calling_since = time.monotonic()
                answer = self._call(job)
            if job.call.hook is Hook.ABORTED:
                self._folder.drop(job.call.section.id)
            with self._lock:
                job.over = True
            if job.given_up:
                self._post(Told(HookReturned()))
            else:
                # Stamp, then stay: many agents of one host start at one instant, and waking
                # the link's thread would take the processor from those that are still to come.
                # Not if that instant is over: the section's end may wait for the end of this.
                ended = HookEnded(answer, ready, job.began)
                wake = at is None or time.monotonic() >= at + STAY
                self._post(Exited(job.effect, ended), wake=wake)

    def _call(self, job: _Job) -> Answer:
        def began() -> None:
            job.began = time.monotonic()

        try:
            return self._hooks.call(job.call, self._folder, began)
        except Exception as error:  # noqa: BLE001 - a full disk, say, is the lab's fault, not ours
            return Broken(f"{type(error).__name__}: {error}")


def _sleep_to(at: float, cancelled: threading.Event) -> bool:
    """Sleep until ``at`` (monotonic), never less; False if it was called off meanwhile."""
    left = at - time.monotonic() - LAST_STRETCH
    if left > 0 and cancelled.wait(left):
        return False
    while (left := at - time.monotonic()) > 0:
        time.sleep(left)
    return not cancelled.is_set()
