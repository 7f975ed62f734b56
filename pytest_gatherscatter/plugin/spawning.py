"""What the fork server becomes once it knows the job: its workers' supervisor."""

import math
from collections.abc import Callable

from pytest_gatherscatter.plugin.pool import Pool
from pytest_gatherscatter.testfiles.service.birth import Born
from pytest_gatherscatter.testfiles.service.pipe import line, start_of
from pytest_gatherscatter.testfiles.service.supervisor import SupervisorService, spawn_worker


class Spawning:
    """Supervises the workers of one job.

    Args:
        lab: the lab's name.
        job: the job's id.
        pool: workers that are forked already.
    """

    def __init__(self, lab: str, job: str, pool: Pool) -> None:
        self._lab, self._job = lab, job
        self._pool = pool

    def run(self, url: str, stop: Callable[[], bool], dismissed: Callable[[], bool]) -> None:
        """Work until the job is over; raises as :meth:`SupervisorService.run`.

        ``stop`` ends all at once; being ``dismissed`` does as long as there is no job.
        """

        def ends() -> bool:
            return stop() or (not service.machine.joined and dismissed())

        service = SupervisorService(
            self._lab,
            url,
            slots=self._pool.slots,
            order=lambda start: line(start_of(start)),
            job=self._job,
            bear=self._bear,
        )
        # Its originator is there, and finds the files meanwhile: that may take as long as it does.
        service.run(ends, wait=math.inf)

    def _bear(self, worker: str, order: bytes) -> tuple[Born, bytes]:
        """Return a worker: one of the pool, for we have threads by now, and do not fork."""
        return self._pool.take(worker, order) or spawn_worker(worker, order)
