"""Everything that may stand in a body, as one tagged union: the messages of all rooms."""

from typing import TypeAlias

from pytest_gatherscatter.wire.grading import GradingMessage
from pytest_gatherscatter.wire.messages import SectionMessage
from pytest_gatherscatter.wire.roundrobin import BalancingMessage
from pytest_gatherscatter.wire.slips import SlipMessage
from pytest_gatherscatter.wire.testfiles import TestFileMessage

AnyMessage: TypeAlias = (
    SectionMessage | TestFileMessage | SlipMessage | GradingMessage | BalancingMessage
)
