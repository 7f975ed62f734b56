"""What workers tell, and what becomes of what a dead one had."""

from collections.abc import Callable
from typing import Any

from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.book import Book, Lease
from pytest_gatherscatter.testfiles.crew import Worker
from pytest_gatherscatter.testfiles.grant import Grants
from pytest_gatherscatter.testfiles.schedule import Portion
from pytest_gatherscatter.testfiles.state import Job
from pytest_gatherscatter.wire import event as ev

ATTEMPTS = 3
"""Workers that may die on one file before the rest of it is given up."""

STRANGE = "its file has other tests each time it is collected, so only one worker could run it"


class Witness:
    """Takes events of workers: of who is gone, or under a lease that is over, nothing counts."""

    def __init__(self, job: Job, grants: Grants) -> None:
        self.job = job
        self._grants = grants
        self.deaths = 0
        """Workers that died one after the other, with no test run between."""
        self._events: dict[type[ev.Event], Callable[[Worker, Any], None]] = {
            ev.FileBegun: self._begun,
            ev.FileCollected: self._collected,
            ev.TestBegun: self._test_begun,
            ev.TestRan: self._ran,
            ev.TestsGivenBack: self._given_back,
            ev.FileFinished: self._finished,
            ev.WarningSeen: self._warned,
            ev.WorkerPrinted: self._printed,
            ev.OutputTold: self._handed_in,
            ev.WorkerDied: self._died,
            ev.WorkerEnded: self._ended,
        }

    def take(self, worker: Worker, event: ev.Event) -> None:
        """Take an event of a worker."""
        if not worker.gone:
            self._events[type(event)](worker, event)

    def _lease(self, worker: Worker, number: int) -> Lease | None:
        lease = self.job.leases.get(number)
        return lease if lease is not None and lease.worker == worker.name else None

    def _begun(self, worker: Worker, event: ev.FileBegun) -> None:
        lease = self._lease(worker, event.lease)
        if lease is not None:
            lease.begun = True
            worker.leases.remove(lease)
            worker.leases.insert(0, lease)

    def _collected(self, worker: Worker, event: ev.FileCollected) -> None:
        lease = self._lease(worker, event.lease)
        if lease is None or lease.left is not None:
            return
        book = self.job.books[lease.portion.file]
        if book.tests is None:
            book.open(event, worker.name)
            self.job.durations.opened(len(event.tests), event.seconds)
            opened = news.FileOpened(
                file=book.file,
                tests=event.tests,
                deselected=event.deselected,
                reports=event.reports,
                worker=worker.name,
                seconds=event.seconds,
            )
            self.job.out.run(opened)
        tests = lease.portion.tests
        lease.left = book.open_tests if tests is None else book.of(tests)
        if tests is None and any(event.groups):
            self._part(worker, book, lease)

    def _part(self, worker: Worker, book: Book, lease: Lease) -> None:
        """Let a worker begin with a file, without the tests of groups that others have."""
        left = lease.left or []
        living = [one.name for one in self.job.crew.living()]
        parts = book.parted(left)
        lease.without = self.job.groups.part(parts, worker.name, living)
        if lease.without:
            lease.left = [test for test in left if test not in set(lease.without)]
            self.job.put_back(lease.portion.only(lease.without))
        self._grants.say_begin(worker, lease)

    def _test_begun(self, worker: Worker, event: ev.TestBegun) -> None:
        lease = self._lease(worker, event.lease)
        if lease is not None and event.test in (lease.left or ()):
            lease.running = event.test
            book = self.job.books[lease.portion.file]
            self.job.groups.begin(book.group(event.test))
            started = news.TestStarted(book.file, book.name(event.test), worker.name)
            self.job.out.run(started)

    def _ran(self, worker: Worker, event: ev.TestRan) -> None:
        lease = self._lease(worker, event.lease)
        if lease is None or lease.left is None or event.test not in lease.left:
            return
        book = self.job.books[lease.portion.file]
        lease.left.remove(event.test)
        lease.running = None
        if book.settle(event.test):
            self.deaths = 0
            self.job.durations.note(book.file, event.seconds)
            name = book.name(event.test)
            worker.last = f"{book.file}::{name}"
            told = news.TestReported(book.file, name, worker.name, event.reports, event.seconds)
            self.job.out.run(told)

    def _given_back(self, worker: Worker, event: ev.TestsGivenBack) -> None:
        lease = self._lease(worker, event.lease)
        if lease is None:
            return
        lease.asked = False
        if event.tests is None:
            if not lease.begun:
                self.job.close(worker, lease)
                self.job.put_back(lease.portion)
            return
        untouched = set(lease.untouched())
        given = [test for test in event.tests if test in untouched]
        if given and lease.left is not None:
            lease.left = [test for test in lease.left if test not in given]
            self.job.put_back(lease.portion.only(given))

    def _finished(self, worker: Worker, event: ev.FileFinished) -> None:
        lease = self._lease(worker, event.lease)
        if lease is None:
            return
        self.job.close(worker, lease)
        book, portion = self.job.books[lease.portion.file], lease.portion
        if event.strange:
            self._estrange(worker, book, portion)
        elif self.job.stopped:
            pass  # it was told to leave the rest
        elif book.tests is None:
            self.lose_file(book, worker, "its worker went on without collecting it")
        else:
            left = book.of(portion.tests or ()) if lease.left is None else lease.left
            for test in list(left):
                why = "its worker says that the file is done, and told nothing of this test"
                self.lose_test(book, test, worker, why)

    def _estrange(self, worker: Worker, book: Book, portion: Portion) -> None:
        """Send tests home that nobody else can run; without a home they are lost."""
        book.whole = True
        home = self.job.crew.workers.get(book.opened_by)
        if home is not None and not home.gone and home is not worker and not portion.home:
            self.job.put_back(Portion(book.file, portion.tests, portion.attempt, home.name))
            return
        for test in book.of(portion.tests or ()):
            self.lose_test(book, test, worker, STRANGE)

    def _warned(self, worker: Worker, event: ev.WarningSeen) -> None:
        self.job.out.run(news.WarningTold(worker.name, event.warning))

    def _printed(self, worker: Worker, event: ev.WorkerPrinted) -> None:
        self.job.out.run(news.LinesPrinted(worker.name, event.text))

    def _handed_in(self, worker: Worker, event: ev.OutputTold) -> None:
        worker.output.append(event.part)

    def _ended(self, worker: Worker, event: ev.WorkerEnded) -> None:
        """Let a worker go in good order; what it still had goes to others."""
        self.job.give_up_leases(worker)
        worker.gone = True
        output = "".join(worker.output)
        gone = news.WorkerGone(
            worker.name, status=event.status, output=output, reports=event.reports
        )
        self.job.out.run(gone)

    def _died(self, worker: Worker, event: ev.WorkerDied) -> None:
        said = "".join(
            f"\n--- the last of its {name} ---\n{text.rstrip()}"
            for name, text in (("output", event.stdout), ("errors", event.stderr))
            if text.strip()
        )
        self.bury(worker, event.how, said=said, hung=event.hung)
        self.deaths += not event.hung  # a test that hangs says nothing of the surroundings

    # ── deaths ─────────────────────────────────────────────────────────────────────────

    def bury(
        self,
        worker: Worker,
        how: str,
        *,
        said: str = "",
        its_own: bool = True,
        hung: bool = False,
    ) -> None:
        """See to all that a dead worker had; ``its_own`` unless its host or supervisor died.

        Only then is what it was at suspected of having killed it. Where a test ``hung`` it is that
        test, and its file is none the worse for it. Where it was at none, fixtures of tests that
        it has run were being torn down, or never will be.
        """
        worker.gone = True
        died = f"worker {worker.name} on {worker.host} died: {how}"
        current = worker.current
        importing = current is not None and current.left is None
        idle = current is None or current.running is None
        after = worker.last if its_own and idle and not importing else ""
        if current is not None:
            self.job.close(worker, current)
            self._die_in(worker, current, died, said, its_own=its_own, hung=hung)
        self.job.give_up_leases(worker)
        died = died if current and not after else died + said
        self.job.out.run(news.WorkerGone(worker.name, died=died, after=after))

    def _die_in(  # noqa: PLR0913 - each is a fact of its own
        self, worker: Worker, lease: Lease, died: str, said: str, *, its_own: bool, hung: bool
    ) -> None:
        """Lose what the worker was at, and put back what it had not begun."""
        portion, book = lease.portion, self.job.books[lease.portion.file]
        if book.tests is None:
            if its_own:
                self.lose_file(book, worker, f"{died}, importing it{said}")
            else:
                self.job.put_back(portion)
            return
        tests = book.open_tests if portion.tests is None else list(portion.tests)
        left = book.of(tests) if lease.left is None else list(lease.left)
        if lease.running in left and book.die(lease.running) > self.job.facts.retries:
            left.remove(lease.running)
            self.lose_test(book, lease.running, worker, died + said)
        attempt = portion.attempt + (its_own and not hung)
        if attempt > ATTEMPTS:
            for test in left:
                why = f"not run: {ATTEMPTS} workers died in its file, the last one so: {died}"
                self.lose_test(book, test, worker, why)
        elif left:
            self.job.put_back(Portion(book.file, tuple(left), attempt))

    def lose_test(self, book: Book, test: int, worker: Worker, why: str) -> None:
        """Let a test fail that nobody will report."""
        if book.settle(test):
            self.job.out.run(news.TestLost(book.file, book.name(test), worker.name, why))

    def lose_file(self, book: Book, worker: Worker, why: str) -> None:
        """Let a file fail whose tests nobody will ever know."""
        book.lose()
        self.job.out.run(news.FileLost(book.file, worker.name, why))
