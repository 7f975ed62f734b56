"""Plays a lab to a gatherer's machine: no broker, no clock, every publish confirmed at once.

Whoever is not joined is not there: what is sent to it comes back. ``said`` are the messages
that the machine sent since the last look, in order.
"""

from itertools import count
from typing import TypeVar

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Input,
    Publish,
    Received,
    Record,
    Recovered,
    Returned,
    Send,
    Wake,
    Woken,
)
from pytest_gatherscatter.sections.gatherer import Gatherer, GathererFacts
from pytest_gatherscatter.sections.gatherer.record import SectionRecord
from pytest_gatherscatter.sections.gatherer.state import SectionState
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import GATHERER_KEY, STEER_KEY

M = TypeVar("M", bound=m.Message)

WALL = 1_700_000_000.0
INSTANCE = "abcdef0123456789"
RUN = "0123456789abcdef"


def section_id(number: int = 1) -> str:
    """Make the id of the n-th section of a play."""
    return f"{number:016x}"


class Play:
    """A gatherer and everybody around it."""

    def __init__(
        self, *required: str, now: float = 100.0, recovered: tuple[dict[str, object], ...] = ()
    ) -> None:
        self.facts = GathererFacts(
            clock="c10c" * 4, host="host", pid=1, version="0", required=frozenset(required)
        )
        self.machine = Gatherer(self.facts)
        self.now = now
        self.there: set[str] = set()
        self.gone: set[str] = set()
        self.records: list[dict[str, object]] = []
        self.effects: list[Effect] = []
        self.wakes: list[float] = []
        self._said: list[tuple[str, m.Message]] = []
        self._deliveries = count(1)
        self.feed(Recovered(recovered, wall=WALL))

    # ── what happens ───────────────────────────────────────────────────────────────────

    def feed(self, message: Input) -> None:
        """Feed an input, and then what became of each publish."""
        effects = self.machine.handle(message, now=self.now)
        self.effects += effects
        for effect in effects:
            match effect:
                case Record(_, event):
                    self.records.append(dict(event))
                case Wake(_, at):
                    self.wakes.append(at)
                case Send(_, key, body) | Publish(_, key, body):
                    self._said.append((key, body))
        for effect in effects:
            if isinstance(effect, Send):
                there = effect.key in self.there
                self.feed(Confirmed(effect.id) if there else Returned(effect.id))
            elif isinstance(effect, Publish):
                self.feed(Confirmed(effect.id))

    def tell(
        self, message: m.Message, reply_to: str | None = None, *, key: str = "", user: str = ""
    ) -> None:
        """Let the machine receive a message, with the key that fits it if no other is said."""
        key = key or (STEER_KEY if isinstance(message, m.STEERING) else GATHERER_KEY)
        delivery = next(self._deliveries)
        self.feed(Received(message, delivery, reply_to=reply_to, user=user or None, key=key))

    def wait(self, seconds: float) -> None:
        """Let time pass, with every wake that falls into it."""
        end = self.now + seconds
        while due := [at for at in self.wakes if at <= end]:
            self.now = max(self.now, min(due))
            self.wakes = [at for at in self.wakes if at > self.now]
            self.feed(Woken())
        self.now = end

    def said(self, kind: type[M]) -> list[M]:
        """Take the messages of a kind that were said since this was asked last."""
        found = [body for _, body in self._said if isinstance(body, kind)]
        self._said = [(key, body) for key, body in self._said if not isinstance(body, kind)]
        return found

    def keys(self, kind: type[m.Message]) -> list[str]:
        """Return the keys to which messages of a kind were said, and keep them."""
        return [key for key, body in self._said if isinstance(body, kind)]

    # ── who does what ──────────────────────────────────────────────────────────────────

    def join(self, *agents: str, instance: str = INSTANCE, **more: object) -> None:
        """Let agents join (or keep alive)."""
        for agent in agents:
            self.there.add(f"agent.{agent}")
            facts = {"benches": ("default",), **more}
            self.tell(m.JoinLab(agent=agent, instance=instance, **facts))  # type: ignore[arg-type]

    def vanish(self, agent: str) -> None:
        """Take an agent's inbox away, as when its process dies."""
        self.there.discard(f"agent.{agent}")

    def enter(self, number: int = 1, **more: object) -> SectionRecord:
        """Let a workload enter its section."""
        facts = {
            "section": section_id(number),
            "name": f"burst{number}",
            "bench": "default",
            "test": "test_x",
            "owner": "pid 2@host",
            "run": RUN,
            "max_duration": 30.0,
            "queue_timeout": 3600.0,
            "gather_timeout": 60.0,
            "hold_limit": 900.0,
            "report_timeout": 30.0,
            **more,
        }
        self.there.add(f"reply.{section_id(number)}")
        entering = m.EnterSection(**facts)  # type: ignore[arg-type]
        self.tell(entering, f"reply.{section_id(number)}")
        return self.section(number)

    def section(self, number: int = 1) -> SectionRecord:
        """Return the machine's record of a section."""
        return self.machine.lab.sections[section_id(number)]

    def state(self, number: int = 1) -> SectionState:
        """Return where a section stands."""
        return self.section(number).state

    def _about(self, agent: str, number: int) -> dict[str, object]:
        token = self.section(number).token
        return {
            "section": section_id(number),
            "token": token,
            "agent": agent,
            "instance": INSTANCE,
        }

    def ready(self, *agents: str, number: int = 1) -> None:
        """Let agents answer that they are armed."""
        for agent in agents:
            self.tell(m.AgentReady(**self._about(agent, number)))  # type: ignore[arg-type]

    def hold(self, agent: str, seconds: float, reason: str = "settling", number: int = 1) -> None:
        """Let an agent hold."""
        about = self._about(agent, number)
        self.tell(m.AgentHolding(seconds=seconds, reason=reason, **about))  # type: ignore[arg-type]

    def veto(self, agent: str, reason: str, number: int = 1) -> None:
        """Let an agent say no."""
        self.tell(m.AgentVetoed(reason=reason, **self._about(agent, number)))  # type: ignore[arg-type]

    def broken(self, agent: str, reason: str, number: int = 1) -> None:
        """Let an agent's hook break."""
        self.tell(m.AgentBroken(reason=reason, **self._about(agent, number)))  # type: ignore[arg-type]

    def alive(self, *agents: str, armed: bool = True, number: int = 1) -> None:
        """Let agents answer the last check."""
        for agent in agents:
            self.tell(m.AgentAlive(armed=armed, **self._about(agent, number)))  # type: ignore[arg-type]

    def workload_ready(self, number: int = 1, needed: float = 0.0) -> None:
        """Let the workload ask for the commit."""
        ready = m.WorkloadReady(
            section=section_id(number), token=self.section(number).token, needed=needed
        )
        self.tell(ready, f"reply.{section_id(number)}")

    def leave(self, number: int = 1, token: int | None = None, **more: object) -> None:
        """Let the workload leave."""
        left = m.LeaveSection(
            section=section_id(number),
            token=self.section(number).token if token is None else token,
            outcome="passed",
            **more,  # type: ignore[arg-type]
        )
        self.tell(left, f"reply.{section_id(number)}")

    def report(self, agent: str, number: int = 1, **more: object) -> None:
        """Let an agent report."""
        about = {**self._about(agent, number), **more}
        self.tell(m.AgentReport(**about))  # type: ignore[arg-type]

    def go(self, *agents: str, number: int = 1, **more: object) -> SectionRecord:
        """Play a section from entering to Go with agents that have joined."""
        section = self.enter(number, **more)
        self.ready(*agents, number=number)
        self.workload_ready(number)
        self.alive(*agents, number=number)
        return section
