"""An agent's presence in the lab: joining, keepalives, and the measuring of the clock.

Part of the monitor's machine, and as pure as it. The gatherer takes whoever is silent for
three keepalives as gone, so an agent says ``JoinLab`` again and again; one message serves as
greeting, keepalive and, after a gatherer's restart, as its memory of what is open here.

Probes go one after the other, the next when the last is answered: those of a burst would
wait for each other in the queues and measure that.
"""

from collections.abc import Callable

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.clock import FAIR_BOUND, FINE_BOUND, GathererClock
from pytest_gatherscatter.wire.messages import (
    ClockProbe,
    ClockReading,
    JoinAccepted,
    JoinLab,
    LeaveLab,
)
from pytest_gatherscatter.wire.names import GATHERER_KEY, agent_key

AGAIN = 1.0
"""Seconds until something unanswered is said again: ten times what a busy broker takes."""

FASTEST_KEEPALIVE = 0.1
"""Seconds: whatever a gatherer asks for, its agents do not flood it."""

PROBES_AT_JOIN = 5
PROBES_AT_SECTION = 3


class Presence:
    """Keeps ``agent`` in the lab. ``facts()`` gives ``JoinLab`` as it is to be said now.

    ``clock`` is the id of the agent's own clock.
    """

    def __init__(
        self,
        effects: Effects,
        agent: str,
        facts: Callable[[float | None], JoinLab],
        *,
        clock: str = "",
    ) -> None:
        self.clock = GathererClock(clock)
        self.linked = False
        self.gatherer: str | None = None
        """The gatherer that accepted us last; ``None`` while there is none."""
        self.missed = False
        """Whether nobody heard our greeting since we were accepted last."""
        self._effects = effects
        self._facts = facts
        self._agent = agent
        self._reply_to = agent_key(agent)
        self._join_at: float | None = None
        self._join_effect: int | None = None
        self._probes = 0
        self._probed_at: float | None = None
        self._leaving = False

    def link_up(self, *, now: float) -> None:
        """Connected: greet at once."""
        self.linked = True
        self.join(now=now)

    def link_down(self) -> None:
        """Cut off: say nothing until the link is back."""
        self.linked = False
        self.gatherer = None
        self._join_at = None
        self._probes = 0
        self._probed_at = None

    def greet(self, *, now: float) -> None:
        """Say ``JoinLab`` to a gatherer that has just started, and may know nothing."""
        self.gatherer = None
        self.join(now=now)

    def join(self, *, now: float) -> None:
        """Say ``JoinLab`` now."""
        if self.linked and not self._leaving:
            self._join_effect = self._effects.send(
                GATHERER_KEY, self._facts(self._bound(now)), reply_to=self._reply_to
            )
            self._join_at = now + AGAIN

    def _bound(self, now: float) -> float | None:
        return self.clock.bound(now) if self.clock.known(self.gatherer) else None

    def accepted(self, message: JoinAccepted, *, now: float) -> bool:
        """Take the gatherer's acceptance; say whether it is another gatherer than before."""
        self.missed = False
        new = message.gatherer != self.gatherer
        self.gatherer = message.gatherer
        if not self._leaving:
            self._join_at = now + max(FASTEST_KEEPALIVE, message.keepalive)
        if new:
            self._probe(PROBES_AT_JOIN, now)
        return new

    def returned(self, effect: int) -> bool:
        """Hear that a send found nobody; if it was our greeting, there is no gatherer.

        Returns whether that is news: until one accepts us it is found each second again.
        """
        if effect != self._join_effect:
            return False
        self.gatherer = None
        self._probes = 0
        self._probed_at = None
        news, self.missed = not self.missed, True
        return news

    def probe(self, *, now: float) -> None:
        """Have the clock measured for a section; what is known well is only checked."""
        bound = self._bound(now)
        self._probe(1 if bound is not None and bound <= FAIR_BOUND else PROBES_AT_SECTION, now)

    def _probe(self, count: int, now: float) -> None:
        """Have it measured ``count`` times from now on."""
        self._probes = max(self._probes, count)
        if self._probed_at is None:
            self._next_probe(now)

    def reading(self, message: ClockReading, *, now: float) -> None:
        """Take a reading of the gatherer's clock."""
        if self.clock.reading(message.sent, message.read, now, message.gatherer):
            if self.clock.bound(now) <= FINE_BOUND:
                self._probes = 0
            self._next_probe(now)

    def leave(self, instance: str, reason: str) -> int | None:
        """Say ``LeaveLab`` and nothing after it; returns its effect, ``None`` while cut off."""
        self._leaving = True
        self._join_at = None
        self._probes = 0
        if not self.linked:
            return None
        message = LeaveLab(agent=self._agent, instance=instance, reason=reason)
        return self._effects.send(GATHERER_KEY, message)

    def tick(self, *, now: float) -> None:
        """Do what is due."""
        if self._join_at is not None and self._join_at <= now:
            self.join(now=now)
        if self._probed_at is not None and self._probed_at + AGAIN <= now:
            self._next_probe(now)  # that one is lost

    def due(self) -> float | None:
        """When something is due next."""
        join_at, probed_at = self._join_at, self._probed_at
        if probed_at is None or (join_at is not None and join_at < probed_at + AGAIN):
            return join_at
        return probed_at + AGAIN

    def _next_probe(self, now: float) -> None:
        self._probed_at = None
        if self._probes == 0 or not self.linked:
            return
        self._probes -= 1
        self._probed_at = now
        probe = ClockProbe(sent=self.clock.probe(now))
        # A probe that waits long measures nothing, so the broker may drop it.
        self._effects.send(GATHERER_KEY, probe, reply_to=self._reply_to, ttl=AGAIN)
