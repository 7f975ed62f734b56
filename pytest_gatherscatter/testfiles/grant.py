"""Who gets what next: grants, some ahead, and a share of the tail for who has nothing."""

from pytest_gatherscatter.testfiles.book import Lease
from pytest_gatherscatter.testfiles.crew import Worker
from pytest_gatherscatter.testfiles.schedule import tail, worth_giving
from pytest_gatherscatter.testfiles.state import Job
from pytest_gatherscatter.wire.event import MOST_TESTS
from pytest_gatherscatter.wire.testfiles import BeginFile, GiveBack, RunFile, RunFiles

AHEAD = 0.2
"""Seconds of work that a worker has ahead: a grant takes milliseconds, and a worker that waits for
one is idle. What lies ahead can be given back."""

MOST_AHEAD = 16
"""Files that a worker has ahead, however short they seem."""


class Grants:
    """Gives portions out, and asks for some back."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._given = 0

    def give(self) -> None:
        """Give each worker what it can do now, and something ahead; then share what is left."""
        living = self.job.crew.ready()
        names = {worker.name for worker in living}
        for worker in living:
            whole: list[Lease] = []
            while self._has_room(worker, len(living)):
                portion = self.job.backlog.take(worker.name, names, self.job.groups.workers)
                if portion is None:
                    break
                self.job.groups.claim(portion.group, worker.name)
                seconds = self.job.seconds(portion.file, portion.tests)
                lease = Lease(self._number(), portion, worker.name, seconds)
                self.job.leases[lease.number] = lease
                worker.leases.append(lease)
                if portion.tests is None and portion.file not in self.job.facts.choices:
                    whole.append(lease)
                else:
                    self._say_whole(worker, whole)
                    whole = []
                    self.say(worker, lease)
            self._say_whole(worker, whole)
        if len(living) > 1:
            self._cut(living)
        self._share(living)

    def _number(self) -> int:
        self._given += 1
        return self._given

    def _has_room(self, worker: Worker, living: int) -> bool:
        """Say whether a worker may have one grant more; the last ones are for who is idle."""
        job = self.job
        if not worker.leases:
            return True
        ahead = [one for one in worker.leases if not one.begun]
        if len(ahead) >= MOST_AHEAD or len(job.backlog) < living:
            return False
        return sum(one.seconds for one in ahead) < AHEAD

    def _say_whole(self, worker: Worker, leases: list[Lease]) -> None:
        """Tell a worker's supervisor of grants of whole files: short ones come in dozens."""
        if len(leases) == 1:
            self.say(worker, leases[0])
        elif leases:
            files = tuple((lease.number, lease.portion.file) for lease in leases)
            said = RunFiles(job=self.job.facts.job, worker=worker.name, files=files)
            self.job.say(worker.supervisor, said)

    def say(self, worker: Worker, lease: Lease) -> None:
        """Tell a worker's supervisor of a grant, once more if need be."""
        job, portion = self.job, lease.portion
        digest = "" if portion.tests is None else job.books[portion.file].digest
        job.say(
            worker.supervisor,
            RunFile(
                job=job.facts.job,
                worker=worker.name,
                lease=lease.number,
                file=portion.file,
                tests=portion.tests,
                digest=digest,
                choice=job.facts.choices.get(portion.file),
            ),
        )

    def say_begin(self, worker: Worker, lease: Lease) -> None:
        """Tell a worker's supervisor to begin with a file of groups, once more if need be."""
        if lease.without is not None:
            begin = BeginFile(
                job=self.job.facts.job,
                worker=worker.name,
                lease=lease.number,
                without=lease.without,
            )
            self.job.say(worker.supervisor, begin)

    def _cut(self, living: list[Worker]) -> None:
        """Ask for what is more than a share of a file as soon as its tests are known.

        The answer comes between two tests: to wait until somebody is idle would be too late.
        """
        for worker in living:
            lease = worker.leases[0] if worker.leases else None
            if lease is None or lease.cut or lease.asked or lease.left is None:
                continue
            lease.cut = True
            first, *rest = self.job.shares(lease.portion.file, lease.left) or [()]
            most = len(lease.left) - len(first)
            if rest and not (lease.portion.home or lease.portion.group):
                self._ask(lease, most)

    def _ask(self, lease: Lease, most: int) -> None:
        lease.asked = True
        ask = GiveBack(job=self.job.facts.job, worker=lease.worker, lease=lease.number, most=most)
        self.job.say(self.job.crew.workers[lease.worker].supervisor, ask)

    def _share(self, living: list[Worker]) -> None:
        """Ask who has the most left to give some of it to those who have nothing."""
        job = self.job
        idle = sum(not worker.leases for worker in living)
        if not idle:
            return
        idle -= sum(lease.asked for lease in job.leases.values())
        while idle > 0:
            offers = [offer for lease in job.leases.values() if (offer := self._offer(lease))]
            if not offers:
                return
            _, number, most = max(offers)
            self._ask(job.leases[number], most)
            idle -= 1

    def _offer(self, lease: Lease) -> tuple[float, int, int] | None:
        """Say what a lease could give back: seconds, its number, how many tests."""
        job = self.job
        book, worker = job.books[lease.portion.file], job.crew.workers[lease.worker]
        if lease.asked or lease.portion.home:
            return None
        if not lease.begun:
            if worker.leases[0] is lease or not job.movable(lease):
                return None  # it is about to begin, or of a group that stays
            return job.seconds(book.file, lease.portion.tests), lease.number, MOST_TESTS
        if book.whole or lease.left is None:
            return None
        untouched = lease.untouched()
        if job.groups.workers:
            begun = job.groups.is_begun
            untouched = [test for test in untouched if not begun(book.group(test))]
        given = untouched[len(untouched) - tail(len(untouched)) :]
        seconds = job.seconds(book.file, given)
        if not given or not worth_giving(seconds, book.opening):
            return None
        return seconds, lease.number, len(given)
