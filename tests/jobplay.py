"""Plays supervisors and workers to a ledger: no broker, no pytest, no clock.

Messages between two parties keep their order, and wait until they are let through. Workers do
what the files say: a file may have other tests each time, kill who imports it, kill who runs one
of its tests. What is shown is collected, and :meth:`Play.check` holds it against what was found.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from msgspec import Raw

from pytest_gatherscatter.machine import (
    Confirmed,
    Input,
    LinkDown,
    LinkUp,
    Publish,
    Received,
    Returned,
    Run,
    Send,
    Told,
    Wake,
    Woken,
)
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.child import (
    HANDED,
    QUICK,
    ChildGone,
    ChildSaid,
    EndChild,
    StartChild,
    TellChild,
)
from pytest_gatherscatter.testfiles.ledger import Ledger
from pytest_gatherscatter.testfiles.shell import Done
from pytest_gatherscatter.testfiles.state import JobFacts, JobState
from pytest_gatherscatter.testfiles.supervisor import SupervisorFacts, SupervisorMachine
from pytest_gatherscatter.wire import event as ev
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message

JOB = "0b" * 8
TERMS = m.JobTerms(arguments=(), root="/suite", run="1d" * 8)
PASSED = Raw(b'{"outcome":"passed"}')


@dataclass
class File:
    """What a file is like: how many tests, which of them kill, and whether it is strange."""

    tests: int
    kills: frozenset[int] = frozenset()
    kills_import: bool = False
    strange: bool = False
    whole: bool = False
    groups: tuple[str, ...] = ()
    """Test by test, who must run on one worker with it."""
    seconds: float = 0.0
    """What each of its tests took in an earlier run; 0 if there was none."""

    def known(self) -> dict[str, float]:
        """Return what is known of it from an earlier run."""
        return {f"test_{number}": self.seconds for number in range(self.tests)}


@dataclass
class Proc:
    """A worker's process. ``todo`` are numbers of tests of the file that it has open."""

    name: str
    commands: deque[object] = field(default_factory=deque)
    queued: deque[m.RunFile] = field(default_factory=deque)
    lease: m.RunFile | None = None
    todo: deque[int] = field(default_factory=deque)
    running: int | None = None
    gone: bool = False
    over: bool = False
    opened: set[str] = field(default_factory=set)
    awaits: int = -1
    """The lease of a file whose groups may be others'."""
    groups: set[str] = field(default_factory=set)
    """Those that have begun here."""


class Host:
    """A supervisor's machine and the processes of its workers."""

    def __init__(self, play: "Play", name: str, slots: int) -> None:
        self.play = play
        self.id = name
        self.inbox: deque[Message] = deque()
        self.outbox: deque[Message] = deque()
        self.procs: dict[str, Proc] = {}
        self.there = True
        self.linked = True
        self.done: list[str] = []
        facts = SupervisorFacts(name, slots, "h", 1, "0")
        self.machine = SupervisorMachine(facts, job=JOB)
        self.feed(LinkUp())

    def feed(self, said: Input) -> None:
        """Feed the machine, do what it wants, and feed what becomes of it."""
        woken = False
        for effect in self.machine.handle(said, now=self.play.now):
            match effect:
                case Wake(_, at):
                    woken |= at <= self.play.now
                case Send(id, key, message):
                    assert key == f"job.{JOB}"
                    if self.play.over or not self.play.linked:
                        self.feed(Returned(id))
                    else:
                        self.outbox.append(message)
                        self.feed(Confirmed(id))
                case Publish(id, _, message):
                    self.outbox.append(message)
                    self.feed(Confirmed(id))
                case Run(_, command):
                    self.do(command)
                case _:
                    pass
        if woken:
            self.feed(Woken())

    def do(self, command: object) -> None:
        """Do what the machine wants done."""
        match command:
            case StartChild(worker):
                self.procs[worker] = Proc(worker)
            case TellChild(worker, said):
                self.procs[worker].commands.append(said)
            case EndChild(worker):
                self.kill(self.procs[worker], "SIGKILL")
            case Done(text):
                self.done.append(text)
            case _:
                pass

    def hear(self) -> None:
        """Take the originator's next message."""
        self.feed(Received(self.inbox.popleft(), 0))

    @property
    def waits(self) -> bool:
        """Whether it has joined, and is not done."""
        return self.there and self.machine.joined and not self.done

    # ── what workers do ────────────────────────────────────────────────────────────────

    def say(self, proc: Proc, event: ev.AnyEvent) -> None:
        """Let a process say something."""
        self.feed(Told(ChildSaid(proc.name, event, 100)))

    def step(self, proc: Proc) -> bool:
        """Let a process do one thing, if there is one; it looks for commands between tests."""
        if proc.gone:
            return False
        if proc.running is not None:
            self.end_test(proc)
            return True
        while proc.commands:
            self.command(proc, proc.commands.popleft())
        if proc.awaits >= 0 and not proc.over:
            return False
        if proc.todo and not proc.over:
            self.begin_test(proc)
        elif proc.lease is not None:
            lease, proc.lease = proc.lease.lease, None
            proc.todo.clear()
            self.say(proc, ev.FileFinished(lease=lease))
        elif proc.queued and not proc.over:
            self.open(proc, proc.queued.popleft())
        elif proc.over:
            self.say(proc, ev.WorkerEnded())
            self.kill(proc, "exit status 0")
        else:
            return False
        return True

    def command(self, proc: Proc, command: object) -> None:
        """Do what the supervisor wants."""
        match command:
            case m.RunFile():
                proc.queued.append(command)
                assert len(proc.queued) <= HANDED + QUICK
            case m.BeginFile(lease=lease, without=without):
                if lease == proc.awaits:
                    proc.awaits = -1
                    proc.todo = deque(test for test in proc.todo if test not in without)
            case m.GiveBack(lease=lease, most=most):
                if proc.lease is None or proc.lease.lease != lease:
                    kept = deque(run for run in proc.queued if run.lease != lease)
                    if len(kept) < len(proc.queued):
                        proc.queued = kept
                        self.say(proc, ev.TestsGivenBack(lease=lease))
                    return
                untouched = list(proc.todo)[1:]
                given = untouched[max(0, len(untouched) - most) :]
                groups = self.play.files[proc.lease.file].groups
                if groups:
                    stay = {groups[test] for test in range(len(groups)) if test not in untouched}
                    held = (stay | proc.groups) - {""}
                    gone = {groups[test] for test in given} - held - {""}
                    ends = set(given)
                    given = [
                        test
                        for test in untouched
                        if (groups[test] in gone if groups[test] else test in ends)
                    ]
                proc.todo = deque(test for test in proc.todo if test not in given)
                self.say(proc, ev.TestsGivenBack(lease=lease, tests=tuple(given)))
            case m.JobOver():
                proc.over = True

    def open(self, proc: Proc, run: m.RunFile) -> None:
        """Import a file."""
        file = self.play.files[run.file]
        assert proc.lease is None
        self.say(proc, ev.FileBegun(lease=run.lease))
        if file.kills_import:
            self.kill(proc, "SIGSEGV")
            return
        salt = proc.name if file.strange else ""
        tests = tuple(f"test_{salt}{number}" for number in range(file.tests))
        digest = f"{abs(hash(tests)) % 16**16:016x}"
        if run.tests is not None and run.digest != digest:
            self.say(proc, ev.FileFinished(lease=run.lease, strange=True))
            return
        proc.opened.add(run.file)
        proc.lease = run
        proc.todo = deque(range(file.tests) if run.tests is None else run.tests)
        if run.tests is None and any(file.groups):
            proc.awaits = run.lease
        self.say(
            proc,
            ev.FileCollected(
                lease=run.lease,
                tests=tests,
                digest=digest,
                groups=file.groups,
                whole=file.whole,
                seconds=0.001,
            ),
        )

    def begin_test(self, proc: Proc) -> None:
        """Begin the next test; it may be the last thing that this worker does."""
        assert proc.lease is not None
        proc.running = proc.todo.popleft()
        self.play.begun[proc.lease.file, proc.running] += 1
        file = self.play.files[proc.lease.file]
        if file.groups:
            self.play.check_group(file.groups[proc.running], proc)
        kills = proc.running in file.kills
        self.say(proc, ev.TestBegun(lease=proc.lease.lease, test=proc.running))
        if kills:
            self.kill(proc, "SIGKILL")

    def end_test(self, proc: Proc) -> None:
        """End the test that runs."""
        assert proc.lease is not None
        assert proc.running is not None
        ran = ev.TestRan(lease=proc.lease.lease, test=proc.running, seconds=1, reports=(PASSED,))
        proc.running = None
        self.say(proc, ran)

    def kill(self, proc: Proc, how: str) -> None:
        """End a process; its supervisor sees it."""
        if not proc.gone:
            proc.gone = True
            self.feed(Told(ChildGone(proc.name, ev.WorkerDied(how=how))))


class Play:
    """A ledger and everybody around it."""

    def __init__(self, files: dict[str, File], *, wait: float = 60.0, retries: int = 0) -> None:
        self.files = files
        known = {name: file.known() for name, file in files.items() if file.seconds}
        self.ledger = Ledger(JobFacts(JOB, "me", TERMS, wait=wait, retries=retries), files, known)
        self.now = 1000.0
        self.hosts: dict[str, Host] = {}
        self.shown: list[news.News] = []
        self.begun: Counter[tuple[str, int]] = Counter()
        self.holders: dict[str, str] = {}
        """Which worker has run tests of a group."""
        self.linked = True
        self.struck = False
        self.feed(LinkUp())

    def host(self, slots: int = 1) -> Host:
        """Let a supervisor come."""
        name = f"{len(self.hosts) + 1:08x}"
        host = self.hosts[name] = Host(self, name, slots)
        return host

    def feed(self, said: Input) -> None:
        """Feed the ledger, and what becomes of each effect."""
        effects = self.ledger.handle(said, now=self.now)
        outcomes: list[Input] = []
        for effect in effects:
            if isinstance(effect, Run):
                assert isinstance(effect.command, news.News)
                self.shown.append(effect.command)
                if isinstance(effect.command, news.WorkerCame):
                    outfit = news.Outfit(effect.command.worker, Raw(b"{}"))
                    outcomes.append(Told(outfit))
            elif isinstance(effect, Publish):
                for host in self.hosts.values():
                    if host.there and host.linked:
                        host.inbox.append(effect.message)
            elif isinstance(effect, Send):
                reader = self.hosts.get(effect.key.removeprefix("supervisor."))
                if reader is not None and reader.there and reader.linked:
                    reader.inbox.append(effect.message)
                    outcomes.append(Confirmed(effect.id))
                else:
                    outcomes.append(Returned(effect.id))
        for outcome in outcomes:
            self.feed(outcome)

    def deliver(self, host: Host) -> None:
        """Let the originator hear a supervisor's next message."""
        self.feed(Received(host.outbox.popleft(), 0))

    def meet(self, host: Host) -> None:
        """Let all go through between the originator and a supervisor."""
        while host.outbox or host.inbox:
            while host.outbox:
                self.deliver(host)
            while host.inbox:
                host.hear()

    def cut(self, host: Host, kept: int) -> None:
        """Cut a supervisor's connection: its inbox is gone, and what it said last."""
        host.linked = False
        host.inbox.clear()
        while len(host.outbox) > kept:
            host.outbox.pop()
        host.feed(LinkDown("cut"))

    def join(self, host: Host) -> None:
        """Give a supervisor its connection back."""
        if not host.linked:
            host.linked = True
            host.feed(LinkUp())

    def cut_originator(self) -> None:
        """Cut the originator's connection: all that was said to it is gone."""
        self.linked = False
        for host in self.hosts.values():
            host.outbox.clear()
        self.feed(LinkDown("cut"))

    def join_originator(self) -> None:
        """Give the originator its connection back."""
        if not self.linked:
            self.linked = True
            self.feed(LinkUp())

    def lose(self, host: Host) -> None:
        """End a whole host at once: what it said already may still arrive."""
        host.there = False
        host.inbox.clear()
        for proc in host.procs.values():
            proc.gone = True

    # ── to the end ─────────────────────────────────────────────────────────────────────

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.ledger.job.state is JobState.OVER

    def settle(self, *, most: int = 20_000) -> None:
        """Let everything come that is to come; time passes only when nothing else happens."""
        for _ in range(most):
            if self.over and not any(host.waits for host in self.hosts.values()):
                return
            if not self._anything():
                self.now += 1.0
                for host in self.hosts.values():
                    if host.there:
                        host.feed(Woken())
                self.feed(Woken())
        raise AssertionError(f"it does not end: {self.ledger.job.state}")

    def _anything(self) -> bool:
        happened = False
        self.join_originator()
        for host in list(self.hosts.values()):
            while host.outbox:
                self.deliver(host)
                happened = True
            if not host.there:
                continue
            self.join(host)
            while host.inbox:
                host.hear()
                happened = True
            for proc in list(host.procs.values()):
                happened |= self.step(host, proc)
        return happened

    def step(self, host: Host, proc: Proc) -> bool:
        """Let a process do one thing; it takes a while."""
        self.now += 0.001
        return host.step(proc)

    # ── what must hold ─────────────────────────────────────────────────────────────────

    def check_group(self, group: str, proc: Proc) -> None:
        """See that all tests of a group are run by one worker, for as long as that lives."""
        proc.groups.add(group)
        holder = self.holders.setdefault(group, proc.name) if group else proc.name
        if holder != proc.name:
            workers = self.ledger.job.crew.workers
            assert workers[holder].gone or workers[proc.name].gone
            if not workers[proc.name].gone:
                self.holders[group] = proc.name

    def check(self) -> news.JobEnded:
        """See that each test that was found is told exactly once; returns the last word."""
        found: dict[str, int] = {}
        told: Counter[tuple[str, str]] = Counter()
        lost_files = []
        gone: set[str] = set()
        for one in self.shown:
            match one:
                case news.FileOpened(file=file, tests=tests):
                    assert file not in found
                    found[file] = len(tests)
                case news.FileLost(file=file):
                    assert file not in found
                    lost_files.append(file)
                case news.TestReported(file=file, test=test) | news.TestLost(file=file, test=test):
                    assert file in found
                    told[file, test] += 1
                case news.WorkerGone(worker=worker):
                    assert worker not in gone
                    gone.add(worker)
                case _:
                    pass
        assert not [test for test, times in told.items() if times > 1]
        assert len(lost_files) == len(set(lost_files))
        (ended,) = [one for one in self.shown if isinstance(one, news.JobEnded)]
        assert ended is self.shown[-1]
        assert len(told) + len(ended.unrun) == sum(found.values())
        assert {*found, *lost_files, *ended.unopened} == set(self.files)
        assert len(found) + len(lost_files) + len(ended.unopened) == len(self.files)
        if not ended.text:
            assert not ended.unrun
            assert not ended.unopened
        return ended

    def of(self, kind: type[news.News]) -> list[news.News]:
        """Return what was shown of a kind."""
        return [one for one in self.shown if isinstance(one, kind)]
