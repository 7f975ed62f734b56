"""Sections without end, while parties are killed: nothing grows, nothing gets slower.

The parties that live on (broker, one monitor, one run of sections) are watched from the kernel's
side; the others are killed at random. The short form is part of ``tox -e faults``; the long one
is ``tox -e soak``.
"""

import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rabbitmq
from faults.brokers import MortalEmbedded
from faults.stage import Stage, until
from faults.step import kill
from shells import OURS, Actor
from soak.sample import Series, Watched

RUN = """
import json, os, signal, sys, time
from pathlib import Path
from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.errors import SectionFailed
from pytest_gatherscatter.sections.section import Demand, verdict
from pytest_gatherscatter.sections.service.workload import Workloads
from pytest_gatherscatter.settings import Settings

settings = Settings(
    lab=os.environ["GATHERSCATTER_LAB"], artifacts=Path("captures"), report_timeout=1.0
)
found = Found(os.environ["GATHERSCATTER_BROKER"], "url", "given")
workloads = Workloads(settings, found, run="50a6" * 4)
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
while not ended:
    began = time.monotonic()
    told = []
    try:
        visit = workloads.gather(Demand.of(settings, name="soak", test="soak", require={"psu"}))
        workloads.enter(visit)
        entered = time.monotonic()
        told = [error.told for error in verdict(workloads.leave(visit, "passed"))]
    except SectionFailed as error:
        entered = None
        told = [error.told]
    facts = {"at": began, "entered": entered, "closed": time.monotonic(), "told": told}
    print(json.dumps(facts), flush=True)
    workloads.notes.clear()
"""

KNOWN = (
    "missed the Go",
    "no go came in",
    "went away and did not come back",
)
"""What a section may be told while its gatherer is killed."""

PAUSE = 1.0
"""Seconds between two kills."""

SAMPLE = 0.1
"""Seconds between two samples: who holds a lock or a connection now does not a moment later."""

MEMORY = 4 * 1024
"""KiB by which a process may seem to grow: an allocator's arenas come and go by the mebibyte."""


HELD = 6
"""Descriptors that a section holds at one time, four for its connection and two locks: who is
caught with them has leaked nothing. One in ten sections would be more within a minute."""

PARTS = 12
"""Parts of a run whose medians are compared."""

SLOWER = 0.05
"""Seconds by which the quickest sections may get slower: machines do other things, too."""


def test_short(tmp_path: Path, lab: str, request: pytest.FixtureRequest) -> None:
    """A minute on the embedded broker."""
    place = tmp_path / "broker"
    place.mkdir(mode=0o700)
    broker = MortalEmbedded(place)
    try:
        soak(broker.url, broker.pid, lab, tmp_path, min(60.0, seconds(request)))
    finally:
        broker.kill()


@pytest.mark.soak
def test_embedded(tmp_path: Path, lab: str, request: pytest.FixtureRequest) -> None:
    """Half of the long form, on the embedded broker."""
    place = tmp_path / "broker"
    place.mkdir(mode=0o700)
    broker = MortalEmbedded(place)
    try:
        soak(broker.url, broker.pid, lab, tmp_path, seconds(request) / 2)
    finally:
        broker.kill()


@pytest.mark.soak
def test_rabbitmq(
    tmp_path: Path, lab: str, rabbitmq_node: rabbitmq.Node, request: pytest.FixtureRequest
) -> None:
    """The other half, on RabbitMQ, where queues can be counted too."""

    def queues() -> int:
        return len(
            rabbitmq_node.ctl("list_queues", "--quiet", "--no-table-headers", "name").split()
        )

    before = queues()
    soak(rabbitmq_node.url, None, lab, tmp_path, seconds(request) / 2)
    assert queues() <= before + 1  # the lab's dead letters


def seconds(request: pytest.FixtureRequest) -> float:
    """How long the long form lasts."""
    return float(request.config.getoption("--soak-seconds"))


def soak(url: str, broker: int | None, lab: str, place: Path, length: float) -> None:
    """Let sections run and parties die for ``length`` seconds, then see what has grown."""
    stage = Stage(url, lab, place, how=OURS)
    stage.gate("body")  # who is started as a victim stays inside until it is killed
    chance = random.Random(lab)  # noqa: S311 - a seed that the failure names
    try:
        stage.up()
        psu = stage.start("psu", "monitor", "psu")
        psu.says("joined: a gatherer is here")
        run = stage.start("run", how=(sys.executable, "-c", RUN))
        # Who has never met a gatherer may take it that there is none.
        until(lambda: len(run.lines) > 0, run.text)
        watched = {"run": Watched(run.process.pid), "psu": Watched(psu.process.pid)}
        if broker is not None:
            watched["broker"] = Watched(broker)
        kills = {"gatherer": 0, "scope": 0, "workload": 0}
        began = time.monotonic()
        while time.monotonic() < began + length:
            strike(stage, chance.choice([*kills]), kills)
            rest = time.monotonic() + PAUSE
            while time.monotonic() < rest:
                time.sleep(SAMPLE)
                for one in watched.values():
                    one.sample(time.monotonic() - began)
        run.signal(signal.SIGTERM)
        assert run.ends() == 0, run.text
        sections = [json.loads(line) for line in run.lines]
        sys.stderr.write(figures(sections, kills, watched))
        judge(sections, watched, length)
        assert not list(place.glob("state/gatherscatter/tickets/*"))
    finally:
        stage.end()


def strike(stage: Stage, whom: str, kills: dict[str, int]) -> None:
    """Kill somebody, and start another in the same place."""
    kills[whom] += 1
    if whom == "gatherer":
        kill(stage.gatherer)
        stage.start_gatherer().says("gatherer of lab")
    elif whom == "scope":
        kill(stage.scope)
        stage.start_scope()
    else:
        with victim(stage) as workload:
            stage.tells("body", "in", times=kills[whom])
            kill(workload)


@contextmanager
def victim(stage: Stage) -> Iterator[Actor]:
    """A workload that stays inside; what it leaves behind the others have to tidy up."""
    workload = stage.start_workload()
    yield workload
    stage.shell.started.remove(workload)


def judge(sections: list[dict[str, object]], watched: dict[str, Watched], length: float) -> None:
    """See that nothing grew, nothing got slower, and nobody was told what is not true."""
    told = [line for section in sections for line in told_of(section)]
    assert [line for line in told if not any(known in line for known in KNOWN)] == []
    good = [section for section in sections if not section["told"]]
    assert len(good) > length / 4  # a fourth of a section a second: each kill takes some
    assert len(good) > 0.8 * len(sections)
    for name, one in watched.items():
        assert one.memory.drift() < MEMORY, name
        assert one.descriptors.rise() <= HELD, name
        assert one.threads.rise() <= 0, name
    assert latency(good).rise() < SLOWER  # of the quickest: a wait for a killed party is no trend


def told_of(section: dict[str, object]) -> list[str]:
    """Return the lines that a section was told."""
    told = section["told"]
    assert isinstance(told, list)
    return told


def latency(sections: list[dict[str, object]]) -> Series:
    """Median time from asking to the body, in a dozen parts: a kill spoils single ones."""
    series = Series()
    size = max(1, len(sections) // PARTS)
    for start in range(0, len(sections) - size + 1, size):
        part = sections[start : start + size]
        each = sorted(float(str(one["entered"])) - float(str(one["at"])) for one in part)
        series.add(float(str(part[0]["at"])), each[len(each) // 2])
    return series


def figures(
    sections: list[dict[str, object]], kills: dict[str, int], watched: dict[str, Watched]
) -> str:
    """Write what was seen; pytest shows it with a failure, or with ``-s``."""
    good = [section for section in sections if not section["told"]]
    lines = [f"{len(sections)} sections, {len(good)} good, kills {kills}"]
    lines += [
        f"{name}: {one.memory.usual():.0f} KiB {one.memory.drift():+.0f},"
        f" {one.descriptors.usual():.0f} descriptors {one.descriptors.rise():+.0f},"
        f" {one.threads.usual():.0f} threads {one.threads.rise():+.0f}"
        for name, one in watched.items()
    ]
    spent = latency(good)
    lines.append(f"enter to body: {spent.usual() * 1000:.1f} ms {spent.drift() * 1000:+.1f}")
    return "\n".join(["", *lines, ""])
