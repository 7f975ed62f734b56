"""Processors and those who give slips out, as processes of a simulated lab."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_gatherscatter.broker.topology.slips import asker_topology, processor_topology
from pytest_gatherscatter.journal import MemoryJournal
from pytest_gatherscatter.machine import Exited, Recovered, Run, Told
from pytest_gatherscatter.simulation.companion import Client, Server, nothing
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import LAB
from pytest_gatherscatter.simulation.slips.watch import Watch
from pytest_gatherscatter.simulation.world import EPOCH, VirtualClock, World
from pytest_gatherscatter.slips.asker import AskerMachine, CancelWish, Silence
from pytest_gatherscatter.slips.order import (
    BeginCommand,
    CommandOver,
    Done,
    Drain,
    EndCommand,
    StoodStill,
)
from pytest_gatherscatter.slips.processor import ProcessorFacts, ProcessorMachine
from pytest_gatherscatter.wire.slips import Slip, SlipOver, Status, Step

STOP = 0.2
"""Seconds that a command takes to end when it is told to."""


class _AnyLine:
    """Templates that know everything; what is run is played."""

    def line(self, step: Step, params: Mapping[str, str], *, compensating: bool = False) -> str:
        """Name what would be run."""
        del params
        return str(step.compensate if compensating else step.command)


@dataclass(slots=True)
class Command:
    """A command that runs, until ``over``."""

    begin: BeginCommand
    over: bool = False


class Processor(Server):
    """A processor that journals, dies and recovers; its commands die with it.

    ``fails`` is how often a command ends badly, ``slow`` its longest time in seconds; one of
    ``long`` seconds holds no delivery any more.
    """

    drain_word = Drain()

    def __init__(  # noqa: PLR0913, PLR0917 - what a processor is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        watch: Watch,
        processes: tuple[str, ...],
        slots: int,
        *,
        fails: float,
        slow: float,
        long: float,
        make: Callable[..., ProcessorMachine] = ProcessorMachine,
    ) -> None:
        super().__init__(world, network, name, clock)
        self._watch, self.processes, self._slots = watch, processes, slots
        self._fails, self._slow, self._long, self._make = fails, slow, long, make
        self._journal = MemoryJournal()
        self._commands: dict[int, Command] = {}
        self.machine: ProcessorMachine | None = None
        self.at_end: Callable[[], None] = nothing
        """Called when a command has ended, before anybody knows."""
        self.cut_at: tuple[int, Callable[[], None]] | None = None
        """The number of the effect before which it is cut off, and how."""

    def begin(self) -> None:
        """Recover, and take slips."""
        facts = ProcessorFacts(
            processor=self.name,
            host=self.name,
            pid=self.life,
            version="simulated",
            processes=self.processes,
            slots=self._slots,
            drain=5.0,
            long=self._long,
        )
        self._commands = {}
        machine = self.machine = self._make(facts, _AnyLine(), now=self.now)
        self.connect(processor_topology(LAB, self.name, self.processes, self._slots))
        self.pump = self.join(machine, self.world.id(), journal=self, run=self._do)
        recovered = Recovered(self._journal.read(), wall=EPOCH + self.world.now)
        self.pump.feed(recovered, now=self.now)
        self._journal.snapshot(machine.fold())

    def count_effect(self) -> None:
        """Count an effect, and die or be cut off before it if that is planned."""
        super().count_effect()
        if self.cut_at is not None and self.effects >= self.cut_at[0]:
            _, cut = self.cut_at
            self.cut_at = None
            cut()

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event down; the process may die before or after."""
        self.count_effect()
        self._journal.append(event)
        self.count_effect()

    def start_anew(self) -> None:
        """Come back without the state directory."""
        self.world.tell(self.name, "its state directory is lost")
        self._journal = MemoryJournal()
        self.start()

    def _thaw(self) -> None:
        self.step(self._stood_still)
        super()._thaw()

    def _stood_still(self) -> None:
        if self.pump is not None:
            self.pump.feed(Told(StoodStill()), now=self.now)

    def ended(self) -> None:
        """Its commands are gone with it."""
        for one in self._commands.values():
            if not one.over:
                self._watch.ended(one.begin.slip, one.begin.task, "killed", self.name)
        self._commands = {}

    def _do(self, effect: Run) -> None:
        match effect.command:
            case BeginCommand() as begin:
                self.count_effect()
                self._watch.began(begin.slip, begin.task, self.name)
                self._commands[effect.id] = Command(begin)
                chance = self.world.random
                seconds = self._slow * chance.random() ** 2
                status: Status = "failed" if chance.random() < self._fails else "done"
                self.later(seconds, self._over, effect.id, status)
                self.count_effect()
                self.at_begin()
            case EndCommand(run, status, _):
                self.later(STOP, self._over, run, status)
            case Done():
                self.later(0.0, self.die, "has drained")
            case _:
                pass

    def _over(self, run: int, status: Status) -> None:
        command = self._commands.get(run)
        if command is None or command.over or self.pump is None:
            return
        command.over = True
        self._watch.ended(command.begin.slip, command.begin.task, status, self.name)
        self.at_end()
        over = CommandOver(status, started=EPOCH + self.world.now, ended=EPOCH + self.world.now)
        self.pump.feed(Exited(run, over), now=self.now)


class Customer(Client):
    """Who gives one slip out and waits for it."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        watch: Watch,
        slip: Slip,
        asker: str,
        done: Callable[[], None],
    ) -> None:
        super().__init__(world, network, name, clock, done)
        self._watch, self._slip, self._asker = watch, slip, asker
        self._back = False

    @property
    def finished(self) -> bool:
        """Whether its slip is back, or given up."""
        return self._back

    def begin(self) -> None:
        """Give the slip out."""
        self._watch.given(self._slip)
        machine = AskerMachine(
            self._slip, asker=self._asker, checks=False, lasts=86400.0, now=self.now
        )
        self.connect(asker_topology(LAB, self._asker, self._slip.id))
        self.pump = self.join(machine, self.world.id(), run=self._do)

    def cancel(self) -> None:
        """Hear a Ctrl-C."""
        self.world.tell(self.name, f"wants slip {self._slip.id} cancelled")
        if self.pump is not None:
            self.pump.feed(Told(CancelWish("ann")), now=self.now)

    def _do(self, effect: Run) -> None:
        match effect.command:
            case SlipOver(slip=slip, outcome=outcome):
                self._back = True
                self._watch.over(slip, outcome)
                self.done()
            case Silence(text):  # it is told so, and has waited for as long as it said
                self.world.tell(self.name, text)
                self._back = True
                self._watch.gave_up(self._slip)
                self.done()
            case _:
                pass
