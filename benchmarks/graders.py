"""Graders beside Celery and dramatiq: the same work in threads, on the same RabbitMQ.

    python benchmarks/graders.py [--requests N] [--threads 1 4 16] [--millis 0 20] [--rounds N]

Needs ``celery`` and ``dramatiq[rabbitmq]``. A request sleeps so many milliseconds in one of the
threads of one process, and is answered to its asker: ours by an examiner with a ``sleep`` grader,
Celery's by its threads pool and the rpc backend, dramatiq's by a worker whose actor publishes the
answer with a confirm, since its own results need another store. All acknowledge late, and take as
many messages as they have threads. Throughput: all requests of a round are given out at once, it
is over with the last answer. Latency: one after the other. The three take turns; the aims are 1.3
times the better one's throughput, and no longer p99.
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
from pathlib import Path

from brokers import broker
from slips import Giver, running

from pytest_gatherscatter.wire import names

LAB = "default"

CELERY_APP = """
import time
from celery import Celery
app = Celery("app", broker=URL, backend="rpc://")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, worker_hijack_root_logger=False,
                broker_connection_retry_on_startup=True)

@app.task
def work(millis):
    if millis:
        time.sleep(millis / 1000)
    return {"passed": True, "score": 1.0}
"""

CELERY_ASK = """
import json, sys, time
from app import work
count, millis, serial = map(int, sys.argv[1:])
took, began = [], time.perf_counter()
if serial:
    for _ in range(count):
        at = time.perf_counter()
        work.delay(millis).get(timeout=600, interval=0.0005)
        took.append(time.perf_counter() - at)
else:
    for one in [work.delay(millis) for _ in range(count)]:
        one.get(timeout=600)
print(json.dumps([time.perf_counter() - began, took]))
"""

DRAMATIQ_APP = """
import json, threading, time
import dramatiq, pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
dramatiq.set_broker(RabbitmqBroker(url=URL, middleware=[]))
local = threading.local()

@dramatiq.actor(queue_name="dramatiqs")
def work(millis, reply, number):
    if millis:
        time.sleep(millis / 1000)
    if not hasattr(local, "channel"):
        local.channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
        local.channel.confirm_delivery()
    answer = json.dumps({"number": number, "passed": True, "score": 1.0}).encode()
    local.channel.basic_publish("", reply, answer, mandatory=True)
"""

DRAMATIQ_ASK = """
import json, sys, time
import pika
from dapp import work
count, millis, serial = map(int, sys.argv[1:])
channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
queue = channel.queue_declare("", exclusive=True).method.queue
answers = channel.consume(queue, auto_ack=True)
took, began = [], time.perf_counter()
if serial:
    for number in range(count):
        at = time.perf_counter()
        work.send(millis, queue, number)
        next(answers)
        took.append(time.perf_counter() - at)
else:
    for number in range(count):
        work.send(millis, queue, number)
    left = set(range(count))
    while left:
        left.discard(json.loads(next(answers)[2])["number"])
print(json.dumps([time.perf_counter() - began, took]))
"""

OUR_ASK = """
import json, secrets, sys, time
from pytest_gatherscatter.graders.request import make_request
from pytest_gatherscatter.graders.service.asker import GradeAsker
count, serial = int(sys.argv[1]), int(sys.argv[3])
took, asked = [], {}
def ask(asker):
    told = make_request("nap", None, id=secrets.token_hex(8), now=time.time(), seconds=600)
    asker.ask(told, 600)
with GradeAsker("default", URL, window=count) as asker:
    began = time.perf_counter()
    if serial:
        for _ in range(count):
            at = time.perf_counter()
            ask(asker)
            while not (answers := asker.poll(1.0)):
                pass
            took.append(time.perf_counter() - at)
            assert answers[0].outcome == "graded", answers
    else:
        for _ in range(count):
            ask(asker)
        while asker.left:
            assert all(one.outcome == "graded" for one in asker.poll(1.0))
    print(json.dumps([time.perf_counter() - began, took]))
"""

SCRIPTS = {"ours": "ask.py", "celery": "cask.py", "dramatiq": "dask.py"}


def asked(who: str, folder: Path, count: int, millis: int, *, serial: bool) -> list[float]:
    """Ask ``count`` times; the seconds of all of it, or of each if they are ``serial``."""
    done = subprocess.run(
        [sys.executable, SCRIPTS[who], str(count), str(millis), str(int(serial))],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=True,
    )
    seconds, took = json.loads(done.stdout)
    return took if serial else [seconds]


def measure(url: str, folder: Path, threads: int, millis: int, args: argparse.Namespace) -> None:
    """Print a line for each of the three."""
    (folder / "gatherscatter.toml").write_text(
        f'[[grader]]\nname = "nap"\nkind = "sleep"\nthreads = {threads}\n'
        + (f'options = {{ min = "{millis}ms" }}\n' if millis else "")
    )
    environ = {**os.environ, "GATHERSCATTER_BROKER": url, "XDG_RUNTIME_DIR": str(folder)}
    python = (sys.executable, "-m")
    few = ("-n", "w@%h", "--without-gossip", "--without-mingle", "-l", "WARNING")
    programs = [
        [*python, "pytest_gatherscatter", "graders", "serve", "--log-level", "warning"],
        [*python, "celery", "-A", "app", "worker", "-P", "threads", "-c", str(threads), *few],
        [*python, "dramatiq", "dapp", "-p", "1", "-t", str(threads), "--skip-logging"],
    ]
    prefetch = {**environ, "dramatiq_queue_prefetch": str(threads)}
    whole: dict[str, list[float]] = {who: [] for who in SCRIPTS}
    each: dict[str, list[float]] = {who: [] for who in SCRIPTS}
    with running(programs, folder, prefetch):
        giver = Giver(url)
        for queue in (names.grading_queue(LAB, "nap"), "celery", "dramatiqs"):
            giver.wait_for(queue, 1)
        for who in SCRIPTS:
            asked(who, folder, 2 * threads, millis, serial=False)
        for _ in range(args.rounds):
            for who in SCRIPTS:
                whole[who] += asked(who, folder, args.requests, millis, serial=False)
                each[who] += asked(who, folder, args.requests // 4, millis, serial=True)
    for who in SCRIPTS:
        took = sorted(each[who])
        print(
            f"{threads}\t{millis}\t{who}\t{args.requests / statistics.median(whole[who]):.0f}"
            f"\t{took[len(took) // 2] * 1e3:.2f}\t{took[len(took) * 99 // 100] * 1e3:.2f}",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--millis", type=int, nargs="+", default=[0, 20])
    args = parser.parse_args()
    print("threads\tms\twho\trequests/s\tp50 ms\tp99 ms", flush=True)
    began = time.monotonic()
    with broker("rabbitmq") as url, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, text in (
            ("app.py", CELERY_APP),
            ("cask.py", CELERY_ASK),
            ("dapp.py", DRAMATIQ_APP),
            ("dask.py", DRAMATIQ_ASK),
            ("ask.py", OUR_ASK),
        ):
            (folder / name).write_text(re.sub(r"\bURL\b", repr(url), text))
        for millis in args.millis:
            for threads in args.threads:
                measure(url, folder, threads, millis, args)
    print(f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
