"""Many seeds, in as many processes as there are processors: seeds share nothing."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from pytest_gatherscatter.simulation.outcome import Total
from pytest_gatherscatter.simulation.scenario import play

CHUNK = 20
"""Seeds that a process plays before it says what came of them: half a second."""


def processors() -> int:
    """Say how many processes are of use here."""
    return len(os.sched_getaffinity(0))


def play_chunk(first: int, count: int) -> Total:
    """Play some seeds, one after the other."""
    total = Total()
    with _garbage_left_lying():
        for seed in range(first, first + count):
            total.add(play(seed))
    return total


def play_many(
    first: int, count: int, *, jobs: int, told: Callable[[Total], None] = lambda _: None
) -> Total:
    """Play ``count`` seeds from ``first`` on in ``jobs`` processes; ``told`` of each chunk."""
    total = Total()
    for part in _parts(first, count, jobs):
        told(part)
        total += part
    return total


def _parts(first: int, count: int, jobs: int) -> Iterator[Total]:
    starts = range(first, first + count, CHUNK)
    sizes = [min(CHUNK, first + count - start) for start in starts]
    if jobs == 1:
        yield from map(play_chunk, starts, sizes)
        return
    # Forked, all is imported already; but a process of a test run has threads by now.
    context = get_context("fork" if threading.active_count() == 1 else "spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(play_chunk, starts, sizes)


@contextmanager
def _garbage_left_lying() -> Iterator[None]:
    """Look for garbage once in some thirty seeds, instead of twice in each.

    Nothing is garbage while a seed is played; then its whole lab is, a quarter of a megabyte.
    """
    usual = gc.get_threshold()
    gc.set_threshold(100_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
