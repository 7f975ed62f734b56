"""Tells the lab about steps as they happen, and keeps what they say while a section is quiet.

There is no thread: a step's own words carry the older ones along, and the end of its test carries
the rest. Nobody waits for long. A lab that does not answer is left alone for a while, and what
cannot be told is no trouble of the test: its report has the steps in any case.

From :meth:`Teller.fall_quiet` to :meth:`Teller.speak` there is no connection; what is said then is
kept in memory and, once there is a ticket, on disk beside it, for a process that dies in the
section.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pytest_gatherscatter.broker.link import HEARTBEAT, Link
from pytest_gatherscatter.broker.port import (
    PortDown,
    PortEvent,
    Properties,
    PublishConfirmed,
    PublishReturned,
)
from pytest_gatherscatter.broker.topology import lab_topology
from pytest_gatherscatter.errors import BrokerError, GatherScatterError, MessageUnreadable
from pytest_gatherscatter.plugin.interrupt import interrupt_says
from pytest_gatherscatter.plugin.news import RATE, News, StepNews
from pytest_gatherscatter.sections.service.steplog import StepLog, StrandedSteps, stranded
from pytest_gatherscatter.wire import codec
from pytest_gatherscatter.wire.messages import StepFinished
from pytest_gatherscatter.wire.names import event_exchange, step_event

TELL_SECONDS = 2.0
"""How long connecting may take, and how long waiting for confirms: steps are news, and a test
waits."""

PAUSE = 30.0
"""Seconds for which a lab that could not be told is left alone: 400 tests do not wait 400 times."""


class Teller:
    """Tells of the steps of one process. Any thread may call it; only Ctrl-C comes out of it.

    Args:
        run: id of the run.
        where: finds the broker's URL and the lab's name when they are first needed; ``None`` if
            there is no broker.
        tickets: the folder of tickets.
    """

    def __init__(
        self, run: str, where: Callable[[], tuple[str, str] | None], tickets: Path
    ) -> None:
        self._run = run
        self._where = where
        self._tickets = tickets
        self._news = News()
        self._unheard: dict[int, StepNews] = {}
        self._link: Link | None = None
        self._turned = 0.0
        self._pause_until = 0.0
        self._quiet = False
        self._logs: list[StepLog] = []
        self._kept_at = 0.0
        self._lock = threading.RLock()
        self._pid = os.getpid()

    # ── what steps say ─────────────────────────────────────────────────────────────────

    def tell(self, message: StepNews) -> None:
        """Take what a step says, and tell it now, later, or with the next."""
        with self._telling():
            if self._where() is None:
                return
            self._news.put(message)
            now = time.monotonic()
            if self._quiet:
                self._keep(message, now)
            else:
                self._say(now)

    def finish(self) -> None:
        """The test is over: tell what is left, and close the connection."""
        with self._telling():
            if not self._quiet:
                self._say_all()

    # ── the quiet ──────────────────────────────────────────────────────────────────────

    def fall_quiet(self) -> None:
        """A section is about to open: close the connection, and keep what is said from now on."""
        with self._telling():
            if self._link is not None:
                self._say_all()
            self._quiet = True

    def keep_beside(self, ticket: Path) -> None:
        """Keep what is said on disk too, beside the section's ticket."""
        where = self._where()
        if where is not None:
            self._logs.append(StepLog(ticket, where[1]))

    def speak(self) -> None:
        """The section is over: tell what was kept, and what processes that died have left."""
        with self._telling():
            self._quiet = False
            where = self._where()
            own = {log.path for log in self._logs}
            left = [] if where is None else stranded(self._tickets, where[1])
            self._say_all(one for one in left if one.path not in own)

    def _keep(self, message: StepNews, now: float) -> None:
        if not self._logs:
            return
        if not isinstance(message, StepFinished) and message.done:
            if now - self._kept_at < 1 / RATE:
                return
            self._kept_at = now
        with contextlib.suppress(OSError, MessageUnreadable):
            self._logs[-1].keep(message)

    # ── telling ────────────────────────────────────────────────────────────────────────

    def _say(self, now: float) -> None:
        """Say what there is room for in this second."""
        if now < self._pause_until:
            return
        if self._link is not None and now - self._turned > HEARTBEAT:
            self._turn()
            if self._link is None:
                self._pause_until = 0.0  # it is gone since nobody polled it, and may come back
        messages = self._news.take(now)
        if not messages:
            return
        if self._connected():
            self._publish(messages)
            self._turn()
        else:
            self._news.put_back(messages)

    def _say_all(self, left: Iterable[StrandedSteps] = ()) -> None:
        """Say everything, wait until it is heard, and close the connection; bounded."""
        theirs = list(left)
        waits = len(self._news) or self._unheard or theirs
        if waits and time.monotonic() >= self._pause_until and self._connected():
            self._publish(self._news.take_all())
            self._publish(message for one in theirs for message in one.messages)
        link = self._link
        if link is None:
            return
        end = time.monotonic() + TELL_SECONDS
        while self._link is not None and self._unheard and time.monotonic() < end:
            self._turn(end - time.monotonic())
        if self._link is not None and not self._unheard and not len(self._news):
            for log in self._logs:
                log.remove()
            for one in theirs:
                one.remove()
            self._logs.clear()
        self._let_go()

    def _publish(self, messages: Iterable[StepNews]) -> None:
        where = self._where()
        assert self._link is not None  # noqa: S101 - the callers have connected
        assert where is not None  # noqa: S101 - else there were no connection
        for message in messages:
            what = "finished" if isinstance(message, StepFinished) else "progressed"
            with contextlib.suppress(MessageUnreadable):
                number = self._link.publish(
                    event_exchange(where[1]),
                    step_event(what, message.run),
                    codec.encode(message),
                    Properties(type=codec.type_of(message)),
                    mandatory=False,
                )
                self._unheard[number] = message

    def _turn(self, seconds: float = 0.0) -> None:
        if self._link is None:
            return
        self._turned = time.monotonic()
        try:
            events = self._link.poll(seconds)
        except BrokerError as error:
            events = [PortDown(str(error))]
        for event in events:
            self._hear(event)

    def _hear(self, event: PortEvent) -> None:
        match event:
            case PublishConfirmed(number):
                self._unheard.pop(number, None)
            case PublishReturned(number, _):
                if (message := self._unheard.pop(number, None)) is not None:
                    self._news.put_back([message])
            case PortDown():
                self._let_go()
                self._pause_until = time.monotonic() + PAUSE

    def _connected(self) -> bool:
        """Connect, unless it is done; a lab that cannot be reached is left alone for a while."""
        if self._link is not None:
            return True
        where = self._where()
        if where is None:
            return False
        url, lab = where
        link = Link(url, lab_topology(lab), name=f"gatherscatter steps {self._run}")
        try:
            link.open(TELL_SECONDS)
        except GatherScatterError:
            link.close(0)
            self._pause_until = time.monotonic() + PAUSE
            return False
        except KeyboardInterrupt:
            link.close(0)
            self._pause_until = time.monotonic() + PAUSE
            raise
        self._link = link
        self._turn()  # that it is up is an event too, and the first
        return self._link is not None

    def _let_go(self) -> None:
        """Close the connection; what was not heard is said again over the next."""
        link, self._link = self._link, None
        if link is not None:
            link.close(TELL_SECONDS)
        self._news.put_back(self._unheard.values())
        self._unheard.clear()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Let one thread at a time tell, and a fork begin anew: the news are its parent's."""
        if os.getpid() != self._pid:
            self._pid, self._lock = os.getpid(), threading.RLock()
            self._link, self._news = None, News()
            self._unheard.clear()
            self._logs.clear()
        with interrupt_says(lambda: "telling the lab about steps"), self._lock:
            yield
