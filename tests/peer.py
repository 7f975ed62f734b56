"""What a busy machine takes for the same thing at the same time, so that a test need not guess it.

A bound in seconds is missed when three runs share two processors, and one that such a run keeps
says nothing on an idle machine. A peer does the plain thing beside the test: the bound is near
where the peer is quick, and as far as it is slow.
"""

import threading
import time
from collections.abc import Callable
from typing import Self


class Peer(threading.Thread):
    """Does ``work`` again and again while the test is inside; it must not raise."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self.slowest = 0.0
        """Seconds that it took at the worst."""
        self._work = work
        self._over = threading.Event()
        self._rounds = 0

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End, with the round that is under way."""
        self._over.set()
        self.join()
        assert self._rounds or kind is not None, "the peer broke, or never came to work"

    def run(self) -> None:
        """Work, with little breaks."""
        while not self._over.is_set():
            began = time.monotonic()
            self._work()
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._rounds += 1
            self._over.wait(0.05)
