"""How a lab grows: 10 to 1,000 agents, each a link of its own, in few processes.

    python benchmarks/scale.py [--agents 10 30 100 300 1000] [--broker rabbitmq|embedded]

Told are: seconds to gather everybody (enter to gathered), what that is for each agent, and the
memory of the gatherer. The floor is one raw pika round trip after another, as many as there
are agents: a system that asks in turn. Agents are threads here, so that a thousand fit on one
machine; their own speed is not what is measured.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pika
from brokers import broker, own_state, wait_for_gatherer

from pytest_gatherscatter import Monitor
from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.sections.section import Demand
from pytest_gatherscatter.sections.service import monitor
from pytest_gatherscatter.sections.service.monitor import MonitorService
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings, load

A_PROCESS = 50
"""Agents in one process: more threads than that get in each other's way."""

A_START = 0.08
"""Seconds between two agents' starts: a lab does not switch everything on at once, and what two
processors cannot connect in time is tried again, on top."""

A_TURN = 2.0
"""Seconds between two looks of an agent whether it shall end: five a second, as usual, times a
thousand is what these processors would do all day."""


def settings_of(lab: str) -> Settings:
    """Make settings that know only the lab; slow machines need patience."""
    waits = {"lab": lab, "gather_timeout": "300s", "stale_after": "30s"}
    return load(command_line=waits, environ={}, ini={}, directory=Path("/"))


def host(url: str, lab: str, first: int, count: int) -> int:
    """Fork a process with ``count`` agents; returns its pid."""
    child = os.fork()
    if child:
        return child
    settings = settings_of(lab)
    monitor.TURN = A_TURN

    def serve(number: int) -> None:
        time.sleep(number * A_START)
        name = f"agent{number}"
        MonitorService(settings, url, name=name, benches=("default",), hooks=Monitor()).run(
            lambda: False
        )

    for number in range(first, first + count):
        threading.Thread(target=serve, args=(number,), daemon=True).start()
    signal.pause()
    os._exit(0)


def memory(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def floor(url: str, count: int) -> float:
    """Return the seconds of ``count`` raw round trips, one after another."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    arrived: list[bytes] = []
    channel.basic_consume(queue, lambda *told: arrived.append(told[3]), auto_ack=True)
    began = time.perf_counter()
    for number in range(1, count + 1):
        channel.basic_publish("", queue, b"question")
        while len(arrived) < number:
            connection.process_data_events(1)
    took = time.perf_counter() - began
    connection.close()
    return took


def measure(url: str, count: int, rounds: int) -> tuple[list[float], float]:
    """Return the seconds to gather ``count`` agents, and the gatherer's memory in MiB."""
    lab = f"scale{count}"
    settings = settings_of(lab)
    environment = {**os.environ, "GATHERSCATTER_BROKER": url, "GATHERSCATTER_LAB": lab}
    gatherer = subprocess.Popen(
        [sys.executable, "-m", "pytest_gatherscatter", "gatherer"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    children: list[int] = []
    try:
        wait_for_gatherer(settings, url)
        for first in range(0, count, A_PROCESS):
            children.append(host(url, lab, first, min(A_PROCESS, count - first)))  # noqa: PERF401 - each is to be ended
        workloads = Workloads(settings, Found(url, "url", "the benchmark"), run="0" * 16)
        gathering = []
        for turn in range(rounds + 1):
            demand = Demand.of(settings, name="scale", test="benchmark", min_monitors=count)
            began = time.perf_counter()
            visit = workloads.gather(demand)
            if turn:  # the first one waits until everybody has joined
                gathering.append(time.perf_counter() - began)
            workloads.enter(visit)
            workloads.leave(visit, "passed")
        return gathering, memory(gatherer.pid)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        gatherer.terminate()
        gatherer.wait(30)


def main() -> None:
    """Measure each number of agents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--broker", default="rabbitmq")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what was started
    print("agents     gather   each   raw trips in turn   gatherer")
    with own_state(), broker(asked.broker) as url:
        for count in asked.agents:
            gathering, used = measure(url, count, asked.rounds)
            middle = statistics.median(gathering)
            print(
                f"{count:6d} {middle * 1000:8.0f} ms {middle * 1000 / count:5.2f} ms"
                f"   {floor(url, count) * 1000:10.0f} ms   {used:6.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
