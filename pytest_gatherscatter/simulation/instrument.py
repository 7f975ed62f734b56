"""A monitor's process: its machine, and hooks whose duration and answers the seed draws."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pytest_gatherscatter.broker.port import PortEvent
from pytest_gatherscatter.broker.topology.sections import section_topology
from pytest_gatherscatter.machine import Exited, Run, Told
from pytest_gatherscatter.sections.hook import Hold, Veto
from pytest_gatherscatter.sections.monitor.hookcall import (
    Answer,
    Broken,
    CallHook,
    CancelHook,
    Capture,
    Collected,
    DeclareQueue,
    Hook,
    HookEnded,
    HookReturned,
    QueueDeclared,
)
from pytest_gatherscatter.sections.monitor.machine import Identity, MonitorMachine
from pytest_gatherscatter.simulation.connection import SimulatedLink
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import LAB, PATIENCE, TAKEN, Party, agent_way
from pytest_gatherscatter.simulation.world import (
    HookAnswered,
    HookCalled,
    VirtualClock,
    World,
)
from pytest_gatherscatter.wire.messages import Artifact, Finding

HOOK_TIMEOUT = 6.0
"""Seconds that a hook may take here: short, so that some take longer."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How likely this monitor is to do what, each between 0 and 1."""

    hold: float = 0.0
    veto: float = 0.0
    broken: float = 0.0
    slow: float = 0.0
    stuck: float = 0.0
    capture: float = 0.0


class Instrument(Party):
    """A monitor. Its hook thread is played here: one call at a time, never before its time."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a monitor is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        benches: tuple[str, ...],
        temper: Temper,
        *,
        agent: str,
        advisory: bool = False,
        make: Callable[..., MonitorMachine] = MonitorMachine,
    ) -> None:
        super().__init__(world, network, name, clock)
        self.agent = agent
        """Its name in the lab; ``name`` is that of the process, which onlookers see."""
        self.namesakes: list[Instrument] = []
        self.benches = benches
        self.temper = temper
        self.advisory = advisory
        self.machine: MonitorMachine | None = None
        self.instance = ""
        self.runs_until = 0.0
        """When the last hook returns that ran on past its limit, in true time."""
        self._make = make
        self._joined = False
        self._taken_at: float | None = None
        self._asleep: dict[int, float] = {}  # calls that wait for their time, and since when

    def begin(self) -> None:
        """Start with a new instance and join."""
        self.instance = self.world.id()
        self._asleep.clear()
        self._joined, self._taken_at = False, None
        identity = Identity(
            name=self.agent,
            instance=self.instance,
            benches=self.benches,
            host=self.clock.name,
            pid=self.life,
            advisory=self.advisory,
            clock=self.clock.name,
        )
        self.machine = self._make(identity, hook_timeout=HOOK_TIMEOUT)
        self.connect(agent_way(self.agent, self.benches))
        self.pump = self.join(self.machine, self.world.id(), run=self._run)

    def speaks_on(self) -> str | None:
        """It speaks on the gatherer's clock as it measured it."""
        return None if self.machine is None else self.machine.presence.clock.gatherer

    def heard(self, link: SimulatedLink, events: list[PortEvent]) -> None:
        """Take what comes; who was there once waits for its name for ever."""
        self._joined = True
        super().heard(link, events)

    def refused(self, why: str) -> None:
        """Wait for a silent owner of the name; end if it is another one's."""
        if TAKEN in why and not self._joined:
            if self._taken_at is None:
                self._taken_at = self.now
            if any(one.there for one in self.namesakes):
                self.die("ends: another one of its name is there")
                return
            if self.now - self._taken_at > PATIENCE:
                self.die("gives up: something has its name")
                return
        super().refused(why)

    # ── the hook thread ────────────────────────────────────────────────────────────────

    def _run(self, effect: Run) -> None:
        self.count_effect()
        match effect.command:
            case CallHook() as call:
                ready = self.now + self.world.random.random() * 0.002
                begin = ready if call.at is None else max(ready, call.at)
                late = self.world.random.random() * 0.0005
                self._asleep[effect.id] = ready
                self.at_local(begin + late, self._call, effect.id, call, ready)
            case CancelHook(other) if other in self._asleep:
                ready = self._asleep.pop(other)
                self.later(0.0001, self._exit, other, HookEnded(ready=ready))
            case DeclareQueue(section):
                self._declare(effect.id, section)
            case _:
                pass

    def _call(self, effect: int, call: CallHook, ready: float) -> None:
        if self._asleep.pop(effect, None) is None:
            return
        if call.until is not None and self.now >= call.until:
            self._exit(effect, HookEnded(ready=ready))
            return
        section, now = call.section, self.world.now
        arming = None if self.machine is None else self.machine.armings.get(section.id)
        bound = None if arming is None else arming.bound
        sight = HookCalled(now, self.name, self.instance, section.id, call.hook, bound)
        self.world.see(sight)
        seconds, answer = self._answer(call)
        ended = HookEnded(answer, ready=ready, began=self.now)
        if seconds <= call.limit:
            self.later(seconds, self._answered, effect, call, ended)
            return
        broken = Broken(f"{call.hook.value} still running after {call.limit:g} s")
        late = HookEnded(broken, ready=ready, began=self.now, stuck=True)
        self.runs_until = now + seconds
        self.later(call.limit, self._answered, effect, call, late)
        self.later(seconds, self._told, HookReturned())

    def _answered(self, effect: int, call: CallHook, ended: HookEnded) -> None:
        word = {Hold: "hold", Veto: "veto", Broken: "broken"}.get(type(ended.answer), "")
        if call.hook is Hook.PREPARE and not word:
            word = "ready"
        now, section = self.world.now, call.section.id
        self.world.see(HookAnswered(now, self.name, self.instance, section, call.hook, word))
        self._exit(effect, ended)

    def _exit(self, effect: int, result: object) -> None:
        if self.pump is not None:
            self.pump.feed(Exited(effect, result), now=self.now)

    def _told(self, request: object) -> None:
        if self.pump is not None:
            self.pump.feed(Told(request), now=self.now)

    def _answer(self, call: CallHook) -> tuple[float, Answer]:
        """Draw how long a hook takes, and what it says."""
        chance, temper = self.world.random, self.temper
        seconds = 0.001 + chance.random() * 0.03
        if chance.random() < temper.slow:
            seconds = chance.random() * 3.0
        answer: Answer = None
        if call.hook is Hook.PREPARE:
            draw = chance.random()
            if draw < temper.hold:
                answer = Hold(chance.random() * 3.0, "settling")
            elif draw < temper.hold + temper.veto:
                answer = Veto("door open")
            elif draw < temper.hold + temper.veto + temper.broken:
                answer = Broken("exit 1")
            elif draw < temper.hold + temper.veto + temper.broken + temper.stuck:
                seconds = HOOK_TIMEOUT + chance.random() * 4.0
        elif call.hook is Hook.STOPPED:
            peak = round(chance.random(), 3)
            finding = Finding(name="peak", value=peak, unit="V", passed=True)
            answer = Collected((finding,), self._captures())
        return seconds, answer

    def _captures(self) -> tuple[Capture, ...]:
        if self.world.random.random() >= self.temper.capture:
            return ()
        data = self.world.random.randbytes(64)
        digest = hashlib.sha256(data).hexdigest()
        return (Capture(Artifact(name="trace", size=64, sha256=digest, chunks=1), data),)

    def _declare(self, effect: int, section: str) -> None:
        """Declare the section's queue on the link there is."""
        connection = self.link.connection
        if connection is None or not connection.up:
            self.later(0.001, self._exit, effect, QueueDeclared(lost=True))
            return
        topology = section_topology(LAB, section)
        connection.send([partial(connection.declare, topology)])
        self.later(0.01, self._exit, effect, QueueDeclared())
