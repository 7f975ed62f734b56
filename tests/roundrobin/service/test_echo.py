"""Services on real brokers: one client's tests, whoever stands between it and the workers."""

import json
import os
import re
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from echolab import STAGES, EchoLab, all_of, echo_lab
from shells import until

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, Properties
from pytest_gatherscatter.broker.topology.roundrobin import client_topology
from pytest_gatherscatter.wire import codec, names
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.roundrobin import Executed


@pytest.fixture(params=STAGES, ids=lambda stage: str(stage.name))
def lab(request: pytest.FixtureRequest, tmp_path: Path, embedded_url: str) -> Iterator[EchoLab]:
    """A lab on the embedded broker, with one of the stages."""
    with echo_lab(request.param, tmp_path, embedded_url) as made:
        yield made


def test_what_a_person_tries(lab: EchoLab) -> None:
    """Pings with answers and without, streams, a sum of each; at the end what each worker did."""
    alone = lab.shell.run("roundrobin", "ping", "--service", "nobody")
    assert alone.returncode == 75
    assert "there is no service nobody" in alone.stderr

    workers = lab.work("rack", bulk=10)
    done = lab.shell.run("roundrobin", "ping", "--count", "100", "--parallel", "10")
    assert done.returncode == 0, done.stderr
    first, times, *rows = done.stdout.splitlines()
    assert first == "100 sent, 100 succeeded, 0 failed"
    assert re.search(r"answered in p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms$", times)
    assert sum(int(row.split("\t")[2]) for row in rows) == 100
    assert {row.split("\t")[1] for row in rows} <= {f"rack-{n}" for n in range(1, 11)}
    assert done.stderr.splitlines()[-1] == "100 of 100 ended"

    words = ("--count", "50", "--bytes", "1024", "--json")
    told = json.loads(lab.shell.run("roundrobin", "stream", *words).stdout)
    counts = (told["sent"], told["succeeded"], told["failed"], told["left"], told["outcomes"])
    assert counts == (50, 50, 0, 0, {"done": 50})
    assert sum(one["tasks"] for one in told["workers"].values()) == 50

    blind = lab.shell.run("roundrobin", "ping", "--count", "20", "--exec", "--json")
    assert json.loads(blind.stdout)["succeeded"] == 20
    until(lambda: lab.shell.run("roundrobin", "ping").returncode == 0)  # all before it are done
    workers.signal(signal.SIGTERM)
    assert workers.ends() == 0
    rows = [line for line in workers.lines if line.startswith("worker\t")]
    assert [row.split("\t")[1] for row in rows] == [f"rack-{n}" for n in range(1, 11)]
    assert sum(int(row.split("\t")[2]) for row in rows) == 171
    assert sum(int(row.split("\t")[3]) for row in rows) == 0


def test_workers_are_killed_and_every_task_has_one_answer(lab: EchoLab) -> None:
    """What may run twice is done by another one; what may not is done, or told to be lost."""
    alive = [lab.work("a", bulk=2), lab.work("b", bulk=2)]
    with lab.client() as client:
        nap = {"seconds": 0.1}
        again = [client.execute("echo", "SLEEP", nap, 60.0, rerun=True) for _ in range(100)]
        once = [client.execute("echo", "SLEEP", nap, 60.0) for _ in range(100)]
        kills = 0

        def kill() -> None:
            nonlocal kills
            if kills < 2 and client.left <= 180 - 60 * kills:
                alive.pop(0).signal(signal.SIGKILL)
                kills += 1
                alive.append(lab.work("cd"[kills - 1], bulk=2))

        found = all_of(client, kill)
    assert kills == 2
    assert Counter(found[one].outcome for one in again) == {"done": 100}
    assert {found[one].outcome for one in once} <= {"done", "worker-lost"}
    assert len(found) == 200


def test_a_leaving_worker_gives_back_what_it_has_not_begun(lab: EchoLab) -> None:
    """What runs ends, another one does the rest, and nobody is lost."""
    first = lab.work("first", "--slots", "3")
    with lab.client() as client:
        for _ in range(12):
            client.execute("echo", "SLEEP", {"seconds": 0.3}, 60.0, rerun=True)
        told = False

        def leave() -> None:
            nonlocal told
            if client.left <= 9 and not told:
                told = True
                first.signal(signal.SIGTERM)
                lab.work("second", "--slots", "3")

        found = all_of(client, leave)
    assert first.ends() == 0
    by = Counter(answer.worker for answer in found.values())
    assert Counter(answer.outcome for answer in found.values()) == {"done": 12}
    assert by["first-1"] >= 3
    assert by["second-1"] == 12 - by["first-1"]


def test_what_goes_wrong_is_told(lab: EchoLab) -> None:
    """A command that is none, a body that nobody can read, a worker that stands still."""
    worker = lab.work("rack")
    with lab.client() as client:
        wrong = client.execute("echo", "DANCE", None, 30.0)
        assert all_of(client)[wrong].text.startswith("there is no command 'DANCE'")
        long = client.execute("echo", "SLEEP", {"seconds": 60}, 60.0, rerun=True)
        while long not in client.working:
            assert client.poll(0.1) == []
        assert client.working[long].worker == "rack-1"
        os.kill(worker.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, worker.process.pid, os.WSTOPPED | os.WNOWAIT)  # all its threads have
        late = client.execute("echo", "PING", None, 0.5)
        while not (found := client.poll(0.1)):
            pass
        os.kill(worker.process.pid, signal.SIGCONT)
        assert [(one.task, one.outcome) for one in found] == [(late, "no-response")]
        assert found[0].text.startswith("No response after 0.5 s from service echo: 1 consumer, ")
    asker, task = secrets.token_hex(8), secrets.token_hex(8)
    heard: list[Message] = []
    with Link(lab.url, client_topology(lab.name, asker), name="test") as link:
        link.open(10)
        reply_to = names.client_key(asker)
        said = Properties(type="Execute/1", correlation_id=task, reply_to=reply_to)
        exchange, key = names.direct_exchange(lab.name), names.service_key("echo")
        link.publish(exchange, key, b"{nonsense", said, mandatory=True)

        def hear() -> bool:
            heard.extend(
                codec.decode(event.body, event.properties.type)
                for event in link.poll(0.1)
                if isinstance(event, Delivered)
            )
            return bool(heard)

        until(hear)
    (answer,) = heard
    assert isinstance(answer, Executed)
    assert (answer.task, answer.outcome) == (task, "undecodable")
    worker.signal(signal.SIGINT)
    worker.says("takes no more")
    worker.signal(signal.SIGINT)
    assert worker.ends() == 130
    assert "ends what runs" in worker.text
