"""Who may say what to the gatherer: by which key something came, and with whose login.

A broker's rights weigh keys, and a broker vouches for logins; neither reads a message. So what
only persons may say counts only by the key for persons, which RabbitMQ refuses to all other
roles; and a section is spoken for only by the login that entered it, or by that key.
"""

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.gatherer.lab import Lab
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import STEER_KEY

OWNERS = m.EnterSection | m.WorkloadReady | m.WithdrawSection | m.LeaveSection
"""What the workload of a section says."""


def refusal(lab: Lab, received: Received) -> str:
    """Say why a message does not count; empty if it does."""
    message = received.message
    if received.key == STEER_KEY:
        return ""
    if isinstance(message, m.STEERING):
        return f"{type(message).__name__} counts with the key {STEER_KEY} only"
    if isinstance(message, OWNERS):
        section = lab.sections.get(message.section)
        if section is not None and section.user is not None and section.user != received.user:
            return f"section {section.id} was entered with another login"
    return ""
