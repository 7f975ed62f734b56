"""Slips on real brokers, through real processors: how they end, and what nobody loses."""

import json
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import brokerprocess
import pytest
from shells import Actor, Shell, until

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import Delivered, Properties
from pytest_gatherscatter.broker.topology import Consumer, Topology
from pytest_gatherscatter.broker.topology.slips import processor_topology
from pytest_gatherscatter.errors import SlipLost, SlipRefused
from pytest_gatherscatter.slips.asker import AskState, SlipNews
from pytest_gatherscatter.slips.document import document
from pytest_gatherscatter.slips.service.asker import SlipRun
from pytest_gatherscatter.wire import names
from pytest_gatherscatter.wire.slips import Attempt, SlipOver, SlipStepBegun, SlipStepMoved

SETTINGS = """
[processor]
slots = 3

[process.power.commands]
on = "echo on {volts}"
off = "echo off; echo off >> {place}/said"

[process.flash.commands]
write = "echo ::progress 0.5 half; echo wrote {image}"
fail = "echo no device >&2; exit 3"
more = '''echo '::step {{"process": "power", "command": "off"}}' '''
meet = "touch {place}/{mine}; while ! test -e {place}/{other}; do sleep 0.02; done"

[process.flaky.commands]
hang = "echo $$ >> {place}/pids; test -e {place}/go || sleep 60"
"""


class SlipLab:
    """A lab with a processor for power and flash."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.name = f"t{secrets.token_hex(6)}"
        (folder / "gatherscatter.toml").write_text(SETTINGS)
        self.shell = Shell(folder, GATHERSCATTER_BROKER=url, GATHERSCATTER_LAB=self.name)
        self.process("rack1", "power", "flash")

    def process(self, name: str, *processes: str) -> Actor:
        """Start a processor; it serves when this returns."""
        actor = self.shell.start("slips", "process", *processes, "--name", name)
        actor.says("processes")
        return actor

    def run(
        self,
        *steps: dict[str, Any],
        params: dict[str, str] | None = None,
        look: Callable[[SlipRun, SlipNews], None] = lambda _run, _news: None,
        **said: object,
    ) -> tuple[SlipOver, list[SlipNews]]:
        """Give a slip out, and follow it to its end; ``look`` is called for each news."""
        given = {"place": str(self.folder), **(params or {})}
        made = document({"params": given, "step": list(steps), **said}, "s")
        slip = made.slip({}, id=secrets.token_hex(8), now=1e9, timeout=None)
        heard: list[SlipNews] = []
        with SlipRun(self.name, self.url, slip) as run:
            while run.result is None:
                for news in run.poll(1.0):
                    heard.append(news)
                    look(run, news)
        return run.result, heard


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SlipLab]]:
    """A lab on each broker that is asked for, for all tests of this module."""
    made: dict[str, SlipLab] = {}

    def on(url: str) -> SlipLab:
        if url not in made:
            made[url] = SlipLab(tmp_path_factory.mktemp("slips"), url)
            stack.callback(made[url].shell.end)
        return made[url]

    with ExitStack() as stack:
        yield on


@pytest.fixture
def lab(labs: Callable[[str], SlipLab], embedded_url: str) -> SlipLab:
    """The lab on the embedded broker."""
    return labs(embedded_url)


def story(over: SlipOver) -> list[tuple[int, int, bool, str]]:
    """How a slip went: number, attempt, whether undone, and status."""
    return [(one.number, one.attempt, one.compensating, one.status) for one in over.slip.progress]


def last(over: SlipOver) -> Attempt:
    """The last attempt."""
    return over.slip.progress[-1]


def step(process: str, command: str, **said: object) -> dict[str, Any]:
    """A step as a document says it."""
    return {"process": process, "command": command, **said}


ON = step("power", "on", params={"volts": "5 V"}, compensate="off")
OFF = step("power", "off", mandatory=True)


def test_a_slip_from_its_first_step_to_its_last(
    labs: Callable[[str], SlipLab], broker_url: str
) -> None:
    """Parameters, progress, output and steps that were added, on each broker."""
    lab = labs(broker_url)
    over, heard = lab.run(
        ON, step("flash", "write"), step("flash", "more"), OFF, params={"image": "fw 'x'"}
    )
    assert over.outcome == "done"
    assert [one[0] for one in story(over)] == [1, 2, 3, 301, 4]
    first, second = over.slip.progress[:2]
    assert (first.stdout_tail, first.exit_status, first.processor) == ("on 5 V\n", 0, "rack1")
    assert second.stdout_tail.endswith("wrote fw 'x'\n")
    assert Path(second.log).read_text() == second.stdout_tail
    assert 0 < first.started <= first.ended <= second.started
    begun = [one.command for one in heard if isinstance(one, SlipStepBegun)]
    assert begun == ["on", "write", "more", "off", "off"]
    assert [one.share for one in heard if isinstance(one, SlipStepMoved)] == [0.5]


def test_a_failure_is_undone_in_reverse(lab: SlipLab) -> None:
    """Retried first; then what was done is compensated, and the mandatory step is run."""
    fails = step("flash", "fail", on_failure="compensate", retries=1)
    over, _ = lab.run(ON, fails, step("flash", "write"), OFF, params={"image": "x"})
    assert over.outcome == "failed"
    assert story(over) == [
        (1, 1, False, "done"),
        (2, 1, False, "failed"),
        (2, 2, False, "failed"),
        (1, 1, True, "done"),
        (4, 1, False, "done"),
    ]
    assert over.slip.progress[1].exit_status == 3
    assert over.slip.progress[1].stderr_tail == "no device\n"


def test_steps_that_are_not_after_one_another_run_at_once(
    labs: Callable[[str], SlipLab], broker_url: str
) -> None:
    """Two wait for each other and are joined before the third, on each broker."""
    lab = labs(broker_url)
    one = {"mine": f"a{lab.name}", "other": f"b{lab.name}"}
    two = {"mine": one["other"], "other": one["mine"]}
    over, _ = lab.run(
        step("flash", "meet", params=one),
        step("flash", "meet", params=two, after=[]),
        step("flash", "write", after=[1, 2]),
        params={"image": "x"},
    )
    assert over.outcome == "done", over.slip.progress
    assert sorted(one[0] for one in story(over)) == [1, 2, 3]
    assert last(over).number == 3


def pids(lab: SlipLab) -> list[int]:
    """The processes that hung."""
    path = lab.folder / "pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


@pytest.mark.parametrize("rerun", [False, True])
def test_a_processor_that_is_killed_in_a_step(lab: SlipLab, rerun: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Its command ends too; the step is interrupted, and begun again only if it says so."""
    (lab.folder / "go").unlink(missing_ok=True)
    before = len(pids(lab))
    victims = [lab.process("rack2", "flaky")]

    def kill(_run: SlipRun, news: SlipNews) -> None:
        if isinstance(news, SlipStepBegun) and news.process == "flaky" and len(victims) == 1:
            until(lambda: len(pids(lab)) > before)
            victims[0].process.kill()
            victims[0].ends()
            (lab.folder / "go").touch()
            victims.append(lab.process("rack2", "flaky"))

    over, _ = lab.run(step("flaky", "hang", rerun=rerun), OFF, look=kill)
    flaky = [one for one in story(over) if one[0] == 1]
    expected = [(1, 1, False, "interrupted"), *([(1, 2, False, "done")] if rerun else [])]
    assert flaky == expected
    assert story(over)[-1] == (2, 1, False, "done")
    assert len(pids(lab)) == before + (2 if rerun else 1)
    until(lambda: gone(pids(lab)[before]))
    victims[1].end()


def test_a_slip_that_is_cancelled_from_the_terminal(lab: SlipLab) -> None:
    """Ctrl-C ends the step that runs, the mandatory one is run, and the exit status is 130."""
    (lab.folder / "go").unlink(missing_ok=True)
    before = len(pids(lab))
    rack = lab.process("rack3", "flaky")
    (lab.folder / "long.toml").write_text(
        f"params = {{ place = {str(lab.folder)!r} }}\n"
        "[[step]]\nprocess = 'flaky'\ncommand = 'hang'\n"
        "[[step]]\nprocess = 'power'\ncommand = 'off'\nmandatory = true\n"
    )
    person = lab.shell.start("slips", "run", "long.toml")
    until(lambda: len(pids(lab)) > before)
    seen = json.loads(lab.shell.run("slips", "status", "--json", "--wait", "0.5s").stdout)
    assert [one["processor"] for one in seen["processors"]] == ["rack1", "rack3"]
    assert seen["processors"][1]["running"][0].startswith("long 1 hang")
    assert seen["queues"] == {"flaky": 0, "flash": 0, "power": 0}
    person.signal(signal.SIGINT)
    assert person.ends() == 130, person.text
    assert "step 1, flaky hang: cancelled" in person.text
    assert "step 2, power off: done" in person.text
    assert "slip long is over: cancelled" in person.text
    assert gone(pids(lab)[before])
    rack.signal(signal.SIGTERM)
    assert rack.ends() == 0


def test_a_processor_that_is_told_twice_to_end(lab: SlipLab) -> None:
    """It ends the command that runs and hands its slip on before it goes, also on Ctrl-C."""
    (lab.folder / "go").unlink(missing_ok=True)
    before = len(pids(lab))
    rack = lab.process("rack4", "flaky")

    def look(_: SlipRun, news: SlipNews) -> None:
        if isinstance(news, SlipStepBegun) and news.process == "flaky":
            until(lambda: len(pids(lab)) > before)
            rack.signal(signal.SIGINT)
            rack.says("takes no more")
            rack.signal(signal.SIGINT)

    over, _ = lab.run(step("flaky", "hang"), OFF, look=look)
    assert story(over) == [(1, 1, False, "interrupted"), (2, 1, False, "done")]
    assert over.slip.progress[0].text == "rack4 was told to end"
    assert rack.ends() == 130, rack.text
    assert gone(pids(lab)[before])


def test_a_process_that_nobody_serves(lab: SlipLab) -> None:
    """It is waited for as long as the slip says; what is mandatory is run all the same."""
    over, _ = lab.run(step("nobody", "x"), OFF, route_wait="0s")
    assert story(over) == [(1, 1, False, "unserved"), (2, 1, False, "done")]
    over, _ = lab.run(step("power", "off"), step("nobody", "x"), OFF, route_wait="0.1s")
    assert [one[3] for one in story(over)] == ["done", "unserved", "done"]


def test_what_would_be_refused_is_told_before_anything_runs(lab: SlipLab) -> None:
    """The first step would be fine; the third has no such command."""
    with pytest.raises(SlipRefused) as caught:
        lab.run(ON, ON, step("flash", "wriet"))
    assert "step 3: process flash has no command 'wriet'; did you mean 'write'" in str(caught.value)
    dry = lab.shell.run("slips", "run", "-", "--dry-run")
    assert dry.returncode == 2


def test_garbage_in_a_queue(lab: SlipLab) -> None:
    """It goes to the dead letters with its reason, and the next slip is processed."""
    dead = names.dead(lab.name)
    topology = Topology(consumers=(Consumer(dead),))
    with Link(lab.url, topology, name="test") as link:
        link.open(5)
        for body, kind in ((b"{", "RunStep/1"), (b'{"kind": "RunStep"}', "RunStep/1")):
            link.publish(
                names.direct_exchange(lab.name),
                names.steps_key("flash"),
                body,
                Properties(type=kind),
                mandatory=True,
            )
        reasons: list[object] = []
        while len(reasons) < 2:
            events = [event for event in link.poll(1.0) if isinstance(event, Delivered)]
            reasons += [event.properties.headers["gs-reason"] for event in events]
    assert "missing required field" in str(reasons[1])
    over, _ = lab.run(step("power", "off"))
    assert over.outcome == "done"


def test_who_waits_for_a_slip_hears_that_the_embedded_broker_has_forgotten_it(
    tmp_path: Path,
) -> None:
    """It comes back where it was, with nothing in it; nobody would ever say how the slip ended."""
    path = tmp_path / "broker.json"
    broker = brokerprocess.start(path)
    slip = document([{"process": "power", "command": "on"}], "s").slip(
        {}, id=secrets.token_hex(8), now=1e9, timeout=None
    )
    taker = Link(broker.address.url, processor_topology("lab", "rack1", ["power"], 1), name="t")
    with (
        ExitStack() as stack,
        taker,
        SlipRun("lab", broker.address.url, slip, checks=False) as run,
    ):
        taker.open(10)
        until(lambda: run.poll(0.1) == [] and run.machine.life.state is AskState.UNDERWAY)
        broker.process.kill()
        broker.process.wait()
        again = brokerprocess.start(path)
        stack.callback(again.process.wait)
        stack.callback(again.process.kill)
        assert again.address.url == broker.address.url
        with pytest.raises(SlipLost, match="started anew, and has forgotten slip s"):
            until(lambda: run.poll(1.0) is None)
