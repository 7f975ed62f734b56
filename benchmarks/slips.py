"""Routing slips beside Celery's chains: the same five commands, on the same RabbitMQ.

    python benchmarks/slips.py [--slips N] [--processors 1 2 4] [--rounds N]

Needs ``celery``. Each slip has five steps of one process, each a command ``true`` in a shell; each
chain has five tasks that start the same with ``subprocess``. Processors have one slot, workers one
process; both acknowledge late and take one message at a time. All slips of a round are given out at
once over one connection, and the round is over when the last end was heard; they take turns. The
floor is the same command started and waited for, one after the other. The aims: 1.5 times the
throughput, and half of what a step costs beyond its command.

What they promise is not the same. A processor syncs to its disk that a command begins and how it
ended, tells all who watch of both, and hands a slip on with the broker's confirm: a step is not run
twice, nor lost with a process or a broker. A worker syncs nothing, so that a task whose worker was
killed runs again, and does not ask the broker whether it took the next task of a chain. There is a
setting for the latter (``confirm_publish``): chains with it are shown too.
"""

import argparse
import contextlib
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pika
import pika.exceptions
from brokers import broker

from pytest_gatherscatter.slips.route import first
from pytest_gatherscatter.wire import codec, names
from pytest_gatherscatter.wire.slips import Slip, SlipOver, Step

STEPS = 5
COMMAND = "true"
LAB = "default"

BOUND = 60.0
"""Seconds after which an end that is waited for does not come any more, and is told of."""

APP = f"""
import os, subprocess
from celery import Celery
app = Celery("bench", broker=URL, backend="rpc://")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True,
                broker_connection_retry_on_startup=True, worker_hijack_root_logger=False,
                task_default_queue=os.environ["QUEUE"],
                broker_transport_options={{"confirm_publish": os.environ["QUEUE"] == "sure"}})

@app.task(name="step")
def step():
    subprocess.run(["sh", "-c", {COMMAND!r}], check=True)

@app.task(name="last", ignore_result=False)
def last():
    subprocess.run(["sh", "-c", {COMMAND!r}], check=True)
"""

GIVE = """
import sys, time
from celery import chain
from app import app, last, step
count, ended = int(sys.argv[1]), set()
def end(body, message):
    ended.add(body["task_id"])
    message.ack()
with app.connection_for_read() as connection:
    # Before anything is given out: Celery makes the queue of results with the first task that has
    # one, or with the first get(), and what ends before that is told to nobody.
    with connection.Consumer([app.backend.binding], callbacks=[end], accept=["json"]):
        began = time.perf_counter()
        given = {chain(*[step.si() for _ in range(STEPS - 1)], last.si()).apply_async().id
                 for _ in range(count)}
        while given - ended:
            try:
                connection.drain_events(timeout=BOUND)
            except TimeoutError:
                sys.exit(f"{len(given - ended)} of {count} chains have not ended in BOUND s")
        print(time.perf_counter() - began)
"""

SETTINGS = f"""
[process.noop.commands]
nothing = "{COMMAND}"
"""


def floor(count: int) -> float:
    """Return the seconds of one command, started and waited for."""
    began = time.perf_counter()
    for _ in range(count):
        subprocess.run(["sh", "-c", COMMAND], check=True)
    return (time.perf_counter() - began) / count


@contextlib.contextmanager
def running(commands: list[list[str]], folder: Path, environ: dict[str, str]) -> Iterator[None]:
    """Run programs in ``folder`` for as long as this is open."""
    log = (folder / "log").open("a")
    programs = [
        subprocess.Popen(words, cwd=folder, env=environ, stdout=log, stderr=log)
        for words in commands
    ]
    try:
        yield
    finally:
        for program in programs:
            program.send_signal(signal.SIGTERM)
        for program in programs:
            try:
                program.wait(30)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        log.close()


class Giver:
    """Gives slips out over one connection, and hears their ends."""

    def __init__(self, url: str) -> None:
        self._channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        self._channel.confirm_delivery()
        self._asker = secrets.token_hex(8)
        self._queue = str(self._channel.queue_declare("", exclusive=True).method.queue)

    def hear(self) -> None:
        """Bind the queue of ends, once there are processors."""
        direct = names.direct_exchange(LAB)
        self._channel.queue_bind(self._queue, direct, names.slip_key(self._asker))

    def wait_for(self, queue: str, consumers: int) -> None:
        """Wait (a minute) until a queue is there and has so many consumers."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            channel = self._channel.connection.channel()
            with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                method = channel.queue_declare(queue, passive=True).method
                channel.close()
                if method.consumer_count >= consumers:
                    return
            time.sleep(0.2)
        raise SystemExit(f"nobody consumes {queue}: see the log")

    def give(self, count: int) -> float:
        """Return the seconds from giving out ``count`` slips to the last end."""
        steps = tuple(
            Step(number=number, process="noop", command="nothing") for number in range(1, STEPS + 1)
        )
        open_ = set()
        began = time.perf_counter()
        for _ in range(count):
            slip = Slip(
                id=secrets.token_hex(8),
                name="bench",
                steps=steps,
                reply_to=names.slip_key(self._asker),
                created=time.time(),
            )
            key, message = first(slip)
            properties = pika.BasicProperties(type=codec.type_of(message), delivery_mode=2)
            self._channel.basic_publish(
                names.direct_exchange(LAB), key, codec.encode(message), properties, mandatory=True
            )
            open_.add(slip.id)
        ends = self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=BOUND)
        for method, _, body in ends:
            if method is None:
                raise SystemExit(f"{len(open_)} of {count} slips have not ended in {BOUND:g} s")
            over = codec.decode(body or b"")
            if isinstance(over, SlipOver):
                if over.outcome != "done":
                    raise SystemExit(f"a slip is {over.outcome}: {over.slip.progress[-1]}")
                open_.discard(over.slip.id)
            if not open_:
                break
        took = time.perf_counter() - began
        self._channel.cancel()
        return took


def measure(url: str, folder: Path, processors: int, args: argparse.Namespace) -> None:
    """Print a line for a number of processors."""
    environ = {**os.environ, "GATHERSCATTER_BROKER": url, "XDG_STATE_HOME": str(folder / "state")}
    environ["XDG_RUNTIME_DIR"] = str(folder)
    ours = [
        [
            sys.executable,
            "-m",
            "pytest_gatherscatter",
            "slips",
            "process",
            "noop",
            "--name",
            f"p{number}",
            "--log-level",
            "warning",
        ]
        for number in range(processors)
    ]
    mine: list[float] = []
    theirs: list[float] = []
    surely: list[float] = []
    plain, sure = ({**environ, "QUEUE": queue} for queue in ("plain", "sure"))
    with (
        running(ours, folder, environ),
        running(workers("plain", processors), folder, plain),
        running(workers("sure", processors), folder, sure),
    ):
        giver = Giver(url)
        for queue in (names.steps_queue(LAB, "noop"), "plain", "sure"):
            giver.wait_for(queue, processors)
        giver.hear()
        giver.give(processors)
        for one in (plain, sure):
            chain(folder, one, processors)
        for _ in range(args.rounds):
            mine.append(giver.give(args.slips))
            theirs.append(chain(folder, plain, args.slips))
            surely.append(chain(folder, sure, args.slips))
    bare = floor(200)
    lanes = min(processors, len(os.sched_getaffinity(0)))
    slips, *chains = (args.slips / statistics.median(some) for some in (mine, theirs, surely))
    hop, *others = (max(0.0, lanes / STEPS / rate - bare) for rate in (slips, *chains))
    print(f"{processors}\t{bare * 1e3:.2f}\t{slips:.1f}\t{hop * 1e3:.2f}", end="")
    for rate, other in zip(chains, others, strict=True):
        print(f"\t{rate:.1f}\t{slips / rate:.2f}\t{other * 1e3:.2f}\t{hop / other:.2f}", end="")
    print(flush=True)


def workers(queue: str, count: int) -> list[list[str]]:
    """Return the commands of a queue's workers; what their queue is, their environment says."""
    return [
        [
            sys.executable,
            *("-m", "celery", "-A", "app", "worker", "-c", "1", "-n", f"{queue}{number}@%h"),
            *("--without-gossip", "--without-mingle", "-l", "WARNING"),
        ]
        for number in range(count)
    ]


def chain(folder: Path, environ: dict[str, str], count: int) -> float:
    """Return the seconds from giving out ``count`` chains to the last result.

    Whose workers they are for, the environment says.
    """
    done = subprocess.run(
        [sys.executable, "give.py", str(count)],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit("who gives out chains has failed: see above")
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--slips", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processors", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    theirs = ("chains/s", "ratio", "step ms", "ratio")
    ours = ("processors", "command ms", "slips/s", "step ms")
    print(*ours, *theirs, *(f"sure {one}" for one in theirs), sep="\t")
    with broker("rabbitmq") as url, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "gatherscatter.toml").write_text(SETTINGS)
        (folder / "app.py").write_text(APP.replace("URL", repr(url)))
        (folder / "give.py").write_text(
            GIVE.replace("STEPS", str(STEPS)).replace("BOUND", str(BOUND))
        )
        for processors in args.processors:
            measure(url, folder, processors, args)


if __name__ == "__main__":
    main()
