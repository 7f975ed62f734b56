"""How a grader waits: for its time, for bytes, and for the bell that tells it to end."""

import math
import select

from pytest_gatherscatter.errors import GradingEnded


def wait(seconds: float, bell: int, other: int = -1) -> bool:
    """Wait until descriptor ``other`` can be read, at most so many seconds; say whether it can.

    By ``poll``, which unlike ``select`` takes descriptors above 1023.

    Raises:
        GradingEnded: the bell rang.
    """
    poll = select.poll()
    for number in (bell, other):
        if number >= 0:
            poll.register(number, select.POLLIN)
    ready = {number for number, _ in poll.poll(math.ceil(max(0.0, seconds) * 1000))}
    if bell in ready:
        raise GradingEnded("it was told to end")
    return other in ready
