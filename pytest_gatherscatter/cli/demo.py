"""``gatherscatter demo``: the seed's shells in one terminal, a colour an actor.

Every actor is a process of its own, on a private broker that ends with the demo: what is seen
here is what happens in a lab. The story: a workload wants to enter, but ``agent2`` is missing;
nothing goes on until it starts. Then once more, with a command inside, and nothing restarted.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.cli.option import examples
from pytest_gatherscatter.cli.output import colour, printable
from pytest_gatherscatter.cli.stop import ended_by_signals
from pytest_gatherscatter.errors import NotGathered

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")

APART = 1.5
"""Seconds between two things that a reader shall see one after the other."""

PATIENCE = 60.0
"""Seconds in which a workload of the demo must have ended: it takes about three."""

ENOUGH = 5.0
"""Seconds in which an actor ends in good order before it is killed."""


@click.command(epilog=examples("gatherscatter demo"))
def demo() -> int:
    """Show all actors in one terminal: gatherer, two monitors, workloads. Ends by itself."""
    with (
        ended_by_signals(),
        TemporaryDirectory(prefix="gatherscatter-demo-") as folder,
        provider.start_local() as broker,
    ):
        stage = Stage(
            {
                **os.environ,
                "GATHERSCATTER_BROKER": broker.url,
                "GATHERSCATTER_LAB": "demo",
                "GATHERSCATTER_BENCH": "demo",
                "XDG_STATE_HOME": folder,
            },
            Path(folder),
        )
        try:
            return play(stage)
        finally:
            stage.clear()


def play(stage: "Stage") -> int:
    """Play the story; returns the exit status."""
    stage.tell("a private broker runs; the gatherer needs agent1 and agent2 in every section")
    stage.enter("gatherer", "gatherer", "agent1", "agent2", *stage.bound)
    stage.enter("agent1", "monitor", "agent1", *stage.bound)
    time.sleep(APART)
    stage.tell("a workload wants to enter; agent2 is missing, so it waits")
    first = stage.enter("workload", "workload")
    first.spoke.wait(PATIENCE)  # it says so after two seconds, on a busy machine later
    stage.tell("now agent2 starts")
    stage.enter("agent2", "monitor", "agent2", *stage.bound)
    status = stage.end_of(first)
    if status == 0:
        stage.tell("again, with nothing restarted; this time a command runs inside")
        words = ("echo", "the delicate moment")
        status = stage.end_of(stage.enter("workload", "workload", "--name", "burst", "--", *words))
    stage.tell("that is all; try it in four shells, or 'gatherscatter workload -- CMD' in a lab")
    return status


@dataclass(slots=True)
class _Actor:
    """A process, the thread that reads its lines, and the colour they are shown in."""

    name: str
    process: "subprocess.Popen[bytes]"
    reader: threading.Thread
    spoke: threading.Event
    """Set when it has said its first line, or ended without one."""


@dataclass(slots=True)
class Stage:
    """Starts actors, shows each line that they say, and ends them in reverse order."""

    environ: Mapping[str, str]
    folder: Path
    actors: list[_Actor] = field(default_factory=list)
    colours: dict[str, str] = field(default_factory=dict)

    @property
    def bound(self) -> tuple[str, str]:
        """The option that lets a service end with the demo, however that ends."""
        return ("--parent-pid", str(os.getpid()))

    def tell(self, text: str) -> None:
        """Say something that no actor says."""
        click.echo(click.style(f"{'':8} | {text}", bold=True), color=colour())

    def enter(self, name: str, *arguments: str) -> _Actor:
        """Start an actor; ``arguments`` are those of ``gatherscatter``."""
        shade = self.colours.setdefault(name, COLOURS[len(self.colours) % len(COLOURS)])
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "pytest_gatherscatter", *arguments],
            env=self.environ,
            cwd=self.folder,  # somebody's gatherscatter.toml is not for the demo
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which ends them in order
        )
        spoke = threading.Event()
        reader = threading.Thread(target=_show, args=(name, shade, process, spoke), daemon=True)
        reader.start()
        actor = _Actor(name, process, reader, spoke)
        self.actors.append(actor)
        return actor

    def end_of(self, actor: _Actor) -> int:
        """Wait for the end of an actor, and return its exit status.

        Raises:
            NotGathered: it did not end in time.
        """
        try:
            status = actor.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise NotGathered(f"{actor.name} did not end within {PATIENCE:.0f} s") from None
        actor.reader.join(ENOUGH)
        self.actors.remove(actor)
        return status

    def clear(self) -> None:
        """End everybody, the last one first."""
        for actor in reversed(self.actors):
            actor.process.send_signal(signal.SIGTERM)
            try:
                actor.process.wait(ENOUGH)
            except subprocess.TimeoutExpired:
                actor.process.kill()
                actor.process.wait()
            actor.reader.join(ENOUGH)
        self.actors.clear()


def _show(
    name: str, shade: str, process: "subprocess.Popen[bytes]", spoke: threading.Event
) -> None:
    """Show each line of an actor under its name, until it ends or nobody reads (``| head``)."""
    if process.stdout is None:
        return
    with contextlib.suppress(BrokenPipeError), process.stdout as lines:
        for line in lines:
            text = printable(line.decode(errors="replace").rstrip())
            click.echo(click.style(f"{name:8} | {text}", fg=shade), color=colour())
            spoke.set()
    spoke.set()
