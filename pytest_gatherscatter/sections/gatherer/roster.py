"""Who is in the lab, as the gatherer knows it: pure data and its rules."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from pytest_gatherscatter.wire.messages import AgentStatus, JoinLab, OpenSection

KEEPALIVE = 2.0
"""Seconds between an agent's keepalives, at the least: with three misses (as heartbeats have) a
silent one is known within six seconds."""

GREETINGS = 100.0
"""Keepalives a second that all agents together may send. Each is a message, an answer and their
confirms: a thousand agents at two seconds each kept two processors busy with nothing else. Past
two hundred agents the pause grows with their number; a Prepare asks whoever is silent anyway."""

MISSES = 3


class Agent(Struct):
    """An agent that joined; ``heard`` is when it last said anything."""

    name: str
    instance: str
    benches: frozenset[str]
    host: str
    pid: int
    advisory: bool
    token: int
    open: tuple[OpenSection, ...]
    heard: float
    bound: float | None = None
    keepalive: float = KEEPALIVE
    """Seconds: the pause that it was told to keep between two words."""


class Roster:
    """The agents of a lab by name."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}

    def join(self, message: JoinLab, *, now: float) -> tuple[Agent, bool]:
        """Take a keepalive or a newcomer; say whether it is another process than before."""
        known = self._agents.get(message.agent)
        agent = Agent(
            message.agent,
            message.instance,
            frozenset(message.benches),
            message.host,
            message.pid,
            message.advisory,
            message.token,
            message.open,
            now,
            message.bound,
        )
        self._agents[message.agent] = agent
        agent.keepalive = max(KEEPALIVE, len(self._agents) / GREETINGS)
        return agent, known is None or known.instance != message.instance

    def leave(self, name: str, instance: str | None = None) -> bool:
        """Forget an agent (only that ``instance`` of it, if one is given); say if it was there."""
        agent = self._agents.get(name)
        if agent is None or (instance is not None and agent.instance != instance):
            return False
        del self._agents[name]
        return True

    def heard(self, name: str, instance: str, *, now: float) -> Agent | None:
        """Return the agent if this very instance is in the lab, and note that it spoke."""
        agent = self._agents.get(name)
        if agent is None or agent.instance != instance:
            return None
        agent.heard = now
        return agent

    def silent(self, *, now: float) -> list[Agent]:
        """Agents that missed their keepalives: frozen, or cut off."""
        return [a for a in self._agents.values() if now - a.heard > a.keepalive * MISSES]

    def excuse(self, *, now: float) -> None:
        """Count everybody as heard: it was the gatherer that did not listen."""
        for agent in self._agents.values():
            agent.heard = now

    def on(self, bench: str) -> list[Agent]:
        """Agents of a bench, by name."""
        everybody = (self._agents[name] for name in sorted(self._agents))
        return [agent for agent in everybody if bench in agent.benches]

    def get(self, name: str) -> Agent | None:
        """Return the agent of this name, if it is in the lab."""
        return self._agents.get(name)

    def __iter__(self) -> Iterator[Agent]:
        """Go through everybody."""
        return iter(self._agents.values())

    def __len__(self) -> int:
        """Count everybody."""
        return len(self._agents)

    def status(self, doing: Callable[[str], str], *, now: float) -> tuple[AgentStatus, ...]:
        """Everybody, by name, for ``status``; ``doing`` says what an agent is about."""
        return tuple(
            AgentStatus(
                agent=agent.name,
                benches=tuple(sorted(agent.benches)),
                host=agent.host,
                pid=agent.pid,
                advisory=agent.advisory,
                heard=max(0.0, now - agent.heard),
                state=doing(agent.name)[:512],
                offset_bound=agent.bound,
            )
            for agent in sorted(self, key=lambda agent: agent.name)
        )
