"""The post of a small lab: an inbox for each party, with a line for each who writes to it.

No way takes time, and nothing is lost but with its reader. Whoever wants to be woken is, a tick
later at the most.
"""

import math
from collections.abc import Mapping

from pytest_gatherscatter.machine import Input, Received
from pytest_gatherscatter.simulation.smallrun import BENCH
from pytest_gatherscatter.simulation.smallstate import Letter
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import (
    GATHERER_STARTED,
    agent_key,
    bench_events,
    section_event,
)

TICK = 0.5
"""Seconds between two moments at which anybody is woken: who asks for a time in between is woken
late. All waits are whole ticks, but for those that are shorter than one; so all deadlines fall on
few moments, where they race, and labs that differ by fractions of a second are one."""


class Post:
    """Who has which key, what lies in whose inbox, and who is to be woken when.

    What it holds is never changed but replaced, as states share it.
    """

    def __init__(self, monitors: tuple[str, ...], runs: tuple[str, ...]) -> None:
        self.monitors = monitors
        self.runs = runs
        self.letters: Mapping[tuple[str, str], tuple[Letter, ...]] = {}
        """By reader and writer."""
        self.wakes: Mapping[str, tuple[float, ...]] = {}
        self.keys: Mapping[str, str] = {}
        self.listeners: frozenset[str] = frozenset()
        """Workloads that hear events."""
        self.touched: set[str] = set()
        """Whom the last step made do something, or reached with a word, dead or alive."""
        self._soon: list[tuple[str, Input]] = []

    def soon(self, who: str, said: Input) -> None:
        """Give a machine an input before anything else happens."""
        self._soon.append((who, said))

    def wake(self, who: str, at: float) -> None:
        """Wake ``who`` up at ``at``, or a tick later."""
        at = tick(at)
        if at not in self.wakes[who]:
            self.wakes = {**self.wakes, who: (*self.wakes[who], at)}

    def forget(self, who: str) -> None:
        """Wake ``who`` up no more, nor bring it its letters: it is dead, or has hung up."""
        self.wakes = {**self.wakes, who: ()}
        self.letters = {way: letters for way, letters in self.letters.items() if way[0] != who}
        self.keys = {key: name for key, name in self.keys.items() if name != who}
        self._soon = [(name, said) for name, said in self._soon if name != who]

    def send(self, who: str, key: str, letter: Letter) -> bool:
        """Bring a letter to whoever has the key; False if nobody has."""
        reader = self.keys.get(key)
        if reader is None:
            return False
        if isinstance(letter.message, m.ClockProbe | m.ClockReading):
            # One clock, no way: only what is decided by it is of interest here.
            self._soon.append((reader, Received(letter.message, 0, reply_to=letter.reply_to)))
        else:
            self.deliver(who, reader, letter)
        return True

    def deliver(self, who: str, reader: str, letter: Letter) -> None:
        """Put a letter of ``who`` into an inbox."""
        self.touched.add(reader)
        before = self.letters.get((reader, who), ())
        self.letters = {**self.letters, (reader, who): (*before, letter)}

    def publish(self, who: str, key: str, letter: Letter) -> None:
        """Bring an event to all who listen for it."""
        if key in {GATHERER_STARTED, *bench_events(BENCH)}:
            for name in self.monitors:
                if agent_key(name) in self.keys:
                    self.deliver(who, name, letter)
        if key == section_event("go", BENCH):
            for name in self.runs:
                if name in self.listeners:
                    self.deliver(who, name, letter)


def tick(at: float) -> float:
    """Return the moment at which somebody is woken who asked for ``at``."""
    return math.ceil(round(at / TICK, 3)) * TICK
