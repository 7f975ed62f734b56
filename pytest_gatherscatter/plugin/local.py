"""``--gs-local``: a private lab for one run of pytest, on this machine.

An embedded broker, a gatherer, and the ``[[monitor]]``s, ``[process.NAME]``s and ``[[grader]]``s of
``gatherscatter.toml``, each a process of its own as in a real lab. They are started once, in the
process that the user started (the controller, with xdist), and end with it however it ends: each
watches for the end of its parent. Ctrl-C does not reach them, so that a test that is interrupted
can still leave its section.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from pytest_gatherscatter.broker import container, provider
from pytest_gatherscatter.errors import BrokerError, GatherScatterError, NoGatherer
from pytest_gatherscatter.host.directory import state_directory
from pytest_gatherscatter.plugin import options
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import AskStatus, LabStatus
from pytest_gatherscatter.wire.names import grading_queue, steps_queue

START_SECONDS = 30.0
"""How long the lab may take to come up: a monitor's class may import its instrument's driver
and open a connection to it."""

STOP_SECONDS = 5.0
"""How long the end of the run waits for the lab to end. A monitor that takes longer is making
its instrument safe: it is left to it, and ends by itself, within bounds of its own."""

LOOK = 0.05
"""Seconds between two looks at whether everybody has joined."""


@dataclass(slots=True)
class Member:
    """A process of the lab, and the file that it logs to."""

    name: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def last_words(self) -> str:
        """Return the last line of its log."""
        with contextlib.suppress(OSError):
            said = self.log.read_text(errors="replace").strip().splitlines()
            if said:
                return said[-1]
        return f"exit status {self.process.returncode}"


@dataclass(slots=True)
class Lab:
    """What runs for this run; :meth:`stop` ends all of it."""

    broker: provider.StartedBroker
    members: list[Member] = field(default_factory=list)
    journals: list[Path] = field(default_factory=list)
    """What processors keep for the next of their name in their lab, which there will not be."""

    def stop(self) -> None:
        """End monitors, gatherer and broker, in this order, within bounds."""
        end = time.monotonic() + STOP_SECONDS
        for kind in (False, True):
            some = [member for member in self.members if (member.name == "gatherer") is kind]
            for member in some:
                member.process.terminate()
            for member in some:
                try:
                    member.process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    member.process.returncode = 0  # left on purpose: Python warns of it otherwise
        self.broker.stop()
        for journal in self.journals:
            shutil.rmtree(journal, ignore_errors=True)


def start(config: pytest.Config) -> None:
    """Start what the run asked for: a private lab, or a broker in a container.

    Raises:
        pytest.UsageError: it does not come up; in one line, with its own last words.
    """
    private = bool(config.getoption("gs_local"))
    if private and config.getoption("gs_broker") is not None:
        raise pytest.UsageError("--gs-local starts a broker of its own: leave --gs-broker out")
    try:
        broker = provider.start_local() if private else container.start_docker()
    except GatherScatterError as error:
        raise pytest.UsageError(str(error)) from None
    lab = Lab(broker)
    config.add_cleanup(lab.stop)
    options.set_local_broker(config, broker.url)
    if private:
        try:
            _fill(lab, options.settings(config))  # anew: a private lab has a name of its own
        except GatherScatterError as error:
            raise pytest.UsageError(f"--gs-local: {error}") from None


def _fill(lab: Lab, settings: Settings) -> None:
    """Start gatherer, monitors and processors, and wait until all of them are there.

    Raises:
        GatherScatterError: one of them ended, or did not join in time.
    """
    logs = settings.artifacts / "local"
    logs.mkdir(parents=True, exist_ok=True)
    # Decisions of another lab, on the state directory of the settings, are none of this one's.
    state = logs / "state"
    own_state = [] if settings.gatherer.state_dir is None else ["--state-dir", str(state)]
    names = [monitor.name for monitor in settings.monitors]
    commands = {"gatherer": ["gatherer", *own_state]} | {
        name: ["monitor", name] for name in names if name != "gatherer"
    }
    for process in settings.processes:
        own = ("--name", process, "--logs", str(logs / "slips"), "--drain", "1s")
        commands[f"process-{process}"] = ["slips", "process", process, *own]
        lab.journals.append(state_directory() / "processor" / f"{settings.lab}.{process}")
    if settings.graders:
        commands["graders"] = ["graders", "serve", "--drain", "1s"]
    for name, command in commands.items():
        log = logs / f"{name}.log"
        with log.open("wb") as stream:
            lab.members.append(Member(name, log, _start(command, lab.broker.url, settings, stream)))
    _await(lab, settings, frozenset(names))


def _start(
    command: list[str], url: str, settings: Settings, stream: BinaryIO
) -> "subprocess.Popen[bytes]":
    place = Path.cwd() if settings.file is None else settings.file.parent
    return subprocess.Popen(  # noqa: S603 - our own module
        [
            *(sys.executable, "-m", "pytest_gatherscatter", *command),
            *("--parent-pid", str(os.getpid())),
        ],
        cwd=place,
        env=os.environ
        | {
            # A command line can be read by everybody on the machine, an environment cannot.
            "GATHERSCATTER_BROKER": url,
            "GATHERSCATTER_LAB": settings.lab,
            "GATHERSCATTER_BENCH": settings.bench,
        },
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=stream,
        start_new_session=True,
    )


def _await(lab: Lab, settings: Settings, names: frozenset[str]) -> None:
    end = time.monotonic() + START_SECONDS
    unserved = {
        f"process-{process}": steps_queue(settings.lab, process) for process in settings.processes
    }
    for grader in settings.graders:
        for queue in grader.queues:
            unserved[f"grader-{queue}"] = grading_queue(settings.lab, queue)
    missing = names | {"gatherer"} | unserved.keys()
    with Asker(settings, lab.broker.url) as asker:
        while missing:
            for member in lab.members:
                if member.process.poll() is not None:
                    raise BrokerError(f"{member.name} ended at once: {member.last_words()}")
            if time.monotonic() >= end:
                who = ", ".join(sorted(missing))
                logs = lab.members[0].log.parent
                raise BrokerError(f"no {who} within {START_SECONDS:g} s; see the logs in {logs}")
            with contextlib.suppress(NoGatherer):
                status = asker.ask(AskStatus(), LabStatus)
                missing = names - {agent.agent for agent in status.agents}
                missing |= {who for who, queue in unserved.items() if not _is_served(asker, queue)}
            if missing:
                time.sleep(LOOK)


def _is_served(asker: Asker, queue: str) -> bool:
    """Whether somebody takes from a queue."""
    depth = asker.link.queue_depth(queue)
    return depth is not None and depth[1] > 0
