"""The machine of an echo worker: it answers PING, STREAM and SLEEP, so that a service can be tried.

What it promises is what graders promise (``docs/decisions/0014``): an answer is confirmed before
its task is settled, and what it knows it does not begin again. It needs no thread for any of it:
sleeping is a matter of waking.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from pytest_gatherscatter import machine
from pytest_gatherscatter.answering import Answers
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effect, Effects, Input, Received
from pytest_gatherscatter.roundrobin.order import Drain, Say
from pytest_gatherscatter.roundrobin.work import Work
from pytest_gatherscatter.wire.names import ID_PATTERN, client_key, service_key
from pytest_gatherscatter.wire.roundrobin import Execute, Executed, ExecuteOutcome, Working

COMMANDS = ("PING", "STREAM", "SLEEP")

MOST_BYTES = 1_000_000
"""Bytes of a payload: with what stands beside it an answer fits into a message of 1 MiB."""

MOST_SLEEP = 86_400.0
"""Seconds of a sleep: a day, far longer than anybody tries a service for."""

FIRST_WORD = 1.0
"""Seconds after which a client is told that its task is still worked on."""

NEXT_WORD = 5.0
"""Seconds until it is told again."""

LAST = 5.0
"""Seconds after the end of the drain in which answers may be confirmed."""

_ID = re.compile(ID_PATTERN)
_REPLY = re.compile(re.escape(client_key("")) + ID_PATTERN.lstrip("^"))


@dataclass(frozen=True, slots=True)
class EchoFacts:
    """What an echo worker is; ``service`` is a name, ``drain`` in seconds."""

    worker: str
    host: str
    service: str
    slots: int
    drain: float = 60.0


@dataclass(frozen=True, slots=True)
class StopTaking:
    """Consume no more tasks (a ``Run``)."""


@dataclass(frozen=True, slots=True)
class EchoDone:
    """It has drained (a ``Run``). ``given_back`` are ids; ``unsaid`` answers found no client."""

    given_back: tuple[str, ...]
    unsaid: tuple[str, ...]


class _Stream(Struct, forbid_unknown_fields=True):
    bytes: Annotated[int, Meta(ge=0, le=MOST_BYTES)]


class _Sleep(Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, Meta(ge=0, le=MOST_SLEEP)]


class EchoMachine:
    """See the module. Fed with ``Recovered`` for Unix time, now and then: it has no journal.

    ``done`` and ``failed`` count tasks, ``seconds`` is for how long it has worked on them.
    """

    def __init__(self, facts: EchoFacts) -> None:
        self.facts = facts
        self.done = self.failed = 0
        self.seconds = 0.0
        self._out = Effects()
        self._answers = Answers[Work](self._out, lambda work, now: work.expires_at - now)
        self._wall_at = (0.0, 0.0)
        self._works: dict[str, Work] = {}
        self._waiting: deque[Work] = deque()
        self._running: dict[str, Work] = {}
        self._draining: float | None = None
        self._finished = False
        self._given_back: list[str] = []
        self._unsaid: list[str] = []

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(message=Execute() as task):
                self._take(task, message, now)
            case machine.Confirmed(effect):
                self._confirmed(effect)
            case machine.Returned(effect) | machine.Failed(effect):
                self._unheard(effect, now, returned=isinstance(message, machine.Returned))
            case machine.Woken():
                self._look(now)
            case _:
                self._other(message, now)
        if self._draining is not None:
            self._look_at_the_end(now)
        return self._out.take()

    def _other(self, message: Input, now: float) -> None:
        match message:
            case Received(message=said, delivery=delivery):
                text = f"{type(said).__name__} is no task"
                self._out.settle(delivery, Verdict.DEAD, text)
            case machine.Unreadable():
                self._unreadable(message)
            case machine.LinkUp(broker):
                self._answers.link_up(broker)
            case machine.LinkDown():
                self._answers.link_down()
                for work in self._works.values():
                    work.delivery = None
            case machine.Recovered(wall=wall):
                self._wall_at = (now, wall)
            case machine.Told(Drain(at_once)):
                self._drain(now, at_once=at_once)
            case _:
                pass

    # ── what comes ─────────────────────────────────────────────────────────────────────

    def _take(self, task: Execute, received: Received, now: float) -> None:
        delivery, reply_to = received.delivery, received.reply_to or ""
        if task.service != self.facts.service:
            text = f"{task.task} is for {task.service!r}, which is not served here"
            self._out.settle(delivery, Verdict.DEAD, text)
            return
        if task.tracked and _REPLY.fullmatch(reply_to) is None:
            self._out.settle(delivery, Verdict.DEAD, f"{task.task} names nobody to answer")
            return
        known = self._works.get(task.task)
        if known is not None:
            if known.delivery is None:  # it was lost with a connection, and is back
                self._out.keep(delivery)
                known.delivery = delivery
                self._begin(now)
            return  # else one copy is in hand, and the other one is acked
        if self._answers.knows(task.task):
            return
        self._out.keep(delivery)
        at, wall = self._wall_at
        expires_at = now + task.deadline - (wall + now - at)
        work = Work(task, delivery, expires_at, reply_to=reply_to)
        if received.redelivered and not task.rerun:
            self._works[task.task] = work
            self._end(work, "worker-lost", "somebody may have begun it, and is gone", now)
        elif self._draining is not None:
            self._give_back(work)
        else:
            self._works[task.task] = work
            self._waiting.append(work)
            self._begin(now)
            if work.answer is None:
                self._out.wake(work.expires_at)

    def _unreadable(self, said: machine.Unreadable) -> None:
        """Answer who has sent what nobody can read, if the message says who, and which one."""
        reply_to, id_ = said.reply_to or "", said.correlation or ""
        ours = said.queue.endswith("." + service_key(self.facts.service))
        if ours and _REPLY.fullmatch(reply_to) and _ID.fullmatch(id_):
            self.failed += 1
            facts = self.facts
            answer = Executed(
                task=id_,
                service=facts.service,
                outcome="undecodable",
                text=said.reason[:4096],
                worker=facts.worker,
                host=facts.host,
            )
            self._out.send(reply_to, answer)

    # ── at work ────────────────────────────────────────────────────────────────────────

    def _begin(self, now: float) -> None:
        """Let what waits have the free slots; what was lost with a connection waits to be back."""
        held: list[Work] = []
        while self._waiting and self._draining is None and len(self._running) < self.facts.slots:
            work = self._waiting.popleft()
            late = now - work.expires_at
            if work.delivery is None:
                held.append(work)
            elif late >= 0:
                self._end(work, "expired", f"its time was over {late:.1f} s before", now)
            else:
                work.began = now
                self._do(work, now)
        self._waiting.extendleft(reversed(held))

    def _do(self, work: Work, now: float) -> None:
        task = work.task
        size = len(bytes(task.payload))
        try:
            if size > MOST_BYTES:
                problem = f"a payload of {size} bytes, {MOST_BYTES} are allowed"
                self._end(work, "failed", problem, now)
            elif task.command == "PING":
                self._end(work, "done", "", now, task.payload)
            elif task.command == "STREAM":
                text = "." * msgspec.json.decode(bytes(task.payload), type=_Stream).bytes
                self._end(work, "done", "", now, Raw(b'"' + text.encode() + b'"'))
            elif task.command == "SLEEP":
                seconds = msgspec.json.decode(bytes(task.payload), type=_Sleep).seconds
                self._sleep(work, seconds, now)
            else:
                allowed = ", ".join(COMMANDS)
                problem = f"there is no command {task.command!r}; allowed are {allowed}"
                self._end(work, "failed", problem, now)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._end(work, "failed", f"{task.command}: its payload is wrong: {error}", now)

    def _sleep(self, work: Work, seconds: float, now: float) -> None:
        work.due = now + seconds
        self._running[work.task.task] = work
        self._out.wake(work.due)
        if work.task.tracked:
            work.tell_at = now + FIRST_WORD
            self._out.wake(work.tell_at)

    def _look(self, now: float) -> None:
        """See to what is due: sleeps and times that are over, words and answers to be said."""
        for work in self._answers.due(now):
            self._give_up(work, "it cannot be said")
        for work in [*self._running.values()]:
            took = now - (work.began or 0.0)
            if now >= work.due:
                self._end(work, "done", "", now, Raw(b"%.3f" % took))
            elif now >= work.expires_at:
                self._end(work, "failed", f"its time was over after {took:.1f} s of it", now)
            elif work.tell_at is not None and now >= work.tell_at:
                work.tell_at = now + NEXT_WORD
                self._out.wake(work.tell_at)
                word = Working(task=work.task.task, worker=self.facts.worker, took=took)
                self._out.send(work.reply_to, word)
        for work in [*self._waiting]:
            if now >= work.expires_at:
                self._waiting.remove(work)
                if work.delivery is None:  # whoever has it now says so
                    self._works.pop(work.task.task, None)
                else:
                    self._end(work, "expired", "its time was over while it waited", now)

    # ── what becomes of it ─────────────────────────────────────────────────────────────

    def _end(
        self,
        work: Work,
        outcome: ExecuteOutcome,
        text: str,
        now: float,
        payload: Raw | None = None,
    ) -> None:
        """End a task: answer it if its client waits, else settle it."""
        task, facts = work.task, self.facts
        began = now if work.began is None else work.began
        took = now - began
        if outcome == "done":
            self.done += 1
        else:
            self.failed += 1
        self.seconds += took
        at, wall = self._wall_at
        work.answer = Executed(
            task=task.task,
            service=task.service,
            outcome=outcome,
            text=text[:4096],
            payload=Raw(b"null") if payload is None else payload,
            worker=facts.worker,
            host=facts.host,
            waited=max(0.0, wall + began - at - task.created) if task.created else 0.0,
            took=took,
        )
        was_running = self._running.pop(task.task, None) is not None
        if task.tracked:
            self._answers.say(work, now)
        else:
            if outcome != "done":
                self._out.run(Say(f"task {task.task}: {outcome}: {text}", wrong=True))
            self._settle(work, "")
        if was_running:
            self._begin(now)

    def _confirmed(self, effect: int) -> None:
        work = self._answers.confirmed(effect)
        if work is not None:
            self._settle(work, "")

    def _unheard(self, effect: int, now: float, *, returned: bool) -> None:
        unsaid = self._answers.unheard(effect, now, returned=returned)
        if unsaid is not None:
            self._give_up(unsaid, "its client is gone")

    def _give_up(self, work: Work, why: str) -> None:
        outcome = "" if work.answer is None else work.answer.outcome
        text = f"task {work.task.task}: {outcome}, and {why}"
        self._unsaid.append(work.task.task)
        self._out.run(Say(text, wrong=True))
        self._settle(work, text)

    def _settle(self, work: Work, dead: str) -> None:
        if work.delivery is not None:
            self._out.settle(work.delivery, Verdict.DEAD if dead else Verdict.ACK, dead)
        self._works.pop(work.task.task, None)
        self._answers.remember(work.task.task)

    def _give_back(self, work: Work) -> None:
        """Put a task back; what was lost with its connection the broker has.

        It is not published anew: should that be confirmed to nobody, there would be two of them.
        """
        self._works.pop(work.task.task, None)
        if work.delivery is not None:
            self._given_back.append(work.task.task)
            self._out.settle(work.delivery, Verdict.REQUEUE)

    # ── the end ────────────────────────────────────────────────────────────────────────

    def _drain(self, now: float, *, at_once: bool) -> None:
        """Begin nothing more, and give back what waits; ``at_once`` end what runs, too."""
        if self._draining is None:
            self._draining = now + self.facts.drain
            self._out.wake(self._draining)
            self._out.run(StopTaking())
            for work in self._waiting:
                self._give_back(work)
            self._waiting.clear()
        if at_once:
            self._draining = min(self._draining, now)

    def _look_at_the_end(self, now: float) -> None:
        if self._finished or self._draining is None:
            return
        if now >= self._draining:
            for id_, work in [*self._running.items()]:
                if work.task.rerun:
                    del self._running[id_]
                    self._give_back(work)
                else:
                    self._end(work, "worker-lost", "its worker has ended in the midst of it", now)
            self._answers.hurry(now)
            self._out.wake(self._draining + LAST)
        if not self._works or now >= self._draining + LAST:
            self._finished = True
            self._unsaid += self._works
            self._out.run(EchoDone(tuple(self._given_back), tuple(self._unsaid)))
