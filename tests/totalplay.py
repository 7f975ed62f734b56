"""Producers and consumers of one queue that are killed all the time: is anything lost?

Run as a program. What a producer's broker has confirmed and what a consumer is about to ack
stand in two files, a line each, written without a buffer: a process that is killed has told all
that it knows. Afterwards each confirmed message must be among the acked; twice is allowed.

It is a process of its own, because it forks: a worker that shares what is imported already is
there in milliseconds, so that many can be killed.

Usage: ``python totalplay.py DIRECTORY SECONDS SEED``, with the broker's URL on standard input.
"""

# ruff: noqa: S311 - chance, and no secrets

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pika
from pika.exceptions import AMQPError

WORKERS = 3
"""Producers, and as many consumers."""

_LARGE = 300_000
"""More octets than two frames hold, so that some die in the middle of a message."""


class Play:
    """One run against the broker at ``url``."""

    def __init__(self, url: str, directory: Path, seed: int) -> None:
        self._parameters = pika.URLParameters(url)
        self._queue = f"total.{os.getpid()}"
        self._random = random.Random(seed)
        self._confirmed = directory / "confirmed"
        self._acked = directory / "acked"
        self._workers: dict[int, Callable[[], None]] = {}

    def _produce(self) -> None:
        chance = random.Random(os.getpid())
        number = 0
        with self._confirmed.open("ab", buffering=0) as told:
            channel = pika.BlockingConnection(self._parameters).channel()
            channel.confirm_delivery()
            while True:
                number += 1
                name = f"{os.getpid()}.{number}".encode()
                padding = bytes(_LARGE if chance.random() < 0.1 else chance.randint(0, 1000))
                channel.basic_publish("", self._queue, name + b"\n" + padding, mandatory=True)
                told.write(name + b"\n")

    def _consume(self) -> None:
        chance = random.Random(os.getpid())
        with self._acked.open("ab", buffering=0) as told:
            channel = pika.BlockingConnection(self._parameters).channel()
            prefetch, held = chance.randint(1, 20), 0
            channel.basic_qos(prefetch_count=prefetch)
            for method, _, body in channel.consume(self._queue):
                if method is None or body is None:
                    continue
                tag = method.delivery_tag or 0
                if chance.random() < 0.05:
                    channel.basic_nack(tag)
                    continue
                told.write(body.partition(b"\n")[0] + b"\n")
                held += 1
                if held == prefetch or chance.random() < 0.5:
                    # Those before it were told already, so they may be acked with this one.
                    channel.basic_ack(tag, multiple=True)
                    held = 0

    def _fork(self, work: Callable[[], None]) -> None:
        pid = os.fork()
        if not pid:
            with contextlib.suppress(AMQPError, OSError):
                work()
            os._exit(1)
        self._workers[pid] = work

    def _kill(self, pid: int) -> Callable[[], None]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return self._workers.pop(pid)

    def run(self, seconds: float) -> dict[str, int]:
        """Let them work and die; how many died and how often who was left had to finish."""
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            channel.queue_declare(self._queue, durable=True)
            try:
                killed = self._massacre(seconds)
                left = self._drain(channel)
            finally:
                for pid in list(self._workers):
                    self._kill(pid)
                channel.queue_delete(self._queue)
        return {"killed": killed, "left": left}

    def _massacre(self, seconds: float) -> int:
        for work in [self._produce, self._consume] * WORKERS:
            self._fork(work)
        killed = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._random.uniform(0.02, 0.2))
            self._fork(self._kill(self._random.choice(sorted(self._workers))))
            killed += 1
        for pid in list(self._workers):
            self._kill(pid)
            killed += 1
        return killed

    def _drain(self, channel: pika.adapters.blocking_connection.BlockingChannel) -> int:
        """Ack what is left, once the broker has noticed the last death."""
        left = 0
        silent_since = time.monotonic()
        with self._acked.open("ab", buffering=0) as told:
            while time.monotonic() - silent_since < 1.0:
                method, _, body = channel.basic_get(self._queue)
                if method is None or body is None:
                    time.sleep(0.02)
                    continue
                silent_since = time.monotonic()
                told.write(body.partition(b"\n")[0] + b"\n")
                channel.basic_ack(method.delivery_tag or 0)
                left += 1
        return left


if __name__ == "__main__":
    play = Play(sys.stdin.readline().strip(), Path(sys.argv[1]), int(sys.argv[3]))
    print(json.dumps(play.run(float(sys.argv[2]))))  # noqa: T201 - its answer
