"""What a balancer adds: the same tasks with it, without it, and by Celery, on one RabbitMQ.

    python benchmarks/roundrobin.py [--tasks N] [--workers 1 10 100] [--rounds N] [--celery]
    python benchmarks/roundrobin.py --table

Workers have ten slots each, and answer PING: in one process, from ten on in two. Without a balancer
they take from the queue themselves, each as many tasks as it has slots: that is the floor. Celery
(late ack, a pool of ten threads each, rpc backend) has processes of its own, up to ten. Throughput:
all tasks of a round are out at once, it is over with the last answer. Latency: one after the
other. The three take turns. ``freed to next`` is from a worker's Increment to the task that it is
given next, ``round trip`` a message that a client publishes and is delivered itself. ``--table``
measures picks of the table alone.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from brokers import broker
from slips import Giver, running

from pytest_gatherscatter.roundrobin.table import LeastRecentlyUsed, MostFree, Table, Worker
from pytest_gatherscatter.wire.names import service_key, service_queue

LAB, SLOTS, PROCESSES = "default", 10, 2
MOST_CELERY = 10

CELERY_APP = """
from celery import Celery
app = Celery("app", broker=URL, backend="rpc://")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, worker_hijack_root_logger=False,
                broker_connection_retry_on_startup=True)

@app.task
def ping(word):
    return word
"""

CELERY_ASK = """
import json, sys, time
from app import ping
count, serial = int(sys.argv[1]), int(sys.argv[2])
took, began = [], time.perf_counter()
if serial:
    for _ in range(count):
        at = time.perf_counter()
        ping.delay("echo").get(timeout=600, interval=0.0005)
        took.append(time.perf_counter() - at)
else:
    for one in [ping.delay("echo") for _ in range(count)]:
        one.get(timeout=600)
print(json.dumps([time.perf_counter() - began, took, {}]))
"""

OUR_ASK = """
import json, sys, time
from collections import Counter
from pytest_gatherscatter.roundrobin.service.asker import Client
count, serial, service = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
what = ("PING", "echo")
took, who = [], Counter()
with Client("default", URL, window=count) as client:
    began = time.perf_counter()
    if serial:
        for _ in range(count):
            at = time.perf_counter()
            client.execute(service, *what, 600.0, tracked=True)
            while not (answers := client.poll(1.0)):
                pass
            took.append(time.perf_counter() - at)
            assert answers[0].outcome == "done", answers
    else:
        for _ in range(count):
            client.execute(service, *what, 600.0, tracked=True)
        while client.left:
            for one in client.poll(1.0):
                assert one.outcome == "done", one
                who[one.worker] += 1
    print(json.dumps([time.perf_counter() - began, took, who]))
"""

FREED = """
import json, sys, time
import pika
count = int(sys.argv[1])
connection = pika.BlockingConnection(pika.URLParameters(URL))
channel, other = connection.channel(), connection.channel()
direct, service, instance = "gs.default.to", "service.one", "ab" * 8

def say(key, kind, **facts):
    body = json.dumps({"kind": kind, "service": service, **facts}).encode()
    channel.basic_publish(direct, key, body, pika.BasicProperties(type=kind + "/1"))

queue = other.queue_declare("", exclusive=True).method.queue
passes, answers = [], other.consume(queue, auto_ack=True)
for _ in range(count):
    at = time.perf_counter()
    other.basic_publish("", queue, b"x" * 300)
    next(answers)
    passes.append(time.perf_counter() - at)

inbox = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(inbox, direct, "balanced.bench")
me = {"worker": "bench", "instance": instance}
say("balancer.service.one", "Register", address="bench", services=[service], slots=1, epoch=1, **me)
for number in range(count):
    task = {"task": f"{number:016x}", "command": "PING", "deadline": time.time() + 600}
    body = json.dumps({"kind": "Execute", "service": "one", **task}).encode()
    channel.basic_publish(direct, service, body, pika.BasicProperties(type="Execute/1"))
took, freed = [], None
for _, _, body in channel.consume(inbox, auto_ack=True):
    said = json.loads(body)
    if said["kind"] != "Assign":
        continue
    if freed is not None:
        took.append(time.perf_counter() - freed)
    if len(took) == count - 1:
        break
    freed = time.perf_counter()
    say("balancer.service.one", "Increment", number=len(took) + 1, task=said["task"], **me)
print(json.dumps([passes, took]))
"""


def asked(folder: Path, script: str, *words: object) -> tuple[float, list[float], Counter[str]]:
    """Run a script; returns the seconds of all of it, of each, and tasks by worker."""
    done = subprocess.run(
        [sys.executable, script, *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=True,
    )
    seconds, took, who = json.loads(done.stdout)
    return seconds, took, Counter(who)


def echo(service: str, workers: int, *, direct: bool) -> list[list[str]]:
    """Return the commands of so many workers, in one process or in some."""
    processes = PROCESSES if workers >= SLOTS else 1
    words = [sys.executable, "-m", "pytest_gatherscatter", "roundrobin", "echo"]
    words += ["--service", service, "--slots", str(SLOTS), "--bulk", str(workers // processes)]
    words += ["--log-level", "warning", *(["--direct"] if direct else [])]
    return [[*words, "--name", f"{service}{number}"] for number in range(processes)]


def balancer(*services: str) -> list[str]:
    """Return the command of a balancer."""
    words = [sys.executable, "-m", "pytest_gatherscatter", "roundrobin", "serve"]
    words += [word for service in services for word in ("--service", service)]
    return [*words, "--backlog", "60000", "--log-level", "warning"]


def measure(url: str, folder: Path, workers: int, args: argparse.Namespace) -> None:
    """Print a line for each kind of workers."""
    environ = {**os.environ, "GATHERSCATTER_BROKER": url, "XDG_RUNTIME_DIR": str(folder)}
    few = ("--without-gossip", "--without-mingle", "-l", "WARNING", "-P", "threads", "-c", "10")
    programs = [*echo("direct", workers, direct=True), *echo("balanced", workers, direct=False)]
    programs.append(balancer("balanced"))
    celery = args.celery and workers <= MOST_CELERY
    if celery:
        one = [sys.executable, "-m", "celery", "-A", "app", "worker", *few]
        programs += [[*one, "-n", f"w{number}@%h"] for number in range(workers)]
    kinds = {"direct": ("ask.py", "direct"), "balanced": ("ask.py", "balanced")}
    scripts: dict[str, tuple[object, ...]] = {
        **kinds,
        **({"celery": ("cask.py",)} if celery else {}),
    }
    whole: dict[str, list[float]] = {who: [] for who in scripts}
    each: dict[str, list[float]] = {who: [] for who in scripts}
    shares: dict[str, Counter[str]] = {who: Counter() for who in scripts}
    with running(programs, folder, environ):
        giver = Giver(url)
        giver.wait_for(service_queue(LAB, service_key("direct")), workers)
        giver.wait_for(service_queue(LAB, service_key("balanced")), 1)
        if celery:
            giver.wait_for("celery", workers)
        time.sleep(3.0)  # until the balancer knows its workers
        for script, *words in scripts.values():
            asked(folder, str(script), 20, 0, *words)
        for _ in range(args.rounds):
            for who, (script, *words) in scripts.items():
                seconds, _, share = asked(folder, str(script), args.tasks, 0, *words)
                whole[who].append(seconds)
                shares[who] += share
                each[who] += asked(folder, str(script), args.tasks // 10, 1, *words)[1]
    for who in scripts:
        took = sorted(each[who])
        counts = shares[who].values()
        fair = f"{max(counts) / min(counts):.3f}" if len(counts) == workers else "-"
        print(
            f"{workers}\t{who}\t{args.tasks / statistics.median(whole[who]):.0f}"
            f"\t{took[len(took) // 2] * 1e3:.2f}\t{took[len(took) * 99 // 100] * 1e3:.2f}\t{fair}",
            flush=True,
        )


def freed(url: str, folder: Path) -> None:
    """Print how long it takes from a freed slot to the backlog's head, in round trips."""
    environ = {**os.environ, "GATHERSCATTER_BROKER": url, "XDG_RUNTIME_DIR": str(folder)}
    with running([balancer("one")], folder, environ):
        Giver(url).wait_for(service_queue(LAB, service_key("one")), 1)
        done = subprocess.run(
            [sys.executable, "freed.py", "400"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            timeout=100,
            check=True,
        )
    once, took = map(statistics.median, json.loads(done.stdout))
    print(f"freed to next\t{took * 1e3:.2f} ms")
    print(f"round trip\t{once * 1e3:.2f} ms\tratio\t{took / once:.1f}", flush=True)


def table() -> None:
    """Print picks a second by the number of workers: a task is given, another one has ended."""
    print("workers\tleast recently used\tmost free\tpicks/s")
    for count in (10, 1_000, 100_000):
        rates = []
        for order in (LeastRecentlyUsed, MostFree):
            book = Table(("service.echo",), order)
            for number in range(count):
                book.add(Worker(f"w{number}", "a", SLOTS, "i", services={"service.echo"}))
            picks, out = 200_000, list[tuple[Worker, str]]()
            began = time.perf_counter()
            for number in range(picks):
                worker = book.first("service.echo")
                assert worker is not None  # noqa: S101 - all have slots
                task = str(number)
                book.give(worker, task)
                out.append((worker, task))
                if number >= count:
                    book.take_back(*out[number - count])
            rates.append(picks / (time.perf_counter() - began))
        print(f"{count}\t{rates[0]:.0f}\t{rates[1]:.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--celery", action="store_true", help="measure Celery, too")
    parser.add_argument("--table", action="store_true", help="measure the table, and nothing else")
    args = parser.parse_args()
    if args.table:
        table()
        return
    print("workers\twho\ttasks/s\tp50 ms\tp99 ms\tmax/min", flush=True)
    began = time.monotonic()
    with broker("rabbitmq") as url, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scripts = {
            "app.py": CELERY_APP,
            "cask.py": CELERY_ASK,
            "ask.py": OUR_ASK,
            "freed.py": FREED,
        }
        for name, text in scripts.items():
            (folder / name).write_text(re.sub(r"\bURL\b", repr(url), text))
        for workers in args.workers:
            measure(url, folder, workers, args)
        freed(url, folder)
    print(f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
