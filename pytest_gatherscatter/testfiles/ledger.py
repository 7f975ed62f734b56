"""The originator's ledger: the only truth about one job.

Which file is whose, what was found, what was reported. Rules:

1. A grant has a number, its *lease*. Who reports under a lease that is over, or of a worker that
   was given up, is fenced: nothing of it counts.
2. What was found in a file is fixed when it is collected first, before its first test begins.
   Each test found is shown exactly once: reported, or lost with the reason.
3. A test that a worker died in is lost once (or run again, as often as was asked for); what the
   worker had not begun goes to another one.
4. A job ends when all is shown, or when it is stopped; and it says what it did not run.

It keeps nothing on disk: a job lives and dies with its originator, and workers see that at once.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from pytest_gatherscatter.machine import (
    Confirmed,
    Effect,
    Failed,
    Input,
    LinkDown,
    LinkUp,
    Received,
    Returned,
    Told,
)
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.crew import MOST_WORKERS, Supervisor, Worker
from pytest_gatherscatter.testfiles.grant import Grants
from pytest_gatherscatter.testfiles.recruit import Recruits
from pytest_gatherscatter.testfiles.state import OPEN, Job, JobFacts, JobState
from pytest_gatherscatter.testfiles.witness import Witness
from pytest_gatherscatter.wire import event as ev
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import job_event, supervisor_key

SILENT = 10.0
"""Seconds after which a supervisor that says nothing is given up: ten of its keepalives."""

VANISHED = 3.0
"""Seconds after which one whose inbox is gone is given up: a lost connection is back by then."""

DOUBT = 3.0
"""Seconds of silence after which it is asked for a word, if only to see whether its inbox is there:
who was killed is gone at once, and who is busy has time until :data:`SILENT`."""

LOOK = 1.0
"""Seconds between two looks at who is silent."""

DEATHS = 8
"""Workers that may die one after the other, with no test run between, before the job stops: it is
the surroundings then, and not a test."""

ENDING = 120.0
"""Seconds for which workers that were told to end may finish their tests and tear down."""

GIVEN_UP = "this job does not count on you any more: you were silent, or it is over"


class StopJob(Struct, frozen=True):
    """The originator wants no more: ``text`` says why (``Told``)."""

    text: str


class Ledger:
    """The machine of one job.

    Args:
        facts: the job's.
        files: the test files, each once, below the job's root.
        known: seconds by file and test id, from earlier runs.
    """

    def __init__(
        self,
        facts: JobFacts,
        files: Iterable[str],
        known: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.job = Job(facts, files, known or {})
        self._grants = Grants(self.job)
        self._witness = Witness(self.job, self._grants)
        self._recruits = Recruits()
        self._alone_since: float | None = None
        self._ending_since = 0.0
        self._looks_at = 0.0
        self._linked = False
        self._turned_away: set[str] = set()
        self._take: dict[type[Message], Callable[[Any, float], None]] = {
            m.SeekJob: self._sought,
            m.JoinJob: self._join,
            m.WorkerTold: self._told,
            m.SupervisorAlive: self._alive,
            m.LeaveJob: self._leave,
            m.ListenerTold: self._listener,
        }

    def handle(self, message: Input, *, now: float) -> list[Effect]:
        """Take one input; see :class:`pytest_gatherscatter.machine.Machine`."""
        match message:
            case Received(body):
                take = self._take.get(type(body))
                mine = self.job.facts.job
                if take is not None and getattr(body, "job", mine) == mine:
                    take(body, now)
            case LinkUp():
                self._link_up(now)
            case LinkDown():
                self._linked = False
            case Returned(effect):
                self._missing(self.job.said.pop(effect, ""), now)
            case Confirmed(effect):
                self.job.said.pop(effect, None)
                return self.job.out.take()  # nothing follows from it, and it comes most often
            case Failed(effect):
                self.job.said.pop(effect, None)
            case Told(request):
                self._asked(request, now)
            case _:
                pass
        self._go_on(now)
        return self.job.out.take()

    def _asked(self, request: object, now: float) -> None:
        """Do what the originator's own process asks for."""
        match request:
            case StopJob(text):
                self._stop(text, now)
            case news.Outfit() as outfit:
                self._equip(outfit)
            case news.Summary() as summary:
                # It is waited for, so that an originator does not end before it is confirmed.
                job = self.job
                event = job_event("finished", job.facts.job)
                job.said[job.out.publish(event, job.finished(summary))] = ""

    # ── who comes and goes ─────────────────────────────────────────────────────────────

    def _link_up(self, now: float) -> None:
        """Offer the job to all; nobody was heard meanwhile, and that is nobody's fault."""
        self._linked = True
        for supervisor in self.job.crew.supervisors.values():
            supervisor.hear(now)
        if self.job.state is not JobState.OVER:  # who has joined says again what was lost
            self.job.out.publish(job_event("offered", self.job.facts.job), self._offer())

    def _offer(self) -> m.JobOffered:
        facts = self.job.facts
        return m.JobOffered(
            job=facts.job,
            originator=facts.originator,
            root=facts.terms.root,
            files=len(self.job.books),
            source=facts.source,
        )

    def _sought(self, message: m.SeekJob, _: float) -> None:
        if self.job.state in OPEN:
            self.job.out.send(supervisor_key(message.supervisor), self._offer())

    def _join(self, message: m.JoinJob, now: float) -> None:
        job = self.job
        again = message.supervisor in job.crew.supervisors
        if job.state not in OPEN and not again:
            self._refuse(message.supervisor, job.stopped or "the job is over")
            return
        if job.facts.version and message.version != job.facts.version:
            self._turn_away(message)
            return
        supervisor, workers = job.crew.join(message, now=now)
        if job.state is JobState.OFFERED:
            job.life.to(JobState.RUNNING, now=now)
        for worker in workers:
            job.out.run(news.WorkerCame(worker.name, worker.host, message.prepared))
        if workers and job.facts.pytest and message.pytest != job.facts.pytest:
            text = f"its pytest is {message.pytest}, and {job.facts.pytest} here\n"
            job.out.run(news.LinesPrinted(workers[0].name, text))
        if again:
            self._say_again(supervisor)

    def _turn_away(self, message: m.JoinJob) -> None:
        """Refuse who would speak otherwise, and tell both sides."""
        theirs, ours = message.version or "older", self.job.facts.version
        name = "pytest-gatherscatter"
        if message.supervisor not in self._turned_away and len(self._turned_away) < MOST_WORKERS:
            self._turned_away.add(message.supervisor)
            why = f"its {name} is {theirs}, and {ours} here: install the same on both"
            self.job.out.run(news.ListenerFailed(message.host, why, who="worker on"))
        text = f"the job is of {name} {ours}, and this is {theirs}: install the same on both"
        self._refuse(message.supervisor, text)

    def _say_again(self, supervisor: Supervisor) -> None:
        """Say all that may have gone with a connection; what it has already it knows by itself."""
        job = self.job
        for worker in job.crew.of(supervisor):
            self._tell_of(worker)
            for lease in worker.leases:
                lease.asked = False
                if lease.begun:
                    self._grants.say_begin(worker, lease)
                else:
                    self._grants.say(worker, lease)
        if job.state is JobState.ENDING:
            job.say(supervisor.id, m.JobOver(job=job.facts.job, text=job.stopped))

    def _missing(self, supervisor: str, now: float) -> None:
        """Note that a supervisor's inbox is not there: it may come back."""
        known = self.job.crew.supervisors.get(supervisor)
        if known is not None and known.missing_since is None:
            known.missing_since = now
            self.job.out.wake(now + VANISHED)

    def _equip(self, outfit: news.Outfit) -> None:
        """Have a worker started, now that it is known with what."""
        worker = self.job.crew.workers[outfit.worker]
        if not worker.gone:
            worker.input = outfit.input
            self._tell_of(worker)

    def _tell_of(self, worker: Worker) -> None:
        job = self.job
        if worker.input is not None:
            joined = m.JobJoined(
                job=job.facts.job, worker=worker.name, terms=job.facts.terms, input=worker.input
            )
            job.say(worker.supervisor, joined)

    def _refuse(self, supervisor: str, text: str) -> None:
        refused = m.JobRefused(job=self.job.facts.job, text=text)
        self.job.out.send(supervisor_key(supervisor), refused)

    def _alive(self, message: m.SupervisorAlive, now: float) -> None:
        if self._heard(message.supervisor, now):
            self.job.say(message.supervisor, m.JobAlive(job=self.job.facts.job))

    def _heard(self, supervisor: str, now: float) -> bool:
        """Note that a supervisor spoke; who was given up is told so, lest it goes on."""
        known = self.job.crew.supervisors.get(supervisor)
        if known is None:
            self._refuse(supervisor, GIVEN_UP)
            return False
        known.hear(now)
        return True

    def _listener(self, message: m.ListenerTold, now: float) -> None:
        """Count on a listener that prepares the job, and tell of one that cannot."""
        job = self.job
        if self._recruits.hear(message, now):
            job.out.run(
                news.ListenerFailed(message.host, message.text, message.stdout, message.stderr)
            )
        over = job.state not in OPEN
        text = job.stopped or "the job is over"
        said = m.JobOver(job=job.facts.job, text=text) if over else m.JobAlive(job=job.facts.job)
        job.out.send(supervisor_key(message.listener), said)

    def _leave(self, message: m.LeaveJob, _: float) -> None:
        self._lose(message.supervisor, message.text or "its supervisor left")

    def _lose(self, supervisor: str, how: str) -> None:
        """Give up a supervisor, and with it its workers."""
        known = self.job.crew.leave(supervisor)
        if known is not None:
            for worker in list(self.job.crew.of(known)):
                self._witness.bury(worker, how, its_own=False)

    # ── what workers tell ──────────────────────────────────────────────────────────────

    def _told(self, message: m.WorkerTold, now: float) -> None:
        """Take the events that are new, in order; answer how far they were taken."""
        if not self._heard(message.supervisor, now):
            return
        job = self.job
        worker = job.crew.workers.get(message.worker)
        if worker is None or worker.supervisor != message.supervisor:
            return
        if message.number <= worker.heard:
            for event in message.events[worker.heard - message.number :]:
                worker.heard += 1
                self._witness.take(worker, event)
                if isinstance(event, ev.WorkerDied):
                    self._replace(message.supervisor, event.how, now)
                elif isinstance(event, ev.WorkerEnded) and event.stopped:
                    self._stop(f"{worker.name}: {event.stopped}", now, event.status)
        accepted = m.ToldAccepted(job=job.facts.job, worker=worker.name, number=worker.heard)
        job.say(message.supervisor, accepted)

    def _replace(self, supervisor: str, how: str, now: float) -> None:
        """Have another worker started for one that died, unless they all do."""
        job = self.job
        if job.state is not JobState.RUNNING:
            return
        if self._witness.deaths >= DEATHS:
            self._stop(f"{DEATHS} workers died one after the other, the last one of {how}", now)
            return
        fresh = job.crew.name(job.crew.supervisors[supervisor])
        job.out.run(news.WorkerCame(fresh.name, fresh.host))

    # ── going on, and the end ──────────────────────────────────────────────────────────

    def _go_on(self, now: float) -> None:
        """Give out what there is, keep the deadlines, see whether all is over."""
        job = self.job
        self._look_for_silence(now)
        if job.state is JobState.RUNNING:
            self._grants.give()
            if not job.leases and not len(job.backlog):
                self._end(now)
        if job.state in OPEN:
            self._look_for_workers(now)
        elif job.state is JobState.ENDING:
            self._look_at_the_end(now)

    def _look_for_silence(self, now: float) -> None:
        crew = self.job.crew
        for supervisor in list(crew.supervisors.values()) if self._linked else ():
            missing = supervisor.missing_since
            if now - supervisor.heard >= SILENT:
                self._lose(supervisor.id, f"nothing was heard of it for {SILENT:g} s")
            elif missing is not None and now - missing >= VANISHED:
                self._lose(supervisor.id, "its supervisor vanished")
            elif now - supervisor.heard >= DOUBT and now >= self._looks_at:
                self.job.say(supervisor.id, m.JobAlive(job=self.job.facts.job))
        if crew.supervisors and now >= self._looks_at and self.job.state is not JobState.OVER:
            self._looks_at = now + LOOK
            self.job.out.wake(self._looks_at)

    def _look_for_workers(self, now: float) -> None:
        wait = self.job.facts.wait
        if self.job.crew.living() or self._recruits.coming(now):
            self._alone_since = None
            self._looks_again(now)
        elif self._alone_since is None:
            self._alone_since = now
            self.job.out.wake(now + wait)
        elif now - self._alone_since >= wait:
            self._stop(f"no worker came in {wait:g} s{self._recruits.text(now)}", now)

    def _looks_again(self, now: float) -> None:
        """Look again in a while, if only listeners are counted on: they may fall silent."""
        if not self.job.crew.living() and now >= self._looks_at:
            self._looks_at = now + LOOK
            self.job.out.wake(self._looks_at)

    def _stop(self, text: str, now: float, status: int = 0) -> None:
        """End the job before its time; what runs now is finished, nothing else is."""
        if self.job.state in OPEN:
            self.job.stopped, self.job.status = text, status
            self.job.backlog.clear()
            self._end(now)

    def _end(self, now: float) -> None:
        job = self.job
        job.life.to(JobState.ENDING, now=now)
        self._ending_since = now
        for worker in job.crew.living():
            if worker.input is None:  # nobody has started it
                worker.gone = True
                job.out.run(news.WorkerGone(worker.name))
        for supervisor in list(job.crew.supervisors):
            job.say(supervisor, m.JobOver(job=job.facts.job, text=job.stopped))
        job.out.wake(now + ENDING)
        self._look_at_the_end(now)

    def _look_at_the_end(self, now: float) -> None:
        job = self.job
        if now - self._ending_since >= ENDING:
            for worker in job.crew.living():
                self._witness.bury(worker, f"it did not end in {ENDING:g} s")
        if job.state is JobState.OVER or job.crew.living():
            return
        job.life.to(JobState.OVER, now=now)
        job.out.run(self.end(job.stopped))

    def end(self, text: str) -> news.JobEnded:
        """Say what was not run by now; ``text`` says why."""
        books = self.job.books.values()
        unrun = tuple(f"{one.file}::{one.name(test)}" for one in books for test in one.open_tests)
        unopened = tuple(one.file for one in books if one.tests is None)
        return news.JobEnded(text, unrun, unopened, self.job.status)
