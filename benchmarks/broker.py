"""The embedded broker beside RabbitMQ: what a confirm, a delivery and a start cost on each.

    python benchmarks/broker.py [--messages N] [--rounds N] [--bindings 10 100 1000 10000]

Both run at once and take turns, round by round, so that a slow minute is slow for both. The
ratio is what counts: the aim is 1.5 of RabbitMQ's time on each line, and a start in a thirtieth.
The client is the same pika on both sides, so its share draws the ratios towards one. A topic
publish is measured at an exchange with more and more bindings, of which one matches. The start is
that of an installed broker, whose modules are compiled: it is started once before.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pika
from brokers import BROKERS, broker
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import UnroutableError

BODY = bytes(300)
PREFETCHES = (1, 10, 100)
Seconds: TypeAlias = list[float]


def confirmed(channel: BlockingChannel, count: int) -> Seconds:
    """Return the seconds of each of ``count`` publishes that are waited for."""
    queue = str(channel.queue_declare("", exclusive=True).method.queue)
    channel.confirm_delivery()
    return _each(lambda: channel.basic_publish("", queue, BODY), count)


def unroutable(channel: BlockingChannel, count: int) -> Seconds:
    """Return the seconds until each of ``count`` publishes comes back."""
    channel.confirm_delivery()

    def publish() -> None:
        with contextlib.suppress(UnroutableError):
            channel.basic_publish("", "nobody's queue", BODY, mandatory=True)

    return _each(publish, count)


def published(channel: BlockingChannel, count: int) -> Seconds:
    """Return the seconds that one of ``count`` publishes takes that nobody confirms."""
    queue = str(channel.queue_declare("", exclusive=True).method.queue)
    began = time.perf_counter()
    for _ in range(count):
        channel.basic_publish("", queue, BODY)
    # The answer comes after all of them were taken in.
    channel.queue_declare(queue, passive=True)
    return [(time.perf_counter() - began) / count]


def consumed(prefetch: int) -> Callable[[BlockingChannel, int], Seconds]:
    """Return what measures one delivery with its ack at this prefetch."""

    def measure(channel: BlockingChannel, count: int) -> Seconds:
        queue = str(channel.queue_declare("", exclusive=True).method.queue)
        for _ in range(count):
            channel.basic_publish("", queue, BODY)
        channel.queue_declare(queue, passive=True)
        channel.basic_qos(prefetch_count=prefetch)
        left = count
        began = time.perf_counter()
        for method, _, _ in channel.consume(queue):
            assert method is not None  # noqa: S101 - there is no time limit
            channel.basic_ack(method.delivery_tag or 0)
            left -= 1
            if not left:
                break
        took = time.perf_counter() - began
        channel.cancel()
        return [took / count]

    return measure


def matched(bindings: int) -> Callable[[BlockingChannel, int], Seconds]:
    """Return what measures a confirmed publish to one of so many bindings."""

    def measure(channel: BlockingChannel, count: int) -> Seconds:
        exchange, queue = f"bench{bindings}", f"bench{bindings}"
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_declare(queue, exclusive=True)
        for number in range(bindings):
            channel.queue_bind(queue, exchange, f"lab.{number}.*.#")
        channel.confirm_delivery()
        keys = iter(f"lab.{number % bindings}.key{number}.x" for number in range(count))
        found = _each(lambda: channel.basic_publish(exchange, next(keys), BODY), count)
        channel.queue_delete(queue)
        channel.exchange_delete(exchange)
        return found

    return measure


def _each(do: Callable[[], object], count: int) -> Seconds:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        do()
        found.append(time.perf_counter() - began)
    return found


def on(url: str, measure: Callable[[BlockingChannel, int], Seconds], count: int) -> Seconds:
    """Measure over a connection of its own."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        return measure(connection.channel(), count)


def high(values: Seconds) -> float:
    """Return the 99th percentile."""
    return sorted(values)[len(values) * 99 // 100]


def listening(url: str) -> int:
    """Return the resident memory in octets of the process that listens at a URL's port."""
    port = f":{pika.URLParameters(url).port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == "0A"}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and any(
                str(one.readlink()) in sockets for one in (process / "fd").iterdir()
            ):
                status = (process / "status").read_text()
                return int(status.split("VmRSS:")[1].split()[0]) * 1024
    return 0


def told(what: str, values: list[float], unit: str, scale: float) -> None:
    """Print a line: what, each broker's figure, and their ratio."""
    ours, theirs = (value * scale for value in values)
    ratio = ours / theirs if theirs else float("nan")
    print(f"{what:<30}{ours:10.1f}{theirs:12.1f} {unit:<4}{ratio:8.2f}", flush=True)


def main() -> None:
    """Measure each, the brokers in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=2000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--bindings", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what was started
    with contextlib.ExitStack() as stack:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with broker("embedded"):
            pass
        urls, starts = [], []
        for kind in BROKERS:
            began = time.perf_counter()
            urls.append(stack.enter_context(broker(kind)))
            starts.append(time.perf_counter() - began)
        print(f"{'':<30}{BROKERS[0]:>10}{BROKERS[1]:>12} {'':<4}{'ratio':>8}")
        told("start until it accepts", starts, "ms", 1e3)
        told("resident memory, idle", [listening(url) for url in urls], "MiB", 1 / (1 << 20))
        works: list[tuple[str, Callable[[BlockingChannel, int], Seconds]]] = [
            ("confirmed publish", confirmed),
            ("unroutable told", unroutable),
            ("publish, each", published),
            *((f"consume and ack, prefetch {n}", consumed(n)) for n in PREFETCHES),
            *((f"topic publish, {n} bindings", matched(n)) for n in asked.bindings),
        ]
        for what, measure in works:
            found: list[Seconds] = [[], []]
            for _ in range(asked.rounds):
                for values, url in zip(found, urls, strict=True):
                    values.extend(on(url, measure, asked.messages))
            told(what, [statistics.median(values) for values in found], "us", 1e6)
            if measure is confirmed:
                told(f"{what}, p99", [high(values) for values in found], "us", 1e6)
        told("resident memory, afterwards", [listening(url) for url in urls], "MiB", 1 / (1 << 20))


if __name__ == "__main__":
    main()
