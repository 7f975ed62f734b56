"""The life of a job at its originator, as a table, and what all parts of the ledger share."""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from pytest_gatherscatter.machine import Effects, Lifecycle, State
from pytest_gatherscatter.testfiles.book import Book, Lease
from pytest_gatherscatter.testfiles.crew import Crew, Worker
from pytest_gatherscatter.testfiles.group import Groups
from pytest_gatherscatter.testfiles.news import Summary
from pytest_gatherscatter.testfiles.schedule import Backlog, Durations, Portion, shares
from pytest_gatherscatter.wire.messages import Message
from pytest_gatherscatter.wire.names import supervisor_key
from pytest_gatherscatter.wire.testfiles import Choice, JobFinished, JobSource, JobTerms


class JobState(State):
    """Where a job stands."""

    OFFERED = "offered"
    """No worker has come yet."""
    RUNNING = "running"
    """Workers have, or had, grants."""
    ENDING = "ending"
    """Nothing more is granted; workers finish their tests and tear down."""
    OVER = "over"
    """All that there is to say is said."""


JOB_TABLE: dict[JobState, tuple[JobState, ...]] = {
    JobState.OFFERED: (JobState.RUNNING, JobState.ENDING),
    JobState.RUNNING: (JobState.ENDING,),
    JobState.ENDING: (JobState.OVER,),
    JobState.OVER: (),
}
"""Which state may follow which."""

OPEN = frozenset({JobState.OFFERED, JobState.RUNNING})
"""States in which workers may join."""


class JobFacts(Struct, frozen=True):
    """What a job is told at its making.

    ``wait`` is for how many seconds it may be without any worker. ``retries`` says how often a
    test is run again whose worker died. ``source`` is where listeners get the files from; without
    it none is asked. ``choices`` are by file, where not all of its tests are meant; ``ordered``
    has the files begin in the order in which they are given. ``version`` and ``pytest`` are the
    versions of this package and of pytest that the originator has; empty for any.
    """

    job: str
    originator: str
    terms: JobTerms
    wait: float = 60.0
    retries: int = 0
    source: JobSource | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)
    ordered: bool = False
    version: str = ""
    pytest: str = ""


class Job:
    """All that is true of a job: its files, its workers, its grants, and what nobody has yet."""

    def __init__(
        self, facts: JobFacts, files: Iterable[str], known: Mapping[str, Mapping[str, float]]
    ) -> None:
        self.facts = facts
        self.out = Effects()
        self.life = Lifecycle(f"job {facts.job}", JobState.OFFERED, JOB_TABLE, now=0.0)
        self.durations = Durations(known)
        self.books = {file: Book(file) for file in files}
        self.crew = Crew()
        self.groups = Groups()
        self.leases: dict[int, Lease] = {}
        self.backlog = Backlog()
        self.backlog.fill(self.books, self.durations, ordered=facts.ordered)
        self.whole = sum(map(self.durations.of_file, self.books))
        """Seconds that the job is expected to take, all in all, as it was known at its start."""
        self.stopped = ""
        """Why not everything was run; empty if all was, or may still be."""
        self.status = 0
        """The exit status of the worker's pytest that stopped it; 0 if none did."""
        self.said: dict[int, str] = {}
        """Which supervisor a publish went to."""

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return self.life.state

    def say(self, supervisor: str, message: Message) -> None:
        """Send to a supervisor something whose return means that it is gone."""
        self.said[self.out.send(supervisor_key(supervisor), message)] = supervisor

    def seconds(self, file: str, tests: Iterable[int] | None) -> float:
        """Expect so many seconds of tests of a file, or of all of it."""
        book = self.books[file]
        if tests is None or book.tests is None:
            return self.durations.of_file(file)
        return sum(self.durations.of_test(file, book.name(test)) for test in tests)

    def share(self) -> float:
        """Say how many seconds of one file a worker shall have at once: T/(2n)."""
        return self.whole / (2 * max(1, len(self.crew.ready())))

    def shares(self, file: str, tests: Iterable[int]) -> list[tuple[int, ...]]:
        """Divide tests of a file that was run before and may be divided, else leave them so."""
        book, durations = self.books[file], self.durations
        tests = tuple(tests)
        if book.whole or self.facts.ordered or not durations.knows(file):
            return [tests]
        return shares(tests, lambda test: durations.of_test(file, book.name(test)), self.share())

    def put_back(self, portion: Portion) -> None:
        """Put a portion where others can take it, by groups, and divided if it is long."""
        if portion.tests is None or portion.home:
            self.backlog.add(portion, self.seconds(portion.file, portion.tests))
            return
        for group, tests in self.books[portion.file].parted(portion.tests).items():
            self._release(group)
            parts = [tuple(tests)] if group else self.shares(portion.file, tests)
            for part in parts:
                one = replace(portion, tests=part, group=group)
                self.backlog.add(one, self.seconds(portion.file, part))

    def _release(self, group: str) -> None:
        """Let a group go that its worker has not begun with, unless it has more of it."""
        held = (lease for lease in self.leases.values() if lease.worker == self.groups.of(group))
        if not any(group in self._groups_of(lease) for lease in held):
            self.groups.release(group)

    def _groups_of(self, lease: Lease) -> set[str]:
        """Name the groups that a lease has tests of, as far as that is known."""
        if lease.portion.group or lease.left is None:
            return {lease.portion.group}
        return set(self.books[lease.portion.file].parted(lease.left))

    def movable(self, lease: Lease) -> bool:
        """Say whether a lease that is not begun may go to another worker."""
        group = lease.portion.group
        if lease.portion.home or (group and self.groups.is_begun(group)):
            return False
        others = (one for one in self.leases.values() if one is not lease)
        return not group or not any(
            one.worker == lease.worker and group in self._groups_of(one) for one in others
        )

    def close(self, worker: Worker, lease: Lease) -> None:
        """End a lease: whatever is still told under it is fenced."""
        del self.leases[lease.number]
        worker.leases.remove(lease)

    def give_up_leases(self, worker: Worker) -> None:
        """Put back what a worker had and has not finished."""
        for lease in list(worker.leases):
            self.close(worker, lease)
            if lease.left is None:
                self.put_back(lease.portion)
            elif lease.left:
                self.put_back(lease.portion.only(lease.left))

    def finished(self, summary: Summary) -> JobFinished:
        """Say how the job ended, to all who watch, and who records."""
        books, counts = self.books.values(), summary.counts
        return JobFinished(
            job=self.facts.job,
            originator=self.facts.originator,
            root=self.facts.terms.root,
            seconds=summary.seconds,
            workers=len(self.crew.workers),
            files=len(books),
            tests=sum(len(one.tests or ()) for one in books),
            passed=counts.get("passed", 0),
            failed=counts.get("failed", 0),
            errors=counts.get("error", 0),
            skipped=counts.get("skipped", 0),
            xfailed=counts.get("xfailed", 0),
            xpassed=counts.get("xpassed", 0),
            unrun=sum(len(one.open_tests) for one in books),
            text=self.stopped[:4096],
        )
