"""Serving over whatever broker there is: the loop of what runs for months and outlives brokers."""

import logging
import time
from collections.abc import Callable

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.cli.option import find, need_url
from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.settings import Settings

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks for a local broker that is not there yet, or is another one now."""


def serve(settings: Settings, stop: Stop, run: Callable[[str, Callable[[], bool]], None]) -> int:
    """Serve until ``stop``; a local broker that comes later, or again, is found by itself.

    Args:
        settings: say which broker is meant.
        stop: ends it.
        run: serves on the broker of a URL, until what it is given returns true.

    Returns:
        The exit status.

    Raises:
        NoGatherer: there is no broker, and none can come by itself.
        SettingsInvalid: it would have to be started first, which is not for everybody to do.
    """
    waiting = False
    while not stop():
        found = find(settings)
        if found.url is None:
            if settings.broker not in {"auto", "local"}:
                need_url(settings)
            if not waiting:
                log.info("%s; waiting for one ('gatherscatter gatherer' starts it)", found.why)
            waiting = True
            stop.wait(LOOK)
            continue
        waiting = False
        run(found.url, _ended(settings, found, stop))
    return stop.exit_status


def _ended(settings: Settings, found: Found, stop: Stop) -> Callable[[], bool]:
    """Say when a service has to end: by ``stop``, or since the local broker is another one.

    A local broker that was started again has another port and password: a connection to the
    old one would be tried for ever.
    """
    look = time.monotonic() + LOOK

    def ended() -> bool:
        nonlocal look
        if found.kind == "local" and time.monotonic() >= look:
            look = time.monotonic() + LOOK
            now = find(settings).url
            if now is not None and now != found.url:
                log.info("the local broker is another one now: going there")
                return True
        return stop()

    return ended
