"""The threads of one grader: a fixed number, each with a grader of its own, none a daemon.

Each is accounted for: what it is at, since when, and at the end whether it has come back.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import msgspec

from pytest_gatherscatter.errors import (
    GraderFailed,
    GraderKilled,
    GradingEnded,
    GradingTimedOut,
    RequestInvalid,
)
from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
from pytest_gatherscatter.graders.order import BeginGrading, GradingOver
from pytest_gatherscatter.graders.request import plain_json
from pytest_gatherscatter.machine import Exited, Input

log = logging.getLogger("gatherscatter.examiner")

MOST_DETAILS = 256 * 1024
"""Bytes of details in a grade: with the message they fit into an answer."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A thread that has not come back: its ``name``, the request it is at, for how long."""

    thread: str
    request: str
    seconds: float


class Crew:
    """The threads of a grader. ``begin``, ``end`` and ``close`` are for the examiner's thread.

    Args:
        name: the grader's.
        graders: one for each thread.
        post: takes what there is to tell the machine; called from the threads.
    """

    def __init__(self, name: str, graders: Sequence[Grader], post: Callable[[Input], None]) -> None:
        self._post = post
        self._orders: SimpleQueue[tuple[int, BeginGrading] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._bells: dict[int, int] = {}
        """By run, the descriptor that tells its thread to end."""
        self._at: dict[str, tuple[str, float]] = {}
        self._threads = [
            threading.Thread(target=self._serve, args=(one,), name=f"{name}-{number}")
            for number, one in enumerate(graders, start=1)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def begin(self, run: int, order: BeginGrading) -> None:
        """Let a free thread judge; it ends with ``Exited``."""
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._lock:
            self._bells[run] = bell
        self._orders.put((run, order))

    def end(self, run: int) -> None:
        """Tell the thread that is at ``run`` to end, if there is one."""
        with self._lock:
            bell = self._bells.get(run)
            if bell is not None:
                _ring(bell)

    def close(self, seconds: float) -> list[Stuck]:
        """Let all threads end, and wait for them; say which have not in so many seconds."""
        with self._lock:
            for bell in self._bells.values():
                _ring(bell)
        for _ in self._threads:
            self._orders.put(None)
        until = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        now = time.monotonic()
        stuck = []
        for thread in self._threads:
            request, since = self._at.get(thread.name, ("", now))
            if thread.is_alive():
                stuck.append(Stuck(thread.name, request, now - since))
        return stuck

    # ── the threads ────────────────────────────────────────────────────────────────────

    def _serve(self, grader: Grader) -> None:
        name = threading.current_thread().name
        while (told := self._orders.get()) is not None:
            run, order = told
            self._at[name] = (order.request.request, time.monotonic())
            with self._lock:
                bell = self._bells[run]
            over = self._judge(grader, order, bell)
            with self._lock:
                del self._bells[run]
                with contextlib.suppress(OSError):  # a grader may have closed it
                    os.close(bell)
            self._at.pop(name, None)
            self._post(Exited(run, over))
        with contextlib.suppress(Exception):
            grader.close()

    def _judge(self, grader: Grader, order: BeginGrading, bell: int) -> GradingOver:
        """Have a request judged: whatever a grader does, there is an end to tell."""
        request = order.request
        try:
            told = GraderRequest(
                id=request.request,
                queue=request.queue,
                payload=msgspec.json.decode(request.payload),
                files=request.files,
                seconds=order.seconds,
                attempt=request.attempt,
                owner=request.owner,
                ended=bell,
            )
            return _over(grader.grade(told))
        except GradingTimedOut as error:
            return GradingOver("timed-out", text=_said(error))
        except GraderKilled as error:
            return GradingOver("killed", text=_said(error))
        except GradingEnded as error:
            return GradingOver("ended", text=_said(error))
        except (GraderFailed, RequestInvalid) as error:
            return GradingOver("failed", text=_said(error))
        except BaseException as error:
            log.debug("request %s", request.request, exc_info=True)
            return GradingOver("failed", text=f"{type(error).__name__}: {_said(error)}")


def _ring(bell: int) -> None:
    with contextlib.suppress(OSError):  # a grader may have closed it
        os.eventfd_write(bell, 1)


def _said(error: BaseException) -> str:
    """Write what an error says in text that can be sent, whatever it does when it is asked."""
    try:
        return _plain(str(error))
    except BaseException:  # noqa: BLE001 - of somebody's class
        return "it cannot say what went wrong"


def _plain(text: str) -> str:
    """Write a text without what UTF-8 cannot: half of a pair."""
    return text.encode(errors="replace").decode()


def _over(grade: object) -> GradingOver:
    if not isinstance(grade, Grade):
        raise GraderFailed(f"it returned {type(grade).__name__}; a Grade is wanted")
    if not isinstance(grade.passed, bool) or not isinstance(grade.message, str):
        raise GraderFailed("its grade has a passed that is no bool, or a message that is no text")
    score = grade.score
    if score is not None and not -1e308 <= float(score) <= 1e308:  # noqa: PLR2004 - NaN is no JSON
        raise GraderFailed(f"its score is {score!r}")
    return GradingOver(
        "graded",
        passed=grade.passed,
        score=None if score is None else float(score),
        text=_plain(grade.message),
        details=plain_json("its details", dict(grade.details), MOST_DETAILS),
    )
