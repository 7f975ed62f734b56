"""Echo workers as a process: a thread for each, with a link and a machine of its own.

The thread that calls :meth:`EchoService.run` looks after them, and talks to no broker. A worker
consumes its service's queue itself (``direct``), or stands behind a balancer.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_gatherscatter.balanced import BalancedFacts, BalancedMachine, Leave, Pool
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.roundrobin import balanced_topology, service_topology
from pytest_gatherscatter.errors import BrokerError, BrokerRefused, SettingsInvalid
from pytest_gatherscatter.machine import Recovered, Run, Told
from pytest_gatherscatter.roundrobin.echo import EchoDone, EchoFacts, EchoMachine, StopTaking
from pytest_gatherscatter.roundrobin.order import Drain, Say
from pytest_gatherscatter.wire.names import service_key, service_queue

log = logging.getLogger("gatherscatter.echo")

CONNECT = 30.0
"""Seconds that a broker may take to come up: it is often started by the same script."""

LOOK = 0.2
"""Seconds between two looks at signals."""

CLOCK = 60.0
"""Seconds between two looks at the world's clock, which may be set while a worker runs."""

LAST = 10.0
"""Seconds in which a thread comes back that was told to go at once: its link closes in two."""


@dataclass(frozen=True, slots=True)
class EchoAccount:
    """How a worker ended: tasks ``done`` and ``failed``, ``seconds`` at them.

    ``given_back`` are ids of tasks, ``unsaid`` of those whose answers found no client. ``stuck``:
    its thread has not come back.
    """

    worker: str
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    given_back: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    stuck: bool = False


class EchoWorker:
    """One worker; ``run`` is what its thread does, the others are for whoever looks after it.

    Raises:
        SettingsInvalid: the URL is none.
    """

    def __init__(self, lab: str, url: str, facts: EchoFacts, *, direct: bool) -> None:
        self.facts = facts
        self.error: Exception | None = None
        self._queue = service_queue(lab, service_key(facts.service))
        self._echo = EchoMachine(facts)
        self._balanced: BalancedMachine | None = None
        self._done: EchoDone | None = None
        self._opened = self._ending = self._going = False
        service = service_key(facts.service)
        if direct:
            topology = service_topology(lab, (service,), facts.slots)
        else:
            behind = BalancedFacts(
                address=secrets.token_hex(8),
                instance=secrets.token_hex(8),
                pools=(Pool(facts.worker, (service,), facts.slots),),
                host=facts.host,
                pid=os.getpid(),
            )
            topology = balanced_topology(lab, behind.address, (service,), facts.slots)
            self._balanced = BalancedMachine(self._echo, behind)
        self._link = Link(url, topology, name=f"gatherscatter echo {facts.worker}", reconnect=True)
        pump = Pump(
            self._balanced or self._echo,
            self._link,
            lab,
            sender=secrets.token_hex(8),
            run=self._do,
            user=self._link.user,
            broker=lambda: self._link.instance,
        )
        self._driver = Driver(self._link, pump)
        self.thread = threading.Thread(target=self._run, name=f"echo-{facts.worker}")

    @property
    def account(self) -> EchoAccount:
        """How it stands; exact once its thread has come back."""
        echo, done = self._echo, self._done or EchoDone((), ())
        return EchoAccount(
            worker=self.facts.worker,
            done=echo.done,
            failed=echo.failed,
            seconds=echo.seconds,
            given_back=done.given_back,
            unsaid=done.unsaid,
            stuck=self.thread.is_alive(),
        )

    def drain(self, *, at_once: bool) -> None:
        """Have it take nothing more, and end."""
        self._ending = True
        if self._balanced is not None:
            self._driver.post(Told(Leave()))
        self._driver.post(Told(Drain(at_once=at_once)))
        if not self._opened:
            self._link.cancel()

    def go(self) -> None:
        """Have it leave all as it is: the broker gives to others what is not settled."""
        self._going = self._ending = True
        self._link.cancel()
        self._link.wake()

    def _run(self) -> None:
        try:
            self._serve()
        except BrokerRefused as error:
            self.error = self._owned() if "exclusive" in error.text else error
        except Exception as error:  # noqa: BLE001 - told by whoever looks after it
            self.error = error
        finally:
            self._link.close()

    def _owned(self) -> SettingsInvalid:
        """Say who is in the way of a worker that consumes a queue."""
        service = self.facts.service
        text = f"a balancer has the tasks of {service} for itself: leave it out, or stop that one"
        return SettingsInvalid("--direct", text)

    def _serve(self) -> None:
        self._look_at_the_clock()
        try:
            self._link.open(CONNECT, retry=True)
        except BrokerError:
            if self._ending:
                return
            raise
        self._opened = True
        facts = self.facts
        log.info("%s: serves %s with %d slots", facts.worker, facts.service, facts.slots)
        clock_at = time.monotonic() + CLOCK
        told = self._balanced is None
        while self._done is None and not self._going:
            self._driver.turn(CLOCK)
            if not told and self._balanced is not None and self._balanced.registered:
                told = True
                log.info("%s: is known to the balancer", facts.worker)
            if time.monotonic() >= clock_at:
                self._look_at_the_clock()
                clock_at = time.monotonic() + CLOCK

    def _look_at_the_clock(self) -> None:
        self._driver.pump.feed(Recovered((), time.time()), now=time.monotonic())

    def _do(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case StopTaking() if self._balanced is None:
                self._link.cancel_consumer(self._queue)
            case Say(text, wrong):
                log.log(logging.WARNING if wrong else logging.INFO, "%s", text)
            case EchoDone() as done:
                self._done = done
            case _:
                pass


class EchoService:
    """Serves with some workers until it is told to end.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        name: of all of them; each has a number behind it.
        service: what they serve.
        slots: tasks that each may have at a time.
        bulk: how many they are.
        direct: they consume the service's queue themselves.
        drain: for how many seconds tasks may go on once it is told to end.

    Raises:
        SettingsInvalid: the URL is none.
    """

    def __init__(  # noqa: PLR0913 - what there is to say
        self,
        lab: str,
        url: str,
        name: str,
        *,
        service: str,
        slots: int,
        bulk: int,
        direct: bool,
        drain: float,
    ) -> None:
        host = os.uname().nodename
        self.workers = tuple(
            EchoWorker(
                lab,
                url,
                EchoFacts(f"{name}-{number}", host, service, slots, drain),
                direct=direct,
            )
            for number in range(1, bulk + 1)
        )

    def run(self, stops: Callable[[], int]) -> tuple[EchoAccount, ...]:
        """Serve until ``stops()`` is not 0; from 2 on what runs is ended at once.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, of any worker; the others
                have drained then.
        """
        try:
            for one in self.workers:
                one.thread.start()
            self._look_after(stops)
        finally:
            end = time.monotonic() + LAST
            for one in self.workers:
                one.go()
            for one in self.workers:
                if one.thread.ident is not None:  # else it could not be started
                    one.thread.join(max(0.1, end - time.monotonic()))
        errors = [one.error for one in self.workers if one.error is not None]
        if errors:
            raise errors[0]
        return tuple(one.account for one in self.workers)

    def _look_after(self, stops: Callable[[], int]) -> None:
        said = 0
        alive = list(self.workers)
        while alive:
            alive[0].thread.join(LOOK)
            broken = any(one.error is not None for one in self.workers)
            if (now := min(max(stops(), int(broken)), 2)) > said:
                said = now
                if not broken:
                    log.info("ends what runs" if now > 1 else "takes no more; ends with what runs")
                for one in alive:
                    one.drain(at_once=now > 1)
            alive = [one for one in alive if one.thread.is_alive()]
