"""The originator's side of a job: the ledger, a link, and what is shown as it comes."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.testfiles import job_topology
from pytest_gatherscatter.errors import BrokerError
from pytest_gatherscatter.machine import Run, Told
from pytest_gatherscatter.testfiles.ledger import Ledger, StopJob
from pytest_gatherscatter.testfiles.news import JobEnded, News, Outfit, Summary
from pytest_gatherscatter.testfiles.state import JobFacts

CONNECT = 30.0
"""Seconds that a broker may take to come up."""

TURN = 0.25
"""Seconds between two looks at whether the user wants it to end."""

LAST_WORDS = 1.0
"""Seconds that the broker may take to confirm what was said last."""

LOST = 30.0
"""Seconds that a broker may be away in mid-job: its supervisors give the job up after half."""


class OriginatorService:
    """Runs a job in the calling thread.

    Args:
        lab: the lab's name.
        url: the broker's URL.
        ledger: the job's.
    """

    def __init__(self, lab: str, url: str, ledger: Ledger) -> None:
        self._ledger = ledger
        self._news: deque[News] = deque()
        self._over = False
        self._lost_at: float | None = None
        job = ledger.job.facts.job
        name = f"gatherscatter job of {ledger.job.facts.originator}"
        self._link = Link(url, job_topology(lab, job), name=name, reconnect=True)
        self._pump = Pump(ledger, self._link, lab, sender=job, run=self._take, user=self._link.user)
        self._driver = Driver(self._link, self._pump)

    def open(self) -> None:
        """Connect, and offer the job.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
        """
        self._link.open(CONNECT, retry=True)

    def news(self, look: Callable[[], None] = lambda: None) -> Iterator[News]:
        """Yield what there is to show, until the job has ended; ``look`` is called in between.

        Raises:
            BrokerError: the broker refuses us in mid-job, or was away for too long.
        """
        while True:
            while self._news:
                news = self._news.popleft()
                yield news
                if isinstance(news, JobEnded):
                    return
            look()
            self._driver.turn(TURN)
            self._see_link()

    @property
    def facts(self) -> JobFacts:
        """What the job was told at its making."""
        return self._ledger.job.facts

    def equip(self, outfit: Outfit) -> None:
        """Have a worker started."""
        self._driver.post(Told(outfit))

    def lost(self, text: str) -> JobEnded:
        """Say what was not run, where nobody will be heard any more, for ``text``."""
        return self._ledger.end(text)

    def stop(self, text: str) -> None:
        """Let the job end, for ``text``."""
        self._driver.post(Told(StopJob(text)))

    def sum_up(self, summary: Summary) -> None:
        """Put on record how the job ended; it is said when the service is closed."""
        self._driver.tell(Told(summary))

    def close(self) -> None:
        """Let go of the broker; the workers see at once that nobody counts on them any more."""
        with contextlib.suppress(BrokerError):  # the last words are for who waits for them
            self._driver.run(lambda: not self._ledger.job.said, LAST_WORDS)
        self._link.close()

    def _take(self, effect: Run) -> None:
        self._news.append(effect.command)  # type: ignore[arg-type]

    def _see_link(self) -> None:
        if self._link.up:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = time.monotonic()
        elif time.monotonic() - self._lost_at >= LOST:
            raise BrokerError(f"the broker was away for {LOST:g} s")
