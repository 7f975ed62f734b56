"""Gives a slip out, and follows it: the connection of who waits for its end."""

import contextlib
import secrets
import time
from collections import deque
from types import TracebackType
from typing import Self

import msgspec

from pytest_gatherscatter.broker.drive import Driver
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.pump import Pump
from pytest_gatherscatter.broker.topology.slips import asker_topology
from pytest_gatherscatter.broker.url import safe_url
from pytest_gatherscatter.errors import BrokerError, BrokerLost, SlipLost, SlipRefused
from pytest_gatherscatter.machine import Run, Told
from pytest_gatherscatter.quantity import LONGEST
from pytest_gatherscatter.slips.asker import (
    GRACE,
    AskerMachine,
    AskState,
    CancelWish,
    Checked,
    Refusal,
    Silence,
    SlipNews,
    undoing,
)
from pytest_gatherscatter.wire.names import slip_key, slip_queue
from pytest_gatherscatter.wire.slips import Slip, SlipChecked, SlipOver

CONNECT = 5.0
"""Seconds to reach the broker: a person waits."""

LOST = 120.0
"""Seconds that the broker may be away while a slip is on its way: it goes on without us, and a
restart of RabbitMQ takes less."""

LAST_WORDS = 1.0
"""Seconds that the broker may take to confirm what was said last."""


class SlipRun:
    """One slip, from giving it out to its end. One thread; a context manager that closes it.

    Args:
        lab: the lab's name.
        url: the broker's.
        slip: what to do; its ``reply_to`` is set here.
        checks: ask its processors beforehand whether they would run it (a second at most).
    """

    def __init__(
        self, lab: str, url: str, slip: Slip, *, checks: bool = True, only_checks: bool = False
    ) -> None:
        asker = secrets.token_hex(8)
        self.slip = msgspec.structs.replace(slip, reply_to=slip_key(asker))
        self.result: SlipOver | None = None
        """How it ended, once it has."""
        self.checked: tuple[SlipChecked, ...] = ()
        """What processors said of it beforehand."""
        self._where = safe_url(url)
        self._lost_at: float | None = None
        self._broker = ""
        """Which start of the embedded broker knows the slip."""
        self._news: deque[SlipNews] = deque()
        self._refusal: Refusal | None = None
        self._silence: Silence | None = None
        lasts = LONGEST
        if slip.deadline is not None:
            lasts = min(lasts, max(0.0, slip.deadline - time.time()) + undoing(slip) + GRACE)
        self.machine = AskerMachine(
            self.slip,
            asker=asker,
            checks=checks,
            only_checks=only_checks,
            lasts=lasts,
            now=time.monotonic(),
        )
        topology = asker_topology(lab, asker, slip.id)
        self._queue = slip_queue(lab, asker)
        self._link = Link(
            url,
            topology,
            name=f"gatherscatter slip {slip.name}",
            connect_timeout=CONNECT,
            reconnect=True,
        )
        pump = Pump(
            self.machine, self._link, lab, sender=asker, run=self._take, user=self._link.user
        )
        self._driver = Driver(self._link, pump)

    def __enter__(self) -> Self:
        """Begin."""
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of the broker; the slip goes on."""
        self.close()

    def begin(self) -> None:
        """Connect; the slip goes out with the following calls of :meth:`poll`.

        Raises:
            BrokerUnreachable, LoginRefused, BrokerRefused: as they say.
        """
        self._link.open(CONNECT, retry=True)

    def poll(self, timeout: float) -> list[SlipNews]:
        """Return what there is to show, after ``timeout`` seconds at the most.

        When :attr:`result` is there, all is over.

        Raises:
            SlipRefused: a processor would not run it; nothing was begun.
            SlipLost: nobody has said how it ended: it was waited for until after its deadline, or
                long enough after it was cancelled; or the embedded broker was started anew.
            BrokerLost: the broker was away for too long; the slip goes on without us.
        """
        if not self._news:
            self._driver.turn(timeout)
        if self._refusal is not None:
            raise SlipRefused(self._refusal.text)
        if self._silence is not None:
            raise SlipLost(self._silence.text)
        self._see_link()
        news = list(self._news)
        self._news.clear()
        return news

    def cancel(self, who: str) -> None:
        """Let it end: the step that runs is ended, and no other begun; compensations are done."""
        self._driver.post(Told(CancelWish(who)))

    def close(self) -> None:
        """Let go of the broker, bounded. A second call does nothing."""
        if self._link.up:
            self._driver.run(lambda: not self._driver.pump.unconfirmed, LAST_WORDS)
            with contextlib.suppress(BrokerError):  # it expires by itself
                self._link.delete_queue(self._queue)
        self._link.close()

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""
        return self.machine.over and not self._news

    def _take(self, effect: Run) -> None:
        match effect.command:
            case Refusal():
                self._refusal = effect.command
            case Silence():
                self._silence = effect.command
            case _:
                if isinstance(effect.command, SlipOver):
                    self.result = effect.command
                if isinstance(effect.command, Checked):
                    self.checked = effect.command.answers
                self._news.append(effect.command)  # type: ignore[arg-type]

    def _see_link(self) -> None:
        if self._link.up:
            self._lost_at = None
            broker, self._broker = self._broker, self._link.instance
            if self.machine.life.state is AskState.UNDERWAY and broker not in {"", self._broker}:
                slip = f"slip {self.slip.name} ({self.slip.id})"
                raise SlipLost(f"the embedded broker was started anew, and has forgotten {slip}")
        elif self._lost_at is None:
            self._lost_at = time.monotonic()
        elif time.monotonic() - self._lost_at >= LOST:
            trouble = self._link.trouble
            raise trouble or BrokerLost(f"the broker at {self._where} was away for {LOST:g} s")


def check(lab: str, url: str, slip: Slip) -> tuple[SlipChecked, ...]:
    """Ask the processors of a lab how they would run a slip, and run nothing.

    Raises:
        SlipRefused, BrokerError: as they say.
    """
    with SlipRun(lab, url, slip, only_checks=True) as run:
        while not run.over:
            run.poll(1.0)
        return run.checked
