"""A balancer between clients and workers, of real processes: what a client hears, who may die."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from echolab import BALANCER, STAGES, EchoLab, Stage, all_of, echo_lab
from shells import Actor, until

ROOM = 2
"""Tasks that may wait: one that is asked for without an answer, and one behind it, while the slot
of the one before, which is answered, is not free yet."""

SHORT = ("serve", "--service", "echo", "--backlog", str(ROOM))

DIRECT, BALANCED = STAGES
TIGHT = Stage("tight", BALANCED.options, BALANCED.says, ((SHORT, BALANCER[1]),))


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EchoLab]:
    """A lab of a stage, on a broker."""
    stage, broker = request.param
    with echo_lab(stage, tmp_path, request.getfixturevalue(f"{broker}_url")) as made:
        yield made


@pytest.mark.parametrize(
    "lab",
    [(DIRECT, "embedded"), (TIGHT, "embedded"), (TIGHT, "rabbitmq")],
    ids=["direct", "balanced", "balanced-rabbitmq"],
    indirect=True,
)
def test_a_client_hears_the_same_with_a_balancer_between(lab: EchoLab) -> None:
    """PING, STREAM, EXEC, what nobody knows, what is late or too much, and a worker's death."""
    first = lab.work("first", "--slots", "1")
    with lab.client() as client:
        asked = {
            "ping": client.execute("echo", "PING", {"v": [1, 2]}, 30.0),
            "refused": client.execute("nobody", "PING", None, 30.0),
        }
        found = all_of(client)
        asked["stream"] = client.execute("echo", "STREAM", {"bytes": 1024}, 30.0)
        found |= all_of(client)
        asked["exec"] = client.execute("echo", "PING", None, 30.0, tracked=False)
        found |= all_of(client)
        asked["unknown"] = client.execute("echo", "DANCE", None, 30.0)
        found |= all_of(client)
        long = client.execute("echo", "SLEEP", {"seconds": 60}, 60.0)
        while long not in client.working:
            assert client.poll(0.1) == []
        asked["late"] = client.execute("echo", "PING", None, 0.2)
        while asked["late"] not in found:
            found |= {one.task: one for one in client.poll(0.1)}
        waits = [client.execute("echo", "PING", None, 60.0, rerun=True) for _ in range(ROOM)]
        if lab.stage is not DIRECT:
            asked["busy"] = client.execute("echo", "PING", None, 60.0)
            while asked["busy"] not in found:
                found |= {one.task: one for one in client.poll(0.1)}
        first.signal(signal.SIGKILL)
        lab.work("second", "--slots", "1")
        found |= all_of(client)
    ends = {what: found[task].outcome for what, task in asked.items()}
    direct = lab.stage is DIRECT
    assert ends == {
        "ping": "done",
        "refused": "refused",
        "stream": "done",
        "exec": "done",
        "unknown": "failed",
        # In a queue nobody looks at it in time.
        "late": "no-response" if direct else "expired",
        **({} if direct else {"busy": "busy"}),
    }
    assert bytes(found[asked["ping"]].payload) == b'{"v":[1,2]}'
    assert len(bytes(found[asked["stream"]].payload)) == 1024 + 2
    assert found[long].outcome == "worker-lost"
    assert [(found[one].outcome, found[one].worker) for one in waits] == [
        ("done", "second-1")
    ] * ROOM


def account(actor: Actor) -> Counter[str]:
    """End workers, and count what each says to have done or failed."""
    actor.signal(signal.SIGTERM)
    assert actor.ends() == 0, actor.text
    rows = [line.split("\t") for line in actor.lines if line.startswith("worker\t")]
    return Counter({row[1]: int(row[2]) + int(row[3]) for row in rows})


def listed(lab: EchoLab) -> list[dict[str, Any]]:
    """Who is in the table."""
    told = lab.shell.run("roundrobin", "workers", "--json")
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("lab", [(BALANCED, "rabbitmq")], ids=["rabbitmq"], indirect=True)
def test_a_standby_takes_over_and_no_task_is_lost_or_doubled(lab: EchoLab) -> None:
    """``kill -9`` of the balancer in mid-run, then of a worker: one answer each, by one run."""
    (first,) = lab.shell.started
    standby = lab.shell.start("roundrobin", "serve", "--service", "echo")
    standby.says("stands by: another balancer serves service.echo")
    old = lab.work("old", "--slots", "3", bulk=2)
    nap = {"seconds": 0.05}
    with lab.client() as client:
        once = [client.execute("echo", "SLEEP", nap, 100.0) for _ in range(120)]
        killed = False

        def kill_the_balancer() -> None:
            nonlocal killed
            if client.left <= 80 and not killed:
                killed = True
                os.kill(first.process.pid, signal.SIGKILL)

        found = all_of(client, kill_the_balancer)
        assert killed
        standby.says("balances service.echo")
        assert Counter(found[one].outcome for one in once) == {"done": 120}
        by = Counter(one.worker for one in found.values())

        victim, heir = lab.work("victim", "--slots", "3"), lab.work("heir", "--slots", "3")
        told: list[dict[str, Any]] = []

        def all_free() -> bool:
            told[:] = listed(lab)
            return {one["free"] for one in told} == {3}

        until(all_free)
        assert {one["balancer"].rpartition(":")[2] for one in told} == {str(standby.process.pid)}
        assert {one["worker"] for one in told} == {"old-1", "old-2", "victim-1", "heir-1"}
        assert account(old) == by, "none of these was begun twice"

        once = [client.execute("echo", "SLEEP", nap, 100.0) for _ in range(60)]

        def kill_a_worker() -> None:
            if client.left <= 40 and victim.process.poll() is None:
                victim.signal(signal.SIGKILL)
                victim.ends()

        found = all_of(client, kill_a_worker)
        assert victim.process.poll() == -signal.SIGKILL
        ends = Counter(found[one].outcome for one in once)
        assert ends["done"] + ends["worker-lost"] == 60
        assert ends["worker-lost"] <= 3, "more than it had slots"
        ran = Counter(one.worker for one in found.values() if one.outcome == "done")
        assert account(heir)["heir-1"] == ran["heir-1"], "what the dead one had is not begun again"
    standby.says("worker victim-1 is lost with")
