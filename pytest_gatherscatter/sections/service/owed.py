"""Sections of this host that are over, and whose gatherer was not told.

A bench stays closed until its section is left. If the owner died, or could not reach the
gatherer when it came back, only its ticket is left on this host's disk; whoever meets the
gatherer next tells it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_gatherscatter.sections.service import ticket as tickets
from pytest_gatherscatter.sections.workload.state import TellOf


@dataclass(frozen=True, slots=True)
class Debt:
    """What to say, who it is about, and how to take the ticket away once it was heard."""

    news: TellOf
    what: str
    settle: Callable[[], None]


class Owed:
    """The debts of one lab on this host. Not thread-safe.

    Args:
        lab: only tickets of this lab count.
        folder: where tickets are kept.
    """

    def __init__(self, lab: str, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._own: dict[str, Debt] = {}
        self._open: dict[str, Debt] = {}

    def add(self, ticket: tickets.Ticket, outcome: str) -> None:
        """Keep a section of this very process in mind: its end could not be told."""
        facts = ticket.content.facts
        news = TellOf(facts.section, facts.token, outcome)
        self._own[facts.section] = Debt(news, f"{facts.test} ({outcome})", ticket.remove)

    def highest_token(self) -> int:
        """Return the highest token on any ticket of this lab here, or 0."""
        return max((facts.token for _, facts in self._found()), default=0)

    def look(self) -> list[Debt]:
        """Return what is owed now, orphans of other processes included."""
        self._open = dict(self._own)
        for found, facts in self._found():
            if found.state is tickets.TicketState.ORPHAN:
                news = TellOf(facts.section, facts.token, "died")
                self._open[facts.section] = Debt(news, f"{facts.test} ({found.why})", found.remove)
        return list(self._open.values())

    def told(self, section: str) -> Debt | None:
        """The gatherer heard of ``section``: take its ticket away; returns what was owed."""
        debt = self._open.pop(section, None)
        self._own.pop(section, None)
        if debt is not None:
            debt.settle()
        return debt

    def _found(self) -> Iterator[tuple[tickets.FoundTicket, tickets.SectionFacts]]:
        for found in tickets.scan(self._folder):
            if found.content is not None and found.content.facts.lab == self._lab:
                yield found, found.content.facts
