"""A section with two ready monitors, against raw pika doing the same work.

    python benchmarks/section.py [embedded|rabbitmq ...] [--sections N]

Measured are "enter to body" (without the lead, which is told apart) and "body to closed".
The floor is a program of plain ``pika.BlockingConnection`` calls: the same two connections,
the same declares and binds, and as many round trips in a row as the protocol needs, through
peers that answer at once: to the gatherer and back (accepted), from there to both monitors and
back (prepared), again (the last check), five clock probes in one go, and after the body leave,
stop and report. Aim: at most 1.5 times the floor.
"""

import argparse
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
from brokers import BROKERS, broker, own_state, row, wait_for_gatherer

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import load

MONITORS = ("one", "two")
PROBES = 5
LAB = "bench"


# ── the product ────────────────────────────────────────────────────────────────────────


@contextmanager
def lab(url: str) -> Iterator[None]:
    """Run a gatherer that requires two monitors, and the monitors."""
    environment = {**os.environ, "GATHERSCATTER_BROKER": url, "GATHERSCATTER_LAB": LAB}
    base = [sys.executable, "-m", "pytest_gatherscatter"]
    commands = [[*base, "gatherer", *MONITORS], *([*base, "monitor", one] for one in MONITORS)]
    children = [
        subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(20)


def sections(url: str, count: int) -> tuple[list[float], list[float], list[float]]:
    """Return for each section: enter to body without the lead, the lead, body to closed."""
    settings = load(command_line={"lab": LAB}, environ={}, ini={}, directory=Path("/"))
    wait_for_gatherer(settings, url)
    workloads = Workloads(settings, Found(url, "url", "the benchmark"), run="0" * 16)
    entering, leads, leaving = [], [], []
    for number in range(count + 3):
        demand = Demand.of(settings, name="burst", test="benchmark")
        began = time.perf_counter()
        visit = workloads.gather(demand)
        workloads.enter(visit)
        inside = time.perf_counter()
        lead = workloads.leave(visit, "passed").lead or 0.0
        closed = time.perf_counter()
        if number >= 3:  # noqa: PLR2004 - the first ones wait for monitors and learn the lead
            entering.append(inside - began - lead)
            leads.append(lead)
            leaving.append(closed - inside)
    return entering, leads, leaving


# ── the floor ──────────────────────────────────────────────────────────────────────────


def declare(channel: pika.adapters.blocking_connection.BlockingChannel, name: str) -> None:
    """Declare what a workload declares: three exchanges, the dead queue, an inbox, its binds."""
    channel.confirm_delivery()
    channel.exchange_declare("floor", "topic", durable=True)
    channel.exchange_declare("floor.to", "topic", durable=True)
    channel.exchange_declare("floor.dead", "fanout", durable=True)
    channel.queue_declare("floor.dead", durable=True)
    channel.queue_bind("floor.dead", "floor.dead", "#")
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, "floor.to", name)
    channel.queue_bind(name, "floor", f"go.{name}")


class Peer:
    """A raw party: an inbox, and questions that are answered in order."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        declare(self.channel, name)
        self.heard: list[bytes] = []
        self.channel.basic_consume(name, self._hear)

    def _hear(self, _: object, method: object, __: object, body: bytes) -> None:
        self.channel.basic_ack(method.delivery_tag)  # type: ignore[attr-defined]
        self.heard.append(body)

    def say(self, to: str, body: bytes) -> None:
        """Publish with a confirm, as the product does."""
        self.channel.basic_publish("floor.to", to, body, mandatory=True)

    def wait(self, count: int) -> None:
        """Wait until ``count`` messages have come."""
        while len(self.heard) < count:
            self.connection.process_data_events(1)
        del self.heard[:count]


def monitor(url: str, name: str) -> None:
    """Answer each question at once."""
    peer = Peer(url, name)
    while True:
        peer.wait(1)
        peer.say("gatherer", b"answer")


def gatherer(url: str) -> None:
    """Answer a clock probe at once; ask both monitors before any other answer."""
    peer = Peer(url, "gatherer")
    while True:
        while not peer.heard:
            peer.connection.process_data_events(1)
        question = peer.heard.pop(0)
        if question == b"gather":
            for name in MONITORS:
                peer.say(name, b"question")
            peer.wait(len(MONITORS))
        peer.say("workload", b"answer")


def floor(url: str, count: int) -> tuple[list[float], list[float]]:
    """Return for each raw section the seconds to enter and to leave."""
    context = multiprocessing.get_context("spawn")
    roles: list[tuple[Callable[..., None], tuple[str, ...]]] = [(gatherer, (url,))]
    roles += [(monitor, (url, name)) for name in MONITORS]
    children = [context.Process(target=target, args=args, daemon=True) for target, args in roles]
    for child in children:
        child.start()
    time.sleep(3)
    entering, leaving = [], []
    for _ in range(count):
        began = time.perf_counter()
        workload = Peer(url, "workload")
        for question in (b"accept", b"gather"):
            workload.say("gatherer", question)
            workload.wait(1)
        for _ in range(PROBES):
            workload.say("gatherer", b"clock")
        workload.wait(PROBES)
        workload.say("gatherer", b"gather")
        workload.wait(1)
        workload.connection.close()
        inside = time.perf_counter()
        workload = Peer(url, "workload")
        for _ in range(3):
            workload.say("gatherer", b"clock")
        workload.wait(3)
        workload.say("gatherer", b"gather")
        workload.wait(1)
        workload.connection.close()
        entering.append(inside - began)
        leaving.append(time.perf_counter() - inside)
    for child in children:
        child.terminate()
        child.join()
    return entering, leaving


def main() -> None:
    """Measure on each broker."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("brokers", nargs="*", default=list(BROKERS), help="embedded, rabbitmq")
    parser.add_argument("--sections", type=int, default=40, metavar="N")
    asked = parser.parse_args()
    for kind in asked.brokers:
        with own_state(), broker(kind) as url:
            floor_enter, floor_leave = floor(url, asked.sections)
            with lab(url):
                enter, leads, leave = sections(url, asked.sections)
        print(f"── {kind}")
        print(row("enter to body, without the lead", enter))
        print(row("  floor: raw pika", floor_enter))
        print(f"  ratio {statistics.median(enter) / statistics.median(floor_enter):.2f} (aim 1.5)")
        print(row("lead", leads))
        print(row("body to closed", leave))
        print(row("  floor: raw pika", floor_leave))
        print(f"  ratio {statistics.median(leave) / statistics.median(floor_leave):.2f} (aim 1.5)")


if __name__ == "__main__":
    main()
