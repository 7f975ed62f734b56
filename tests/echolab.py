"""Labs whose echo workers are real processes, with or without a balancer before them."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shells import Actor, Shell

from pytest_gatherscatter.roundrobin.service.asker import Client
from pytest_gatherscatter.wire.roundrobin import Executed


@dataclass(frozen=True)
class Stage:
    """What stands between clients and workers: commands that run, and options of workers."""

    name: str
    options: tuple[str, ...] = ()
    says: str = "serves echo"
    between: tuple[tuple[tuple[str, ...], str], ...] = ()
    """What is started before the workers, each with what it says when it is there."""


BALANCER = (("serve", "--service", "echo"), "balances service.echo")

STAGES = (
    Stage("direct", ("--direct",)),
    Stage("balanced", (), "is known to the balancer", (BALANCER,)),
)


@dataclass
class EchoLab:
    """A lab whose workers are real processes."""

    stage: Stage
    url: str
    shell: Shell
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(6)}")

    def start(self) -> None:
        """Start what stands between."""
        self.shell.environ |= {"GATHERSCATTER_BROKER": self.url, "GATHERSCATTER_LAB": self.name}
        for words, said in self.stage.between:
            self.shell.start("roundrobin", *words).says(said)

    def work(self, name: str, *words: str, bulk: int = 1) -> Actor:
        """Start workers; they serve when this returns."""
        options = ("--name", name, "--bulk", str(bulk), *self.stage.options, *words)
        actor = self.shell.start("roundrobin", "echo", *options)
        actor.says(self.stage.says, times=bulk)
        return actor

    def client(self, window: int = 1000) -> Client:
        """A client of this lab."""
        return Client(self.name, self.url, window=window)


@contextmanager
def echo_lab(stage: Stage, folder: Path, url: str) -> Iterator[EchoLab]:
    """A lab of a stage on a broker; whoever was started in it ends with it."""
    made = EchoLab(stage, url, Shell(folder))
    try:
        made.start()
        yield made
    finally:
        made.shell.end()


def all_of(client: Client, meanwhile: Callable[[], None] = lambda: None) -> dict[str, Executed]:
    """Wait for all answers, each of which may come once."""
    found: dict[str, Executed] = {}
    end = time.monotonic() + 60
    while client.left:
        assert time.monotonic() < end, "answers are missing"
        for answer in client.poll(0.05):
            assert answer.task not in found, "answered twice"
            found[answer.task] = answer
        meanwhile()
    return found
