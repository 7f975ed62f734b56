"""The way to the lab: connected, found again when it breaks, and served while a section waits.

The machine of a visit decides how long that is worth while; a :class:`Line` only keeps it fed.
"""

import time
from collections.abc import Callable

from pytest_gatherscatter.broker.url import BrokerUrl
from pytest_gatherscatter.errors import BrokerUnreachable
from pytest_gatherscatter.machine import Run, Woken
from pytest_gatherscatter.sections.service.contact import Contact
from pytest_gatherscatter.sections.service.display import Display
from pytest_gatherscatter.sections.service.owed import LOOK_AGAIN, Owed
from pytest_gatherscatter.sections.service.visit import Visit
from pytest_gatherscatter.sections.workload.state import KeepChunk

TURN = 0.5
"""Seconds of one wait inside a longer one, so that people see it go on and can interrupt it."""

ATTEMPT = 2.0
"""Seconds of one attempt to connect, for the same reason; a far TLS broker takes about one."""


class Line:
    """Serves the visits of one run, one at a time, in the thread that calls it.

    Args:
        url: where the broker is.
        lab: the lab's name.
        display: where waits are shown.
        owed: what other sections of this host owe the lab.
        notes: takes a line for each debt that was told.
    """

    def __init__(
        self, url: BrokerUrl, lab: str, display: Display, owed: Owed, notes: list[str]
    ) -> None:
        self.url = url
        self._lab = lab
        self._display = display
        self._owed = owed
        self._notes = notes
        self._looked = float("-inf")

    def first(self, visit: Visit, *, patience: float, retry: bool) -> str | None:
        """Connect for the first time; returns why that was of no use.

        Raises:
            BrokerError: the broker refuses us.
        """
        self._looked = float("-inf")
        end = time.monotonic() + patience
        while True:
            left = end - time.monotonic()
            try:
                visit.contact = self._connect(visit, min(ATTEMPT, left), retry=retry)
            except BrokerUnreachable as error:
                left = end - time.monotonic()
                if left <= 0 or not retry:
                    return str(error)
                self._display.show(visit.section, "connecting", waited=patience - left, left=left)
            else:
                return None

    def wait(self, visit: Visit, done: Callable[[], bool], *, end: float | None = None) -> None:
        """Turn until ``done()``, through lost connections; the machine or ``end`` bounds it.

        Raises:
            BrokerError: the broker refuses us.
            KeyboardInterrupt: somebody interrupted the wait.
        """
        while not done():
            left = TURN if end is None else end - time.monotonic()
            if left <= 0:
                return
            self.turn(visit, min(TURN, left), end=end)

    def turn(self, visit: Visit, seconds: float, *, end: float | None = None) -> None:
        """Let things happen for at most ``seconds``, or try to come back; raises as ``wait``."""
        self._display.check()
        machine = visit.lab
        if visit.contact is None or not visit.contact.up:
            self._reconnect(visit, end)
            return
        visit.contact.turn(seconds)
        self._tell_owed(visit)
        began = visit.section.stopped or visit.began
        left = 0.0 if end is None else end - time.monotonic()
        self._display.progress(visit.section, machine, began, left)

    def _reconnect(self, visit: Visit, end: float | None) -> None:
        """Make one attempt to come back; the machine looks at its deadlines in any case."""
        if visit.contact is not None:
            visit.close_contact()
        left = ATTEMPT if end is None else min(ATTEMPT, end - time.monotonic())
        try:
            visit.contact = self._connect(visit, left, retry=True)
        except BrokerUnreachable:
            visit.lab.handle(Woken(), now=time.monotonic())
            waited = time.monotonic() - visit.began
            self._display.show(
                visit.section, "connecting", waited=waited, left=visit.demand.gather_timeout
            )

    def _connect(self, visit: Visit, seconds: float, *, retry: bool) -> Contact:
        def run(effect: Run) -> None:
            if isinstance(effect.command, KeepChunk) and visit.captures is not None:
                visit.captures.keep(effect.command.chunk)

        before_go = visit.lab.go is None
        return Contact.open(
            self.url,
            self._lab,
            visit.lab,
            bench=visit.demand.bench if before_go else None,
            seconds=max(0.1, seconds),
            retry=retry,
            run=run,
        )

    def _tell_owed(self, visit: Visit) -> None:
        """Tell a gatherer that answers of sections that nobody else will tell it about."""
        machine, now = visit.lab, time.monotonic()
        while machine.told_of:
            try:
                debt = self._owed.told(machine.told_of.pop())
            except OSError as error:
                self._notes.append(f"a ticket cannot be removed: {error}")
                continue
            if debt is not None:
                self._notes.append(f"told the gatherer that a former section is over: {debt.what}")
        if machine.answered and now - self._looked >= LOOK_AGAIN and visit.contact is not None:
            self._looked = now
            for debt in self._owed.look():
                if debt.news.section != visit.id:
                    visit.contact.tell(debt.news)
