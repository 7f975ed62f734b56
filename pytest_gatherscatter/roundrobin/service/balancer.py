"""A balancer as a process: its machine and a link, or the wait for another one's death."""

import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_gatherscatter import __version__
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.roundrobin import balancer_topology
from pytest_gatherscatter.errors import BrokerRefused, NameTaken
from pytest_gatherscatter.machine import Recovered, Run, Told
from pytest_gatherscatter.roundrobin.balancer import BalancerFacts, BalancerMachine
from pytest_gatherscatter.roundrobin.order import Choice, Done, Drain, Say, StoodStill
from pytest_gatherscatter.wire.names import service_queue

log = logging.getLogger("gatherscatter.balancer")

CONNECT = 30.0
"""Seconds that a broker may take to come up: it is often started by the same script."""

STANDBY = 0.5
"""Seconds between two tries of a balancer that stands by."""

TURN = 0.2
"""Seconds between two looks at signals."""

CLOCK = 60.0
"""Seconds between two looks at the world's clock, which may be set while a balancer runs."""

LAST = 10.0
"""Seconds after the drain in which a balancer ends, whatever its broker does."""

ACCESS_REFUSED = 403
"""What a broker answers to who wants to consume alone what somebody consumes."""


@dataclass(frozen=True, slots=True)
class BalancerSettings:
    """What ``roundrobin serve`` was told; ``services`` are keys, ``drain`` is in seconds.

    ``backlog`` tasks of ``backlog_bytes`` may wait of each service.
    """

    services: tuple[str, ...]
    backlog: int = 1000
    backlog_bytes: int = 64 * 1024 * 1024
    policy: str = "least-recently-used"
    drain: float = 60.0


class BalancerService:
    """Balances services in the calling thread, or stands by for who does.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        settings: what to do.
        choice: the policy, if it is none of the built-in ones.
    """

    def __init__(
        self, lab: str, url: str, settings: BalancerSettings, choice: Choice | None = None
    ) -> None:
        self._lab, self._url, self._settings, self._choice = lab, url, settings, choice
        self._done: Done | None = None
        self._said = ""

    def run(self, stops: Callable[[], int]) -> int:
        """Serve until ``stops()`` is not 0; from 2 on what workers have is not waited for.

        Returns:
            how many tasks were with workers at the end: the broker gives them to who follows.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, at the first connection.
        """
        while self._done is None and not stops():
            link = Link(
                self._url,
                balancer_topology(self._lab, self._settings.services),
                name=f"gatherscatter balancer {','.join(self._settings.services)}"[:200],
                reconnect=True,
            )
            try:
                self._serve(link, stops)
            except BrokerRefused as error:
                if not self._is_owned(error):
                    raise
                _wait(STANDBY, stops)
            finally:
                link.close()
        return 0 if self._done is None else self._done.left

    def _is_owned(self, error: BrokerRefused) -> bool:
        """Say once who is waited for: another balancer, or workers that need none."""
        names = ", ".join(self._settings.services)
        if isinstance(error, NameTaken):
            text = f"stands by: another balancer serves {names}"
        elif error.code == ACCESS_REFUSED and "exclusive" in error.text:
            text = (
                f"waits: somebody takes tasks of {names} from the queue itself; stop them, or "
                "start them with --via-balancer (echo workers: without --direct)"
            )
        else:
            return False
        if text != self._said:
            self._said = text
            log.warning("%s", text)
        return True

    def _serve(self, link: Link, stops: Callable[[], int]) -> None:
        settings = self._settings
        facts = BalancerFacts(
            balancer=secrets.token_hex(8),
            host=os.uname().nodename,
            pid=os.getpid(),
            version=__version__,
            services=settings.services,
            backlog=settings.backlog,
            backlog_bytes=settings.backlog_bytes,
            policy=settings.policy,
            drain=settings.drain,
        )
        machine = BalancerMachine(facts, now=time.monotonic(), choice=self._choice)
        pump = Pump(
            machine,
            link,
            self._lab,
            sender=secrets.token_hex(8),
            run=self._do,
            user=link.user,
        )
        driver = Driver(link, pump, still=Told(StoodStill()))
        pump.feed(Recovered((), time.time()), now=time.monotonic())
        link.open(CONNECT, retry=True)
        self._said = ""
        log.info("balances %s (%s)", ", ".join(settings.services), settings.policy)
        said, end = 0, float("inf")
        clock_at = time.monotonic() + CLOCK
        while self._done is None and time.monotonic() < end:
            driver.turn(TURN)
            if time.monotonic() >= clock_at:
                pump.feed(Recovered((), time.time()), now=time.monotonic())
                clock_at = time.monotonic() + CLOCK
            if (now := min(stops(), 2)) > said:
                said = now
                end = time.monotonic() + LAST + (settings.drain if now == 1 else 0.0)
                self._drain(link, driver, at_once=now > 1)
        if self._done is None:
            self._done = Done(0)
            log.error("not all that waits could be given back: the broker does so")

    def _drain(self, link: Link, driver: Driver, *, at_once: bool) -> None:
        """Take nothing more; the machine does the rest."""
        for service in self._settings.services:
            link.cancel_consumer(service_queue(self._lab, service))
        if at_once:
            log.info("leaves to workers what they have")
        else:
            log.info("takes no more; ends when workers have done what they have")
        driver.post(Told(Drain(at_once=at_once)))

    def _do(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case Say(text, wrong):
                log.log(logging.WARNING if wrong else logging.INFO, "%s", text)
            case Done() as done:
                self._done = done


def _wait(seconds: float, stops: Callable[[], int]) -> None:
    end = time.monotonic() + seconds
    while not stops() and time.monotonic() < end:
        time.sleep(0.05)
