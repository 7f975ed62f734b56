"""How far apart the monitors of one section start, against two floors of the same run.

    python benchmarks/skew.py [--agents 2 10 100] [--rounds N]

Each agent is a process. All stamp the same host's clock into shared memory and stay. Floors:
bare sleepers that wake at one instant (what the kernel allows), and a plain fan-out over the
same broker (what a system gets that releases by message). Aim: 1.5 times the sleepers.
"""

import argparse
import mmap
import os
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pika
from brokers import broker, own_state, wait_for_gatherer

from pytest_gatherscatter import Monitor
from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.sections.hook import SectionInfo
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.service.monitor import MonitorService
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings, load


class Stamps:
    """One time for each process, in memory that all of them share."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = mmap.mmap(-1, 8 * count)

    def stamp(self, number: int) -> None:
        """Write the time of now."""
        struct.pack_into("d", self._memory, 8 * number, time.monotonic())

    def clear(self) -> None:
        """Forget all."""
        self._memory[:] = bytes(8 * self.count)

    def wait(self) -> float:
        """Wait (10 s) until all have stamped; return last minus first, in seconds."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            times = struct.unpack_from(f"{self.count}d", self._memory)
            if all(times):
                return max(times) - min(times)
            time.sleep(0.005)
        sys.exit("not everybody stamped")


def forked(count: int, work: Callable[[int], None]) -> list[int]:
    """Fork ``count`` processes that do ``work(number)``."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                work(number)
            finally:
                os._exit(0)
        children.append(child)
    return children


def end(children: list[int]) -> None:
    """End the processes that were forked."""
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def sleepers(count: int, rounds: int) -> list[float]:
    """Processes that know the instant beforehand, and nothing else."""
    stamps = Stamps(count)
    first, pause = time.monotonic() + 1.5, 0.4

    def work(number: int) -> None:
        for turn in range(rounds):
            time.sleep(max(0.0, first + turn * pause - time.monotonic()))
            stamps.stamp(number)

    children = forked(count, work)
    skews = []
    for turn in range(rounds):
        due = first + turn * pause
        time.sleep(max(0.0, due - 0.1 - time.monotonic()))
        if time.monotonic() > due - 0.05:
            continue  # too late to clear them: that turn is lost
        stamps.clear()
        time.sleep(0.1)
        skews.append(stamps.wait())
    end(children)
    return skews


def fanout(url: str, count: int, rounds: int) -> list[float]:
    """Processes that stamp when a message of a fan-out reaches them."""
    stamps, there = Stamps(count), Stamps(count)

    def work(number: int) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.exchange_declare("fan", "fanout", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "fan")
        channel.basic_consume(queue, lambda *_: stamps.stamp(number), auto_ack=True)
        there.stamp(number)
        while True:
            connection.process_data_events(5)

    children = forked(count, work)
    there.wait()
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    skews = []
    for _ in range(rounds):
        stamps.clear()
        time.sleep(0.1)
        channel.basic_publish("fan", "", b"go")
        skews.append(stamps.wait())
    connection.close()
    end(children)
    return skews


class Stamper(Monitor):
    """A monitor that only stamps."""

    def __init__(self, stamps: Stamps, number: int) -> None:
        self._stamps = stamps
        self._number = number

    def started(self, section: SectionInfo) -> None:
        """Stamp, as the first thing after t0."""
        del section
        self._stamps.stamp(self._number)


def settings_of(lab: str) -> Settings:
    """Make settings that know only the lab."""
    return load(command_line={"lab": lab}, environ={}, ini={}, directory=Path("/"))


def sections(url: str, count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return the skews of real sections as stamped, and as the gatherer measured them."""
    lab = f"skew{count}"
    settings = settings_of(lab)
    stamps = Stamps(count)
    environment = {**os.environ, "GATHERSCATTER_BROKER": url, "GATHERSCATTER_LAB": lab}
    gatherer = subprocess.Popen(
        [sys.executable, "-m", "pytest_gatherscatter", "gatherer"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )

    def work(number: int) -> None:
        monitor = Stamper(stamps, number)
        service = MonitorService(
            settings, url, name=f"agent{number}", benches=("default",), hooks=monitor
        )
        service.run(lambda: False)

    children = forked(count, work)
    wait_for_gatherer(settings, url)
    workloads = Workloads(settings, Found(url, "url", "the benchmark"), run="0" * 16)
    stamped, measured = [], []
    for turn in range(rounds + 3):
        stamps.clear()
        demand = Demand.of(settings, name="skew", test="benchmark", min_monitors=count)
        visit = workloads.gather(demand)
        workloads.enter(visit)
        skew = stamps.wait()
        section = workloads.leave(visit, "passed")
        if turn >= 3:  # noqa: PLR2004 - the first ones wait for everybody and learn the lead
            stamped.append(skew)
            measured.append((section.skew_ms or 0.0) / 1000)
    end(children)
    gatherer.terminate()
    gatherer.wait(20)
    return stamped, measured


def main() -> None:
    """Measure each number of agents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", type=int, nargs="+", default=[2, 10, 100])
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--broker", default="rabbitmq")
    asked = parser.parse_args()
    print("agents   sleepers   sections   (as measured)   fan-out   sections/sleepers")
    with own_state(), broker(asked.broker) as url:
        for count in asked.agents:
            bare = statistics.median(sleepers(count, asked.rounds)) * 1000
            stamped, measured = sections(url, count, asked.rounds)
            ours, told = statistics.median(stamped) * 1000, statistics.median(measured) * 1000
            plain = statistics.median(fanout(url, count, asked.rounds)) * 1000
            print(
                f"{count:6d} {bare:7.2f} ms {ours:7.2f} ms      {told:7.2f} ms {plain:6.2f} ms"
                f"   {ours / bare:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
