"""Open a link although its name, or a queue that it needs alone, may be a dead one's still."""

import logging
import time
from collections.abc import Callable

from pytest_gatherscatter.broker.link import HEARTBEAT, Link
from pytest_gatherscatter.errors import BrokerRefused, NameTaken, SettingsInvalid

log = logging.getLogger(__name__)

CONNECT = 30.0
"""Seconds that a broker may take to come up: it is often started by the same script."""

PATIENCE = 4 * HEARTBEAT
"""Seconds for which a silent owner is waited for: the broker needs three missed heartbeats to see
that one is dead."""

PAUSE = 1.0
"""Seconds between two tries."""

ACCESS_REFUSED = 403
"""What a broker answers to who comes second for an exclusive consumer, among other things."""


def outlast(link: Link, stops: Callable[[], object], problem: str) -> None:
    """Open a link; who has died with its name, or its queue in hand, is waited for.

    It blocks the calling thread for :data:`CONNECT` and :data:`PATIENCE` at the most; who waits for
    an owner gives up when ``stops()`` is true.

    Raises:
        SettingsInvalid: the owner lives; it says ``problem`` of ``--name``.
        BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
    """
    end = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            link.open(CONNECT, retry=True)
        except BrokerRefused as error:
            if not _is_owned(error):
                raise
            if time.monotonic() >= end or stops():
                raise SettingsInvalid("--name", problem) from error
            if not told:
                log.info("waits %d s at most for who may be dead: %s", PATIENCE, problem)
                told = True
            time.sleep(PAUSE)
        else:
            return


def _is_owned(error: BrokerRefused) -> bool:
    alone = error.code == ACCESS_REFUSED and "exclusive" in error.text
    return alone or isinstance(error, NameTaken)
