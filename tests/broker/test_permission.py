"""Least rights in force on a real RabbitMQ: all goes on, and what they forbid is refused.

One login for each role, made by importing what ``gatherscatter permissions --definitions`` says.
"""

import contextlib
import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pika
import pytest
import rabbitmq
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from shells import Shell, until
from suite import MONITORS, SETTINGS

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.permission.definition import definitions_of
from pytest_gatherscatter.broker.permission.right import pattern
from pytest_gatherscatter.broker.permission.role import ROLES, rights
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.broker.topology.sections import agent_topology, gatherer_topology
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.cli.main import status
from pytest_gatherscatter.errors import BrokerRefused
from pytest_gatherscatter.wire import names

PASSWORD = "of the lab's own"  # noqa: S105 - of a node that lives for a test

USERS = {
    "gatherer": ("gatherer", ()),
    "scope": ("monitor", ("scope",)),
    "anybody": ("monitor", ()),
    "tests": ("workload", ()),
    "watcher": ("observer", ()),
    "steerer": ("operator", ()),
    "sender": ("originator", ()),
    "runner": ("listener", ()),
    "hand": ("worker", ()),
    "spawner": ("originator worker", ()),
    "rack": ("processor", ("rack1",)),
    "giver": ("dispatcher", ()),
    "judge": ("examiner", ("judge1",)),
    "pupil": ("requester", ()),
    "clerk": ("recorder", ("book1",)),
    "steward": ("balancer", ()),
    "echoer": ("balanced echo", ()),
    "asker": ("client", ()),
    "judge-behind": ("balanced examiner", ("judge3",)),
    "rack-behind": ("balanced processor", ("rack3",)),
}
"""Logins with their roles, and whose agent they are."""


@dataclass(frozen=True)
class Guarded:
    """A lab whose rights are in force, another one of nobody, and a URL for each login."""

    lab: str
    other: str
    urls: dict[str, str]


@pytest.fixture(scope="module")
def guarded(
    rabbitmq_node: rabbitmq.Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """The logins, with what the command line prints for them."""
    lab = f"t{secrets.token_hex(6)}"
    everything: dict[str, list[object]] = {"users": []}
    at = parse(rabbitmq_node.url)
    urls = {}
    for short, (roles, agents) in USERS.items():
        user = f"{lab}-{short}"
        agent = [word for name in agents for word in ("--agent", name)]
        role = [word for name in roles.split() for word in ("--role", name)]
        words = [*role, *agent, "--lab", lab, "--user", user, "--definitions"]
        everything["users"].append({"name": user, "password": PASSWORD, "tags": ""})
        for kind, items in json.loads(printed(*words)).items():
            kept = everything.setdefault(kind, [])
            kept.extend(item for item in items if item not in kept)
        urls[short] = f"amqp://{user}:{PASSWORD.replace(' ', '%20')}@{at.host}:{at.port}"
    path = tmp_path_factory.mktemp("rights") / "definitions.json"
    path.write_text(json.dumps(everything))
    for place in (path, path.parent):
        place.chmod(0o755)
    rabbitmq_node.ctl("import_definitions", str(path))
    other = f"t{secrets.token_hex(6)}"
    with Link(rabbitmq_node.url, gatherer_topology(other), name="test") as link:
        link.open(10)
        yield Guarded(lab, other, urls)


def printed(*words: str) -> str:
    """What ``gatherscatter permissions`` prints; here, as a dozen processes take some seconds."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert status(["permissions", *words]) == 0
    return told.getvalue()


FROM = (
    *("sh", "-c"),
    'at="$1"; shift; exec "$0" -m pytest_gatherscatter "$@" < "$at"',
    sys.executable,
)
"""Starts ``gatherscatter`` with a file as its standard input; the first word names it."""

Deed = Callable[[BlockingChannel, Guarded, str], object]
"""Something on a channel, in a lab, with an exclusive queue of one's own."""


def say(exchange: Callable[[Guarded], str], key: str) -> Deed:
    """Publish, and wait for the confirm."""

    def deed(channel: BlockingChannel, at: Guarded, _mine: str) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange(at), key, b"{}")

    return deed


def hear(exchange: Callable[[Guarded], str], key: str) -> Deed:
    """Bind one's own queue."""
    return lambda channel, at, mine: channel.queue_bind(mine, exchange(at), key)


def have(queue: Callable[[Guarded], str], *, exclusive: bool = True) -> Deed:
    """Declare a queue."""
    return lambda channel, at, _: channel.queue_declare(
        queue(at), exclusive=exclusive, durable=not exclusive
    )


def take(queue: Callable[[Guarded], str]) -> Deed:
    """Take a message out of a queue."""
    return lambda channel, at, _: channel.basic_get(queue(at))


class Place:
    """What is spoken of: an exchange or a queue of the lab, or of the other one."""

    def __init__(self, make: Callable[..., str], *more: str, other: bool = False) -> None:
        self._make, self._more, self._other = make, more, other

    def __call__(self, at: Guarded) -> str:
        """Its name."""
        return self._make(at.other if self._other else at.lab, *self._more)


events = Place(names.event_exchange)
direct = Place(names.direct_exchange)
dead = Place(names.dead)
inbox = Place(names.gatherer_queue)
scopes_inbox = Place(names.agent_queue, "scope")
others_inbox = Place(names.agent_queue, "thermal")
jobs_inbox = Place(names.job_queue, "0123456789abcdef")
runners_inbox = Place(names.supervisor_queue, "0123456789abcdef")
steps_queue = Place(names.steps_queue, "power")
waiting = Place(names.waiting_queue)
others_processor = Place(names.processor_queue, "rack2")
others_examiner = Place(names.examiner_queue, "judge2")
others_grades = Place(names.grade_queue, "0123456789abcdef")
gradings = Place(names.grading_queue, "waveform")
clerks_queue = Place(names.record_queue, "book1")
others_record = Place(names.record_queue, "book2")
echo_queue = Place(names.service_queue, "service.echo")
balancers_inbox = Place(names.balancer_queue, "service.echo")
known_workers = Place(names.known_queue, "service.echo")
others_worker = Place(names.balanced_queue, "rack2")
others_client = Place(names.client_queue, "0123456789abcdef")
other_balancer = Place(names.balancer_queue, "service.echo", other=True)
captures = Place(names.section_queue, "0123456789abcdef")
other_events = Place(names.event_exchange, other=True)
other_direct = Place(names.direct_exchange, other=True)
other_inbox = Place(names.gatherer_queue, other=True)


def default(_at: Guarded) -> str:
    """The exchange that leads to any queue by its name."""
    return ""


ELSEWHERE: dict[str, Deed] = {
    "speak to another lab's gatherer": say(other_direct, "gatherer"),
    "speak on another lab's events": say(other_events, "section.go.default"),
    "hear another lab's events": hear(other_events, "#"),
    "hear another lab's answers": hear(other_direct, "reply.#"),
    "be another lab's gatherer": have(other_inbox),
    "go past the exchanges": say(default, "any.queue"),
    "make a queue of any name": have(lambda _: "anything"),
    "make an exchange": lambda channel, _at, _mine: channel.exchange_declare("anything"),
}
"""What nobody may."""

NOT_THE_GATHERERS: dict[str, Deed] = {
    "say go": say(events, "section.go.default"),
    "say that a section ended": say(events, "section.stopped.default"),
    "say that the gatherer started": say(events, "gatherer.started"),
    "speak to an agent": say(direct, "agent.thermal"),
    "answer in the gatherer's place": say(direct, "reply.0123456789abcdef"),
    "be the gatherer": have(inbox),
    "hear what is for the gatherer": hear(direct, "gatherer"),
    "hear what is for everybody": hear(direct, "#"),
    "hear all the answers": hear(direct, "reply.*"),
    "take out the gatherer's letters": take(inbox),
    "take out dead letters": take(dead),
    "hear what persons steer with": hear(direct, "gatherer.steer"),
    "delete the events": lambda channel, at, _: channel.exchange_delete(events(at)),
    "delete the dead letters": lambda channel, at, _: channel.queue_delete(dead(at)),
}
"""What only the gatherer may."""

NOT_AN_OPERATORS = NOT_THE_GATHERERS | {"steer": say(direct, names.STEER_KEY)}
"""What only the gatherer may, or somebody with the operator's role."""

NOT_THE_BALANCERS: dict[str, Deed] = {
    "assign a task": say(direct, "balanced.rack2"),
    "say that a balancer started": say(events, "balancer.started.service.echo"),
    "be a balancer": have(balancers_inbox),
    "hear what is for a balancer": hear(direct, "balancer.service.echo"),
    "say who may have tasks": say(direct, "known.service.echo"),
    "have the census": have(known_workers, exclusive=False),
    "take the census": take(known_workers),
    "hear an asker's answers": hear(direct, "client.0123456789abcdef"),
    "hear all answers": hear(direct, "client.*"),
    "have an asker's answers": have(others_client, exclusive=False),
}
"""What only a balancer may, or a client for itself."""

NOT_A_BALANCED_ONES: dict[str, Deed] = {
    **NOT_AN_OPERATORS,
    **NOT_THE_BALANCERS,
    "have another's inbox": have(others_worker),
    "hear what is for another worker": hear(direct, "balanced.rack2"),
    "ask a service": say(direct, "service.echo"),
    "answer a client": say(direct, "client.0123456789abcdef"),
    "take a service's tasks": take(echo_queue),
    "seek balancers": say(events, names.BALANCER_SOUGHT),
}

FORBIDDEN: dict[str, dict[str, Deed]] = {
    "gatherer": {
        "steer": say(direct, names.STEER_KEY),
        "have an agent's inbox": have(others_inbox),
        "hear what is for an agent": hear(direct, "agent.thermal"),
        "have a section's captures": have(captures, exclusive=False),
        "send captures": say(direct, "section.0123456789abcdef"),
    },
    "scope": {
        **NOT_AN_OPERATORS,
        "have another agent's inbox": have(others_inbox),
        "hear what is for another agent": hear(direct, "agent.thermal"),
        "hear all that is for agents": hear(direct, "agent.*"),
        "hear all captures": hear(direct, "section.*"),
        "tell a test's steps": say(events, "step.finished.0123456789abcdef"),
    },
    "anybody": {
        **NOT_AN_OPERATORS,
        "hear all that is for agents": hear(direct, "agent.*"),
    },
    "tests": {
        **NOT_AN_OPERATORS,
        "have an agent's inbox": have(others_inbox),
        "hear what is for an agent": hear(direct, "agent.thermal"),
        "hear all captures": hear(direct, "section.*"),
        "send captures": say(direct, "section.0123456789abcdef"),
        "say that an agent left": say(events, "agent.left.scope"),
    },
    "watcher": {
        **NOT_AN_OPERATORS,
        "have an agent's inbox": have(others_inbox),
        "hear what is for an agent": hear(direct, "agent.thermal"),
        "have a section's captures": have(captures, exclusive=False),
        "hear captures": hear(direct, "section.0123456789abcdef"),
        "tell a test's steps": say(events, "step.finished.0123456789abcdef"),
        "say that an agent left": say(events, "agent.left.scope"),
        "offer a job": say(events, "job.offered.0123456789abcdef"),
        "report to a job": say(direct, "job.0123456789abcdef"),
    },
    "steerer": {
        **NOT_THE_GATHERERS,
        "have an agent's inbox": have(others_inbox),
        "hear captures": hear(direct, "section.0123456789abcdef"),
        "tell a test's steps": say(events, "step.finished.0123456789abcdef"),
        "say that an agent left": say(events, "agent.left.scope"),
        "offer a job": say(events, "job.offered.0123456789abcdef"),
    },
    "sender": {
        **NOT_AN_OPERATORS,
        "have an agent's inbox": have(others_inbox),
        "have a listener's inbox": have(runners_inbox),
        "hear what is for a listener": hear(direct, "supervisor.0123456789abcdef"),
        "report to another's job": say(direct, "job.0123456789abcdef"),
        "hear what is for all jobs": hear(direct, "job.*"),
        "hear of sections": hear(events, "section.go.default"),
    },
    "runner": {
        **NOT_AN_OPERATORS,
        "have an agent's inbox": have(others_inbox),
        "have a job's inbox": have(jobs_inbox),
        "hear what is for a job": hear(direct, "job.0123456789abcdef"),
        "offer a job": say(events, "job.offered.0123456789abcdef"),
        "grant files to another": say(direct, "supervisor.0123456789abcdef"),
        "hear all that happens": hear(events, "#"),
    },
    "hand": {
        **NOT_AN_OPERATORS,
        "have a job's inbox": have(jobs_inbox),
        "offer a job": say(events, "job.offered.0123456789abcdef"),
        "grant files to another": say(direct, "supervisor.0123456789abcdef"),
        "answer for listeners": say(direct, "ping.0123456789abcdef"),
        "hear who looks for listeners": hear(events, "listener.sought"),
    },
    "rack": {
        **NOT_AN_OPERATORS,
        "have an agent's inbox": have(others_inbox),
        "have another processor's inbox": have(others_processor),
        "hear what is for another processor": hear(direct, "processor.rack2"),
        "hear what is for who gives slips out": hear(direct, "slip.0123456789abcdef"),
        "cancel a slip": say(events, "slip.cancel.0123456789abcdef"),
        "hear of sections": hear(events, "section.go.default"),
    },
    "giver": {
        **NOT_AN_OPERATORS,
        "have a processor's inbox": have(others_processor),
        "take what is for a process": take(steps_queue),
        "hear what is for a process": hear(direct, "steps.power"),
        "hear what waits": hear(direct, "waiting"),
        "take what waits": take(waiting),
        "speak to a processor": say(direct, "processor.rack1"),
        "say that a step ended": say(events, "slip.ended.0123456789abcdef"),
        "hear of all slips": hear(events, "slip.over.*"),
    },
    "judge": {
        **NOT_AN_OPERATORS,
        "have another examiner's inbox": have(others_examiner),
        "have an asker's answers": have(others_grades, exclusive=False),
        "hear an asker's answers": hear(direct, "grade.0123456789abcdef"),
        "hear all that is graded": hear(events, "grading.answered.waveform"),
        "hear of sections": hear(events, "section.go.default"),
        "seek examiners": say(events, "examiner.sought"),
    },
    "pupil": {
        **NOT_AN_OPERATORS,
        "have an examiner's inbox": have(others_examiner),
        "have a queue of requests": have(gradings, exclusive=False),
        "take others' requests": take(gradings),
        "hear requests": hear(direct, "grading.waveform"),
        "answer in an examiner's place": say(direct, "grade.0123456789abcdef"),
        "call a request a suspect": say(direct, "suspects.waveform"),
        "say that something was graded": say(events, "grading.answered.waveform"),
        "hear all answers": hear(direct, "grade.*"),
    },
    "clerk": {
        **NOT_AN_OPERATORS,
        "have another recorder's queue": have(others_record, exclusive=False),
        "hear all that happens": hear(events, "#"),
        "hear of sections that begin": hear(events, "section.go.default"),
        "speak to the gatherer": say(direct, "gatherer"),
        "ask for a grade": say(direct, "grading.waveform"),
        "say that something was graded": say(events, "grading.answered.waveform"),
        "say that a slip is over": say(events, "slip.over.0123456789abcdef"),
        "hear an asker's answers": hear(direct, "grade.0123456789abcdef"),
    },
    "steward": {
        **{what: deed for what, deed in NOT_AN_OPERATORS.items() if not what.startswith("answer")},
        "be another lab's balancer": have(other_balancer),
        "assign in another lab": say(other_direct, "balanced.rack2"),
        "register": say(direct, "balancer.service.echo"),
        "have a worker's inbox": have(others_worker),
        "hear what is for a worker": hear(direct, "balanced.rack2"),
        "have a client's answers": have(others_client, exclusive=False),
        "hear a client's answers": hear(direct, "client.0123456789abcdef"),
        "seek balancers": say(events, names.BALANCER_SOUGHT),
    },
    "echoer": {
        **NOT_AN_OPERATORS,
        **NOT_THE_BALANCERS,
        "ask a service": say(direct, "service.echo"),
        "take a grader's requests": take(gradings),
        "seek balancers": say(events, names.BALANCER_SOUGHT),
    },
    "asker": {
        **NOT_AN_OPERATORS,
        **{what: deed for what, deed in NOT_THE_BALANCERS.items() if "an asker's" not in what},
        "register": say(direct, "balancer.service.echo"),
        "have a worker's inbox": have(others_worker),
        "hear what is for a worker": hear(direct, "balanced.rack2"),
        "answer in a worker's place": say(direct, "client.0123456789abcdef"),
        "have a service's queue": have(echo_queue, exclusive=False),
        "take others' tasks": take(echo_queue),
        "hear tasks": hear(direct, "service.echo"),
        "ask for a grade": say(direct, "grading.waveform"),
    },
    "judge-behind": NOT_A_BALANCED_ONES,
    "rack-behind": NOT_A_BALANCED_ONES,
}
"""What each login may not."""


def refusals(at: Guarded, user: str, deeds: Mapping[str, Deed]) -> dict[str, int | None]:
    """Do them; the code with which RabbitMQ refused each, if it did."""
    codes: dict[str, int | None] = {}
    with pika.BlockingConnection(pika.URLParameters(at.urls[user])) as connection:
        mine = names.reply_queue(at.lab, secrets.token_hex(8))
        if user == "clerk":  # who asks nobody anything has no queue for answers
            mine = clerks_queue(at)
        connection.channel().queue_declare(mine, exclusive=True)
        for what, deed in deeds.items():
            codes[what] = None
            try:
                deed(connection.channel(), at, mine)
            except ChannelClosedByBroker as closed:
                codes[what] = closed.reply_code
    return codes


@pytest.mark.parametrize("user", FORBIDDEN)
def test_what_is_not_theirs_is_refused(guarded: Guarded, user: str) -> None:
    """RabbitMQ itself says ACCESS_REFUSED, whatever our programs would do."""
    deeds = ELSEWHERE | FORBIDDEN[user]
    assert refusals(guarded, user, deeds) == dict.fromkeys(deeds, 403)


def test_the_same_deeds_are_allowed_where_they_belong(guarded: Guarded, rabbitmq_url: str) -> None:
    """So the matrix measures rights, not mistakes of its own."""
    allowed: list[tuple[str, Deed]] = [
        ("gatherer", say(events, "section.go.default")),
        ("gatherer", say(direct, "agent.thermal")),
        ("gatherer", say(direct, "reply.0123456789abcdef")),
        ("gatherer", have(inbox)),
        ("scope", say(direct, "gatherer")),
        ("scope", say(direct, "section.0123456789abcdef")),
        ("scope", hear(direct, "agent.scope")),
        ("scope", hear(events, "section.go.default")),
        ("scope", have(scopes_inbox)),
        ("anybody", have(others_inbox)),
        ("tests", say(events, "step.finished.0123456789abcdef")),
        ("tests", have(captures, exclusive=False)),
        ("tests", lambda channel, at, _: channel.queue_delete(captures(at))),
        ("watcher", hear(events, "#")),
        ("watcher", say(direct, "gatherer")),
        ("steerer", hear(events, "#")),
        ("steerer", say(direct, names.STEER_KEY)),
        ("sender", have(jobs_inbox)),
        ("sender", hear(direct, "job.0123456789abcdef")),
        ("sender", hear(events, names.JOB_SOUGHT)),
        ("sender", say(events, "job.offered.0123456789abcdef")),
        ("sender", say(direct, "supervisor.0123456789abcdef")),
        ("sender", say(events, names.LISTENER_SOUGHT)),
        ("sender", hear(direct, "ping.0123456789abcdef")),
        ("runner", have(runners_inbox)),
        ("runner", hear(direct, "supervisor.0123456789abcdef")),
        ("runner", hear(events, "job.offered.*")),
        ("runner", say(events, names.JOB_SOUGHT)),
        ("runner", say(direct, "job.0123456789abcdef")),
        ("runner", hear(events, names.LISTENER_SOUGHT)),
        ("runner", say(direct, "ping.0123456789abcdef")),
        ("judge", have(gradings, exclusive=False)),
        ("judge", say(direct, "grade.0123456789abcdef")),
        ("pupil", hear(direct, "grade.0123456789abcdef")),
        ("clerk", hear(events, "grading.answered.*")),
        ("clerk", hear(events, "slip.over.*")),
        ("clerk", say(dead, "")),
        ("sender", say(events, "job.finished.0123456789abcdef")),
        ("steward", say(direct, "balanced.rack2")),
        ("steward", say(direct, "client.0123456789abcdef")),
        ("echoer", say(direct, "balancer.service.nobody")),
        ("echoer", say(direct, "client.0123456789abcdef")),
        ("echoer", have(others_worker)),
        ("asker", say(direct, "service.nobody")),
        ("asker", hear(direct, "client.0123456789abcdef")),
        ("asker", say(events, names.BALANCER_SOUGHT)),
    ]
    for user, deed in allowed:
        assert refusals(guarded, user, {user: deed}) == {user: None}
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        purged = connection.channel().queue_purge(dead(guarded))
    assert purged.method.message_count == 1  # the clerk's; other tests count those of this lab


def test_nobody_speaks_in_anothers_name(guarded: Guarded) -> None:
    """A ``user_id`` that is not the login is refused: 406."""

    def lie(channel: BlockingChannel, at: Guarded, _mine: str) -> None:
        channel.confirm_delivery()
        channel.basic_publish(
            direct(at), "gatherer", b"{}", pika.BasicProperties(user_id=f"{at.lab}-gatherer")
        )

    assert refusals(guarded, "scope", {"lie": lie}) == {"lie": 406}


def test_a_link_says_what_it_may_not(guarded: Guarded) -> None:
    """One error with RabbitMQ's own words, not tried again; the lab that is there is found."""
    with Link(guarded.urls["scope"], lab_topology(guarded.lab), name="test") as link:
        link.open(10)
    with pytest.raises(BrokerRefused, match=r"403 ACCESS_REFUSED - .*agent\.thermal"):
        Link(
            guarded.urls["scope"], agent_topology(guarded.lab, "thermal", ["b"]), name="test"
        ).open(10, retry=True)


@pytest.fixture
def shells(guarded: Guarded, tmp_path: Path) -> Iterator[dict[str, Shell]]:
    """A person for each login, in one folder with settings and monitors."""
    (tmp_path / "monitors.py").write_text(MONITORS)
    (tmp_path / "gatherscatter.toml").write_text(SETTINGS)
    people = {
        user: Shell(tmp_path, GATHERSCATTER_BROKER=url, GATHERSCATTER_LAB=guarded.lab)
        for user, url in guarded.urls.items()
    }
    yield people
    for person in people.values():
        person.end()


def test_with_them_everything_still_works(shells: dict[str, Shell]) -> None:
    """Monitors, one before the gatherer; a section with captures; seeing, steering, the doctor."""
    scope = shells["scope"].start("monitor", "scope")
    scope.says("monitor scope of lab")
    shells["gatherer"].start("gatherer").says("every section needs")
    watching = shells["watcher"].start("watch")
    watching.says("here: ")
    shells["anybody"].start("monitor", "thermal")
    watching.says("thermal joined")
    folder = shells["tests"].folder
    (folder / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.critical_section(require={'scope', 'thermal'})\n"
        "def test_it(gs_step):\n"
        "    with gs_step('warm up'): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env=shells["tests"].environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 coordinated" in done.stdout
    (trace,) = folder.glob("gs-artifacts/**/trace.csv")
    assert trace.read_bytes() == b"1,2,3"
    watching.says("warm up")
    told = shells["watcher"].run("doctor")
    assert told.returncode == 0, told.stdout
    status = json.loads(shells["watcher"].run("status", "--json").stdout)
    assert (status["dead_letters"], status["unreadable"]) == (0, 0)
    ran = shells["tests"].run("workload", "--require", "scope", "--", "true")
    assert ran.returncode == 0, ran.stderr
    steers(shells)
    shells["anybody"].started[0].signal(15)
    watching.says("thermal left")


def steers(shells: dict[str, Shell]) -> None:
    """An operator holds, resets and leaves; for anybody else RabbitMQ refuses to pass it on."""
    steerer, tests = shells["steerer"], shells["tests"]
    others = {"tests": ["reset", "--all"], "scope": ["reset", "--all"], "watcher": ["hold"]}
    for other, words in others.items():
        refused = shells[other].run(*words)
        assert refused.returncode != 0
        for said in ("ACCESS_REFUSED", "access to topic 'gatherer.steer'", "'gatherscatter perm"):
            assert said in refused.stderr, refused.stderr
        assert refused.stderr.count("\n") == 1, refused.stderr
    holding = steerer.start("hold", "probe moved")
    holding.says("is held")
    waits = tests.start("workload", "--require", "scope", "--", "true")
    waits.says("probe moved")
    holding.signal(2)
    assert (holding.ends(), waits.ends()) == (0, 0)
    holding = steerer.start("hold")
    holding.says("is held")
    assert steerer.run("reset", "--all").stdout.startswith("hold of ")
    assert holding.ends() == 1
    inside = tests.start("workload", "--require", "scope", "--", "sh", "-c", "echo in; sleep 60")
    inside.says("in")
    os.killpg(inside.process.pid, signal.SIGKILL)  # what it started holds its ticket too
    inside.ends()
    left = steerer.run("leave")
    assert "is left" in left.stdout, left.stdout + left.stderr


def test_test_files_are_run_elsewhere(shells: dict[str, Shell]) -> None:
    """Who gives them out and who runs them need no more than their roles."""
    folder = shells["sender"].folder
    for number in range(2):
        (folder / f"test_{number}.py").write_text("def test_it(): pass\n")
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    runner = shells["runner"].start("testfiles", "listen", "--workspaces", str(folder / "ws"))
    runner.says("listens with")
    seen = shells["sender"].run("testfiles", "ping", "--wait", "0.5s")
    assert seen.stdout.startswith("listener\t"), seen.stderr
    sender = shells["sender"].start("--gs-dispatch", how=pytest_)
    sender.says("2 passed")
    assert sender.ends() == 0
    runner.end()
    assert runner.ends() == 0
    hand = shells["hand"].start("--gs-worker", "--rootdir", str(folder), str(folder), how=pytest_)
    words = ("--gs-dispatch", "--gs-source", "none", "test_0.py", "test_1.py")
    sender = shells["sender"].start(*words, how=pytest_)
    sender.says("2 passed")
    # One login for both, and one that may run them only.
    spawner = shells["spawner"].start("--gs-spawn", "1", "test_0.py", how=pytest_)
    refused = shells["hand"].start("--gs-spawn", "1", "test_0.py", how=pytest_)
    assert (sender.ends(), hand.ends()) == (0, 0)
    spawner.says("1 passed")
    assert spawner.ends() == 0
    refused.says("ACCESS_REFUSED")
    assert refused.ends() != 0
    assert "INTERNALERROR" not in refused.text


SLIP = """
name = "both"
[[step]]
process = "power"
command = "on"
after = []
[[step]]
process = "power"
command = "on"
after = []
[[step]]
process = "power"
command = "on"
"""


def test_slips_are_processed(shells: dict[str, Shell]) -> None:
    """Who gives them out and who processes them need no more than their roles."""
    rack, giver = shells["rack"], shells["giver"]
    with (rack.folder / "gatherscatter.toml").open("a") as settings:
        settings.write('\n[process.power.commands]\non = "echo on"\n')
    (giver.folder / "slip.toml").write_text(SLIP)
    running = rack.start("slips", "process", "power", "--name", "rack1")
    running.says("power")
    ran = giver.run("slips", "run", "slip.toml", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    progress = json.loads(ran.stdout)["progress"]
    assert [one["status"] for one in progress] == ["done"] * 3
    looked = giver.run("slips", "status")
    assert (looked.returncode, "rack1" in looked.stdout) == (0, True), looked.stderr
    wished = giver.run("slips", "cancel", "0123456789abcdef", "--wait", "1s")
    assert "ACCESS_REFUSED" not in wished.stderr, wished.stderr


def test_results_are_judged(shells: dict[str, Shell]) -> None:
    """Who judges, asks or records needs only the role; what kills is a suspect, then dead."""
    judge, pupil = shells["judge"], shells["pupil"]
    program = judge.folder / "judge.sh"
    program.write_text("grep -q kill && kill -9 $$\necho '{\"passed\": true}'\n")
    with (judge.folder / "gatherscatter.toml").open("a") as settings:
        settings.write('\n[[grader]]\nname = "trace"\nkind = "subprocess"\nattempts = 2\n')
        settings.write(f"options = {{ command = ['sh', '{program}'] }}\n")
    judge.start("graders", "serve", "--name", "judge1").says("serves trace")
    clerk = shells["clerk"]
    clerk.environ["GATHERSCATTER_DATABASE"] = "sqlite:///lab.db"
    book = clerk.start("recorder", "--name", "book1")
    book.says("recorder book1 of lab")
    for payload, code in (("1", 0), ('"kill"', 75)):
        (pupil.folder / "payload").write_text(payload)
        asking = pupil.start("payload", "graders", "request", "trace", how=FROM)
        assert asking.ends() == code, asking.text
    assert "2 attempts ended with their grader" in asking.text
    looked = pupil.run("graders", "status")
    assert (looked.returncode, "judge1" in looked.stdout) == (0, True), looked.stderr
    until(lambda: clerk.run("results").stdout.count("trace") == 2)
    book.signal(signal.SIGTERM)
    assert book.ends() == 0, book.text


def test_services_are_balanced(shells: dict[str, Shell]) -> None:
    """Who balances, works behind a balancer or asks needs only the roles, also when one dies."""
    steward, asker = shells["steward"], shells["asker"]
    with (steward.folder / "gatherscatter.toml").open("a") as settings:
        settings.write('\n[process.dry.commands]\non = "echo on"\n')
        settings.write("[[grader]]\nname = 'late'\nkind = 'sleep'\noptions = { max = '1ms' }\n")
    (steward.folder / "slip.toml").write_text(SLIP.replace("power", "dry"))
    balanced = ("echo", "grading.late", "steps.dry")
    words = [word for one in balanced for word in ("--service", one)]
    first = steward.start("roundrobin", "serve", *words)
    first.says("balances")
    second = steward.start("roundrobin", "serve", *words)
    echoer = shells["echoer"].start("roundrobin", "echo", "--name", "e")
    judge = shells["judge-behind"].start("graders", "serve", "--name", "judge3", "--via-balancer")
    rack = shells["rack-behind"].start(
        "slips", "process", "dry", "--name", "rack3", "--via-balancer"
    )
    echoer.says("is known to the balancer")
    judge.says("serves late")
    rack.says("processes dry")
    second.says("stands by")
    first.signal(signal.SIGKILL)
    first.ends()
    second.says("balances")
    pinged = asker.run("roundrobin", "ping", "--count", "20")
    assert pinged.returncode == 0, pinged.stderr
    (shells["pupil"].folder / "payload").write_text("1")
    asking = shells["pupil"].start("payload", "graders", "request", "late", how=FROM)
    ran = shells["giver"].run("slips", "run", "slip.toml", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert asking.ends() == 0, asking.text
    looked = asker.run("roundrobin", "workers", "--json")
    assert looked.returncode == 0, looked.stderr
    done = {one["worker"]: one["done"] for one in json.loads(looked.stdout)}
    assert {name: number > 0 for name, number in done.items()} == {
        "e-1": True,
        "judge3-late": True,
        "rack3": True,
    }
    for one in (echoer, judge, rack, second):
        one.signal(signal.SIGTERM)
        assert one.ends() == 0, one.text
        assert "ACCESS_REFUSED" not in one.text


def test_commands_for_rabbitmqctl(rabbitmq_node: rabbitmq.Node, lab: str) -> None:
    """Each line is one that it takes as it stands; before there is a gatherer, that is told."""
    rabbitmq_node.ctl("add_user", lab, PASSWORD)
    words = ("--role", "monitor", "--agent", "scope", "--user", lab, "--lab", lab)
    first, *topics = printed(*words).splitlines()
    typed(rabbitmq_node, first)
    at = parse(rabbitmq_node.url)
    url = f"amqp://{lab}:{PASSWORD.replace(' ', '%20')}@{at.host}:{at.port}"
    scope = agent_topology(lab, "scope", ["b"])
    with pytest.raises(BrokerRefused, match="are not there yet: start its gatherer first"):
        Link(url, scope, name="test").open(10, retry=True)
    with Link(rabbitmq_node.url, gatherer_topology(lab), name="test") as gatherer:
        gatherer.open(10)
        for line in topics:  # which RabbitMQ 4 takes only where the exchanges are
            typed(rabbitmq_node, line)
        with Link(url, scope, name="test") as link:
            link.open(10)
    there = json.loads(rabbitmq_node.ctl("export_definitions", "-"))
    wanted = definitions_of(lab, "/", rights(["monitor"], [lab], ["scope"]), [lab])
    for kind in ("permissions", "topic_permissions"):
        mine = [item for item in there[kind] if item["user"] == lab]
        assert len(mine) == len(wanted[kind])
        assert all(item in mine for item in wanted[kind])


def typed(node: rabbitmq.Node, line: str) -> None:
    """Run a line of the command line's as a person would."""
    subprocess.run(
        ["sh", "-c", line.replace("rabbitmqctl", '"$CTL"', 1)],
        env=node.shell,
        check=True,
        capture_output=True,
        timeout=60,
    )


# ── as text ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", ROLES)
def test_a_pattern_fits_whole_names_only(role: str) -> None:
    """No lab whose name begins or ends as ours, or that a dot of a pattern would let in."""
    given = rights([role], ["lab"])
    strangers = ("gs.lab2", "xgs.lab", "gsxlab", "gs.lab.to2", "gs.labxto", "gs.lab2.reply.0")
    for some in (given.configure, given.write, given.read):
        assert not any(re.search(pattern(some), name) for name in ("", *strangers))


def test_rights_add_up() -> None:
    """Two roles in two labs are the rights of all four, each pattern once."""
    both = rights(["monitor", "workload"], ["a", "b"], ["scope"])
    apart = rights(["monitor"], ["a", "b"], ["scope"])
    apart += rights(["workload"], ["b", "a"])
    for one, other in ((both.configure, apart.configure), (both.write, apart.write)):
        assert set(one) == set(other)
    assert set(both.exchanges) == {"gs.a", "gs.a.to", "gs.b", "gs.b.to"}
    assert len(set(both.read)) == len(both.read)


def test_an_agent_without_a_monitor_is_a_mistake() -> None:
    """One line, and 2."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest_gatherscatter", "permissions"),
            *("--role", "observer", "--agent", "scope"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--agent: goes with --role monitor" in done.stderr
