"""The way to the lab: connected, served while a section waits, and told what others owe it.

The guide of a visit decides when and for how long; a :class:`Line` only does it.
"""

from pytest_gatherscatter.broker.url import BrokerUrl
from pytest_gatherscatter.machine import Run
from pytest_gatherscatter.sections.service.contact import Contact
from pytest_gatherscatter.sections.service.display import Display
from pytest_gatherscatter.sections.service.owed import Owed
from pytest_gatherscatter.sections.service.visit import Visit
from pytest_gatherscatter.sections.workload.state import KeepChunk
from pytest_gatherscatter.sections.workload.step import Connect, Serve


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

    def connect(self, visit: Visit, step: Connect) -> None:
        """Make one attempt; what was open before is closed.

        Raises:
            BrokerError: it was of no use.
        """
        self._display.check()

        def run(effect: Run) -> None:
            if isinstance(effect.command, KeepChunk) and visit.captures is not None:
                visit.captures.keep(effect.command.chunk)

        visit.close_contact()
        visit.contact = Contact.open(
            self.url,
            self._lab,
            visit.guide.machine,
            bench=visit.demand.bench if step.hears_go else None,
            seconds=max(0.1, step.seconds),
            retry=step.retry,
            run=run,
        )

    def serve(self, visit: Visit, step: Serve) -> None:
        """Let things happen, and show for what the visit waits.

        Raises:
            BrokerError: the broker refuses us.
            KeyboardInterrupt: somebody interrupted the wait.
        """
        self._display.check()
        visit.turn(step.seconds)
        began = visit.section.stopped or visit.began
        self._display.progress(visit.section, visit.guide.machine, began, step.left)

    def look_for_debts(self, visit: Visit) -> None:
        """Tell the gatherer of each section that nobody else will tell it about."""
        for debt in self._owed.look():
            if debt.news.section != visit.id:
                visit.tell(debt.news)

    def settle_debt(self, section: str) -> None:
        """Take the ticket of a section away that the gatherer has heard of."""
        try:
            debt = self._owed.told(section)
        except OSError as error:
            self._notes.append(f"a ticket cannot be removed: {error}")
            return
        if debt is not None:
            self._notes.append(f"told the gatherer that a former section is over: {debt.what}")
