"""``gatherscatter leave``: tell the gatherer of owners that died on this host.

A bench stays closed until its section is left. A workload that was killed cannot say so any
more, but its ticket proves that it is gone: then this does it, in its name.
"""

import logging

import click

from pytest_gatherscatter.cli.lab import check_id
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url
from pytest_gatherscatter.cli.output import say
from pytest_gatherscatter.errors import NotGathered, SettingsInvalid
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.sections.service.ticket import (
    FoundTicket,
    TicketState,
    scan,
    ticket_directory,
)
from pytest_gatherscatter.wire.messages import LeaveAccepted, LeaveSection

log = logging.getLogger(__name__)


@click.command(
    epilog=examples("gatherscatter leave", "gatherscatter leave --section 3f2a9c1d5e7b8a60")
)
@click.option("--section", metavar="ID", help="Only this section.")
@lab_options
def leave(asked: Asked, *, section: str | None) -> int:
    """Close sections of this host whose owner died, as their tickets prove.

    A section whose owner lives, or of whom nothing can be proved here, stays open and exits
    with 75: end its owner, or use 'gatherscatter reset --section' if you know better.
    """
    settings = asked.settings()
    found = [t for t in scan(ticket_directory()) if _is_meant(t, section, settings.lab)]
    if section is not None and not found:
        raise SettingsInvalid("--section", f"no ticket of {check_id(section)} on this host")
    orphans = [ticket for ticket in found if ticket.state is TicketState.ORPHAN]
    dead = [ticket for ticket in orphans if lab_of(ticket) == settings.lab]
    if dead:
        with Asker(settings, need_url(settings)) as asker:
            for ticket in dead:
                _close(asker, ticket)
    kept = [ticket for ticket in found if ticket not in dead]
    for ticket in kept:
        why = f"it is of lab {lab_of(ticket)}" if ticket in orphans else ticket.why
        log.info("%s stays: %s", ticket.path.stem, why)
    if not found:
        say("no section of a dead owner")
    return NotGathered.exit_code if kept else 0


def _is_meant(ticket: FoundTicket, section: str | None, lab: str) -> bool:
    """Whether a ticket is asked for: by its name, or as one of this lab or of nobody knows."""
    if section is not None:
        return ticket.path.stem == section
    return lab_of(ticket) in {"", lab}


def lab_of(ticket: FoundTicket) -> str:
    """Name the lab of a ticket; empty if the ticket cannot be read."""
    return "" if ticket.content is None else ticket.content.facts.lab


def _close(asker: Asker, ticket: FoundTicket) -> None:
    """Leave one section in its dead owner's name, and take the ticket away."""
    if ticket.content is None:
        return
    facts = ticket.content.facts
    message = LeaveSection(section=facts.section, token=facts.token, outcome="died")
    accepted = asker.ask(message, LeaveAccepted)
    ticket.remove()
    rest = "" if accepted.known else " (the gatherer knew nothing of it)"
    say(f"{facts.section} on {facts.bench} is left: {ticket.why}; it was {facts.test}{rest}")
