"""The machine of a recorder: what came is kept until it is on record, and then forgotten.

A message is acked when the transaction is committed that has it: who dies in between gets it
again, and finds its id on record. One transaction is under way at a time, of all that is in hand:
what comes meanwhile is the next one. So few messages are on record at once, and many in few
transactions.

A database that fails is tried again, with growing pauses, for as long as the patience with it
lasts; then the recorder ends, and all is in the broker still.
"""

from pytest_gatherscatter import machine
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.errors import MessageUnreadable
from pytest_gatherscatter.machine import Effect, Effects, Exited, Input, Received
from pytest_gatherscatter.record.order import Done, Drain, NotWritten, Say, Write, Written
from pytest_gatherscatter.record.row import Entry, entry_of

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a database is tried again; each pause is twice the one before."""

MOST_REFUSED = 1000
"""Refused messages whose reason is remembered until they come again, which is at once."""


class RecorderMachine:
    """Has what comes from a lab put on record.

    Args:
        lab: the lab's name.
        patience: seconds for which a database may fail, or not answer.
    """

    def __init__(self, lab: str, *, patience: float) -> None:
        self.fresh = 0
        """Messages that were put on record."""
        self.known = 0
        """Messages that were on record before."""
        self._lab, self._patience = lab, patience
        self._out = Effects()
        self._wall_at = (0.0, 0.0)
        self._waiting: dict[int, Entry] = {}
        self._writing: dict[int, Entry] = {}
        self._run: int | None = None
        self._due = 0.0
        self._since: float | None = None
        self._pause = FIRST_PAUSE
        self._retry_at: float | None = None
        self._reason = ""
        self._refused: dict[str, str] = {}
        self._draining = self._finished = False

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received():
                self._take(message, now)
            case Exited(effect, result) if effect == self._run:
                self._over(result, now)
            case machine.LinkDown():
                self._waiting.clear()  # the broker has them, and gives them again
            case machine.Recovered(wall=wall):
                self._wall_at = (now, wall)
            case machine.Told(Drain()):
                self._draining = True
            case _:
                pass
        self._look(now)
        return self._out.take()

    def _take(self, received: Received, now: float) -> None:
        """Keep what is to go on record; the pump sets aside what cannot.

        Raises:
            MessageUnreadable: it cannot be recorded.
        """
        if reason := self._refused.pop(received.id, ""):
            raise MessageUnreadable(f"the database refuses it: {reason}")
        at, wall = self._wall_at
        entry = entry_of(
            received.message,
            message_id=received.id,
            sent=received.sent,
            lab=self._lab,
            wall=wall + now - at,
        )
        if entry is not None:
            self._out.keep(received.delivery)
            self._waiting[received.delivery] = entry

    def _look(self, now: float) -> None:
        """Write what is in hand, see to what is due, and end when that is wanted."""
        if self._finished:
            return
        if self._run is not None:
            if now >= self._due:
                self._end(f"it has not answered for {self._patience:g} s")
        elif self._since is not None and (self._draining or now >= self._since + self._patience):
            self._end(self._reason)
        elif self._retry_at is not None and now < self._retry_at:
            pass
        elif self._writing or self._waiting:
            self._write(now)
        elif self._draining:
            self._end("")

    def _write(self, now: float) -> None:
        if not self._writing:
            self._writing, self._waiting = self._waiting, {}
        self._retry_at = None
        self._due = now + self._patience
        self._run = self._out.run(Write(tuple(self._writing.values())))
        self._out.wake(self._due)

    def _over(self, result: object, now: float) -> None:
        """Ack what is on record, or try again after a while."""
        self._run = None
        match result:
            case Written() as written:
                self._written(written)
            case NotWritten(reason):
                self._not_written(reason, now)

    def _written(self, written: Written) -> None:
        if self._since is not None:
            self._out.run(Say("the database takes it again"))
        self._since, self._pause = None, FIRST_PAUSE
        for delivery, entry in self._writing.items():
            reason = written.refused.get(entry.id)
            if reason is None:
                self._out.settle(delivery, Verdict.ACK)
            else:  # it comes once more, and is set aside then, with the reason
                self._refused[entry.id] = reason
                self._out.settle(delivery, Verdict.REQUEUE)
        while len(self._refused) > MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self.fresh += written.fresh
        self.known += len(self._writing) - written.fresh - len(written.refused)
        self._writing = {}

    def _not_written(self, reason: str, now: float) -> None:
        if self._since is None:
            self._since = now
            text = f"the database fails: {reason}; it is tried for {self._patience:g} s"
            self._out.run(Say(text, wrong=True))
        self._reason = reason
        self._retry_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._out.wake(min(self._retry_at, self._since + self._patience))

    def _end(self, failure: str) -> None:
        self._finished = True
        self._out.run(Done(failure, len(self._writing) + len(self._waiting)))
