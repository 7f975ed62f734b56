"""The production loop around a pump: one thread, a real clock, a real link."""

import time
from collections.abc import Callable
from queue import SimpleQueue

from pytest_gatherscatter.broker.interrupt import held
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.machine import Input

TURN = 1.0
"""The longest single wait in seconds, so that signals and conditions are looked at."""

STILL = 2.0
"""Seconds by which a turn may be late. One that is later stood still, and its heartbeats with it:
the broker may have given to others what this process finds in its socket."""


class Driver:
    """Runs a pump over a link in the calling thread; ``post`` may be called from any thread.

    ``still`` is fed to the machine when this process has stood still (stopped, starved, asleep with
    its host), before anything that has come meanwhile.
    """

    def __init__(self, link: Link, pump: Pump, still: Input | None = None) -> None:
        self.link = link
        self.pump = pump
        self._still = still
        self._seen = time.monotonic()
        self._posted: SimpleQueue[Input] = SimpleQueue()
        self._rung = False
        """Whether the loop was woken for what is posted: once is enough, and costs a write."""

    def post(self, message: Input, *, wake: bool = True) -> None:
        """Hand an input over from another thread (the end of a hook).

        It wakes the loop, unless ``wake`` is false: then the next turn takes it, whenever that
        comes.
        """
        self._posted.put(message)
        if wake and not self._rung:
            self._rung = True
            self.link.wake()

    def turn(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for something to happen, and see it through.

        A signal whose handler raises ends the wait, but does not strike what is seen through.
        """
        with held():
            self._turn(timeout)

    def tell(self, message: Input) -> None:
        """Feed the machine at once, in the thread that turns; what it sends leaves with a turn."""
        with held():
            self.pump.feed(message, now=time.monotonic())

    def _turn(self, timeout: float) -> None:
        pump = self.pump
        self._rung = False  # from here on: what is posted before is seen below
        if pump.next_wake is not None:
            timeout = min(timeout, pump.next_wake - time.monotonic())
        if not self._posted.empty():
            timeout = 0.0
        end = time.monotonic() + timeout
        events = self.link.poll(max(0.0, timeout))
        if not events and timeout > 0 and time.monotonic() >= end:
            # The time may be over because this process stood still (a stop, a starved machine):
            # what came meanwhile is in the socket, and comes before the deadlines it may keep.
            events = self.link.poll(0.0)
        now = time.monotonic()
        if self._still is not None and now - self._seen > max(0.0, timeout) + STILL:
            pump.feed(self._still, now=now)
        self._seen = now
        # Deadlines are looked at after each event: a flood of messages, each of which may cost a
        # sync of the journal, must not make them late.
        # What a hook has done comes before what others say now: a stop after the start.
        for _ in range(self._posted.qsize()):  # what is posted meanwhile has the next turn
            pump.feed(self._posted.get_nowait(), now=time.monotonic())
        for event in events:
            pump.take(event, now=time.monotonic())
            pump.wake_due(now=time.monotonic())
        pump.wake_due(now=time.monotonic())

    def run(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Turn until ``until()`` is true; return False if ``timeout`` seconds passed first."""
        end = None if timeout is None else time.monotonic() + timeout
        while not until():
            left = TURN if end is None else min(TURN, end - time.monotonic())
            if left <= 0:
                return False
            self.turn(left)
        return True
