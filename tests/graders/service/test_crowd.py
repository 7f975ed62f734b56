"""Five hundred askers at once, each with a connection of its own: all are answered, none twice."""

import json
import resource
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from shells import Shell

ASKERS, PROCESSES = 500, 4

SETTINGS = """
[[grader]]
name = "nap"
kind = "sleep"
threads = 8
options = { min = "1ms", max = "20ms" }
"""

CROWD = """
import json, os, secrets, select, sys, time
from contextlib import ExitStack

from pytest_gatherscatter.broker.port import Delivered
from pytest_gatherscatter.graders.request import make_request
from pytest_gatherscatter.graders.service.asker import GradeAsker

lab, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
deliveries, ended, crowd = [0] * count, [[] for _ in range(count)], []


def counted(number, take):
    def look(event, *, now):
        deliveries[number] += isinstance(event, Delivered)
        take(event, now=now)
    return look


def turn():
    for number, asker in enumerate(crowd):
        ended[number] += [(one.request, one.outcome) for one in asker.poll(0)]


def told(word):
    # Heartbeats go on meanwhile.
    print(word, flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        turn()
    sys.stdin.readline()


with ExitStack() as stack:
    for number in range(count):
        asker = GradeAsker(lab, url)
        asker._driver.pump.take = counted(number, asker._driver.pump.take)
        crowd.append(stack.enter_context(asker))
        if number % 10 == 0:
            turn()
    told("connected")
    ids = []
    for asker in crowd:
        ids.append(secrets.token_hex(8))
        asker.ask(make_request("nap", 1, id=ids[-1], now=time.time(), seconds=60), 60)
    while any(asker.left for asker in crowd):
        turn()
    told("answered")
    for asker in crowd:
        asker._link.queue_depth(asker._queue)  # a round trip: what the broker has said comes before
    turn()
    print(json.dumps([ids, deliveries, ended]), flush=True)
"""


@pytest.fixture
def shell(tmp_path: Path, rabbitmq_url: str) -> Iterator[Shell]:
    """A shell for an examiner."""
    (tmp_path / "gatherscatter.toml").write_text(SETTINGS)
    lab = f"t{secrets.token_hex(6)}"
    made = Shell(tmp_path, GATHERSCATTER_BROKER=rabbitmq_url, GATHERSCATTER_LAB=lab)
    yield made
    made.end()


class Crowd:
    """A process with a part of the askers."""

    def __init__(self, shell: Shell) -> None:
        keys = ("GATHERSCATTER_LAB", "GATHERSCATTER_BROKER")
        words = [*(shell.environ[key] for key in keys), str(ASKERS // PROCESSES)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", CROWD, *words],
            env=shell.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)

    def end(self) -> None:
        """Let go of it."""
        self.process.kill()
        self.process.communicate()


def test_five_hundred_ask_at_once(shell: Shell) -> None:
    """Each of them is connected before the first one asks, and hears one answer, its own."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2 * ASKERS // PROCESSES
    examiner = shell.start("graders", "serve")
    examiner.says("serves nap")
    crowds = [Crowd(shell) for _ in range(PROCESSES)]
    try:
        for word in ("connected", "answered"):
            assert [crowd.line() for crowd in crowds] == [word] * PROCESSES
            if word == "answered":
                # Whatever it had to say is in the queues now, a second answer too.
                examiner.signal(signal.SIGTERM)
                assert examiner.ends() == 0
            for crowd in crowds:
                crowd.go()
        told = [json.loads(crowd.line()) for crowd in crowds]
    finally:
        for crowd in crowds:
            crowd.end()
    ids = [id_ for part in told for id_ in part[0]]
    assert len(set(ids)) == ASKERS
    assert Counter(number for part in told for number in part[1]) == {1: ASKERS}
    assert [one for part in told for one in part[2]] == [[[id_, "graded"]] for id_ in ids]
