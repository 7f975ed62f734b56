"""Graders on real brokers: every request has one answer, also where examiners are killed."""

import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from shells import Actor, Shell, until

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, Properties
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.broker.topology.graders import grade_topology
from pytest_gatherscatter.graders.request import make_request
from pytest_gatherscatter.graders.service.asker import GradeAsker
from pytest_gatherscatter.wire import codec, names
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import Message

SETTINGS = """
[[grader]]
name = "nap"
kind = "sleep"
threads = 3
options = { min = "20ms", max = "60ms" }

[[grader]]
name = "judge"
kind = "python"
queues = ["judge", "later"]
threads = 2
attempts = 2
options = { target = "judging:judge" }
"""

BEHIND = """
[examiner]
via_balancer = true
"""
"""For a lab in which a balancer stands between."""

JUDGING = """
import os, signal, time
from pathlib import Path


def judge(request):
    match request.payload:
        case "kill":
            with open("killed", "a") as file:
                file.write(f"{request.attempt}\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        case "break":
            raise RuntimeError("the scope is off")
        case "exit":
            raise SystemExit(3)
        case "hang":
            Path("hangs").touch()
            time.sleep(60)
        case "wait":
            Path(f"waits-{request.id}").touch()
            while not Path("go").exists():
                time.sleep(0.02)
    return True
"""


class GradeLab:
    """A lab whose examiners are real processes."""

    def __init__(self, folder: Path, url: str, *, balanced: bool = False) -> None:
        self.folder, self.url = folder, url
        self.name = f"t{secrets.token_hex(6)}"
        (folder / "gatherscatter.toml").write_text(SETTINGS + BEHIND * balanced)
        (folder / "judging.py").write_text(JUDGING)
        self.shell = Shell(
            folder,
            GATHERSCATTER_BROKER=url,
            GATHERSCATTER_LAB=self.name,
            PYTHONPATH=str(folder),
        )

    def balance(self) -> None:
        """Start a balancer of its queues."""
        queues = [f"--service=grading.{name}" for name in ("nap", "judge", "later")]
        self.shell.start("roundrobin", "serve", *queues).says("balances grading.nap")

    def serve(self, *words: str) -> Actor:
        """Start an examiner; it serves when this returns."""
        actor = self.shell.start("graders", "serve", *words)
        actor.says("serves judge")
        return actor

    def ask(
        self,
        queue: str,
        *payloads: object,
        seconds: float = 30.0,
        meanwhile: Callable[[int], None] = lambda _: None,
    ) -> list[GradeAnswer]:
        """Ask for all of them at once; the answers in the order of asking."""
        found: dict[str, GradeAnswer] = {}
        ids = []
        with GradeAsker(self.name, self.url, window=1000) as asker:
            for payload in payloads:
                ids.append(secrets.token_hex(8))
                request = make_request(queue, payload, id=ids[-1], now=time.time(), seconds=seconds)
                asker.ask(request, seconds)
            while asker.left:
                for answer in asker.poll(0.1):
                    assert answer.request not in found, "answered twice"
                    found[answer.request] = answer
                meanwhile(len(found))
        return [found[one] for one in ids]


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GradeLab]:
    """A lab, on the embedded broker unless a test says another one, or a balancer."""
    broker, _, balanced = getattr(request, "param", "embedded").partition(" ")
    url = request.getfixturevalue(f"{broker}_url")
    made = GradeLab(tmp_path, url, balanced=bool(balanced))
    with ExitStack() as stack:
        stack.callback(made.shell.end)
        if balanced:
            made.balance()
        yield made


@pytest.mark.parametrize("lab", ["embedded", "rabbitmq", "rabbitmq balanced"], indirect=True)
def test_examiners_are_killed_and_every_request_has_one_answer(lab: GradeLab) -> None:
    """Two of them take turns in dying; what was begun is begun again, and nothing said twice."""
    alive = [lab.serve(), lab.serve()]
    kills = 0

    def kill(ended: int) -> None:
        nonlocal kills
        if kills < 3 and ended >= 20 * (kills + 1):
            kills += 1
            victim = alive.pop(0)
            victim.signal(signal.SIGKILL)
            alive.append(lab.shell.start("graders", "serve"))

    answers = lab.ask("nap", *range(100), meanwhile=kill, seconds=100.0)
    assert kills == 3
    ends = Counter(one.outcome for one in answers)
    assert ends["graded"] == 100, ends


def test_a_request_that_kills_is_given_up(lab: GradeLab) -> None:
    """Whoever has it dies, twice; then it is answered, and lies with the dead letters."""
    first = lab.serve()
    second = lab.serve()
    asked = lab.ask("refused", 1)
    assert asked[0].outcome == "refused"

    def replace(_ended: int) -> None:
        if first.process.poll() is not None and second.process.poll() is not None:
            (lab.folder / "both").touch()
            if len(lab.shell.started) == 2:
                lab.shell.start("graders", "serve")

    (answer,) = lab.ask("judge", "kill", meanwhile=replace)
    assert answer.outcome == "failed"
    assert "2 attempts ended with their grader" in answer.text
    assert (lab.folder / "killed").read_text() == "1\n2\n"
    assert (lab.folder / "both").exists()
    with Link(lab.url, lab_topology(lab.name), name="test") as link:
        link.open(10)
        until(lambda: (link.queue_depth(names.dead(lab.name)) or (0, 0))[0] == 1)


def test_what_goes_wrong_is_told(lab: GradeLab) -> None:
    """A grader that breaks, one that ends itself, a body that nobody can read; threads go on."""
    examiner = lab.serve()
    broke, ended, good, *_ = lab.ask("judge", "break", "exit", "well", *["break"] * 4)
    assert (broke.outcome, broke.text) == ("failed", "RuntimeError: the scope is off")
    assert (ended.outcome, ended.text) == ("failed", "SystemExit: 3")
    assert (good.outcome, good.passed) == ("graded", True)
    with GradeAsker(lab.name, lab.url) as asker:
        until(lambda: bool(asker.seek(0.1)))  # before it answers that, it acks what it has answered
    examiner.signal(signal.SIGSTOP)
    texts = [one.text for one in lab.ask("judge", *range(5), seconds=1.0)]
    examiner.signal(signal.SIGCONT)
    assert texts == ["No response after 1 s from queue judge: 1 agent, 3 waiting"] * 5
    answers, request = secrets.token_hex(8), secrets.token_hex(8)
    heard: list[Message] = []
    with Link(lab.url, grade_topology(lab.name, answers), name="test") as link:
        link.open(10)
        reply_to = names.grade_key(answers)
        said = Properties(type="GradeRequest/1", correlation_id=request, reply_to=reply_to)
        exchange, key = names.direct_exchange(lab.name), names.grading_key("judge")
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
    assert isinstance(answer, GradeAnswer)
    assert (answer.request, answer.outcome) == (request, "undecodable")


def test_drain_reload_and_the_account(lab: GradeLab) -> None:
    """Wrong settings are refused, right ones taken; a drain tells what it gave back and lost."""
    examiner = lab.serve("--drain", "1s", "--name", "rack1", "--metrics-port", "0")
    settings = lab.folder / "gatherscatter.toml"
    settings.write_text(SETTINGS.replace('"sleep"', '"sloop"'))
    examiner.signal(signal.SIGHUP)
    assert "kind: there is no kind 'sloop'" in examiner.says("the old settings stay")
    settings.write_text(SETTINGS.replace('"later"', '"other"'))
    examiner.signal(signal.SIGHUP)
    examiner.says("serves judge, other")
    assert lab.ask("other", "well")[0].outcome == "graded"

    told = json.loads(lab.shell.run("graders", "status", "--json").stdout)
    (agent,) = told["agents"]
    facts: dict[str, Any] = {one["name"]: one for one in agent["graders"]}
    assert (agent["examiner"], facts["judge"]["threads"]) == ("rack1", 2)
    assert (facts["judge"]["busy"], facts["nap"]["graded"]) == (0, 0)
    assert told["queues"]["judge"] == {"agents": 1, "waiting": 0}
    figure = 'grader_graded_total{examiner="rack1",grader="judge"} 1\n'
    metrics = examiner.says("metrics are at").rpartition(" ")[2]
    until(lambda: figure in urlopen(metrics).read().decode())  # noqa: S310 - as it said

    def end(_ended: int) -> None:
        if (lab.folder / "hangs").exists() and len(lab.shell.started) == 1:
            (lab.folder / "judging.py").write_text("def judge(request):\n    return True\n")
            lab.serve("--name", "rack2")
            examiner.signal(signal.SIGTERM)

    answers = lab.ask("judge", "hang", "hang", "well", meanwhile=end, seconds=100.0)
    assert examiner.ends() == 0
    assert "thread grader-judge-1 has not come back from request" in examiner.text
    assert "given back: " in examiner.text
    assert [one.outcome for one in answers] == ["graded"] * 3
