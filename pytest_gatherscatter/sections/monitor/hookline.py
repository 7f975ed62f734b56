"""The line of hook calls of one monitor: one at a time, in their order.

Part of the monitor's machine, and as pure as it. A hook that runs on past its limit blocks the
line: nothing else can be called until it comes back, and then what is owed is called.
"""

from collections import deque

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.monitor.arming import Arming
from pytest_gatherscatter.sections.monitor.hookcall import (
    Broken,
    CallHook,
    CancelHook,
    Hook,
    HookEnded,
)


class HookLine:
    """Queues hook calls; each may take ``limit`` seconds."""

    def __init__(self, effects: Effects, limit: float) -> None:
        self.stuck = ""
        """What the hook that runs on is told as; empty if none does."""
        self._effects = effects
        self._limit = limit
        self._waiting: deque[tuple[Arming, Hook]] = deque()
        self._current: tuple[int, Arming, Hook] | None = None

    @property
    def idle(self) -> bool:
        """Whether no hook runs or waits."""
        return self._current is None and not self._waiting

    def add(self, arming: Arming, hook: Hook) -> None:
        """Have ``hook`` called when its turn comes."""
        self._waiting.append((arming, hook))

    def advance(self) -> None:
        """Call the next one if the line is free."""
        if self._current is not None or self.stuck or not self._waiting:
            return
        arming, hook = self._waiting.popleft()
        info, cause = arming.info, arming.cause
        starts = hook is Hook.STARTED
        at, until = (info.t0, info.deadline) if starts else (None, None)
        call = CallHook(hook, info, self._limit, at=at, until=until, cause=cause)
        self._current = (self._effects.run(call), arming, hook)

    def ended(self, effect: int, result: HookEnded) -> tuple[Arming, Hook] | None:
        """Take the end of a call; whose it was, ``None`` for one that is not under way."""
        if self._current is None or self._current[0] != effect:
            return None
        _, arming, hook = self._current
        self._current = None
        if result.stuck and isinstance(result.answer, Broken):
            self.stuck = result.answer.reason
        return arming, hook

    def returned(self) -> None:
        """The hook that was stuck has come back."""
        self.stuck = ""

    def cancel_start(self, arming: Arming) -> None:
        """Call the start off, if it was not made yet."""
        if (arming, Hook.STARTED) in self._waiting:
            self._waiting.remove((arming, Hook.STARTED))
        elif self._current is not None and self._current[1:] == (arming, Hook.STARTED):
            self._effects.run(CancelHook(self._current[0]))
