"""An examiner as a process: its machine, a link, and the threads of its graders.

The thread that calls :meth:`ExaminerService.run` talks to the broker, and to nobody else:
heartbeats go on however long a grading takes.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_gatherscatter import __version__
from pytest_gatherscatter.balanced import (
    BalancedFacts,
    BalancedMachine,
    Leave,
    Pool,
    pool_name,
)
from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.incumbent import outlast
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.graders import examiner_topology
from pytest_gatherscatter.broker.topology.roundrobin import behind_balancer
from pytest_gatherscatter.graders.case import GraderFacts
from pytest_gatherscatter.graders.examiner import ExaminerFacts, ExaminerMachine
from pytest_gatherscatter.graders.order import BeginGrading, Done, Drain, EndGrading, Say
from pytest_gatherscatter.graders.service import kind
from pytest_gatherscatter.graders.service.crew import Crew, Stuck
from pytest_gatherscatter.graders.service.metrics import Metrics
from pytest_gatherscatter.gradersetting import ExaminerSettings, GraderSettings
from pytest_gatherscatter.machine import Machine, Recovered, Run, Told
from pytest_gatherscatter.wire.names import grading_key, grading_queue, suspects_queue

log = logging.getLogger("gatherscatter.examiner")

TURN = 0.2
"""Seconds between two looks at signals."""

CLOCK = 60.0
"""Seconds between two looks at the world's clock, which may be set while an examiner runs."""

LAST = 2.0
"""Seconds in which threads come back that were told to end; a program is killed in less."""


@dataclass(frozen=True, slots=True)
class Account:
    """How an examiner ended: ids ``given_back``, answers ``unsaid``, threads ``stuck``."""

    given_back: tuple[str, ...]
    unsaid: tuple[str, ...]
    stuck: tuple[Stuck, ...]


class ExaminerService:
    """Judges requests in the threads of its graders until it is told to end.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        settings: the examiner's.
        graders: what it has; they are made here.
        metrics: is told how it stands, if somebody wants to know.

    Raises:
        SettingsInvalid: a kind or an option is wrong.
    """

    def __init__(
        self,
        lab: str,
        url: str,
        settings: ExaminerSettings,
        graders: Sequence[GraderSettings],
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._lab, self._settings, self._graders = lab, settings, tuple(graders)
        self._done: Done | None = None
        self._metrics_at = 0.0
        facts = ExaminerFacts(
            examiner=settings.name,
            host=os.uname().nodename,
            pid=os.getpid(),
            version=__version__,
            graders=tuple(map(_facts, graders)),
            drain=settings.drain,
        )
        self.machine = ExaminerMachine(facts, now=time.monotonic())
        threads = {queue: one.threads for one in graders for queue in one.queues}
        known = kind.kinds()
        made = {one.name: kind.make(one, known) for one in graders}
        topology = examiner_topology(lab, settings.name, threads)
        machine: Machine = self.machine
        if settings.via_balancer:
            behind = _behind(settings.name, facts)
            services = tuple(map(grading_key, threads))
            slots = sum(one.slots for one in behind.pools)
            topology = behind_balancer(topology, lab, settings.name, services, slots)
            machine = BalancedMachine(self.machine, behind)
        self._link = Link(
            url,
            topology,
            name=f"gatherscatter examiner {settings.name}",
            reconnect=True,
        )
        pump = Pump(
            machine,
            self._link,
            lab,
            sender=os.urandom(8).hex(),
            run=self._run,
            user=self._link.user,
            broker=lambda: self._link.instance,
        )
        self._driver = Driver(self._link, pump)
        self._crews = {name: Crew(f"grader-{name}", made[name], self._driver.post) for name in made}

    def run(self, stops: Callable[[], int]) -> Account:
        """Serve until ``stops()`` is not 0; from 2 on what runs is given back at once.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say, at the first connection.
            SettingsInvalid: another examiner has the name.
        """
        stuck: list[Stuck] = []
        try:
            self._look_at_the_clock()
            name, lab = self._settings.name, self._lab
            taken = f"lab {lab!r} has an examiner {name!r} already; give this one another name"
            outlast(self._link, stops, taken)
            for crew in self._crews.values():
                crew.start()
            self._introduce()
            self._serve(stops)
        finally:
            until = time.monotonic() + LAST
            for crew in self._crews.values():
                stuck += crew.close(max(0.1, until - time.monotonic()))
            self._link.close()
        done = self._done or Done((), ())
        return Account(done.given_back, done.unsaid, tuple(stuck))

    def _serve(self, stops: Callable[[], int]) -> None:
        said = 0
        clock_at = time.monotonic() + CLOCK
        while self._done is None:
            self._driver.turn(TURN)
            if self._metrics is not None:
                self._tell_metrics(self._metrics)
            if time.monotonic() >= clock_at:
                self._look_at_the_clock()
                clock_at = time.monotonic() + CLOCK
            if (now := min(stops(), 2)) > said:
                said = now
                self._drain(at_once=now > 1)

    def _tell_metrics(self, metrics: Metrics) -> None:
        """Tell how it stands, at most as often as signals are looked at."""
        now = time.monotonic()
        if now >= self._metrics_at:
            self._metrics_at = now + TURN
            metrics.seen = self.machine.seen(now)

    def _look_at_the_clock(self) -> None:
        self._driver.pump.feed(Recovered((), time.time()), now=time.monotonic())

    def _introduce(self) -> None:
        for one in self._graders:
            threads = "thread" if one.threads == 1 else "threads"
            log.info(
                "%s: grader %s (%s) serves %s with %d %s",
                *(self._settings.name, one.name, one.kind, ", ".join(one.queues)),
                *(one.threads, threads),
            )

    def _drain(self, *, at_once: bool) -> None:
        """Take nothing more; the machine does the rest."""
        if self._settings.via_balancer:
            self._driver.post(Told(Leave()))
        for grader in self._graders:
            for queue in grader.queues:
                if not self._settings.via_balancer:
                    self._link.cancel_consumer(grading_queue(self._lab, queue))
                self._link.cancel_consumer(suspects_queue(self._lab, queue))
        log.info("gives back what runs" if at_once else "takes no more; ends with what runs")
        self._driver.post(Told(Drain(at_once=at_once)))

    def _run(self, effect: Run) -> None:
        """Do what the machine asks for; called by the pump."""
        match effect.command:
            case BeginGrading() as order:
                self._crews[order.grader].begin(effect.id, order)
            case EndGrading(run):
                for crew in self._crews.values():
                    crew.end(run)
            case Say(text, wrong):
                log.log(logging.WARNING if wrong else logging.INFO, "%s", text)
            case Done() as done:
                self._done = done


def _behind(name: str, facts: ExaminerFacts) -> BalancedFacts:
    """Make a worker of each grader: its queues share its threads."""
    pools = (
        Pool(pool_name(name, one.name), tuple(map(grading_key, one.queues)), one.threads)
        for one in facts.graders
    )
    return BalancedFacts(name, os.urandom(8).hex(), tuple(pools), host=facts.host, pid=facts.pid)


def _facts(settings: GraderSettings) -> GraderFacts:
    return GraderFacts(
        name=settings.name,
        kind=settings.kind,
        queues=settings.queues,
        threads=settings.threads,
        timeout=settings.timeout,
        attempts=settings.attempts,
        slow=settings.slow,
    )
